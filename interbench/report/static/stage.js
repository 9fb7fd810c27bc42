// The stage: one player per chosen system, all on the same turn of the same scenario.
"use strict";

interbench.Stage = class {
  /**
   * `onTurn(turn)` puts the media of another turn on the stage (see `hold`) and resolves when they are there;
   * `onState(state)` hears "idle", "playing" and "paused".
   */
  constructor({ onTurn, onState }) {
    this.onTurn = onTurn;
    this.onState = onState;
    this.state = "idle";
    this.videos = [];
    this.voice = null;
    this.withVoice = true;
    this.listening = 0;
    this.performance = 0;
    this.unfinished = new Map();
  }

  /** Takes the media elements of a turn: one video or null per system, and the user's speech or null. */
  hold(videos, voice) {
    this.videos = videos;
    this.voice = voice;
    this.listenTo(this.listening < videos.length ? this.listening : 0);
  }

  /** Only one system is heard at a time; the others play on without sound. */
  listenTo(column) {
    this.listening = column;
    this.videos.forEach((video, index) => {
      if (video) video.muted = index !== column;
    });
  }

  /** The user's turn, then all answers to it at once. */
  playTurn() {
    return this.playConversation(0, 0);
  }

  /** From turn `now`, which is on the stage, to turn `last`. */
  async playConversation(now, last) {
    this.stop();
    const { performance } = this;
    this.#set("playing");
    for (let turn = now; turn <= last; turn += 1) {
      if (turn !== now) await this.onTurn(turn);
      if (performance === this.performance && this.voice && this.withVoice) await this.#through([this.voice]);
      if (performance === this.performance) await this.#through(this.videos.filter(Boolean));
      if (performance !== this.performance) return;
    }
    this.#set("idle");
  }

  /** Plays the turn, or pauses or goes on with what is playing. */
  toggle() {
    if (this.state === "idle") {
      this.playTurn();
    } else if (this.state === "playing") {
      this.#set("paused");
      for (const media of this.unfinished.keys()) media.pause();
    } else {
      this.#set("playing");
      for (const media of this.unfinished.keys()) this.#start(media);
    }
  }

  stop() {
    this.performance += 1;
    for (const media of [...this.videos, this.voice]) media?.pause();
    for (const finish of [...this.unfinished.values()]) finish();
    this.#set("idle");
  }

  /** Plays all from their beginnings; resolves when each has ended, failed or been stopped. */
  #through(all) {
    const ends = all.map(
      (media) =>
        new Promise((resolve) => {
          const finish = () => {
            media.removeEventListener("ended", finish);
            media.removeEventListener("error", finish);
            this.unfinished.delete(media);
            resolve();
          };
          media.addEventListener("ended", finish);
          media.addEventListener("error", finish);
          this.unfinished.set(media, finish);
          media.currentTime = 0;
        }),
    );
    for (const media of all) this.#start(media);
    return Promise.all(ends);
  }

  #start(media) {
    media.play().catch((error) => {
      // AbortError: paused before it began, by the user or by us; anything else means that it will never end.
      if (error.name !== "AbortError") this.unfinished.get(media)?.();
    });
  }

  #set(state) {
    this.state = state;
    this.onState(state);
  }
};
