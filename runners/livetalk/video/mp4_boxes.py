"""The boxes of a fragmented MP4 with one H.264 and one AAC track.

Paragraphs are those of ISO/IEC 14496-12 (boxes, fragments), 14496-14 (AAC in MP4) and 14496-15 (H.264 in MP4). Only
what such a stream needs is here. FFmpeg's muxer, as PyAV drives it, holds a fragment back until the next one begins:
a block's delay.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VIDEO_TRACK = 1
SOUND_TRACK = 2

# sample_flags (8.8.3.1): depends on no other sample; depends on others and is no sync sample.
_SYNC = 0x0200_0000
_NOT_SYNC = 0x0101_0000
_UNITY = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000)
_LANGUAGE = 0x55C4  # "und" in three five-bit letters (8.4.2.3)
_TAGS = {"title": b"\xa9nam", "comment": b"\xa9cmt"}


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """Width and height in pixels, ticks per second, and the parameter sets without start codes."""

    width: int
    height: int
    timescale: int
    sps: bytes
    pps: bytes


@dataclass(frozen=True, slots=True)
class SoundTrack:
    """A mono AAC track.

    Attributes:
        rate: samples per second, and ticks per second.
        config: the AudioSpecificConfig.
        bit_rate: bits per second, for information.
        priming: samples at the start that the encoder put before the sound; players leave them out.
    """

    rate: int
    config: bytes
    bit_rate: int
    priming: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One coded picture or AAC frame: its bytes and how long it lasts, in ticks of its track."""

    data: bytes
    duration: int
    sync: bool = True


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive samples of one track; ``start`` is the decode time of the first, in ticks."""

    track: int
    start: int
    samples: Sequence[Sample]


def init_segment(video: VideoTrack, sound: SoundTrack, metadata: Mapping[str, str] | None = None) -> bytes:
    """``ftyp`` and ``moov``: all that a player needs before the first fragment.

    Args:
        metadata: ``title`` and ``comment``, readable in every common player.

    Raises:
        ValueError: metadata of another name.
    """
    brands = _box(b"ftyp", b"iso5", struct.pack(">I", 512), b"iso5iso6mp41avc1")
    extends = _box(b"mvex", *(_track_extends(track) for track in (VIDEO_TRACK, SOUND_TRACK)))
    tags = [_user_data(metadata)] if metadata else []
    return brands + _box(b"moov", _movie_header(video), _video_track(video), _sound_track(sound), extends, *tags)


def fragment(sequence: int, runs: Sequence[Run]) -> bytes:
    """``moof`` and ``mdat`` with the samples of each run, one run after the other (8.8.4 … 8.8.8).

    Args:
        sequence: number of the fragment, from 1 on.
        runs: at most one for each track, none of them empty.
    """
    data = [b"".join(sample.data for sample in run.samples) for run in runs]
    # Offsets count from the start of the moof, whose size depends on the number of samples alone: lay it out twice.
    size = len(_movie_fragment(sequence, runs, [0] * len(runs)))
    offsets, position = [], size + 8
    for block in data:
        offsets.append(position)
        position += len(block)
    return _movie_fragment(sequence, runs, offsets) + _box(b"mdat", *data)


def parameter_sets(annex_b: bytes) -> tuple[bytes, bytes]:
    """The sequence and picture parameter sets in an encoder's header (ITU-T H.264 7.4.1, types 7 and 8).

    Raises:
        ValueError: there is not one of each.
    """
    found: dict[int, bytes] = {}
    for unit in _units(annex_b):
        found.setdefault(unit[0] & 0x1F, unit)
    if 7 not in found or 8 not in found:
        raise ValueError("the encoder's header holds no sequence and picture parameter set")
    return found[7], found[8]


def length_prefixed(annex_b: bytes) -> bytes:
    """A coded picture as it stands in an MP4 (14496-15 5.3.4.2): each unit after its length instead of a start code.

    Parameter sets and delimiters are left out, since ``avc1`` samples must not repeat what the sample entry says.
    """
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in _units(annex_b) if unit[0] & 0x1F not in (7, 8, 9))


def codecs(video: VideoTrack) -> str:
    """The codecs parameter of RFC 6381 for the two tracks, ``avc1.64001F, mp4a.40.2`` for example."""
    return f"avc1.{video.sps[1:4].hex().upper()}, mp4a.40.2"


def _units(annex_b: bytes) -> list[bytes]:
    """Network abstraction layer units between start codes (ITU-T H.264 annex B)."""
    units, start = [], annex_b.find(b"\0\0\1")
    while start >= 0:
        end = annex_b.find(b"\0\0\1", start + 3)
        # Zeros before the next start code belong to it: no unit ends in one.
        unit = annex_b[start + 3 : end if end >= 0 else len(annex_b)].rstrip(b"\0")
        if unit:
            units.append(unit)
        start = end
    return units


def _box(kind: bytes, *content: bytes) -> bytes:
    size = 8 + sum(map(len, content))
    return b"".join((struct.pack(">I4s", size, kind), *content))


def _full(kind: bytes, version: int, flags: int, *content: bytes) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *content)


def _movie_header(video: VideoTrack) -> bytes:
    """8.2.2. The duration is 0: it is that of the fragments to come."""
    times = struct.pack(">IIII", 0, 0, video.timescale, 0)
    rate_and_volume = struct.pack(">IH10x", 0x10000, 0x100)
    return _full(b"mvhd", 0, 0, times, rate_and_volume, _UNITY, bytes(24), struct.pack(">I", SOUND_TRACK + 1))


def _track_extends(track: int) -> bytes:
    """8.8.3. Every run says durations, sizes and flags itself."""
    return _full(b"trex", 0, 0, struct.pack(">IIIII", track, 1, 0, 0, 0))


def _video_track(video: VideoTrack) -> bytes:
    header = _track_header(VIDEO_TRACK, video.width, video.height, volume=0)
    media_header = _full(b"vmhd", 0, 1, bytes(8))
    return _box(b"trak", header, _media(b"vide", b"Video", video.timescale, media_header, _avc1(video)))


def _sound_track(sound: SoundTrack) -> bytes:
    header = _track_header(SOUND_TRACK, 0, 0, volume=0x100)
    # 8.6.6: play from behind the priming on, to the end of all fragments (duration 0).
    edit = _box(b"edts", _full(b"elst", 0, 0, struct.pack(">IIiI", 1, 0, sound.priming, 0x10000)))
    media_header = _full(b"smhd", 0, 0, bytes(4))
    return _box(b"trak", header, edit, _media(b"soun", b"Sound", sound.rate, media_header, _mp4a(sound)))


def _track_header(track: int, width: int, height: int, *, volume: int) -> bytes:
    """8.3.2. Enabled and in the movie (flags 3)."""
    times = struct.pack(">IIIII", 0, 0, track, 0, 0)
    placing = struct.pack(">8xHHHH", 0, 0, volume, 0)
    return _full(b"tkhd", 0, 3, times, placing, _UNITY, struct.pack(">II", width << 16, height << 16))


def _media(handler: bytes, name: bytes, timescale: int, media_header: bytes, entry: bytes) -> bytes:
    """8.4. The sample tables are empty: all samples are in fragments."""
    header = _full(b"mdhd", 0, 0, struct.pack(">IIIIHH", 0, 0, timescale, 0, _LANGUAGE, 0))
    named = _full(b"hdlr", 0, 0, struct.pack(">I4s12x", 0, handler), name, b"\0")
    here = _box(b"dinf", _full(b"dref", 0, 0, struct.pack(">I", 1), _full(b"url ", 0, 1)))
    tables = _box(
        b"stbl",
        _full(b"stsd", 0, 0, struct.pack(">I", 1), entry),
        *(_full(kind, 0, 0, bytes(4)) for kind in (b"stts", b"stsc")),
        _full(b"stsz", 0, 0, bytes(8)),
        _full(b"stco", 0, 0, bytes(4)),
    )
    return _box(b"mdia", header, named, _box(b"minf", media_header, here, tables))


def _avc1(video: VideoTrack) -> bytes:
    """14496-15 5.4.2.1, with the configuration of 5.3.3.1 and the colours as BT.709 in studio range (12.1.5)."""
    config = struct.pack(">B3sBB", 1, video.sps[1:4], 0xFC | 3, 0xE0 | 1)
    config += struct.pack(">H", len(video.sps)) + video.sps + b"\1" + struct.pack(">H", len(video.pps)) + video.pps
    if video.sps[1] not in (66, 77, 88):
        config += bytes((0xFC | 1, 0xF8, 0xF8, 0))  # High profile: 4:2:0, eight bits, no further sets
    entry = struct.pack(">6xH16xHHIIIH32sHh", 1, video.width, video.height, 72 << 16, 72 << 16, 0, 1, b"", 24, -1)
    colours = _box(b"colr", b"nclx", struct.pack(">HHHB", 1, 1, 1, 0))
    square = _box(b"pasp", struct.pack(">II", 1, 1))
    return _box(b"avc1", entry, _box(b"avcC", config), colours, square)


def _mp4a(sound: SoundTrack) -> bytes:
    """14496-14 5.6, with the descriptors of 14496-1 7.2.6: stream, decoder (AAC), its configuration, packaging."""
    decoder = struct.pack(">BB3xII", 0x40, 0x15, sound.bit_rate, sound.bit_rate)
    decoder = _descriptor(4, decoder + _descriptor(5, sound.config))
    stream = _descriptor(3, bytes(3) + decoder + _descriptor(6, b"\2"))
    entry = struct.pack(">6xH8xHHHHI", 1, 1, 16, 0, 0, sound.rate << 16)
    return _box(b"mp4a", entry, _full(b"esds", 0, 0, stream))


def _descriptor(tag: int, content: bytes) -> bytes:
    if len(content) > 127:
        raise ValueError(f"a descriptor of {len(content)} bytes needs a longer length field")
    return bytes((tag, len(content))) + content


def _user_data(metadata: Mapping[str, str]) -> bytes:
    """Notes in the layout of iTunes, which every common player reads."""
    if unknown := sorted(set(metadata) - set(_TAGS)):
        raise ValueError(f"metadata {', '.join(unknown)} can't be written: {', '.join(_TAGS)} can")
    notes = (
        _box(_TAGS[name], _box(b"data", struct.pack(">II", 1, 0), text.encode())) for name, text in metadata.items()
    )
    handler = _full(b"hdlr", 0, 0, struct.pack(">I4s4s9x", 0, b"mdir", b"appl"))
    return _box(b"udta", _full(b"meta", 0, 0, handler, _box(b"ilst", *notes)))


def _movie_fragment(sequence: int, runs: Sequence[Run], offsets: Sequence[int]) -> bytes:
    header = _full(b"mfhd", 0, 0, struct.pack(">I", sequence))
    return _box(b"moof", header, *(_track_fragment(run, offset) for run, offset in zip(runs, offsets, strict=True)))


def _track_fragment(run: Run, offset: int) -> bytes:
    """8.8.7 (offsets count from the moof), 8.8.12 (64-bit time), 8.8.8 (offset; duration, size, flags of each)."""
    header = _full(b"tfhd", 0, 0x020000, struct.pack(">I", run.track))
    time = _full(b"tfdt", 1, 0, struct.pack(">Q", run.start))
    table = b"".join(
        struct.pack(">III", sample.duration, len(sample.data), _SYNC if sample.sync else _NOT_SYNC)
        for sample in run.samples
    )
    return _box(b"traf", header, time, _full(b"trun", 0, 0x701, struct.pack(">Ii", len(run.samples), offset), table))
