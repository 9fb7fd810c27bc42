"""Clips as phones, browsers, editors and live muxers write them, made here with the library that they use too."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer

FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof+skip_trailer"}
Change = Callable[[Any], object]


def remux(
    source: Path,
    target: Path,
    change: Change = lambda packet: None,
    *,
    setup: Callable[[Any], object] = lambda streams: None,
    options: Mapping[str, str] | None = None,
) -> Path:
    """Copy the packets of ``source``; ``change`` may alter one, or drop it by giving False."""
    with av.open(str(source)) as reader, av.open(str(target), "w", options=dict(options or {})) as writer:
        streams = {stream.index: writer.add_stream_from_template(stream) for stream in reader.streams}
        setup(streams)
        for packet in reader.demux():
            if packet.dts is None or change(packet) is False:
                continue
            packet.stream = streams[packet.stream.index]
            writer.mux(packet)
    return target


def shifted(seconds: float) -> Change:
    """Timestamps later by ``seconds``, earlier if it is negative."""

    def change(packet: Any) -> None:
        ticks = round(seconds / packet.time_base)
        packet.pts += ticks
        packet.dts += ticks

    return change


def with_subtitles(source: Path, target: Path, until_s: float) -> Path:
    """The clip with a subtitle track that goes on until ``until_s``."""
    hours, rest = divmod(until_s, 3600)
    text = f"1\n00:00:00,000 --> 00:00:01,000\nhello\n\n2\n00:00:01,000 --> {hours:02.0f}:00:{rest:06.3f}\nend\n"
    text = text.replace(f"{rest:06.3f}", f"{rest:06.3f}".replace(".", ","))
    with (
        av.open(str(source)) as reader,
        av.open(io.BytesIO(text.encode()), format="srt") as words,
        av.open(str(target), "w") as writer,
    ):
        streams = {stream.index: writer.add_stream_from_template(stream) for stream in reader.streams}
        subtitles = writer.add_stream_from_template(words.streams[0])
        assert isinstance(words, InputContainer)
        for packet in words.demux():
            if packet.dts is not None:
                packet.stream = subtitles
                writer.mux(packet)
        for packet in reader.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                writer.mux(packet)
    return target


def with_second_sound(source: Path, target: Path, seconds: float) -> Path:
    """The clip with another sound track, which lasts ``seconds``."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        streams = {stream.index: writer.add_stream_from_template(stream) for stream in reader.streams}
        dub: Any = writer.add_stream("aac", rate=48_000, layout="mono")
        dub.disposition = 0
        for packet in reader.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                writer.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, round(seconds * 48_000)), np.float32), "fltp", "mono")
        frame.sample_rate = 48_000
        writer.mux(dub.encode(frame))
        writer.mux(dub.encode(None))
    return target


def encoded(
    target: Path,
    *,
    frames: int = 10,
    size: tuple[int, int] = (96, 64),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    aspect: Fraction | None = None,
    picture: Callable[[int], np.ndarray] | None = None,
) -> Path:
    """A picture track alone: by default red above, blue below, a green bar at the left."""
    width, height = size
    with av.open(str(target), "w") as writer:
        stream: Any = writer.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.options = dict(options or {})
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for index in range(frames):
            pixels = flag(width, height) if picture is None else picture(index)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = index
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    return target


def flag(width: int, height: int) -> np.ndarray:
    """A picture that looks different however it is turned."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, :, 0] = 200
    pixels[height // 2 :, :, 2] = 200
    pixels[:, : width // 4] = (0, 200, 0)
    return pixels


def boxes(data: bytes) -> list[tuple[bytes, int, int]]:
    """Name, start and end of the outermost boxes of an MP4 file."""
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big") or len(data) - at
        found.append((data[at + 4 : at + 8], at, at + size))
        at += size
    return found


def with_declared_duration(data: bytes, seconds: float) -> bytes:
    """A fragmented file whose movie extends header says how long it is."""
    out = bytearray(data)
    movie, extends = out.find(b"moov"), out.find(b"mvex")
    header = out.find(b"mvhd")
    (scale,) = struct.unpack_from(">I", out, header + 4 + 12)
    box = struct.pack(">I4sII", 16, b"mehd", 0, round(seconds * scale))
    for at in (movie, extends):
        struct.pack_into(">I", out, at - 4, struct.unpack_from(">I", out, at - 4)[0] + len(box))
    out[extends + 4 : extends + 4] = box
    return bytes(out)
