/* Whether the server is there: found out at the beginning, watched afterwards, waited for when it is gone. */

import { Unreachable } from "./api.js";

const RETRY_S = [1, 2, 4, 8, 15];
const FAILED_S = 15;
const LOADING_MS = 2_000;
const CHECK_MS = 20_000;

export class Link extends EventTarget {
  /** Dispatches "change" with every new state or health, and "back" when the server is there again after it was not. */
  constructor(api, notices) {
    super();
    this.api = api;
    this.notices = notices;
    this.state = "connecting"; // then "ready", "loading", "failed" or "offline"
    this.health = null;
    addEventListener("online", () => this.check());
    document.addEventListener("visibilitychange", () => this.check());
    setInterval(() => this.check(), CHECK_MS);
  }

  get ready() {
    return this.state === "ready";
  }

  async connect() {
    for (let attempt = 0; !this.ready; attempt++) await this.#try(RETRY_S[Math.min(attempt, RETRY_S.length - 1)]);
    this.notices.hide("server");
  }

  /** A request got no answer. */
  async lost() {
    if (!this.ready) return; // it is being waited for already
    this.#become("offline");
    await this.connect();
    this.dispatchEvent(new Event("back"));
  }

  async check() {
    if (!this.ready || document.hidden) return;
    try {
      this.health = await this.api.health();
    } catch {
      return this.lost();
    }
    if (this.health.status !== "ready") return this.lost();
    this.#become("ready");
  }

  async #try(waitS) {
    try {
      this.health = await this.api.health();
    } catch (error) {
      this.#become("offline");
      const gone = "It may be down, or the network is gone. What you see here stays.";
      const text = error instanceof Unreachable ? gone : error.message;
      return this.#pause(waitS, { title: "The server can't be reached", text });
    }
    this.#become(this.health.status);
    if (this.state === "failed") {
      const text = "Its log says why. Once it has been started anew, this page goes on by itself.";
      return this.#pause(FAILED_S, { title: "The server could not load its models", text });
    }
    this.notices.hide("server");
    if (!this.ready) await new Promise((resolve) => setTimeout(resolve, LOADING_MS));
  }

  /** Wait for so many seconds, or until the user is tired of waiting. */
  #pause(s, notice) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, 1000 * s);
      const now = () => {
        clearTimeout(timer);
        resolve();
      };
      const actions = [["Try now", now]];
      this.notices.show("server", { ...notice, bad: true, until: performance.now() + 1000 * s, actions });
    });
  }

  #become(state) {
    this.state = state;
    this.dispatchEvent(new Event("change"));
  }
}
