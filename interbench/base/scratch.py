"""Private folders for temporary files that do not outlive their process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from interbench.base import termination

_OWNED = ".owned"
"""In a folder that may go with its owner, who holds a lock on this file for as long as it lives."""


class Scratch:
    """A new folder in the system's place for temporary files, ``interbench-<purpose>-...``.

    It goes with :meth:`remove`, which leaving it as a context manager calls, or when this object or the interpreter
    ends, or a signal ends the program. If the process is killed, the next one that makes a folder for the same purpose
    removes it: the kernel has then released the owner's lock, which, unlike a process id, means the same in every
    container that shares the place.
    """

    def __init__(self, purpose: str) -> None:
        prefix = f"interbench-{purpose}-"
        _sweep(Path(tempfile.gettempdir()), prefix)
        with termination.undivided():
            self.path = Path(tempfile.mkdtemp(prefix=prefix))
            settled = termination.at_end(partial(shutil.rmtree, self.path, ignore_errors=True))
        self._lock = os.open(self.path / f"{_OWNED}-soon", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Not every file system knows locks; without one the folder only goes in the ordinary ways.
        with contextlib.suppress(OSError):
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            (self.path / f"{_OWNED}-soon").rename(self.path / _OWNED)
        self._end = weakref.finalize(self, _remove, self.path, self._lock, settled)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        self._end()

    def keep(self) -> None:
        """Leave the folder to the user for good."""
        if (detached := self._end.detach()) is not None:
            *_, settled = detached[2]
            settled()
            (self.path / _OWNED).unlink(missing_ok=True)
            os.close(self._lock)


def _remove(path: Path, lock: int, settled: Callable[[], object]) -> None:
    shutil.rmtree(path, ignore_errors=True)
    settled()
    os.close(lock)


def _sweep(place: Path, prefix: str) -> None:
    """Remove what processes that were killed have left."""
    for folder in place.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                continue
            lock = os.open(folder / _OWNED, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
