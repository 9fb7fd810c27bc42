"""H.264 without delay: a picture in, its coded bytes out, an IDR picture wherever a block begins."""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags
from av.video.frame import PictureType
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from livetalk.base.errors import EncoderError
from livetalk.video.mp4_boxes import length_prefixed, parameter_sets

SOFTWARE = "libx264"
# Encoders on other hardware hand pictures back when it suits them, and a fragment would have to wait.
HARDWARE = ("h264_nvenc",)

# A face at 512 x 512 takes 1.4 Mbit/s; without a ceiling, noise would take 18.
_CEILING = {"maxrate": "8M", "bufsize": "4M"}
_SETTINGS = {
    SOFTWARE: {
        "preset": "superfast", "tune": "zerolatency", "crf": "20", "forced-idr": "1", "sc_threshold": "0", **_CEILING,
    },
    "h264_nvenc": {
        "preset": "p4", "tune": "ull", "zerolatency": "1", "delay": "0", "forced-idr": "1", "no-scenecut": "1",
        "rc": "vbr", "cq": "23", **_CEILING,
    },
}  # fmt: skip
_NEVER = 1_000_000  # pictures until an encoder begins a group by itself

Frames = npt.NDArray[np.uint8]


class H264Encoder:
    """One stream of pictures.

    Args:
        name: an encoder of FFmpeg's that ``SOFTWARE`` or ``HARDWARE`` names.

    Raises:
        EncoderError: it can't be opened on this machine.
        ValueError: an odd size, which 4:2:0 colour does not have.
    """

    def __init__(self, width: int, height: int, fps: int, name: str = SOFTWARE) -> None:
        if width % 2 or height % 2:
            raise ValueError(f"H.264 with 4:2:0 colour needs an even size, got {width} x {height}")
        if name not in _SETTINGS:
            raise EncoderError(f"There is no video encoder {name!r}. Choose auto, {', '.join(_SETTINGS)}.")
        self.name = name
        self._count = 0
        self._time_base = Fraction(1, fps)
        self._reformatter = VideoReformatter()
        try:
            codec = self._codec = cast(av.VideoCodecContext, av.CodecContext.create(name, "w"))
            codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
            codec.framerate, codec.time_base = Fraction(fps), self._time_base
            codec.gop_size, codec.max_b_frames = _NEVER, 0
            codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
            codec.colorspace, codec.color_range = Colorspace.ITU709, ColorRange.MPEG
            codec.flags |= Flags.global_header
            # Several threads would code slices of one picture side by side, and under a ceiling of the bit rate each
            # asks how far the others are: what comes out depends on their race.
            codec.thread_count = 1
            codec.options = _SETTINGS[name]
            codec.open()
            self.sps, self.pps = parameter_sets(codec.extradata or b"")
        except (av.error.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise EncoderError(
                f"The video encoder {name} can't be used on this machine ({reason}). Choose auto or {SOFTWARE}."
            ) from error

    def encode(self, frames: Frames) -> list[bytes]:
        """Code uint8 pictures [T, H, W, 3] of which the first becomes an IDR picture; T samples of an MP4."""
        return [self._encode(frame, first=place == 0) for place, frame in enumerate(np.ascontiguousarray(frames))]

    def _encode(self, frame: Frames, *, first: bool) -> bytes:
        picture = self._reformatter.reformat(
            av.VideoFrame.from_numpy_buffer(frame, format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,  # by itself it would start one for each core of the machine
        )
        picture.pts, picture.time_base = self._count, self._time_base
        picture.pict_type = PictureType.I if first else PictureType.NONE
        packets = self._codec.encode(picture)
        if len(packets) != 1 or packets[0].pts != self._count or packets[0].is_keyframe != first:
            raise EncoderError(
                f"The video encoder {self.name} did not hand back each picture at once, as a stream needs."
            )
        self._count += 1
        return length_prefixed(bytes(packets[0]))


def macroblock_tree(width: int) -> dict[str, str]:
    """The option of libx264 that says whether pictures of this width are planned with its macroblock tree.

    Where a processor has AVX-512, x264 (build 165) takes a row of the tree eight macroblocks at a time, and at the end
    of a row whose number of them is no multiple of eight it reads memory that nothing has written: the same pictures
    then come out differently each time. Such widths do without the tree; for the same ``crf`` their files are better
    and up to twice as large. Without delay, as ``H264Encoder`` codes, there is no tree. (``interbench.media.encoding``
    has a copy.)
    """
    return {"mbtree": "1" if -(-width // 16) % 8 == 0 else "0"}


def open_encoder(width: int, height: int, fps: int, name: str = "auto") -> H264Encoder:
    """The named encoder; for ``auto`` the first of ``HARDWARE`` that really codes pictures here, else ``SOFTWARE``.

    Raises:
        EncoderError: the named one can't be used here.
    """
    if name != "auto":
        return H264Encoder(width, height, fps, name)
    for candidate in HARDWARE:
        if works(candidate, width, height):
            try:
                return H264Encoder(width, height, fps, candidate)
            except EncoderError:
                continue  # a card opens only so many encoders at a time
    return H264Encoder(width, height, fps, SOFTWARE)


@functools.lru_cache
def works(name: str, width: int, height: int) -> bool:
    """Whether an encoder codes pictures of this size here, each at once. Tried once for a process."""
    try:
        encoder = H264Encoder(width, height, 16, name)
        for _ in range(2):
            encoder.encode(np.zeros((3, height, width, 3), np.uint8))
    except (EncoderError, av.error.FFmpegError):
        return False
    return True
