"""A thinker's speech on its way: into features for the renderer, and into the sound of the file."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import numpy as np

from livetalk.base.rates import AUDIO_RATE
from livetalk.live.memory import Mark
from livetalk.sound.resample import StreamResampler
from livetalk.thinkers.base import Samples, SpeechDelta, ThinkerError
from livetalk.video.mux import SOUND_RATE

LEAD_S = 0.05
"""Silence kept before the first audible sound, so that a soft beginning of a word is not cut away."""

_AUDIBLE = 10 ** (-50 / 20)
"""Root mean square of 10 ms of sound that a listener notices; speech lies 20 to 40 dB above it."""

_STOPPED = None
_ENDED = np.zeros(0, np.float32)


class LeadingSilence:
    """Drops the silence that an answer begins with."""

    def __init__(self, rate: int) -> None:
        self._window, self._step = max(1, rate // 100), rate
        self._keep = round(LEAD_S * rate)
        self._held: Samples = _ENDED
        self.over = False
        """Something audible has come."""

    def push(self, samples: Samples) -> Samples:
        """What of the sound so far is to be heard and has not been given yet."""
        if self.over:
            return samples
        for start in range(0, len(samples), self._step):  # no more than has to be looked at
            end = start + self._step
            begun = self._listen(samples[start:end])
            if self.over:
                return np.concatenate([begun, samples[end:]])
        return _ENDED

    def _listen(self, samples: Samples) -> Samples:
        held = np.concatenate([self._held, samples])
        whole = len(held) // self._window * self._window
        windows = held[:whole].reshape(-1, self._window)
        audible = np.flatnonzero(np.sqrt(np.mean(np.square(windows), axis=1)) >= _AUDIBLE)
        if not len(audible):
            self._held = held[max(0, whole - self._keep) :]
            return _ENDED
        self.over, self._held = True, _ENDED
        return held[max(0, int(audible[0]) * self._window - self._keep) :]


class _Stop(threading.Event):
    """An event that also wakes whoever waits for sound."""

    def __init__(self, pieces: queue.SimpleQueue[Samples | None]) -> None:
        super().__init__()
        self._pieces = pieces

    def set(self) -> None:
        super().set()
        self._pieces.put(_STOPPED)


class SpeechFeed:
    """One answer's speech: pieces come in from the event loop, and go out to threads as samples for features and file.

    Seconds count from the first sample that is kept, which is the clip's beginning.

    Args:
        longest_s: sound beyond this is cut off, and the speech ends there.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._rate = 0
        self._taken = 0  # samples kept, at the thinker's rate
        self._lead: LeadingSilence | None = None
        self._pieces: queue.SimpleQueue[Samples | None] = queue.SimpleQueue()
        self.stop: threading.Event = _Stop(self._pieces)
        """Set it when nobody listens any more: whoever waits for sound is told at once that there is none."""
        self._lock = threading.Lock()
        self._sound: list[Samples] = []  # for the file, resampled and not yet taken
        self.marks: list[Mark] = []
        self.full = False
        """The longest answer is reached; nothing more is taken."""

    @property
    def audible(self) -> bool:
        """Something that can be heard has come."""
        return self._lead is not None and self._lead.over

    @property
    def seconds(self) -> float:
        """Of sound so far, without the silence at the start."""
        return self._taken / self._rate if self._rate else 0.0

    def push(self, piece: SpeechDelta) -> None:
        """Take a thinker's next piece.

        Raises:
            ThinkerError: ``broken``; it is not mono sound of the same rate as before, or not finite.
        """
        if self._lead is None:
            if piece.rate <= 0:
                raise ThinkerError("broken", f"The thinker sent sound of {piece.rate} samples a second.")
            self._rate, self._lead = piece.rate, LeadingSilence(piece.rate)
        samples = np.asarray(piece.samples, np.float32)
        if piece.rate != self._rate or samples.ndim != 1 or not np.isfinite(samples).all():
            raise ThinkerError(
                "broken",
                f"The thinker sent a piece of sound that does not continue the answer: {samples.ndim} dimension(s) at "
                f"{piece.rate} samples a second after {self._rate}, or values that are not numbers.",
            )
        if self.full:
            return
        samples = self._lead.push(samples)
        room = round(self._longest_s * self._rate) - self._taken
        self.full = len(samples) > room
        samples = samples[:room]
        if len(samples):
            self._taken += len(samples)
            self._pieces.put(samples)
        if piece.text_end is not None and not self.full:
            self.marks.append(Mark(self.seconds, piece.text_end))

    def end(self) -> None:
        """No more comes: what is there will be spoken to its end."""
        self._pieces.put(_ENDED)

    def samples(self) -> Iterator[Samples]:
        """16 kHz samples as they come, for speech features; waits in between.

        Sound is resampled as it is asked for: the first block of an answer that is there all at once need not wait for
        the rest of it.
        """
        features: StreamResampler | None = None
        sound: StreamResampler | None = None
        while (piece := self._pieces.get()) is not _STOPPED:
            if features is None or sound is None:
                if piece is _ENDED:
                    return
                features, sound = StreamResampler(self._rate, AUDIO_RATE), StreamResampler(self._rate, SOUND_RATE)
            step = max(1, self._rate // 4)
            for start in range(0, max(1, len(piece)), step):
                if self.stop.is_set():
                    return
                part, last = piece[start : start + step], piece is _ENDED
                heard = sound.push(part, last=last)
                with self._lock:
                    self._sound.append(heard)
                yield features.push(part, last=last)
            if piece is _ENDED:
                return

    def sound(self, samples: int) -> Samples:
        """The file's next samples at 48 kHz; what is missing at the end is silence."""
        with self._lock:
            joined = np.concatenate([_ENDED, *self._sound])
            self._sound = [joined[samples:]]
        return np.pad(joined[:samples], (0, max(0, samples - len(joined))))
