"""Clips whose events can be both seen and heard: a white frame and a tone that begin together."""

from __future__ import annotations

import io
import itertools
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import av
import numpy as np
import numpy.typing as npt
from known import known

RATE = 48_000
_TONE_HZ = 1_000
_LOUD = 0.2  # the tone has 0.5


@dataclass(frozen=True)
class FlashClip:
    """Black frames and silence, but for the frames of these numbers."""

    flashes: Collection[int]
    fps: int = 16
    width: int = 64
    height: int = 48

    def block(self, first: int, count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Frames uint8 [count, H, W, 3] from number `first` on, and their float32 sound."""
        per_frame = RATE // self.fps
        tone = 0.5 * np.sin(2 * np.pi * _TONE_HZ * np.arange(per_frame) / RATE)
        lit = np.array([first + place in self.flashes for place in range(count)])
        frames = np.zeros((count, self.height, self.width, 3), np.uint8)
        frames[lit] = 255
        return frames, (lit[:, None] * tone).astype(np.float32).reshape(-1)

    def blocks(self, sizes: Iterable[int]) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]]:
        """Blocks of so many frames, one after the other."""
        first = 0
        for size in sizes:
            yield self.block(first, size)
            first += size

    def times(self) -> list[float]:
        """Seconds at which something happens."""
        return [number / self.fps for number in sorted(self.flashes)]


def seen(file: bytes) -> list[float]:
    """Seconds at which white frames are shown."""
    with av.open(io.BytesIO(file), "r") as container:
        return [
            float(known(frame.pts) * known(frame.time_base))
            for frame in container.decode(video=0)
            if memoryview(frame.planes[0])[0] > 128
        ]


def heard(file: bytes) -> list[float]:
    """Seconds at which tones begin."""
    samples, start = sound_of(file)
    loud = np.flatnonzero(np.abs(samples) > _LOUD)
    # Within a tone the sound is never faint for a tenth of a second.
    onsets = loud[np.diff(loud, prepend=-RATE) > RATE // 10]
    return [float(start + onset / RATE) for onset in onsets]


def sound_of(file: bytes) -> tuple[npt.NDArray[np.float32], float]:
    """All samples a player would play, and the second at which the first of them is due."""
    with av.open(io.BytesIO(file), "r") as container:
        frames = list(container.decode(audio=0))
    for before, after in itertools.pairwise(frames):
        assert after.pts == known(before.pts) + before.samples, "the sound has a hole"
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), float(
        known(frames[0].pts) * known(frames[0].time_base)
    )
