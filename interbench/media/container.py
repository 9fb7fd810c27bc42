"""What kind of media file this is, and whether all of it is there, told from its outer structure without decoding.

Demuxers are lenient: they play what there is of a file that was cut off. The length fields of the container tell.
Sources: ISO/IEC 14496-12 section 4.2 (boxes), RFC 8794 (EBML), ISO/IEC 13818-1 section 2.4.3.2 (transport packets).
"""

from __future__ import annotations

from interbench.media import matroska, mp4
from interbench.media.files import FileView, MediaFaultError, Outline, truncated
from interbench.media.wav import is_wav

_HEAD = 4096
_MP4_FIRST = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"pnot", b"sidx"})
_EBML = bytes.fromhex("1A45DFA3")
_TS_PACKET = 188
_OTHERS = (
    (b"\x1f\x8b", "a gzip-compressed file: whoever fetched it must undo the compression"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard-compressed file: whoever fetched it must undo the compression"),
    (b"PK\x03\x04", "a ZIP archive: unpack it first"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"FLV\x01", "a Flash video"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "an ASF or WMV file"),
    (b"#EXTM3U", "a playlist, which only names other files"),
    (b"FORM", "an AIFF file"),
    (b".snd", "an AU file"),
    (b"caff", "a CAF file"),
    (b"%PDF", "a PDF document"),
)
"""How files begin that are handed over by mistake, and what they are."""


def demuxer(file: FileView, *, sound: bool = False) -> str:
    """libavformat's name of the one demuxer that may read this file.

    Playlists, concatenation scripts, subtitles and pictures are not among them, so a file can't name other files.

    Args:
        sound: sound is wanted rather than a clip; for the advice.

    Raises:
        MediaFaultError: ``not_media``.
    """
    head = file.at(0, _HEAD)
    if head[4:8] in _MP4_FIRST:
        return "mp4"
    if head.startswith(_EBML):
        return "matroska"
    if is_wav(head):
        return "wav"
    if head.startswith(b"fLaC"):
        return "flac"
    if head.startswith(b"OggS"):
        return "ogg"
    if len(head) > _TS_PACKET and head[0] == head[_TS_PACKET] == 0x47:
        return "mpegts"
    if head.startswith(b"ID3") or (len(head) > 2 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2):
        return "mp3"
    known = "WAV, FLAC, Ogg, MP3, MP4, WebM/Matroska nor MPEG-TS" if sound else "MP4, WebM/Matroska nor MPEG-TS"
    better = "16 kHz mono WAV" if sound else "H.264 and AAC into an MP4 file"
    raise MediaFaultError(
        "not_media", f"this is {_looks_like(head)}, neither {known}, whatever its name says. Write {better}."
    )


def _looks_like(head: bytes) -> str:
    for start, what in _OTHERS:
        if head.startswith(start):
            return what
    if head[:4] == b"RIFF":
        return {b"AVI ": "an AVI file", b"WEBP": "a WebP picture"}.get(head[8:12], "a RIFF file of another kind")
    if not head.strip(b"\0"):
        return "a file of zeros, as a failed or unfinished write leaves it"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page (the answer of a login or error page?)"
    if text.startswith((b"{", b"[")):
        return "JSON (an error message of the service?)"
    if text.startswith((b"<?xml", b"<svg")):
        return "XML"
    return "something else"


def outline(file: FileView, kind: str) -> Outline:
    """What the outer structure says about the length, after refusing a file whose parts are longer than what is there.

    Kinds without length fields pass; what can be told of them is found in decoding.

    Raises:
        MediaFaultError: ``truncated``, or ``undecodable`` for a structure that no writer makes.
    """
    if kind == "mp4":
        return mp4.outline(file)
    if kind == "matroska":
        return matroska.outline(file)
    if kind == "mpegts":
        if file.size % _TS_PACKET:
            raise truncated("its last transport packet is not whole")
        return Outline(length_known=False)
    return Outline()
