/* Plays answers while they arrive, in one video element. Between answers a canvas keeps the last picture. */

const Source = window.ManagedMediaSource ?? window.MediaSource;

/** The browser can't play what the server sends. */
export class PlaybackError extends Error {}

export class Player {
  /**
   * @param video the element; it stays the same for all answers, since a browser that lets it play after a gesture goes on
   *   doing so.
   * @param still a canvas of the same place, seen while the video has nothing to show.
   * @param needGesture called when the browser wants a tap before it plays sound.
   */
  constructor(video, still, needGesture) {
    this.video = video;
    this.still = still;
    this.needGesture = needGesture;
    this.playback = null;
  }

  /** Show a picture where no answer has been played yet; it is cut as the server cuts it. */
  showPicture(picture, width, height) {
    this.clear();
    const finer = Math.max(1, Math.ceil(512 / width)); // small videos are no reason for a coarse portrait
    Object.assign(this.still, { width: (width *= finer), height: (height *= finer) });
    const context = this.still.getContext("2d");
    context.fillStyle = "#fff"; // transparent parts are laid on white
    context.fillRect(0, 0, width, height);
    const scale = Math.max(width / picture.width, height / picture.height);
    const [w, h] = [picture.width * scale, picture.height * scale];
    context.drawImage(picture, (width - w) / 2, (height - h) / 2, w, h);
  }

  clear() {
    this.playback?.stop();
    this.playback = null;
    this.still.hidden = false;
    this.still.getContext("2d").clearRect(0, 0, this.still.width, this.still.height);
    this.video.removeAttribute("src");
    this.video.load();
  }

  /** Make ready for an answer. To be called in the user's own gesture, long before the first byte. */
  begin(mime) {
    this.keepPicture();
    this.playback?.stop();
    this.playback = new Playback(this.video, mime, {
      shown: () => (this.still.hidden = true),
      needGesture: this.needGesture,
    });
    return this.playback;
  }

  keepPicture() {
    const { video, still } = this;
    if (!still.hidden || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    Object.assign(still, { width: video.videoWidth, height: video.videoHeight });
    still.getContext("2d").drawImage(video, 0, 0);
    still.hidden = false;
  }

  /** Go on after the tap that `needGesture` asked for. */
  resume() {
    return this.video.play();
  }
}

/** One answer: bytes go in as they come, pictures and sound come out. */
export class Playback {
  constructor(video, mime, on) {
    this.video = video;
    this.mime = mime;
    this.on = on;
    this.queue = [];
    this.whole = false; // all bytes are there
    this.stopped = false;
    this.stalls = 0;
    this.stalledS = 0;
    this.firstFrameAt = null; // performance.now() of the first picture on screen
    this.began = new Promise((resolve) => (this.resolveBegan = resolve));
    this.finished = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    this.finished.catch(() => {}); // whoever cares waits for it
    this.listeners = new AbortController();
    this.#listen();
    if (Source?.isTypeSupported(mime)) this.#stream();
    this.#play();
  }

  /** Whether the clip is played while it arrives. */
  get streams() {
    return Boolean(this.source);
  }

  /** Seconds of the answer that were played. */
  get playedS() {
    return this.stopped ? this.stoppedAt : this.firstFrameAt === null ? 0 : this.video.currentTime;
  }

  append(bytes) {
    if (this.stopped) return;
    this.queue.push(bytes);
    if (this.streams) this.#pump();
  }

  /** No more bytes will come. */
  end() {
    if (this.stopped || this.whole) return;
    this.whole = true;
    if (this.streams) this.#pump();
    else this.#playWhole();
  }

  /** Stop where it is; the picture stays. */
  stop() {
    if (this.stopped) return;
    this.stoppedAt = this.playedS;
    this.stopped = true;
    this.#noteStall();
    this.video.pause();
    this.#release();
    this.resolve("stopped");
  }

  #stream() {
    this.source = new Source();
    this.video.disableRemotePlayback = true; // a managed source opens only then
    this.address = URL.createObjectURL(this.source);
    this.video.src = this.address;
    this.source.addEventListener(
      "sourceopen",
      () => {
        if (this.stopped) return;
        this.buffer = this.source.addSourceBuffer(this.mime);
        this.buffer.addEventListener("updateend", () => this.#pump(), { signal: this.listeners.signal });
        this.buffer.addEventListener("error", () => this.#fail("could not be decoded"), {
          signal: this.listeners.signal,
        });
        this.#pump();
      },
      { once: true, signal: this.listeners.signal },
    );
  }

  #pump() {
    if (this.stopped || !this.buffer || this.buffer.updating || this.source.readyState !== "open") return;
    this.#enter();
    if (this.queue.length > 0) {
      const bytes = this.queue[0];
      try {
        this.buffer.appendBuffer(bytes);
        this.queue.shift();
      } catch (error) {
        if (error.name !== "QuotaExceededError") this.#fail("could not be taken in");
        else this.#makeRoom();
      }
    } else if (this.whole) this.source.endOfStream();
  }

  /** A clip whose first picture is a little later than 0 would never begin. */
  #enter() {
    const { buffered, currentTime } = this.video;
    if (this.firstFrameAt === null && buffered.length > 0 && buffered.start(0) > currentTime) {
      this.video.currentTime = buffered.start(0);
    }
  }

  /** The buffer is full: forget what was played, or wait until something was. */
  #makeRoom() {
    const played = this.video.currentTime - 5;
    if (this.video.buffered.length > 0 && this.video.buffered.start(0) < played) this.buffer.remove(0, played);
    else this.retry = setTimeout(() => this.#pump(), 500);
  }

  #playWhole() {
    this.address = URL.createObjectURL(new Blob(this.queue, { type: "video/mp4" }));
    this.queue = [];
    this.video.src = this.address;
    this.#play();
  }

  #play() {
    if (!this.video.src) return;
    this.video.play().catch((error) => {
      if (!this.stopped && error.name === "NotAllowedError") this.on.needGesture();
    });
  }

  #listen() {
    const options = { signal: this.listeners.signal };
    const { video } = this;
    const shown = () => {
      if (this.stopped || this.firstFrameAt !== null) return;
      this.firstFrameAt = performance.now();
      this.on.shown();
      this.resolveBegan();
    };
    if (video.requestVideoFrameCallback) {
      const request = video.requestVideoFrameCallback(shown);
      this.listeners.signal.addEventListener("abort", () => video.cancelVideoFrameCallback(request));
    }
    // Also without that call, and in a tab that lies in the background and draws nothing.
    video.addEventListener("timeupdate", () => video.currentTime > 0 && shown(), options);
    video.addEventListener("waiting", () => this.#stall(), options);
    video.addEventListener("playing", () => this.#noteStall(), options);
    video.addEventListener("ended", () => this.#finish(), options);
    video.addEventListener("error", () => this.#fail(video.error?.message || "could not be decoded"), options);
  }

  #stall() {
    if (this.firstFrameAt === null || this.whole || this.stalledAt) return;
    this.stalls += 1;
    this.stalledAt = performance.now();
  }

  #noteStall() {
    if (!this.stalledAt) return;
    this.stalledS += (performance.now() - this.stalledAt) / 1000;
    this.stalledAt = null;
  }

  #finish() {
    this.#noteStall();
    this.stoppedAt = this.video.currentTime;
    this.stopped = true;
    this.#release();
    this.resolve("ended");
  }

  #fail(why) {
    if (this.stopped) return;
    this.stoppedAt = this.playedS;
    this.stopped = true;
    this.#release();
    this.reject(new PlaybackError(`This browser could not play the answer (${why}).`));
  }

  /** Give back what is held. The element keeps its source, and with it the last picture, until the next one. */
  #release() {
    this.listeners.abort();
    clearTimeout(this.retry);
    this.queue = [];
    if (this.address) URL.revokeObjectURL(this.address);
    this.resolveBegan();
  }
}
