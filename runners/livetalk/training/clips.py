"""Clips that networks below the transformer are trained on: small, and whole in memory.

A folder of clips holds one ``ID.npz`` each, which need no pickle: ``frames`` uint8 [T, H, W, 3] at 16 per second,
``sound`` int16 [S] at 16 kHz, and ``about``, JSON with the clip's ``caption`` and its ``split``, "train" or another.
``examples/mini/draw.py`` writes such folders; so can anything else.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from livetalk.base.errors import LiveTalkError
from livetalk.render.config import SPATIAL_STRIDE

TRAIN = "train"


class ClipError(LiveTalkError):
    """A folder of clips can't be trained on."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip."""

    id: str
    frames: npt.NDArray[np.uint8]
    """[T, H, W, 3] at 16 per second."""
    sound: npt.NDArray[np.int16]
    """[S] at 16 kHz."""
    caption: str
    split: str

    @property
    def samples(self) -> npt.NDArray[np.float32]:
        """The sound as the speech encoder takes it, [-1, 1)."""
        samples: npt.NDArray[np.float32] = self.sound.astype(np.float32) / np.float32(32768)
        return samples


class Clips:
    """The clips of a folder, read at once.

    Raises:
        ClipError: there are none to train on, one is damaged, or they are of several sizes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        read = [_read(path) for path in sorted(folder.glob("*.npz"))]
        self.train = [clip for clip in read if clip.split == TRAIN]
        self.unseen = [clip for clip in read if clip.split != TRAIN]
        self._by_id = {clip.id: clip for clip in self.train}
        if not self.train:
            raise ClipError(f"{folder} holds no clip to train on. `examples/mini/draw.py` draws some.")
        shapes = {clip.frames.shape for clip in read}
        if len(shapes) > 1:
            raise ClipError(f"{folder} holds clips of several shapes: {', '.join(map(str, sorted(shapes)[:4]))}.")
        self.frames, self.height, self.width = next(iter(shapes))[:3]
        if self.height % (2 * SPATIAL_STRIDE) or self.width % (2 * SPATIAL_STRIDE):
            raise ClipError(f"{folder}: {self.height} × {self.width} pixels are no multiples of {2 * SPATIAL_STRIDE}.")

    @property
    def ids(self) -> list[str]:
        """Of what is trained on, sorted."""
        return [clip.id for clip in self.train]

    def identity(self) -> dict[str, Any]:
        """What a run's clips are, so that it goes on with no others."""
        whole = hashlib.sha256()
        for clip in self.train:
            whole.update(clip.id.encode() + clip.frames[0].tobytes() + clip.frames[-1].tobytes())
        return {"clips": len(self.train), "clips_sha256": whole.hexdigest()}

    def by_id(self, identity: str) -> Clip:
        """A clip to train on."""
        return self._by_id[identity]


def moving(frames: npt.NDArray[np.uint8], cell: int = SPATIAL_STRIDE) -> npt.NDArray[np.float32]:
    """How much of a clip moves where: mean over cells of ``cell`` pixels of the change from frame to frame, [h, w]."""
    luma = frames.astype(np.float32).mean(axis=3)
    change = np.abs(np.diff(luma, axis=0)).mean(axis=0)
    rows, columns = change.shape[0] // cell, change.shape[1] // cell
    blocks = change[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell)
    means: npt.NDArray[np.float32] = blocks.mean(axis=(1, 3))
    return means


def _read(path: Path) -> Clip:
    try:
        # Opened here: numpy leaves a file open that it can't read.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            frames, sound = file["frames"], file["sound"]
            about = json.loads(str(file["about"]))
            caption, split = str(about["caption"]), str(about["split"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ClipError(f"{path} is no clip ({error}). Remove it and draw it again.") from error
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not len(frames):
        raise ClipError(f"{path} holds frames of {frames.dtype} {frames.shape}; uint8 [T, H, W, 3] are meant.")
    if sound.dtype != np.int16 or sound.ndim != 1:
        raise ClipError(f"{path} holds sound of {sound.dtype} {sound.shape}; int16 [S] is meant.")
    return Clip(path.stem, frames, sound, caption, split)
