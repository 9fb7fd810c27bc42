"""Whether a file is a whole MP4, told from its boxes alone (ISO/IEC 14496-12, section 4.2)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO


class NotMp4Error(Exception):
    """``code`` is ``not_mp4`` or ``truncated``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_mp4(path: Path) -> float | None:
    """Playback duration in seconds as the file states it; None if it states none (fragmented files).

    Raises:
        NotMp4Error: the file does not begin like an MP4, or its boxes end beyond its end.
    """
    size = path.stat().st_size
    duration: float | None = None
    position = 0
    kinds: list[bytes] = []
    with path.open("rb") as file:
        while position < size:
            kind, start, end = _box(file, position, size)
            if not kinds and kind != b"ftyp":
                raise NotMp4Error("not_mp4", f"it begins with {file_start(path)}")
            if end > size:
                raise NotMp4Error("truncated", f"{end - size} bytes are missing at its end")
            if kind == b"moov":
                duration = _duration(file, start, end)
            kinds.append(kind)
            position = end
    if not kinds:
        raise NotMp4Error("not_mp4", "it is empty")
    if b"moov" not in kinds:
        raise NotMp4Error("truncated", "it has no index (moov)")
    return duration


def file_start(path: Path) -> str:
    """The first bytes of a file, for messages."""
    with path.open("rb") as file:
        return repr(file.read(16))


def _box(file: BinaryIO, position: int, limit: int) -> tuple[bytes, int, int]:
    """Kind, beginning of the content and end of the box at ``position``."""
    file.seek(position)
    head = file.read(16)
    if len(head) < 8:
        raise NotMp4Error("truncated", "it ends within a box header")
    length, kind, start = int.from_bytes(head[:4], "big"), head[4:8], position + 8
    if length == 1:
        length, start = int.from_bytes(head[8:16], "big"), position + 16
    elif length == 0:
        length = limit - position
    if length < start - position:
        raise NotMp4Error("not_mp4", "it holds a box of impossible length")
    return kind, start, position + length


def _duration(file: BinaryIO, start: int, end: int) -> float | None:
    while start < end:
        kind, content, stop = _box(file, start, end)
        if kind == b"mvhd":
            file.seek(content)
            data = file.read(32)
            wide = data[:1] == b"\x01"
            scale = int.from_bytes(data[20:24] if wide else data[12:16], "big")
            length = int.from_bytes(data[24:32] if wide else data[16:20], "big")
            return length / scale if scale and length else None
        start = stop
    return None


def sync(path: Path) -> None:
    """Make sure that a file is on the disk before it is renamed."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
