/* The turns as they are read: what was said, what was heard of it, what it took. */

import { element, icon } from "./dom.js";
import { parts, rows, seconds } from "./timings.js";
import { drawBar } from "./view.js";

const ENDINGS = {
  interrupted: "Interrupted",
  timed_out: "The answer took too long and was ended",
  failed: "The answer failed",
  disconnected: "The connection was lost",
};

export class Transcript {
  /**
   * @param on callbacks: `retry(turn)`, which is to be said again; `save(turn)`, whose clip is to be kept.
   */
  constructor(list, on) {
    this.list = list;
    this.on = on;
    this.fps = 16;
    this.cards = new Map();
    this.conversation = null; // that of the latest turn
  }

  /** Show the turn as it stands. */
  show(turn) {
    let card = this.cards.get(turn);
    if (!card) {
      card = new Card(turn, this.on);
      this.cards.set(turn, card);
      this.list.append(card.root);
    }
    if (turn.id && !card.placed) this.#place(turn, card);
    const stay = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 160;
    card.update(this.fps);
    if (stay) this.list.scrollTop = this.list.scrollHeight;
  }

  remove(turn) {
    this.cards.get(turn)?.root.remove();
    this.cards.delete(turn);
  }

  clear() {
    this.cards.clear();
    this.list.replaceChildren();
    this.conversation = null;
  }

  /** Mark where a conversation begins of which those above are no part. */
  #place(turn, card) {
    card.placed = true;
    if (this.conversation && this.conversation !== turn.id) {
      card.root.before(element("li", { class: "break", text: "A new conversation, without memory of the above" }));
    }
    this.conversation = turn.id;
  }
}

class Card {
  constructor(turn, on) {
    this.turn = turn;
    this.placed = false; // in a conversation
    this.said = element("p", { class: "text", dir: "auto" });
    this.heard = element("span", { class: "heard" });
    this.unheard = element("s", { class: "unheard" });
    this.waiting = element("span", { class: "dots", "aria-hidden": "true" }, ...[0, 1, 2].map(() => element("i")));
    this.answer = element("p", { class: "text", dir: "auto" }, this.heard, this.unheard, this.waiting);
    this.ending = element("p", { class: "ending" });
    this.again = element("button", { type: "button", class: "again", click: () => on.retry(turn) }, icon("again"), "Try again");
    this.save = element("button", { type: "button", class: "save", click: () => on.save(turn) }, icon("save"), "Save clip");
    this.bar = element("span", { class: "bar", "aria-hidden": "true" });
    this.first = element("span", { class: "first" });
    this.table = element("dl");
    this.timings = element("details", { class: "timings" }, element("summary", {}, this.bar, this.first), this.table);
    this.root = element(
      "li",
      { class: "turn" },
      element("div", { class: "you" }, element("h3", { class: "hidden", text: "You" }), this.said),
      element(
        "div",
        { class: "avatar" },
        element("h3", { class: "hidden", text: "Avatar" }),
        this.answer,
        this.ending,
        this.again,
        element("div", { class: "after" }, this.timings, this.save),
      ),
    );
  }

  update(fps) {
    const { turn } = this;
    const { record, problem } = turn;
    this.#say();
    this.#answer();
    const ending = endingOf(turn);
    const failed = Boolean(problem) || ["failed", "timed_out"].includes(record?.outcome);
    this.ending.classList.toggle("bad", failed);
    if (failed) this.ending.setAttribute("role", "alert"); // before its words, which are then read out
    this.ending.hidden = !ending;
    if (this.ending.textContent !== ending) this.ending.textContent = ending;
    this.save.hidden = turn.clip === null || turn.running;
    this.again.hidden = turn.running || !(failed || turn.sentAt === null);
    const found = parts(record?.timings, turn.firstFrameS);
    this.timings.hidden = found.length === 0 && turn.firstFrameS === null;
    if (this.timings.hidden) return;
    drawBar(this.bar, found);
    this.first.textContent = turn.firstFrameS === null ? "no frame seen" : `first frame ${seconds(turn.firstFrameS)}`;
    this.table.replaceChildren(
      ...rows(turn, fps).map(([name, value, key]) =>
        element("div", key ? { class: `part ${key}` } : {}, element("dt", { text: name }), element("dd", { text: value })),
      ),
    );
  }

  #say() {
    const { message } = this.turn;
    const text = saidBy(this.turn);
    this.said.textContent = text;
    if (message.seconds) {
      const spoken = element("span", { class: "spoken" }, icon("mic"), `${message.seconds.toFixed(1)} s`);
      this.said.prepend(spoken, text ? " " : "");
    }
  }

  #answer() {
    const { record, running } = this.turn;
    const text = String(record?.text ?? "");
    const heard = heardOf(this.turn);
    this.heard.textContent = heard;
    this.unheard.textContent = text.slice(heard.length).trimEnd();
    this.waiting.hidden = !running || text !== "";
    this.answer.hidden = !text && !running;
  }
}

/** The user's words; empty where they were spoken and nobody wrote them down. */
export const saidBy = ({ message, record }) => message.text ?? record?.user_text ?? "";

/** How much of the answer's text counts as said: all of it, unless it was cut short. */
export function heardOf({ record, cutAtS }) {
  const text = String(record?.text ?? "");
  if (!record || record.outcome === "running") return text;
  // The server may have finished an answer that was still being played here when it was cut short.
  if (record.outcome === "completed" && cutAtS === null) return text;
  const heard = String(record.heard_text ?? "");
  return text.startsWith(heard) ? heard : "";
}

/** How it ended, in words; empty where it ended well. */
export function endingOf({ problem, record, cutAtS, sentAt, running }) {
  if (problem) return problem.message;
  if (record?.error) return `${ENDINGS[record.outcome] ?? "The answer ended"}: ${record.error.message}`;
  if (cutAtS !== null && sentAt === null) return "Not sent";
  if (cutAtS !== null) return cutAtS > 0 ? `Interrupted at ${seconds(cutAtS)}` : "Interrupted before it began";
  return (!running && ENDINGS[record?.outcome]) || "";
}
