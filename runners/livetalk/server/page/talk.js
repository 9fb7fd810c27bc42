/* Speaking: a button or the space bar held down, or hands-free. */

import { find } from "./dom.js";
import { Microphone } from "./recorder.js";
import { decibels, RATE } from "./sound.js";

const TAP_MS = 350; // a shorter press leaves the microphone open until the next one
const SILENCE_DB = -65;
const LEAST_S = 0.3;
const SILENT = "Nothing was heard. Is the right microphone chosen, and not muted?";
const DEFAULT_LIMIT_S = 60;

export class Talk {
  /**
   * @param on callbacks: `begins()` as soon as the user begins to speak, `said(samples)` at 16 kHz, `changed()`,
   *   `hint(words)`, `failed(error)` if there is no microphone, null once there may be one again.
   * @param answering tells whether the avatar is speaking; `usable`, whether there is a server to speak to; `limitS`, how
   *   long a turn may be.
   */
  constructor(on, { answering, usable, limitS }) {
    this.on = on;
    this.usable = usable;
    this.limitS = limitS;
    this.pressed = null; // { since, latched }
    this.hearing = false; // hands-free, somebody is speaking
    this.microphone = new Microphone(
      {
        level: (dB) => this.button.style.setProperty("--level", Math.max(0, Math.min(1, (dB + 60) / 45)).toFixed(2)),
        began: () => {
          this.hearing = true;
          on.begins();
          on.changed();
        },
        said: (samples) => {
          this.hearing = false;
          this.#deliver(samples);
        },
        full: () => this.#release(true),
        lost: (error) => {
          this.pressed = null;
          this.#switch(false);
          on.failed(error);
        },
      },
      answering,
    );
    this.button = find("#mic");
    this.toggle = find("#free");
    this.toggle.addEventListener("click", () => this.#setFree(!this.free));
    this.#listen();
  }

  get free() {
    return this.toggle.getAttribute("aria-checked") === "true";
  }

  get listening() {
    return Boolean(this.pressed) || this.hearing;
  }

  close() {
    this.pressed = null;
    this.#switch(false);
    this.microphone.close();
  }

  /** Discard what is being recorded. @returns whether anything was. */
  discard() {
    if (!this.pressed) return false;
    this.#release(false);
    return true;
  }

  async #press() {
    if (this.pressed || this.free || !this.usable()) return;
    const press = (this.pressed = { since: performance.now(), latched: false });
    this.on.failed(null);
    this.on.hint("");
    this.on.begins();
    this.on.changed();
    this.microphone.limitS = this.limitS() ?? DEFAULT_LIMIT_S;
    const asked = !this.microphone.open; // the browser's question may have swallowed the end of the press
    try {
      await this.microphone.hold();
      if (asked && this.pressed !== press) this.on.hint("The microphone is ready: hold the button while you speak.");
    } catch (error) {
      if (this.pressed === press) this.pressed = null;
      this.on.failed(error);
    }
    this.on.changed();
  }

  #release(send) {
    if (!this.pressed) return;
    this.pressed = null;
    this.on.hint("");
    const { open } = this.microphone;
    const samples = this.microphone.finish();
    if (send && samples && samples.length >= LEAST_S * RATE) this.#deliver(samples);
    else if (send && samples) this.on.hint("That was too short: hold the button while you speak.");
    else if (send && open) this.on.hint(SILENT);
    this.on.changed();
  }

  /** The end of a press: sends, unless it was a mere tap. */
  #lift() {
    if (!this.pressed) return;
    if (!this.microphone.open || performance.now() - this.pressed.since >= TAP_MS) this.#release(true);
    else this.#latch();
  }

  #latch() {
    this.pressed.latched = true;
    this.on.hint("Listening. Press again to send, Esc to discard.");
  }

  #deliver(samples) {
    if (decibels(samples) >= SILENCE_DB) this.on.said(samples);
    else this.on.hint(SILENT);
    this.on.changed();
  }

  async #setFree(on) {
    this.#switch(on);
    if (!on) return;
    this.on.failed(null);
    this.microphone.limitS = this.limitS() ?? DEFAULT_LIMIT_S;
    try {
      await this.microphone.free();
    } catch (error) {
      this.#switch(false);
      this.on.failed(error);
    }
    if (!this.free) this.microphone.drop();
  }

  #switch(on) {
    this.toggle.setAttribute("aria-checked", String(on));
    this.hearing = false;
    this.pressed = null;
    this.on.hint("");
    if (!on) this.microphone.drop();
    this.on.changed();
  }

  #listen() {
    const { button } = this;
    button.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      button.setPointerCapture(event.pointerId);
      if (this.pressed) this.#release(true);
      else this.#press();
    });
    button.addEventListener("pointerup", () => !this.pressed?.latched && this.#lift());
    button.addEventListener("pointercancel", () => this.#release(false));
    button.addEventListener("contextmenu", (event) => event.preventDefault());
    // A click without pointer or key: an assistive technology pressed the button.
    button.addEventListener("click", async (event) => {
      if (event.detail !== 0 || event.pointerType) return;
      if (this.pressed) return this.#release(true);
      await this.#press();
      if (this.pressed) this.#latch();
    });
    addEventListener("keydown", (event) => {
      if (!this.#isTalkKey(event)) return;
      event.preventDefault();
      if (event.repeat) return;
      if (this.pressed) this.#release(true);
      else this.#press();
    });
    addEventListener("keyup", (event) => {
      if (!this.#isTalkKey(event)) return;
      event.preventDefault(); // no click follows
      if (!this.pressed?.latched) this.#lift();
    });
    addEventListener("blur", () => !this.pressed?.latched && this.#release(false));
  }

  /** The space bar talks wherever it has no other use. */
  #isTalkKey({ key, target }) {
    if (document.querySelector("dialog[open]")) return false;
    if (target === this.button) return key === " " || key === "Enter";
    return key === " " && !target.closest?.("input, textarea, button, summary, a, label");
  }
}
