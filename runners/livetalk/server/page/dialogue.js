/* One conversation with the server, turn after turn; knows nothing of the document. */

import { Refusal, Unreachable } from "./api.js";

const POLL_MS = 300;
const WATCH_AFTERWARDS = 20; // times that the server's account is asked for once the answer is over here
const DRAIN_MS = 8_000; // that the server may take to end an answer that was cut short
const OPEN_AGAIN = new Set([429, 503]);

/** What the user said and what became of it. */
export class Turn {
  constructor(message) {
    this.message = message; // { text } or { wav, seconds }
    this.phase = "opening"; // then "queued", "thinking", "speaking", "done"
    this.queued = null; // { error, until, go }: there was no room, and when it is tried again
    this.index = null; // the server's number
    this.record = null; // the server's account, as it stands
    this.over = false; // received and played, or cut short and ended by the server
    this.problem = null;
    this.firstFrameS = null; // since the user's turn was sent
    this.clip = null; // all that came of the answer, as a file
    this.cutAtS = null; // where the user stopped the answer, in seconds of it
    this.playback = null;
    this.sentAt = null; // performance.now()
    this.abort = new AbortController();
  }

  get running() {
    return this.phase !== "done";
  }

  /** Seconds since it was sent, or null. */
  get waitedS() {
    return this.sentAt === null ? null : (performance.now() - this.sentAt) / 1000;
  }
}

/** Dispatches "change" for a turn, "cut" when an answer was cut short, "opened", and "lost" when no server answers. */
export class Dialogue extends EventTarget {
  /** @param fields resolves to the FormData that a conversation is opened with. */
  constructor(api, player, fields) {
    super();
    this.api = api;
    this.player = player;
    this.fields = fields;
    this.mime = "";
    this.turns = [];
    this.conversation = null; // what the server said of it
    this.opening = null;
    this.prepared = false; // it was tried to open one before the next turn
    this.told = Promise.resolve(); // that the server knows of the last interruption
  }

  get current() {
    const last = this.turns.at(-1);
    return last?.running ? last : null;
  }

  /** Open the conversation while the user is still typing or speaking. A failure shows when there is something to say. */
  prepare() {
    if (this.opening || this.prepared) return;
    this.prepared = true;
    this.#open(true).catch(() => {});
  }

  /**
   * Say something; an answer that is still being given ends. To be called in the user's gesture.
   *
   * @returns the turn, at once; what becomes of it is told by "change" events.
   */
  say(message) {
    const playedS = this.#cut();
    const turn = new Turn(message);
    turn.playback = this.player.begin(this.mime);
    this.turns.push(turn);
    this.#run(turn, playedS);
    return turn;
  }

  /** Stop the running answer and let the server know how much of it was heard. */
  interrupt() {
    const turn = this.current;
    const playedS = this.#cut();
    if (playedS === null || !this.conversation) return;
    this.told = this.api
      .interrupt(this.conversation.id, playedS)
      .then((record) => record.index === turn.index && this.#note(turn, record))
      .catch(() => {}); // what is wrong with the server will show in the next turn
  }

  /** Say again what failed. To be called in the user's gesture. */
  retry(turn) {
    if (turn.index === null) this.turns = this.turns.filter((other) => other !== turn); // nothing of it was answered
    return this.say(turn.message);
  }

  /** End the conversation; what was said stays to be read. */
  close() {
    this.current?.abort.abort();
    this.#cut();
    if (this.conversation) this.api.close(this.conversation.id);
    else this.opening?.then(({ id }) => this.api.close(id)).catch(() => {});
    this.forget();
  }

  /** The server no longer knows the conversation. */
  forget() {
    this.conversation = null;
    this.opening = null;
    this.prepared = false;
  }

  /** Whether the server still knows it, after the connection was lost. */
  async survives() {
    if (!this.conversation) return true;
    try {
      const { turns } = await this.api.conversation(this.conversation.id);
      for (const turn of this.turns) {
        const record = turn.id === this.conversation.id && turns.find(({ index }) => index === turn.index);
        if (record) this.#note(turn, record);
      }
      return true;
    } catch (error) {
      if (!isGone(error)) throw error;
      this.forget();
      return false;
    }
  }

  /** @returns seconds that were heard of the answer just cut short; null if there was none, or it was never asked for. */
  #cut() {
    const turn = this.current;
    if (!turn) return null;
    const asked = turn.sentAt !== null;
    turn.cutAtS = turn.playback.playedS;
    turn.playback.stop();
    this.dispatchEvent(new Event("cut"));
    if (asked) setTimeout(() => turn.abort.abort(), DRAIN_MS);
    else turn.abort.abort();
    this.#move(turn, "done");
    return asked ? turn.cutAtS : null;
  }

  async #run(turn, playedS) {
    this.#changed(turn);
    try {
      await this.told;
      await this.#enter(turn);
      await this.#exchange(turn, playedS);
    } catch (error) {
      turn.playback.stop();
      if (turn.cutAtS === null) this.#fail(turn, error);
    }
    this.prepared = false;
    this.#move(turn, "done");
  }

  #fail(turn, error) {
    turn.problem = error;
    if (isGone(error)) this.forget();
    this.#changed(turn);
    if (error instanceof Unreachable) this.dispatchEvent(new Event("lost"));
  }

  /** Be in a conversation; while there is no room, wait. */
  async #enter(turn) {
    for (;;) {
      try {
        const { id } = await this.#open(false);
        turn.abort.signal.throwIfAborted();
        turn.id = id;
        return;
      } catch (error) {
        turn.abort.signal.throwIfAborted();
        if (error.quiet) continue;
        if (!(error instanceof Refusal) || !OPEN_AGAIN.has(error.status)) throw error;
        await this.#queue(turn, error);
      }
    }
  }

  #open(quietly) {
    if (this.opening) return this.opening;
    const opening = this.#ask(quietly).then(
      (opened) => {
        if (this.opening === opening) this.conversation = opened;
        this.dispatchEvent(new Event("opened"));
        return opened;
      },
      (error) => {
        if (this.opening === opening) this.opening = null;
        throw error;
      },
    );
    this.opening = opening;
    return opening;
  }

  async #ask(quietly) {
    return this.api.open(await this.fields(), quietly);
  }

  /** Wait as long as the server asks for, or until the user has had enough of it. */
  async #queue(turn, error) {
    const ms = 1000 * (error.retryAfterS ?? 10);
    let timer;
    await new Promise((go) => {
      timer = setTimeout(go, ms);
      turn.abort.signal.addEventListener("abort", go, { once: true });
      turn.queued = { error, until: performance.now() + ms, go };
      this.#move(turn, "queued");
    });
    clearTimeout(timer);
    turn.queued = null;
    this.#move(turn, "opening");
    turn.abort.signal.throwIfAborted();
  }

  async #exchange(turn, playedS) {
    const fields = new FormData();
    if (turn.message.text) fields.set("text", turn.message.text);
    if (turn.message.wav) fields.set("audio", turn.message.wav, "turn.wav");
    if (playedS !== null) fields.set("played_s", playedS.toFixed(3));
    turn.sentAt = performance.now();
    this.#move(turn, "thinking");
    const response = await this.api.say(turn.id, fields, turn.abort.signal);
    turn.index = Number(response.headers.get("Livetalk-Turn"));
    if (playedS !== null) this.#look(this.turns[this.turns.indexOf(turn) - 1]); // only now is it known what was heard of it
    turn.playback.began.then(() => {
      if (turn.playback.firstFrameAt === null) return;
      turn.firstFrameS = (turn.playback.firstFrameAt - turn.sentAt) / 1000;
      this.#move(turn, "speaking");
    });
    this.#watch(turn);
    const received = this.#receive(turn, response.body.getReader());
    try {
      await turn.playback.finished;
    } catch (error) {
      if (this.current === turn) this.interrupt(); // there is no use in generating what can't be shown
      this.#fail(turn, error);
    }
    await received;
    turn.over = true;
  }

  async #receive(turn, reader) {
    const { playback } = turn;
    const pieces = [];
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        pieces.push(value);
        playback.append(value);
      }
    } catch (error) {
      if (turn.cutAtS === null) {
        this.#fail(turn, new Unreachable("The connection was lost in the middle of the answer.", { cause: error }));
      }
    }
    if (pieces.length === 0) return playback.stop();
    turn.clip = new Blob(pieces, { type: "video/mp4" });
    playback.end();
    this.#changed(turn);
  }

  /** Follow the server's account of the turn until it is final and the answer is over here too. */
  async #watch(turn) {
    for (let left = WATCH_AFTERWARDS; left > 0 && this.turns.includes(turn); left -= turn.over ? 1 : 0) {
      const { over } = turn;
      const known = await this.#look(turn);
      if (over && (!known || typeof turn.record.timings.finished_s === "number")) return;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** Get the server's account. @returns whether there was one; if not, the figures stay what they were. */
  async #look(turn) {
    if (!turn?.index) return false;
    try {
      this.#note(turn, await this.api.turn(turn.id, turn.index));
      return true;
    } catch {
      return false;
    }
  }

  #note(turn, record) {
    turn.record = record;
    this.#changed(turn);
  }

  #move(turn, phase) {
    if (turn.phase !== "done") turn.phase = phase;
    this.#changed(turn);
  }

  #changed(turn) {
    this.dispatchEvent(new CustomEvent("change", { detail: turn }));
  }
}

/** Whether the server says that it knows no such conversation. */
function isGone(error) {
  return error instanceof Refusal && (error.code === "expired" || error.code === "unknown_conversation");
}
