"""What the readers of media files have in common: a view of an open file, and how they say what is wrong with it."""

from __future__ import annotations

import os
from dataclasses import dataclass

MOST_ELEMENTS = 1_000_000
"""Boxes, elements or chunks on one level; more are an attack."""


class MediaFaultError(Exception):
    """The file can't be used; ``code`` as in :class:`interbench.media.pool.MediaPool`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def truncated(what: str) -> MediaFaultError:
    return MediaFaultError(
        "truncated",
        f"the file is cut short: {what}. Hand a file over only when it has been closed, and look for a full disk or an "
        "encoder that was stopped.",
    )


@dataclass(frozen=True, slots=True)
class Outline:
    """What the outer structure of a file says about its length."""

    seconds: float | None = None
    """How long all of it says it plays, or at which time it ends; None if that stands nowhere."""
    length_known: bool = True
    """False: nothing tells whether more was to come."""
    fragmented: bool = False
    """An MP4 file whose index comes in pieces."""


@dataclass(slots=True)
class FileView:
    """The first ``size`` bytes of an open regular file, as the binary file object a demuxer reads from.

    A demuxer that is given this instead of a path has nothing to resolve references to other files against.
    """

    descriptor: int
    size: int
    position: int = 0

    def read(self, count: int = -1) -> bytes:
        left = max(self.size - self.position, 0)
        data = os.pread(self.descriptor, left if count < 0 else min(count, left), self.position)
        self.position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError("seek before the beginning")
        self.position = base + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def at(self, position: int, count: int) -> bytes:
        """Up to ``count`` bytes at ``position``; fewer at the end."""
        return os.pread(self.descriptor, max(min(count, self.size - position), 0), position)
