"""Whether all of an MP4 file is there, told from its boxes without decoding (ISO/IEC 14496-12).

A plain MP4 has one index, and box lengths that don't fit the file give a cut away. A fragmented one that was cut
exactly between two fragments looks whole, unless something in it says how long it is meant to be: the movie extends
header, a segment index over all fragments, the random access index at the end, or the mark of a last segment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from interbench.media.files import MOST_ELEMENTS, FileView, MediaFaultError, Outline, truncated

_MOST_BOX = 64 * 2**20
"""A box that is read into memory; real indices are far smaller."""
_FULL_BOX = 4
"""Bytes of version and flags."""


@dataclass(slots=True)
class _Seen:
    """What the outermost boxes tell."""

    names: set[bytes] = field(default_factory=set)
    last: bytes = b""
    fragmented: bool = False
    """The movie box announces fragments."""
    seconds: float | None = None
    ends: bool = False
    """Something says where the file ends."""
    last_segment: bool = False
    """The latest segment says that none follows."""
    started: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By track: number and decoding time of the last fragment."""
    fragments: int = 0


def outline(file: FileView) -> Outline:
    """What the boxes say about the length.

    Raises:
        MediaFaultError: ``truncated``, or ``undecodable`` for a structure that no player follows.
    """
    seen = _Seen()
    for name, start, size in _outermost(file):
        seen.names.add(name)
        seen.last = name
        if name == b"moov":
            _read_movie(file.at(start, min(size, _MOST_BOX)), seen)
        elif name == b"moof":
            _read_fragment(file.at(start, min(size, _MOST_BOX)), seen)
        elif name == b"sidx" and not seen.fragments:
            _read_index(file, start, size, seen)
        elif name == b"styp":
            seen.last_segment = b"lmsg" in _brands(file.at(start, min(size, 4096)))
        elif name == b"mfra":
            seen.ends = True
    if b"moov" not in seen.names:
        raise truncated("the index ('moov' box) is missing, which most encoders write last")
    if seen.last == b"moof" or not seen.names & {b"mdat", b"moof"}:
        raise truncated("the media data ('mdat' box) is missing")
    in_fragments = seen.fragmented or bool(seen.fragments)
    known = not in_fragments or seen.ends or seen.last_segment or seen.seconds is not None
    return Outline(seen.seconds, known, fragmented=in_fragments)


def _outermost(file: FileView) -> Iterator[tuple[bytes, int, int]]:
    """Name, start of the content and its length of every outermost box; all of them lie inside the file."""
    position = 0
    for _ in range(MOST_ELEMENTS):
        if position >= file.size:
            return
        header = file.at(position, 16)
        if len(header) < 8:
            raise truncated(f"{len(header)} stray bytes at the end")
        size, name, head = int.from_bytes(header[:4], "big"), header[4:8], 8
        if size == 0:  # the last box may extend to the end of the file
            yield name, position + head, file.size - position - head
            return
        if size == 1:
            size, head = int.from_bytes(header[8:16], "big"), 16
        if size < head:
            raise MediaFaultError(
                "undecodable", f"the MP4 structure is broken at byte {position}. Write it with another muxer."
            )
        if position + size > file.size:
            raise truncated(
                f"its {name.decode('ascii', 'replace')!r} box at byte {position} says {size} bytes and "
                f"{file.size - position} are there"
            )
        yield name, position + head, size - head
        position += size
    raise MediaFaultError("undecodable", f"it has more than {MOST_ELEMENTS} boxes. Write it with another muxer.")


def _children(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of the boxes in ``data``, as far as they are well formed."""
    position = 0
    while position + 8 <= len(data):
        size, head = int.from_bytes(data[position : position + 4], "big"), 8
        if size == 1 and position + 16 <= len(data):
            size, head = int.from_bytes(data[position + 8 : position + 16], "big"), 16
        elif size == 0:
            size = len(data) - position
        if size < head:
            return
        yield data[position + 4 : position + 8], data[position + head : position + size]
        position += size


def _number(data: bytes, at: int, count: int) -> int:
    return int.from_bytes(data[at : at + count], "big")


def _read_movie(data: bytes, seen: _Seen) -> None:
    """Sections 8.2.2 (``mvhd``) and 8.8.2 (``mehd``)."""
    scale = length = 0
    for name, content in _children(data):
        if name == b"mvhd":
            scale = _number(content, 20 if content[:1] == b"\1" else 12, 4)
        elif name == b"mvex":
            seen.fragmented = True
            for inner, extends in _children(content):
                if inner == b"mehd":
                    length = _number(extends, _FULL_BOX, 8 if extends[:1] == b"\1" else 4)
    unknown = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
    if scale and length and length not in unknown:
        seen.seconds = length / scale


def _read_fragment(data: bytes, seen: _Seen) -> None:
    """Sections 8.8.7 (``tfhd``) and 8.8.12 (``tfdt``)."""
    seen.fragments += 1
    for name, content in _children(data):
        if name != b"traf":
            continue
        track = time = None
        for inner, box in _children(content):
            if inner == b"tfhd":
                track = _number(box, _FULL_BOX, 4)
            elif inner == b"tfdt":
                time = _number(box, _FULL_BOX, 8 if box[:1] == b"\1" else 4)
        if track is None or time is None:
            continue
        before = seen.started.get(track)
        if before is not None and time < before[1]:
            raise MediaFaultError(
                "undecodable",
                f"its fragments run backwards: fragment {seen.fragments} of track {track} begins at {time} and "
                f"fragment {before[0]} at {before[1]} (in units of the track). Number the fragments' times "
                f"(baseMediaDecodeTime) through the whole answer, and hand the fragments over in that order.",
            )
        seen.started[track] = (seen.fragments, time)


def _read_index(file: FileView, start: int, size: int, seen: _Seen) -> None:
    """Section 8.16.3. An index over one fragment alone, as each may have one, says nothing of further ones."""
    data = file.at(start, min(size, _MOST_BOX))
    wide = data[:1] == b"\1"
    at = _FULL_BOX + 8 + (8 if wide else 4)
    offset = _number(data, at, 8 if wide else 4)
    at += (8 if wide else 4) + 2
    count = _number(data, at, 2)
    at += 2
    sizes = [_number(data, at + 12 * index, 4) & 0x7FFFFFFF for index in range(count)]
    reach = start + size + offset + sum(sizes)
    if reach > file.size:
        raise truncated(f"its segment index ('sidx' box) reaches to byte {reach} and the file ends at {file.size}")
    seen.ends = seen.ends or count > 1


def _brands(data: bytes) -> set[bytes]:
    return {data[at : at + 4] for at in range(0, len(data), 4) if at != 4}
