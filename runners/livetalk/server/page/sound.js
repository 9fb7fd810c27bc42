/* What happens to the microphone's samples: brought to 16 kHz, cut into what was said, written as WAV. */

export const RATE = 16_000;

const CROSSINGS = 16; // of the filter's sinc, on either side

/** A stream of samples at any rate becomes one at 16 kHz: a windowed sinc, cut off below the lower Nyquist frequency. */
export class Resampler {
  constructor(from) {
    const divisor = gcd(from, RATE);
    this.phases = RATE / divisor;
    this.stride = from / divisor; // input positions are counted in 1/phases of a sample
    const cutoff = 0.92 * Math.min(1, RATE / from);
    this.reach = Math.ceil(CROSSINGS / cutoff);
    this.taps = Array.from({ length: this.phases }, (_, phase) => this.#filter(phase / this.phases, cutoff));
    this.held = new Float32Array(this.reach); // silence before the first sample, so that time 0 stays time 0
    this.position = this.reach * this.phases;
  }

  push(samples) {
    const all = new Float32Array(this.held.length + samples.length);
    all.set(this.held);
    all.set(samples, this.held.length);
    const out = [];
    let base = Math.floor(this.position / this.phases);
    while (base + this.reach < all.length) {
      const taps = this.taps[this.position % this.phases];
      let sum = 0;
      for (let k = 0, at = base - this.reach + 1; k < taps.length; k++) sum += taps[k] * all[at + k];
      out.push(sum);
      this.position += this.stride;
      base = Math.floor(this.position / this.phases);
    }
    const used = Math.max(0, base - this.reach);
    this.held = all.slice(used);
    this.position -= used * this.phases;
    return Float32Array.from(out);
  }

  /** What the filter still holds back. */
  flush() {
    return this.push(new Float32Array(this.reach));
  }

  #filter(offset, cutoff) {
    const taps = new Float32Array(2 * this.reach);
    let total = 0;
    for (let k = 0; k < taps.length; k++) {
      const t = k - this.reach + 1 - offset;
      const hann = 0.5 + 0.5 * Math.cos((Math.PI * t) / (this.reach + 1));
      taps[k] = sinc(cutoff * t) * hann;
      total += taps[k];
    }
    return taps.map((tap) => tap / total);
  }
}

/**
 * Hears when somebody begins and ends to speak.
 *
 * Works on frames of 20 ms at 16 kHz. The room is as loud as the quietest frame of the last seconds, for speech has gaps;
 * what rises well above the room is speech. While the avatar itself speaks (`guarded`), more is asked for, because some of
 * its voice comes back through the microphone.
 */
export class VoiceGate {
  static FRAME = RATE / 50;

  constructor() {
    this.levels = []; // dB, of the last frames
    this.recent = []; // whether these were loud
    this.speaking = false;
    this.quiet = 0;
  }

  /** @returns "start", "end" or null. */
  push(frame, guarded) {
    const level = decibels(frame);
    this.levels.push(level);
    if (this.levels.length > 150) this.levels.shift();
    if (this.levels.length < 15) return null; // the room is not yet known
    const threshold = Math.max(Math.min(...this.levels) + 12, -48) + (guarded ? 8 : 0);
    if (this.speaking) {
      this.quiet = level < threshold - 4 ? this.quiet + 1 : 0;
      if (this.quiet < 40) return null; // 0.8 s: a pause, not yet the end
      this.reset();
      return "end";
    }
    const needed = guarded ? 12 : 6;
    this.recent.push(level > threshold);
    if (this.recent.length > needed + 2) this.recent.shift();
    if (this.recent.filter(Boolean).length < needed) return null;
    this.speaking = true;
    this.quiet = 0;
    return "start";
  }

  /** Expect somebody to begin; the room stays known. */
  reset() {
    this.speaking = false;
    this.recent = [];
  }
}

/** Level in dB below a full-scale square wave, at least -100. */
export function decibels(samples) {
  let energy = 0;
  for (const sample of samples) energy += sample * sample;
  return Math.max(-100, 10 * Math.log10(energy / Math.max(1, samples.length) + 1e-12));
}

/** 16-bit PCM, mono, 16 kHz. */
export function encodeWav(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const word = (at, text) => [...text].forEach((letter, k) => view.setUint8(at + k, letter.charCodeAt(0)));
  word(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  word(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, RATE, true);
  view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  word(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, k) => view.setInt16(44 + 2 * k, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true));
  return new Blob([view.buffer], { type: "audio/wav" });
}

export function join(pieces) {
  const whole = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

const sinc = (x) => (Math.abs(x) < 1e-9 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const gcd = (a, b) => (b === 0 ? a : gcd(b, a % b));
