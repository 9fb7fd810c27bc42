"""What a Qwen3-VL server should make of a clip, and what it made of it: frames, their times, their pixels.

vLLM expands each video of a prompt into one group per two frames: the text ``<0.4 seconds>``, the mean of the two
frames' times, and as many video tokens as the frame has patches of 32x32 pixels (16-pixel patches, merged 2x2). The
expanded prompt is therefore a faithful account of what the model sees.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PATCH = 32
"""Edge, in pixels, of the square that one video token stands for."""
SERVER_FPS = 30
"""The loader's upper limit of sampled frames per second: with it only ``frames`` decides."""
PER_PROMPT: Mapping[str, int] = {"video": 96, "image": 1}
"""What a prompt may hold: for each of 32 turns, which is the most, a video and two videos of its details; and the
portrait of the person who was asked for."""
_VIDEO, _END = "<|video_pad|>", "<|vision_end|>"
_TIME = re.compile(r"<([0-9]+(?:\.[0-9]+)?)[Ġ ▁]?seconds>")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Frames per video, and the edge of a square of as many pixels as a frame may have."""

    frames: int = 32
    size: int = 784

    @property
    def max_tokens_per_frame(self) -> int:
        """Video tokens of the largest frame: 576 for 784 (24x24 patches, so 768x768 pixels)."""
        return (self.size // PATCH) ** 2

    def server_settings(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Values of vLLM's ``--media-io-kwargs`` and ``--mm-processor-kwargs`` that bring this sampling about."""
        return (
            {"video": {"fps": SERVER_FPS, "max_frames": self.frames}},
            {
                # Without the first, a clip of no more than `frames` frames is sampled a second time, at 2 per second.
                "do_sample_frames": False,
                "cap_pixels_per_frame": True,
                "max_video_tokens": self.max_tokens_per_frame,
            },
        )


@dataclass(frozen=True, slots=True)
class View:
    """How one video looks to the model."""

    frames: int
    """Always even: an odd number is filled up by repeating the last frame."""
    tokens_per_frame: int
    """Video tokens per pair of frames; one token is 32x32 pixels of both."""
    times_s: tuple[float, ...] | None
    """Mean time of each pair of frames; None if it can't be read from the prompt."""

    @property
    def pixels_per_frame(self) -> int:
        return self.tokens_per_frame * PATCH * PATCH

    @property
    def tokens(self) -> int:
        return self.frames // 2 * self.tokens_per_frame

    def record(self) -> dict[str, Any]:
        """For a verdict's evidence."""
        times = None if not self.times_s else [self.times_s[0], self.times_s[-1]]
        return {
            "frames": self.frames,
            "pixels_per_frame": self.pixels_per_frame,
            "tokens": self.tokens,
            "first_and_last_s": times,
        }


def expected_view(sampling: Sampling, frames: int, fps: float, width: int, height: int) -> View:
    """What the server should make of a clip (Qwen3-VL's sampling and resizing as in transformers' video processor).

    Args:
        frames: of the clip.
        fps: of the clip.
        width, height: of the clip, in pixels.
    """
    count = _taken(sampling, frames, fps)
    indices = np.linspace(0, frames - 1, count).round().astype(int)
    if count % 2:
        indices = np.append(indices, indices[-1])
    times = (indices / fps).reshape(-1, 2).mean(axis=1)
    tall, wide = _resized(count, height, width, sampling.max_tokens_per_frame * PATCH * PATCH)
    return View(len(indices), tall // PATCH * (wide // PATCH), tuple(float(t) for t in times))


@dataclass(frozen=True, slots=True)
class Stills:
    """How much of a video is seen: for people and prompts."""

    count: int
    first_s: float
    last_s: float
    gap_s: float
    """Between neighbours."""


def stills(sampling: Sampling, frames: int, fps: float) -> Stills:
    """What the server should take of a clip of so many ``frames``; see :func:`expected_view`."""
    count = _taken(sampling, frames, fps)
    last = (frames - 1) / fps
    return Stills(count, 0.0, last, last / max(1, count - 1))


def _taken(sampling: Sampling, frames: int, fps: float) -> int:
    return min(max(int(frames / fps * SERVER_FPS), 4), sampling.frames, frames)


def _resized(count: int, height: int, width: int, cap: int) -> tuple[int, int]:
    if height < PATCH or width < PATCH:
        scale = max(PATCH / height, PATCH / width)
        height, width = int(height * scale), int(width * scale)
    tall, wide = round(height / PATCH) * PATCH, round(width / PATCH) * PATCH
    if round(count / 2) * 2 * tall * wide > cap * count:
        shrink = math.sqrt(height * width / cap)
        tall = max(PATCH, math.floor(height / shrink / PATCH) * PATCH)
        wide = max(PATCH, math.floor(width / shrink / PATCH) * PATCH)
    return tall, wide


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens by which videos are told apart in a server's expanded prompts."""

    video: int
    end: int
    texts: Mapping[int, str]
    """Token id → its text, for the tokens of time marks."""

    @classmethod
    def learned(cls, ids: Sequence[int], texts: Sequence[str]) -> Vocabulary | None:
        """From one expanded prompt with its token texts; None if it holds no video token of the Qwen3-VL kind."""
        known = dict(zip(ids, texts, strict=True))
        by_text = {text: token for token, text in known.items()}
        if _VIDEO not in by_text or _END not in by_text:
            return None
        return cls(by_text[_VIDEO], by_text[_END], known)


def views(ids: Sequence[int], vocabulary: Vocabulary) -> list[View]:
    """The videos in an expanded prompt, in order."""
    tokens = np.asarray(ids)
    is_video = np.concatenate(([False], tokens == vocabulary.video, [False]))
    edges = np.flatnonzero(is_video[1:] != is_video[:-1])
    starts, stops = edges[::2].tolist(), edges[1::2].tolist()
    found: list[View] = []
    sizes: list[int] = []
    times: list[float | None] = []
    before = 0
    for start, stop in zip(starts, stops, strict=True):
        sizes.append(stop - start)
        marks = _TIME.findall(
            "".join(vocabulary.texts.get(token, "?") for token in ids[max(before, start - 16) : start])
        )
        times.append(float(marks[-1]) if marks else None)
        before = stop
        # Each pair of frames is closed by an end token, the video as a whole by another.
        last = stop + 1 >= len(ids) or ids[stop + 1] == vocabulary.end
        if last or stop == stops[-1]:
            known = tuple(t for t in times if t is not None)
            found.append(View(2 * len(sizes), sizes[0], known if len(known) == len(times) else None))
            sizes, times = [], []
    return found


def difference(seen: View, expected: View) -> str:
    """What of ``seen`` is not as it should be, for people; empty if all is."""
    wrong = []
    if seen.frames != expected.frames:
        wrong.append(f"{seen.frames} frames instead of {expected.frames}")
    if seen.tokens_per_frame != expected.tokens_per_frame:
        wrong.append(f"{seen.pixels_per_frame:,} pixels per frame instead of {expected.pixels_per_frame:,}")
    if not wrong and seen.times_s is not None and expected.times_s is not None:
        off = max(abs(s - e) for s, e in zip(seen.times_s, expected.times_s, strict=True))
        if off > 0.11:
            wrong.append(f"frames whose times are wrong by up to {off:.1f} s")
    return " and ".join(wrong)
