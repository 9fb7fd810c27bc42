"""Who makes what, among processes that share a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKING = 1 << 61
"""A claim that no condition has: joining trajectories to a shard."""


class Claims:
    """Locks of single bytes of one file: they end with their process, however it ends, and hold between machines that
    share a file system with POSIX locks (NFS does).

    One per process and folder: closing the file gives all of a process's claims up.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / "claims", os.O_RDWR | os.O_CREAT, 0o644)

    @contextmanager
    def claim(self, key: str | int, *, wait: bool = False) -> Iterator[bool]:
        """Whether the caller may do what ``key`` stands for, until the block is left; False where another process is at
        it.

        Args:
            key: a condition's key, or a number.
            wait: for the other process.
        """
        byte = key if isinstance(key, int) else int(key[:15], 16)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, byte)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)

    def close(self) -> None:
        os.close(self._file)
