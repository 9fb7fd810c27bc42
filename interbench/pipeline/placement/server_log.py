"""What servers on nodes have to say, brought to the run folder, within bounds on both sides."""

from __future__ import annotations

import os
from pathlib import Path

MOST = 50 * 2**20
"""Bytes of one log; then it is rotated, and of two files the older one is dropped."""
_AT_ONCE = 2**20


class LogTail:
    """Reads on in a log that is being written, and empties it where it grows large: all of it has been read."""

    def __init__(self) -> None:
        self._offset = 0

    def read(self, log: Path | None) -> bytes:
        """What was written since the last call, at most a mebibyte of it."""
        if log is None:
            return b""
        try:
            with log.open("r+b") as file:
                size = os.fstat(file.fileno()).st_size
                if size < self._offset:
                    self._offset = 0
                file.seek(self._offset)
                data = file.read(_AT_ONCE)
                self._offset += len(data)
                if self._offset >= MOST and self._offset == size:
                    # It is written in append mode, so the next line begins at the new end.
                    file.truncate(0)
                    self._offset = 0
                return data
        except OSError:
            return b""


class KeptLog:
    """The copy in the run folder."""

    def __init__(self, path: Path, most: int = MOST) -> None:
        self.path = path
        self._most = most

    def write(self, data: bytes) -> None:
        """Append; a log that is full becomes ``NAME.1``."""
        if not data:
            return
        self.path.parent.mkdir(exist_ok=True)
        if self.path.exists() and self.path.stat().st_size + len(data) > self._most:
            self.path.replace(self.path.with_name(self.path.name + ".1"))
        with self.path.open("ab") as file:
            file.write(data)
