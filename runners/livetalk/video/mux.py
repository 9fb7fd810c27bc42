"""Frames and the given speech into one MP4: H.264 and AAC, playable from its first byte on (spec section 11)."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import numpy.typing as npt

from livetalk.base import termination
from livetalk.base.errors import OutputError
from livetalk.base.rates import VIDEO_FPS
from livetalk.video.h264 import macroblock_tree

SOUND_RATE = 48_000
_SOUND_BITRATE = 96_000
_VIDEO_OPTIONS = {"crf": "18", "preset": "veryfast"}
_VIDEO_THREADS = 4
_ENDINGS = (".mp4", ".m4v")

Frames = npt.NDArray[np.uint8]
Sound = npt.NDArray[np.float32]


def require_writable(path: Path) -> None:
    """Find out before the work begins whether a clip can be written here.

    Raises:
        OutputError: the path is a folder or ends otherwise than an MP4, its folder does not exist, or nothing can be
            written there.
    """
    try:
        if not path.name or path.is_dir():
            raise OutputError(f"{path} is a folder; give the name of the MP4 to write.")
        if path.suffix.lower() not in _ENDINGS:
            raise OutputError(
                f"{path} does not end in {' or '.join(_ENDINGS)}, and nothing but MP4 is written. Choose another "
                "--output."
            )
        if not path.parent.exists():
            raise OutputError(f"There is no folder {path.parent}. Make it, or choose another --output for {path.name}.")
        partial = _partial(path)
        with termination.undivided():
            partial.touch()
            partial.unlink()
    except OSError as error:
        raise OutputError(f"{path} can't be written: {error.strerror}. Choose another --output.") from error


def _partial(path: Path) -> Path:
    """Where a clip grows until it is complete."""
    return path.with_name(f".{path.name}.part")


class VideoWriter:
    """Writes a talking clip block by block. Use it as a context manager.

    The file appears under its name only when it is complete; after an error nothing is left behind, nor when a signal
    ends the program. The same pictures, sound and metadata give the same bytes on the same machine.

    Args:
        path: the MP4 to write.
        sound: mono float32 at 48 kHz; what outlasts the frames is cut. None for a silent clip.
        metadata: written into the file, for example ``comment``.

    Raises:
        OutputError: nothing can be written there.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        *,
        sound: Sound | None = None,
        fps: int = VIDEO_FPS,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        if width % 2 or height % 2:
            raise ValueError(f"H.264 with 4:2:0 colour needs an even size, got {width} x {height}")
        self._path = path
        self._partial = _partial(path)
        self._fps = fps
        self._shape = (height, width, 3)
        self._sound = np.zeros(0, np.float32) if sound is None else sound
        self._frames = 0
        self._samples = 0
        require_writable(path)
        self._settled = termination.at_end(lambda: self._partial.unlink(missing_ok=True))
        self._container = av.open(str(self._partial), "w", format="mp4", options={"movflags": "+faststart"})
        self._container.metadata.update(metadata or {})
        self._video = self._container.add_stream("libx264", rate=fps, options=_VIDEO_OPTIONS | macroblock_tree(width))
        # By itself it would start more where more processors are free, and code pictures differently for it.
        self._video.codec_context.thread_count = _VIDEO_THREADS
        self._video.width, self._video.height, self._video.pix_fmt = width, height, "yuv420p"
        self._video.time_base = self._video.codec_context.time_base = Fraction(1, fps)
        self._audio: av.AudioStream | None = None
        if sound is not None:
            self._audio = self._container.add_stream("aac", rate=SOUND_RATE, layout="mono")
            self._audio.bit_rate = _SOUND_BITRATE

    @property
    def frames(self) -> int:
        """Frames written so far."""
        return self._frames

    def write(self, frames: Frames) -> None:
        """Append uint8 frames [T, H, W, 3] and the sound that goes with them."""
        if frames.dtype != np.uint8 or frames.shape[1:] != self._shape:
            raise ValueError(f"expected uint8 frames of shape {self._shape}, got {frames.dtype} {frames.shape[1:]}")
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = self._frames, Fraction(1, self._fps)
            self._container.mux(self._video.encode(picture))
            self._frames += 1
        self._write_sound(self._frames * SOUND_RATE // self._fps)

    def close(self) -> None:
        """Finish the file and give it its name."""
        self._container.mux(self._video.encode(None))
        if self._audio is not None:
            self._container.mux(self._audio.encode(None))
        self._container.close()
        self._partial.replace(self._path)
        self._settled()

    def discard(self) -> None:
        """Give up and remove what was written."""
        try:
            self._container.close()
        except OSError:  # a full disk takes no end of the file either
            pass
        finally:
            self._partial.unlink(missing_ok=True)
            self._settled()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _write_sound(self, end: int) -> None:
        if self._audio is None:
            return
        samples = self._sound[self._samples : end]
        if len(samples):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, self._samples, Fraction(1, SOUND_RATE)
            self._container.mux(self._audio.encode(frame))
            self._samples += len(samples)
