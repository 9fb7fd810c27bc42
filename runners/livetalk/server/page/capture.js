/* Runs in the browser's audio thread: hands the microphone's samples over as they are, mixed to one channel. */

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.buffer = new Float32Array(1024);
    this.filled = 0;
  }

  process([channels]) {
    if (channels.length === 0) return true; // nothing connected at the moment
    for (let k = 0; k < channels[0].length; k++) {
      let sum = 0;
      for (const channel of channels) sum += channel[k];
      this.buffer[this.filled++] = sum / channels.length;
      if (this.filled === this.buffer.length) {
        this.port.postMessage(this.buffer.slice());
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
