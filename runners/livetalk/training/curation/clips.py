"""Cutting clips of a data set: picture and speech of each cut, decoded in a process of its own with bounds."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from livetalk.base.errors import LiveTalkError
from livetalk.base.rates import AUDIO_RATE

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".ogv"})
"""Endings of what is taken for a clip; other files of a folder are none."""

_INHERITED = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "HOME")
_MEMORY = 3 * 2**30
_PROCESSOR_S = 300
_PATIENCE_S = 900.0
_BLOCK = 2**20

Picture = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.float32]


class ClipError(LiveTalkError):
    """A clip can't be cut: the reason follows its name."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A stretch of a clip: what a condition is made of."""

    index: int
    start: float
    """Seconds from the clip's beginning."""
    picture: Picture
    """RGB, uint8 [height, width, 3]: the first frame of the stretch, upright."""
    speech: Samples
    """16 kHz mono, float32 in [-1, 1]."""


def find_clips(folder: Path) -> list[Path]:
    """All clips below a folder, in the order of their relative names.

    Raises:
        ClipError: no folder, or none in it.
    """
    if not folder.is_dir():
        raise ClipError(f"{folder} is no folder. Give the folder that holds the clips.")
    found = sorted(
        (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()),
        key=lambda path: path.relative_to(folder).as_posix(),
    )
    if not found:
        raise ClipError(f"{folder} holds no clip: none of its files ends in {', '.join(sorted(SUFFIXES))}.")
    return found


def digest_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        ClipError: it can't be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise ClipError(f"{path} can't be read: {error.strerror}.") from error
    return digest.hexdigest()


def cut_clip(path: Path, seconds: float, most: int = 1, stride: float | None = None) -> list[Cut]:
    """The clip's cuts of ``seconds``, one every ``stride`` seconds (if not said, their length), ``most`` at most.

    The first may be shorter where the clip is; later ones are whole.

    Raises:
        ClipError: it can't be decoded within the bounds, or has no picture or no sound.
    """
    request = {
        "path": str(path.resolve()),
        "seconds": seconds,
        "most": most,
        "stride": stride or seconds,
        "memory": _MEMORY,
        "processor_seconds": _PROCESSOR_S,
    }
    # None of the caller's keys are in the worker's environment.
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    command = [sys.executable, "-m", "livetalk.training.curation.clip_worker"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ClipError(f"{path} can't be cut: decoding it did not end within {_PATIENCE_S:g} s.") from None
    head, _, content = done.stdout.partition(b"\n")
    if not head:
        raise ClipError(f"{path} can't be cut: decoding it ended the process (status {done.returncode}).")
    answer = json.loads(head)
    if "unusable" in answer:
        raise ClipError(f"{path} can't be cut: {answer['unusable']}.")
    cuts, at = [], 0
    for index, described in enumerate(answer["cuts"]):
        shape = (described["height"], described["width"], 3)
        size, length = int(np.prod(shape)), described["samples"] * 4
        picture = np.frombuffer(content, np.uint8, size, at).reshape(shape)
        speech = np.frombuffer(content, np.float32, described["samples"], at + size)
        at += size + length
        cuts.append(Cut(index, described["start"], picture, speech))
    return cuts


def seconds_of(speech: Samples) -> float:
    """How long so many samples play."""
    return len(speech) / AUDIO_RATE
