"""One process at a time: a lock on a file, which the system takes back from whoever dies."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path


class HeldError(Exception):
    """Another process has the lock; the message is its number, or ``unknown``."""


def lock_file(path: Path) -> int:
    """The descriptor that holds the lock until it is closed.

    Raises:
        HeldError: another process has it.
        OSError: the file can't be written, or its file system knows no locks.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise HeldError(holder) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
