/* The microphone: held open while it may be needed, recorded while a button is held or while somebody speaks. */

import { RATE, Resampler, VoiceGate, decibels, join } from "./sound.js";

const LEAD_S = 0.4; // kept from before the gate noticed speech
const TAIL_S = 0.3; // kept of the silence that told its end
const REST_MS = 60_000; // after which an unused microphone is given back

/** The microphone can't be used; the message says why and what to do. */
export class MicrophoneError extends Error {}

export class Microphone {
  /**
   * @param on callbacks: `level(dB)` for every piece of sound; hands-free, `began()` and `said(samples)`; `full()` when a
   *   recording has reached its greatest length; `lost(error)` when the device is gone.
   * @param guarded tells whether the avatar is speaking.
   */
  constructor(on, guarded) {
    this.on = on;
    this.guarded = guarded;
    this.mode = "off"; // or "hold", "free"
    this.limitS = 120;
    this.pieces = null; // of the recording
    this.opening = null;
  }

  get open() {
    return Boolean(this.stream);
  }

  /** Seconds recorded so far. */
  get seconds() {
    return this.pieces ? this.length / RATE : 0;
  }

  /** Keep everything from now on until `finish`. */
  async hold() {
    clearTimeout(this.rest);
    this.mode = "hold";
    await this.#open();
    if (this.mode === "hold") this.#begin([]);
  }

  /** The samples since `hold`, or null if there are none. */
  finish() {
    const samples = this.mode === "hold" && this.pieces ? join([...this.pieces, this.resampler.flush()]) : null;
    this.drop();
    return samples?.length ? samples : null;
  }

  /** Listen, and hand over whatever is said until `drop`. */
  async free() {
    clearTimeout(this.rest);
    this.mode = "free";
    await this.#open();
  }

  /** Stop recording and listening. */
  drop() {
    this.mode = "off";
    this.pieces = null;
    this.gate = new VoiceGate();
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.close(), REST_MS);
  }

  close() {
    this.mode = "off";
    this.pieces = null;
    this.opening = null;
    clearTimeout(this.rest);
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.context?.close().catch(() => {});
    this.context = null;
  }

  #open() {
    this.opening ??= this.#acquire().catch((error) => {
      this.close();
      throw error;
    });
    return this.opening;
  }

  async #acquire() {
    if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) {
      const insecure = !window.isSecureContext;
      throw new MicrophoneError(
        insecure
          ? "Browsers give the microphone only to pages from this machine or over https. Type instead, or put the server behind https."
          : "This browser can't record sound. Type instead.",
      );
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      });
    } catch (error) {
      throw new MicrophoneError(explain(error.name), { cause: error });
    }
    if (!this.opening) {
      // Closed while the browser was still asking.
      for (const track of stream.getTracks()) track.stop();
      throw new MicrophoneError("The microphone was allowed only now. Try again.");
    }
    this.stream = stream;
    stream.getAudioTracks()[0].addEventListener("ended", () => {
      this.close();
      this.on.lost(new MicrophoneError("The microphone was taken away or unplugged. Connect it and try again."));
    });
    const context = new AudioContext({ latencyHint: "interactive" });
    this.context = context;
    this.resampler = new Resampler(context.sampleRate);
    this.gate = new VoiceGate();
    this.before = [];
    this.rest16 = new Float32Array();
    await context.audioWorklet.addModule(new URL("capture.js", import.meta.url));
    const capture = new AudioWorkletNode(context, "capture", { numberOfInputs: 1, numberOfOutputs: 1 });
    capture.port.onmessage = ({ data }) => this.#heard(data);
    // What leads nowhere is not computed; the worklet's output is silent.
    context.createMediaStreamSource(stream).connect(capture).connect(context.destination);
    context.resume().catch(() => {}); // where there is nothing to play sound with, this may never be answered
  }

  #begin(pieces) {
    this.pieces = pieces;
    this.length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  }

  #keep(samples) {
    this.pieces.push(samples);
    this.length += samples.length;
  }

  #heard(samples) {
    if (this.mode === "off") return;
    const piece = this.resampler.push(samples);
    this.on.level(decibels(piece));
    if (this.mode === "free") this.#listen(piece);
    else if (this.pieces) this.#keep(piece);
    if (this.pieces && this.seconds >= this.limitS) this.#limit();
  }

  #limit() {
    if (this.mode === "hold") this.on.full();
    else this.#deliver(0);
  }

  #listen(piece) {
    const all = join([this.rest16, piece]);
    const step = VoiceGate.FRAME;
    let at = 0;
    for (; at + step <= all.length; at += step) {
      const frame = all.slice(at, at + step);
      const change = this.gate.push(frame, this.guarded());
      if (this.pieces) this.#keep(frame);
      else {
        this.before.push(frame);
        if (this.before.length * step > LEAD_S * RATE) this.before.shift();
      }
      if (change === "start") {
        this.#begin(this.before);
        this.on.began();
      } else if (change === "end" && this.pieces) this.#deliver(0.8 - TAIL_S);
    }
    this.rest16 = all.slice(at);
  }

  #deliver(withoutS) {
    const samples = join(this.pieces);
    this.pieces = null;
    this.before = [];
    this.gate.reset();
    this.on.said(samples.slice(0, Math.max(RATE / 4, samples.length - Math.round(withoutS * RATE))));
  }
}

function explain(name) {
  switch (name) {
    case "NotAllowedError":
      return "The browser was not allowed to use the microphone. Allow it beside the address, then try again.";
    case "NotFoundError":
      return "No microphone was found. Connect one, or type instead.";
    case "NotReadableError":
      return "The microphone is being used by another program. Close that one, then try again.";
    default:
      return "The microphone could not be opened. Try again, or type instead.";
  }
}
