"""A fragmented MP4 that arrives in slices cut anywhere: its beginning and its fragments (ISO/IEC 14496-12, 8.8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_MOST_BOX = 64 * 2**20
_NOT_SYNC = 0x00010000
"""``sample_is_non_sync_sample`` of the flags of a sample."""


class FragmentError(Exception):
    """What arrives is no fragmented MP4."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """One movie fragment with its media."""

    data: bytes
    start: int
    """Bytes of the stream before it."""
    sync: bool
    """Whether its first picture can be decoded without those before; False too where nothing says so."""


class FragmentReader:
    """Takes slices of a stream, gives its whole fragments."""

    def __init__(self) -> None:
        self.init = b""
        """File type and movie box, once they are there."""
        self.received = 0
        self._rest = bytearray()
        self._begun = bytearray()
        self._start = 0
        self._taken = 0
        self._video = 0
        self._flags = 0
        """Default flags of the picture's samples."""

    def feed(self, data: bytes) -> list[Fragment]:
        """The fragments that are whole with this slice.

        Raises:
            FragmentError: a box is longer than any should be, or the stream does not begin like an MP4.
        """
        self.received += len(data)
        self._rest += data
        return list(self._whole())

    def _whole(self) -> Iterator[Fragment]:
        while (size := self._size()) and len(self._rest) >= size:
            box = bytes(self._rest[:size])
            del self._rest[:size]
            name = box[4:8]
            if not self.init and name not in (b"ftyp", b"moov", b"styp", b"free", b"skip"):
                raise FragmentError(f"the stream begins with a box {name!r} instead of an MP4's initialisation")
            if name == b"moov":
                self.init = bytes(self._begun) + box
                self._begun.clear()
                self._start = self._taken + size
                self._read_movie(_content(box))
            else:
                if not self._begun:
                    self._start = self._taken
                self._begun += box
                if name == b"mdat" and self.init:
                    data = bytes(self._begun)
                    self._begun.clear()
                    yield Fragment(data, self._start, self._is_sync(data))
            self._taken += size

    def _size(self) -> int:
        """Of the box that is arriving; 0 until that is known."""
        if len(self._rest) < 8:
            return 0
        size = int.from_bytes(self._rest[:4], "big")
        if size == 1:
            if len(self._rest) < 16:
                return 0
            size = int.from_bytes(self._rest[8:16], "big")
        if not 8 <= size <= _MOST_BOX:
            raise FragmentError(f"a box says that it has {size} bytes")
        return size

    def _read_movie(self, movie: bytes) -> None:
        for name, content in _children(movie):
            if name == b"trak" and b"vide" in _handler(content):
                for inner, header in _children(content):
                    if inner == b"tkhd":
                        at = 20 if header[:1] == b"\1" else 12
                        self._video = int.from_bytes(header[at : at + 4], "big")
            elif name == b"mvex":
                for inner, extends in _children(content):
                    if inner == b"trex" and int.from_bytes(extends[4:8], "big") == (self._video or -1):
                        self._flags = int.from_bytes(extends[20:24], "big")

    def _is_sync(self, data: bytes) -> bool:
        for name, content in _children(data):
            if name != b"moof":
                continue
            for inner, traf in _children(content):
                if inner == b"traf" and (flags := self._first_flags(traf)) is not None:
                    return not flags & _NOT_SYNC
        return False

    def _first_flags(self, traf: bytes) -> int | None:
        """Flags of the first picture in a track fragment; None if it is of another track."""
        default = self._flags
        for name, box in _children(traf):
            marks = int.from_bytes(box[1:4], "big")
            if name == b"tfhd":
                if int.from_bytes(box[4:8], "big") != self._video:
                    return None
                at = 8 + 8 * bool(marks & 1) + 4 * bool(marks & 2) + 4 * bool(marks & 8) + 4 * bool(marks & 16)
                if marks & 0x20:
                    default = int.from_bytes(box[at : at + 4], "big")
            elif name == b"trun":
                at = 8 + 4 * bool(marks & 1)
                if marks & 4:
                    return int.from_bytes(box[at : at + 4], "big")
                if marks & 0x400:
                    at += 4 * bool(marks & 0x100) + 4 * bool(marks & 0x200)
                    return int.from_bytes(box[at : at + 4], "big")
                return default
        return None


def _content(box: bytes) -> bytes:
    return box[16:] if box[:4] == b"\0\0\0\1" else box[8:]


def _children(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of the boxes in ``data``, as far as they are well formed."""
    position = 0
    while position + 8 <= len(data):
        size, head = int.from_bytes(data[position : position + 4], "big"), 8
        if size == 1 and position + 16 <= len(data):
            size, head = int.from_bytes(data[position + 8 : position + 16], "big"), 16
        if size < head:
            return
        yield data[position + 4 : position + 8], data[position + head : position + size]
        position += size


def _handler(track: bytes) -> bytes:
    for name, content in _children(track):
        if name == b"mdia":
            for inner, box in _children(content):
                if inner == b"hdlr":
                    return box[8:12]
    return b""
