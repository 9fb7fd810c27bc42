"""From frames and samples to an MP4 file: H.264 (yuv420p) and AAC."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from PIL import Image

from interbench.media.encoding import macroblock_tree
from interbench.media.speech import Samples

AUDIO_RATE = 22_050
"""The synthesizer's own rate: nothing is resampled."""


def write_film(
    path: Path,
    frames: Iterable[Image.Image],
    samples: Samples,
    *,
    fps: int,
    faststart: bool = True,
    key_frames_s: int = 2,
) -> None:
    """Write ``frames`` (RGB, all of one size) with ``samples`` (mono at :data:`AUDIO_RATE`), a key frame at least every
    ``key_frames_s`` seconds.

    One encoder thread and no time stamps of the day: the same input gives the same bytes.
    """
    placement = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", format="mp4", options={**placement, "fflags": "+bitexact"}) as container:
        video = container.add_stream("libx264", rate=fps)
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        video.codec_context.gop_size = fps * key_frames_s
        # The cheap half of veryfast's searches: drawn pictures gain little from the rest.
        search = {"preset": "veryfast", "crf": "20", "x264-params": "ref=1:bframes=0:me=dia:subme=1:trellis=0"}
        audio = container.add_stream("aac", rate=AUDIO_RATE, layout="mono")
        audio.bit_rate = 96_000
        per_frame = AUDIO_RATE // fps
        shown: Image.Image | None = None
        for index, image in enumerate(frames):
            if index == 0:
                video.width, video.height = image.size
                video.options = {**search, **macroblock_tree(image.width)}
            if image is not shown:  # a picture that stands still is made ready once
                rgb: VideoFrame = VideoFrame.from_image(image)  # type: ignore[no-untyped-call]
                picture, shown = rgb.reformat(format="yuv420p"), image
            picture.pts = index
            container.mux(video.encode(picture))
            part = samples[index * per_frame : (index + 1) * per_frame]
            if len(part):
                sound = AudioFrame.from_ndarray(np.ascontiguousarray(part[None, :]), format="fltp", layout="mono")
                sound.sample_rate = AUDIO_RATE
                sound.pts = index * per_frame
                container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
