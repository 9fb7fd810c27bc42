"""Clips longer than the model's reach, window by window (training recipe 2.5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from livetalk.base.rates import AUDIO_RATE
from livetalk.render.config import TEMPORAL_STRIDE
from livetalk.render.encoders.image import PictureSize

MAX_TOKENS = 30_000
OVERLAP = 13
"""Video frames that a later window is told of the one before it; one of 1, 5, 9, 13, as in training."""
TOKEN_PIXELS = 16 * 16 * 4
"""Pixels that count as one token of ``MAX_TOKENS``: 16 rows and columns of 4 video frames."""
FPS = 25
"""Of the published settings."""
LEAD_SILENCE = 0.3
"""Seconds of silence that the published script puts before the speech."""
SIZES: tuple[PictureSize, ...] = ((400, 720), (720, 720), (720, 400))
"""Published picture sizes (height, width); the picture's shape chooses. LiveTalk's own is 512×512."""


@dataclass(frozen=True, slots=True)
class Window:
    """One pass of the sampler."""

    index: int
    known_frames: int
    """Video frames that are given: the picture, later the last of the window before."""
    first_row: int
    """Rows of the speech features that are new: first …"""
    end_row: int
    """… and the one after the last. Before them go a zero row, later the last rows of the window before."""

    @property
    def known_latents(self) -> int:
        return (self.known_frames + TEMPORAL_STRIDE - 1) // TEMPORAL_STRIDE


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """How a clip of so much speech is cut into windows."""

    window_frames: int
    """Video frames of each window."""
    output_frames: int
    """Frames of the clip; the first is the picture, one frame before the speech begins."""
    padded_samples: int
    """Speech at 16 kHz with the silence that completes the last window."""
    windows: tuple[Window, ...]

    @property
    def latent_frames(self) -> int:
        """Of each window."""
        return (self.window_frames + TEMPORAL_STRIDE - 1) // TEMPORAL_STRIDE

    @property
    def rows(self) -> int:
        """Speech features to be encoded: those of all windows."""
        return self.windows[-1].end_row


def plan_windows(
    samples: int, size: PictureSize, fps: int = FPS, overlap: int = OVERLAP, max_tokens: int = MAX_TOKENS
) -> WindowPlan:
    """Windows for so many samples of speech at 16 kHz.

    Raises:
        ValueError: ``overlap`` is not 4k+1, or the windows would hold nothing new.
    """
    frames = window_frames(size, max_tokens)
    if overlap % TEMPORAL_STRIDE != 1 or not 0 < overlap < frames:
        raise ValueError(f"an overlap of {overlap} frames does not fit windows of {frames}; use 1, 5, 9 or 13")
    rows = max(1, math.ceil(samples * fps / AUDIO_RATE))
    first, fresh = frames - 1, frames - overlap
    windows = [Window(0, 1, 0, first)]
    while windows[-1].end_row < rows:
        begin = windows[-1].end_row
        windows.append(Window(len(windows), overlap, begin, begin + fresh))
    return WindowPlan(frames, rows + 1, windows[-1].end_row * (AUDIO_RATE // fps), tuple(windows))


def window_frames(size: PictureSize, max_tokens: int = MAX_TOKENS) -> int:
    """Video frames of a window at a picture size (height, width): 4k+1, of about ``max_tokens`` tokens."""
    frames = max_tokens * TOKEN_PIXELS // (size[0] * size[1])
    if frames % TEMPORAL_STRIDE:
        return frames // TEMPORAL_STRIDE * TEMPORAL_STRIDE + 1
    return frames - (TEMPORAL_STRIDE - 1)
