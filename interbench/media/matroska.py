"""Whether all of a Matroska or WebM file is there, told from its elements without decoding (RFC 8794, RFC 9559)."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from interbench.media.files import MOST_ELEMENTS, FileView, MediaFaultError, Outline, truncated

_SEGMENT, _CLUSTER, _INFO = 0x18538067, 0x1F43B675, 0x1549A966
_DURATION, _SCALE = 0x4489, 0x2AD7B1
_MOST_INFO = 2**20


def outline(file: FileView) -> Outline:
    """What the elements say about the length.

    A live stream's segment has no length; whether its end is missing can be known only if its duration is declared.

    Raises:
        MediaFaultError: ``truncated``, or ``undecodable`` for a structure that no writer makes.
    """
    sized, seconds = True, None
    for name, body, size in _elements(file, 0, file.size):
        if name == _SEGMENT:
            sized = sized and size is not None
        if name == _SEGMENT and size is not None:
            for inner, inner_body, inner_size in _elements(file, body, body + size, lenient=True):
                if inner == _INFO and inner_size is not None:
                    seconds = _duration(file.at(inner_body, min(inner_size, _MOST_INFO)))
                if inner in (_INFO, _CLUSTER):
                    break
        elif name == _INFO and size is not None:
            seconds = _duration(file.at(body, min(size, _MOST_INFO)))
    return Outline(seconds, sized or seconds is not None)


def _elements(
    file: FileView, position: int, end: int, *, lenient: bool = False
) -> Iterator[tuple[int, int, int | None]]:
    """Name, start of the content and its length (None: unknown, its children follow) of every element.

    ``lenient``: stop where the structure breaks; the decoder will say so.
    """
    for _ in range(MOST_ELEMENTS):
        if position >= end:
            return
        header = file.at(position, 12)
        name_length = _vint_length(header[0])
        size_length = _vint_length(header[name_length]) if len(header) > name_length else 9
        body = name_length + size_length
        if name_length > 4 or size_length > 8 or len(header) < body:
            if lenient:
                return
            if file.size - position < 12:
                raise truncated("its last element is not whole")
            raise _broken(position)
        name = int.from_bytes(header[:name_length], "big")
        unknown = (1 << 7 * size_length) - 1
        size = int.from_bytes(header[name_length:body], "big") & unknown
        if size == unknown:
            if name not in (_SEGMENT, _CLUSTER):
                if lenient:
                    return
                raise _broken(position)
            yield name, position + body, None
            position += body
            continue
        if position + body + size > end:
            if lenient:
                return
            raise truncated(
                f"the element at byte {position} says {size} bytes and {file.size - position - body} are there"
            )
        yield name, position + body, size
        position += body + size
    raise MediaFaultError("undecodable", f"it has more than {MOST_ELEMENTS} elements. Write it with another muxer.")


def _broken(position: int) -> MediaFaultError:
    return MediaFaultError("undecodable", f"the WebM structure is broken at byte {position}. Use another muxer.")


def _duration(info: bytes) -> float | None:
    """Seconds that a segment's information declares; None if it declares nothing usable."""
    scale, ticks = 1_000_000, 0.0
    at = 0
    while at < len(info):
        name_length = _vint_length(info[at])
        size_at = at + name_length
        size_length = _vint_length(info[size_at]) if size_at < len(info) else 9
        if name_length > 4 or size_length > 8:
            break
        body = size_at + size_length
        size = int.from_bytes(info[size_at:body], "big") & (1 << 7 * size_length) - 1
        content, name = info[body : body + size], int.from_bytes(info[at:size_at], "big")
        if name == _SCALE and content:
            scale = int.from_bytes(content, "big")
        elif name == _DURATION and len(content) in (4, 8):
            (ticks,) = struct.unpack(">f" if len(content) == 4 else ">d", content)
        at = body + size
    seconds = ticks * scale / 1e9
    return seconds if 0 < seconds < math.inf else None


def _vint_length(first: int) -> int:
    """Bytes of an EBML variable-size integer that begins with ``first``; 9 if none does."""
    return 9 - first.bit_length()
