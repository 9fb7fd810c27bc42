"""Whether a clip is still the one that was recorded, before anybody hears, judges or shows it."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from interbench.domain.records import ClipFacts

_BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class ClipProblem:
    """Why a recorded clip can't be used."""

    code: str
    """``clip_missing`` or ``clip_changed``."""
    message: str
    """A sentence with what to do."""


_DIGESTS: dict[tuple[str, int, int, int], str] = {}
"""By path, size, time of change and inode: a file that stays untouched is read once in a process."""


def clip_problem(clip: Path, facts: ClipFacts) -> ClipProblem | None:
    """What is wrong with ``clip``, of whose size and digest ``facts`` were recorded; None if nothing. Reads it."""
    try:
        descriptor = os.open(clip, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return ClipProblem(
            "clip_missing",
            f"The clip {_short(clip)} is no longer there. Restore it, and give the same command again.",
        )
    except OSError as error:
        return _changed(clip, f"can't be opened ({os.strerror(error.errno or 0)})")
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return _changed(clip, "is no longer a file")
        if status.st_size != facts.bytes:
            return _changed(clip, f"had {facts.bytes} bytes and has {status.st_size}")
        key = (str(clip.absolute()), status.st_size, status.st_mtime_ns, status.st_ino)
        if key not in _DIGESTS:
            _DIGESTS[key] = _digest(descriptor)
        if _DIGESTS[key] != facts.sha256:
            return _changed(clip, "holds something else (another SHA-256)")
    except OSError as error:
        return _changed(clip, f"can't be read ({os.strerror(error.errno or 0)})")
    finally:
        os.close(descriptor)
    return None


def _changed(clip: Path, how: str) -> ClipProblem:
    return ClipProblem(
        "clip_changed",
        f"The clip {_short(clip)} is not the one that was recorded: it {how}. Restore it, and give the same command "
        f"again.",
    )


def _short(clip: Path) -> str:
    return "/".join(clip.parts[-3:])


def _digest(descriptor: int) -> str:
    total, position = hashlib.sha256(), 0
    while block := os.pread(descriptor, _BLOCK, position):
        total.update(block)
        position += len(block)
    return total.hexdigest()
