/* What the user has to know or to decide, one card per matter. */

import { element, icon } from "./dom.js";

export class Notices {
  constructor(list) {
    this.list = list;
    this.cards = new Map();
  }

  /**
   * @param key the matter; a card of the same matter is replaced.
   * @param notice `title`, `text`, `bad` for errors, `actions` as pairs of label and function, `until` (performance.now())
   *   for a countdown.
   */
  show(key, { title, text, bad = false, actions = [], until = null }) {
    const words = element("div", { class: "words" }, element("strong", { text: title }), element("p", { text }));
    const buttons = actions.map(([label, run], place) =>
      element("button", { type: "button", class: place === 0 ? "strong" : "", text: label, click: run }),
    );
    const card = element(
      "div",
      { class: bad ? "notice bad" : "notice", role: bad ? "alert" : "status" },
      icon(bad ? "alert" : "info"),
      words,
      element("div", { class: "actions" }, ...buttons),
    );
    this.hide(key);
    if (until !== null) words.append(this.#countdown(card, until));
    this.cards.set(key, card);
    this.list.append(card);
  }

  hide(key) {
    this.cards.get(key)?.remove();
    this.cards.delete(key);
  }

  /** Seconds that go down; not read out, or a screen reader would speak every second. */
  #countdown(card, until) {
    const line = element("p", { class: "countdown", "aria-hidden": "true" });
    const tick = () => {
      const left = Math.max(0, Math.ceil((until - performance.now()) / 1000));
      line.textContent = left > 0 ? `Trying again in ${left} s` : "Trying again";
      if (left > 0) setTimeout(() => card.isConnected && tick(), 250);
    };
    tick();
    return line;
  }
}
