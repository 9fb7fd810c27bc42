/* The server's voices: listed to choose from, and heard. */

import { element, icon } from "./dom.js";

export class Voices {
  /**
   * @param list of the voices, filled here; hidden while none are known.
   * @param field of the settings that names the voice; empty, it means the portrait's or the server's own.
   * @param suit the field that says which of the two: "no" for the server's own.
   * @param on callbacks: `known()` once the voices are, `failed(words)`.
   */
  constructor(api, list, field, suit, on) {
    this.api = api;
    this.list = list;
    this.field = field;
    this.suit = suit;
    this.on = on;
    this.all = [];
    this.asked = null;
    this.playing = null; // { button, sound }
    this.clips = new Map();
    field.addEventListener("input", () => this.mark());
  }

  /** Ask the server, once it can be asked without a token that the user would have to type. */
  load() {
    this.asked ??= this.api.voices().then(
      ({ voices }) => {
        this.all = voices.map(({ name, description, gender }) => ({
          name: String(name),
          description: String(description ?? ""),
          gender: gender ?? null,
        }));
        this.#draw();
        this.on.known();
      },
      () => (this.asked = null), // whoever wants a voice can still type its name
    );
  }

  /** Show which one the field names. */
  mark() {
    for (const button of this.list.querySelectorAll(".name")) {
      const { suit } = button.dataset;
      const named = button.value === this.field.value.trim();
      button.setAttribute("aria-pressed", String(named && (suit === undefined || suit === this.suit.value)));
    }
  }

  /**
   * Hear a voice; the same button stops it. To be called in the user's gesture.
   *
   * @param manner its `pitch` and `rate`, each optional.
   */
  async hear(name, button, manner = {}) {
    const again = this.playing?.button === button;
    this.stop();
    if (again) return;
    const sound = new Audio();
    this.playing = { button, sound };
    button.setAttribute("aria-pressed", "true");
    button.replaceChildren(icon("stop"));
    sound.addEventListener("ended", () => this.playing?.sound === sound && this.stop());
    try {
      const key = JSON.stringify([name, manner]);
      const clip = this.clips.get(key) ?? (await this.api.sample(name, manner));
      this.clips.set(key, clip);
      if (this.playing?.sound !== sound) return;
      sound.src = URL.createObjectURL(clip);
      await sound.play();
    } catch (error) {
      if (this.playing?.sound !== sound) return; // stopped before it began
      this.stop();
      this.on.failed(error.message);
    }
  }

  stop() {
    if (!this.playing) return;
    const { button, sound } = this.playing;
    this.playing = null;
    sound.pause();
    URL.revokeObjectURL(sound.src);
    button.setAttribute("aria-pressed", "false");
    button.replaceChildren(icon("play"));
  }

  #draw() {
    this.list.replaceChildren(
      this.#row("", "The portrait's", "if the server has it", ""),
      this.#row("", "The server's own", "", "no"),
      ...this.all.map(({ name, description }) => this.#row(name, name, description)),
    );
    this.list.hidden = this.all.length === 0;
    this.mark();
  }

  #row(name, label, description, suit) {
    const choose = () => {
      this.field.value = name;
      if (suit !== undefined) this.suit.value = suit;
      this.mark();
    };
    const chosen = element("button", { type: "button", class: "name", value: name, click: choose }, label);
    if (suit !== undefined) chosen.dataset.suit = suit;
    if (description) chosen.append(element("small", { text: description }));
    const row = element("li", {}, chosen);
    if (name) row.prepend(hearButton(`Hear ${name}`, (button) => this.hear(name, button)));
    return row;
  }
}

/** @param press called with the button itself. */
export function hearButton(label, press) {
  const button = element("button", { type: "button", class: "hear", "aria-label": label, "aria-pressed": "false" }, icon("play"));
  button.addEventListener("click", () => press(button));
  return button;
}
