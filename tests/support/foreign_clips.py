"""Clips as other systems write them: test patterns of FFmpeg's own filters, with a voice or without a sound."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph

from interbench.domain.persona import Voice
from interbench.media.speech import synthesize

_CLOCK = Fraction(1, 90_000)
SPOKEN = "Well, that depends on the weather, doesn't it? Take a coat with you, and do call me when you are there."


def pattern(source: str, count: int) -> Iterator[av.VideoFrame]:
    """The first frames of one of FFmpeg's sources of pictures, such as ``testsrc2=size=320x180:rate=25``."""
    graph = Graph()
    name, _, told = source.partition("=")
    graph.link_nodes(graph.add(name, told), graph.add("buffersink")).configure()
    for _ in range(count):
        pulled = graph.vpull()
        assert isinstance(pulled, av.VideoFrame)
        yield pulled


def write_pattern(
    path: Path,
    source: str,
    times: list[float],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    sound: str = "aac",
    rate: int = 22_050,
    layout: str = "mono",
    voice: str = "en-gb",
) -> Path:
    """A clip whose frames are shown at ``times``; ``sound`` names a codec, and without one there is no sound track."""
    pictures = list(pattern(source, len(times)))
    with av.open(str(path), "w") as target:
        video: Any = target.add_stream(codec, rate=30)
        video.width, video.height, video.pix_fmt = pictures[0].width, pictures[0].height, pix_fmt
        video.codec_context.time_base = _CLOCK
        video.codec_context.thread_count = 1
        if codec == "libx264":
            video.options = {"preset": "ultrafast", "crf": "20"}
        elif codec == "libvpx-vp9":
            video.options = {"deadline": "realtime", "cpu-used": "8", "crf": "24", "b": "0"}
        audio: Any = None
        if sound:
            audio = target.add_stream(sound, rate=rate, layout=layout)
        for picture, time in zip(pictures, times, strict=True):
            frame = picture.reformat(format=pix_fmt)
            frame.time_base, frame.pts = _CLOCK, round(time / _CLOCK)
            frame.pict_type = av.video.frame.PictureType.NONE
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
        if audio is not None:
            _say(target, audio, times[-1], voice)
    return path


def _say(target: Any, audio: Any, seconds: float, voice: str) -> None:
    speech = synthesize(SPOKEN, Voice(variant=voice))
    samples = speech.samples[: round(seconds * speech.rate)]
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None, :]), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = speech.rate, 0, Fraction(1, speech.rate)
    context = audio.codec_context
    resampler = av.AudioResampler(format=context.format, layout=context.layout, rate=context.sample_rate)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        target.mux(audio.encode(piece))
    target.mux(audio.encode(None))
