"""What kind of media file this is, and whether all of it is there, told from its outer structure without decoding.

Demuxers are lenient: they play what there is of a file that was cut off. The length fields of the container tell.
Sources: ISO/IEC 14496-12 section 4.2 (boxes), RFC 8794 (EBML), RFC 9559 (Matroska), ISO/IEC 13818-1 section 2.4.3.2
(transport packets), RFC 2361 and EBU Tech 3306 (RIFF and RF64 WAVE).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

_HEAD = 4096
_MP4_FIRST = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"pnot", b"sidx"})
_EBML = bytes.fromhex("1A45DFA3")
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_TS_PACKET = 188
_MOST_ELEMENTS = 1_000_000
_UNKNOWN_WAV_SIZES = (0, 0xFFFFFFFF)


class MediaFaultError(Exception):
    """The file can't be used; ``code`` as in :class:`interbench.media.pool.MediaPool`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


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


def demuxer(file: FileView) -> str:
    """libavformat's name of the one demuxer that may read this file.

    Playlists, concatenation scripts, subtitles and pictures are not among them, so a file can't name other files.

    Raises:
        MediaFaultError: ``not_media``.
    """
    head = file.at(0, _HEAD)
    if head[4:8] in _MP4_FIRST:
        return "mp4"
    if head.startswith(_EBML):
        return "matroska"
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head.startswith(b"fLaC"):
        return "flac"
    if head.startswith(b"OggS"):
        return "ogg"
    if len(head) > _TS_PACKET and head[0] == head[_TS_PACKET] == 0x47:
        return "mpegts"
    if head.startswith(b"ID3") or (len(head) > 2 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2):
        return "mp3"
    raise MediaFaultError(
        "not_media",
        "this is neither MP4, WebM/Matroska, MPEG-TS, WAV, FLAC, Ogg nor MP3, whatever its name says. Write H.264 and "
        "AAC into an MP4 file (video) or 16 kHz mono WAV (sound).",
    )


def require_complete(file: FileView, kind: str) -> None:
    """Refuse a file whose outermost parts are longer than what is there.

    Kinds without length fields pass; what can be told of them is found in decoding.

    Raises:
        MediaFaultError: ``truncated``, or ``undecodable`` for a structure that no writer makes.
    """
    if kind == "mp4":
        _require_boxes(file)
    elif kind == "matroska":
        _require_elements(file)
    elif kind == "wav":
        _require_chunks(file)
    elif kind == "mpegts" and file.size % _TS_PACKET:
        raise truncated("its last transport packet is not whole")


def truncated(what: str) -> MediaFaultError:
    return MediaFaultError(
        "truncated",
        f"the file is cut short: {what}. Hand a file over only when it has been closed, and look for a full disk or an "
        "encoder that was stopped.",
    )


def _require_boxes(file: FileView) -> None:
    position, names = 0, set[bytes]()
    last = b""
    for _ in range(_MOST_ELEMENTS):
        if position >= file.size:
            break
        header = file.at(position, 16)
        if len(header) < 8:
            raise truncated(f"{len(header)} stray bytes at the end")
        size, last = int.from_bytes(header[:4], "big"), header[4:8]
        names.add(last)
        if size == 0:  # the last box may extend to the end of the file
            break
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size < 8:
            raise MediaFaultError(
                "undecodable", f"the MP4 structure is broken at byte {position}. Write it with another muxer."
            )
        if position + size > file.size:
            raise truncated(
                f"its {last.decode('ascii', 'replace')!r} box at byte {position} says {size} bytes and "
                f"{file.size - position} are there"
            )
        position += size
    else:
        raise MediaFaultError("undecodable", f"it has more than {_MOST_ELEMENTS} boxes. Write it with another muxer.")
    if b"moov" not in names:
        raise truncated("the index ('moov' box) is missing, which most encoders write last")
    if last == b"moof" or not names & {b"mdat", b"moof"}:
        raise truncated("the media data ('mdat' box) is missing")


def _require_elements(file: FileView) -> None:
    position = 0
    for _ in range(_MOST_ELEMENTS):
        if position >= file.size:
            return
        header = file.at(position, 12)
        name_length = _vint_length(header[0])
        size_length = _vint_length(header[name_length]) if len(header) > name_length else 9
        body = name_length + size_length
        if name_length > 4 or size_length > 8 or len(header) < body:
            if file.size - position < 12:
                raise truncated("its last element is not whole")
            raise MediaFaultError("undecodable", f"the WebM structure is broken at byte {position}. Use another muxer.")
        name = int.from_bytes(header[:name_length], "big")
        unknown = (1 << 7 * size_length) - 1
        size = int.from_bytes(header[name_length:body], "big") & unknown
        if size == unknown:
            if name not in (_SEGMENT, _CLUSTER):
                raise MediaFaultError(
                    "undecodable", f"the WebM structure is broken at byte {position}. Use another muxer."
                )
            position += body  # a live stream: its length lies in its children
            continue
        if position + body + size > file.size:
            raise truncated(
                f"the element at byte {position} says {size} bytes and {file.size - position - body} are there"
            )
        position += body + size
    raise MediaFaultError("undecodable", f"it has more than {_MOST_ELEMENTS} elements. Write it with another muxer.")


def _vint_length(first: int) -> int:
    """Bytes of an EBML variable-size integer that begins with ``first``; 9 if none does."""
    return 9 - first.bit_length()


def _require_chunks(file: FileView) -> None:
    position = 12
    for _ in range(_MOST_ELEMENTS):
        header = file.at(position, 8)
        if len(header) < 8:
            raise truncated("it has no 'data' chunk")
        size = int.from_bytes(header[4:8], "little")
        if header[:4] == b"data":
            if size not in _UNKNOWN_WAV_SIZES and position + 8 + size > file.size:
                raise truncated(f"its sound should take {size} bytes and {file.size - position - 8} are there")
            return
        position += 8 + size + size % 2
    raise MediaFaultError("undecodable", f"it has more than {_MOST_ELEMENTS} chunks. Write it with another program.")
