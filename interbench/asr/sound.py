"""What all transcribers that listen agree on: the sound's form, and when there is nothing to hear."""

from __future__ import annotations

import numpy as np

from interbench.asr.base import Utterance
from interbench.domain.records import Transcript

RATE = 16_000
"""Samples per second."""
_SILENCE = 10 ** (-50 / 20)
"""-50 dBFS over 20 ms, the threshold by which clips are called audible."""


def nothing_to_hear(utterance: Utterance) -> Transcript | None:
    """The empty, flagged transcript of an utterance without sound; None if there is something to hear."""
    samples = utterance.samples
    if samples is None:
        return Transcript("", flags=("no_audio",))
    window = RATE // 50
    whole = len(samples) // window * window
    if whole == 0:
        return Transcript("", flags=("silent",))
    loudest = float(np.sqrt(np.max(np.mean(np.square(samples[:whole].reshape(-1, window)), axis=1))))
    return Transcript("", flags=("silent",)) if loudest < _SILENCE else None
