"""Sound and moving pictures. This room alone touches codecs.

Files that come from a system under test are foreign: they may be truncated, hostile or built to exhaust a decoder. They
are decoded in worker processes (:mod:`interbench.media.worker`) with bounded memory, processor time, file size and
address space, without the harness's environment, and each call has a time limit after which the worker is replaced.

A clip's own clock starts with its first picture or sound, whichever comes first; all times below are on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import numpy as np
import numpy.typing as npt

from interbench.base.errors import MediaError, UsageError
from interbench.base.scratch import Scratch
from interbench.base.workers import WorkerDiedError, WorkerError, WorkerPool, WorkerTimeoutError, python_worker
from interbench.domain.clips import ClipFacts
from interbench.media.limits import AUDIO_RATE as AUDIO_RATE
from interbench.media.limits import Limits as Limits
from interbench.media.limits import SoundFacts as SoundFacts

_WORKER = "interbench.media.worker"
_INHERITED = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG")
_ENCODERS = {"wav": "pcm_s16le", "mp3": "libmp3lame", "flac": "flac", "ogg": "libopus"}
_BITS = {"ogg": 32_000}
"""Bits per second where the codec's own choice is not taken."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some consecutive frames of a clip."""

    first: int
    """Number of the first of them."""
    total: int
    """Frames of the whole clip at the rate that was asked for."""
    fps: float
    """Frames a second of the file itself."""
    late_s: float
    """How much later than the clip's sound its picture begins; 0 if it does not."""
    pixels: npt.NDArray[np.uint8]
    """RGB [frames, height, width, 3]."""


class MediaPool:
    """Decodes foreign media in ``size`` worker processes, which start when first needed.

    Use as an async context manager, or call :meth:`close`. Every method raises
    :class:`interbench.base.errors.MediaError` with one of the codes ``missing``, ``symlink``, ``not_a_file``,
    ``unreadable``, ``empty``, ``too_large``, ``too_long``, ``too_many_streams``, ``not_media``, ``no_video``,
    ``truncated``, ``undecodable``, ``memory``, ``timeout``, ``crashed``, ``no_space``.
    """

    def __init__(self, size: int = 1, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._workers = WorkerPool(_command(self.limits), size, env=worker_environment())
        self._exchange: Scratch | None = None
        self._handed_over = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the workers and remove what they have written."""
        await self._workers.close()
        if self._exchange is not None:
            await asyncio.to_thread(self._exchange.remove)
            self._exchange = None

    async def inspect(self, path: Path) -> ClipFacts:
        """Facts about a clip, after decoding every frame and all of its sound: a file cut short is refused.

        ``path`` itself must not be a symbolic link.
        """
        return ClipFacts(**(await self._call("inspect", path))["facts"])

    async def audio(self, path: Path) -> npt.NDArray[np.float32] | None:
        """All of the first audio track, 16 kHz mono in -1..1, on the clip's clock; None if there is no track.

        Where the track starts after the picture or has gaps there is silence: times in it are times in the clip.
        """
        async with self._handover() as target:
            answer = await self._call("audio", path, out=str(target))
            if answer["samples"] is None:
                return None
            return await asyncio.to_thread(np.fromfile, target, np.float32)

    async def plain_copy(self, path: Path, target: Path) -> ClipFacts:
        """Write a copy of a clip's picture that every loader shows as a player shows the clip; facts about the copy.

        H.264 in MP4 without sound: upright, square pixels, constant rate, at most 2048x2048 pixels. ``target``
        (absolute) is overwritten and must be in a folder of the harness's own.
        """
        await self._call("plain_copy", path, out=str(target))
        return await self.inspect(target)

    async def blind_copy(self, path: Path, target: Path, defect: str = "") -> ClipFacts:
        """Write a copy of a clip that tells nothing of where it comes from, for people who rate it; facts about it.

        An MP4 that browsers play. ``defect`` is one of :data:`interbench.media.blind.Defect`. ``target`` (absolute) is
        overwritten and must be in a folder of the harness's own.
        """
        await self._call("blind_copy", path, out=str(target), defect=defect)
        return await self.inspect(target)

    async def reshape(
        self,
        path: Path,
        target: Path,
        *,
        crop: tuple[int, int, int, int] | None = None,
        start_s: float = 0.0,
        seconds: float | None = None,
        speech: Path | None = None,
    ) -> None:
        """Write to ``target`` what of a clip is an answer: H.264 and AAC in MP4.

        Args:
            crop: x, y, width and height in pixels of what is kept of the picture.
            start_s: what lies before is left out.
            seconds: the length that is kept from there on; None for all.
            speech: a WAV file of the harness's own (absolute) that takes the place of the clip's sound.
        """
        arguments: dict[str, Any] = {"crop": crop, "start_s": start_s, "seconds": seconds}
        if speech is not None:
            arguments["speech"] = str(speech)
        await self._call("reshape", path, out=str(target), **arguments)

    async def edit(
        self, path: Path, target: Path, op: str, value: float = 0.0, *, donor: Path | None = None, **more: Any
    ) -> ClipFacts:
        """Write an edited copy of a clip (:func:`interbench.media.edit.edit`); facts about it.

        ``target`` (absolute) is overwritten and must be in a folder of the harness's own.
        """
        await self._call("edit", path, out=str(target), op=op, value=value, **_with(donor), **more)
        return await self.inspect(target)

    async def measure(self, path: Path, original: Path, what: str, other: Path | None = None) -> float:
        """What an edit has come to: :func:`interbench.media.measure.measure` on the result, its original and, of some
        edits, the donor."""
        further = {**_with(original), **_with(other, "other")}
        return float((await self._call("measure", path, what=what, **further))["value"])

    async def excerpt(self, path: Path, target: Path, parts: Sequence[tuple[float, float]], fps: int) -> ClipFacts:
        """Write what a clip shows in some parts of it, ``fps`` times a second, as a video; facts about it.

        ``parts`` are (from, to) in seconds after its first picture, ascending and apart; they follow one another. The
        video and ``target`` are as for :meth:`plain_copy`.
        """
        await self._call("excerpt", path, out=str(target), parts=[list(part) for part in parts], fps=fps)
        return await self.inspect(target)

    async def passage(self, path: Path, target: Path, start: float, end: float) -> int:
        """Write what plays in ``path`` from ``start`` to ``end``, in seconds of its own time stamps, as a clip; how
        many pictures it has. ``target`` as for :meth:`plain_copy`."""
        return int((await self._call("passage", path, out=str(target), start=start, end=end))["pictures"])

    async def portrait(self, path: Path) -> None:
        """Decode a picture of a person: PNG, JPEG or WebP."""
        await self._call("portrait", path)

    async def picture(self, path: Path, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """A still picture (PNG, JPEG or WebP), cut to the shape of ``size`` and scaled: sRGB ``[height, width, 3]``."""
        width, height = size
        async with self._handover() as target:
            await self._call("picture", path, width=width, height=height, out=str(target))
            pixels = await asyncio.to_thread(np.fromfile, target, np.uint8)
        return pixels.reshape(height, width, 3)

    async def frames(self, path: Path, count: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """``count`` frames as a player shows them, evenly spaced by time, scaled to ``size`` (width, height).

        RGB ``[count, height, width, 3]``. Frame ``k`` is the one on screen at ``(k + 0.5) / count`` of the picture's
        duration, so a clip of fewer frames gives some of them repeatedly.
        """
        width, height = size
        if not (count >= 1 and width >= 1 and height >= 1):
            raise ValueError("count, width and height must be positive")
        async with self._handover() as target:
            await self._call("frames", path, count=count, width=width, height=height, out=str(target))
            pixels = await asyncio.to_thread(np.fromfile, target, np.uint8)
        return pixels.reshape(count, height, width, 3)

    async def sequence(
        self, path: Path, *, rate: float | None = None, size: tuple[int, int] | None = None
    ) -> AsyncGenerator[Stretch, None]:
        """All frames of a clip in order, as a player shows them, a stretch at a time.

        Args:
            path: the clip.
            rate: frames a second, each the one on screen then; None for every frame of the file once.
            size: width and height; None for those of the clip as shown.
        """
        first = 0
        while True:
            async with self._handover() as target:
                answer = await self._call("sequence", path, first=first, rate=rate, size=size, out=str(target))
                pixels = await asyncio.to_thread(np.fromfile, target, np.uint8)
            shape = (answer["count"], answer["height"], answer["width"], 3)
            yield Stretch(first, answer["total"], answer["fps"], answer["late_s"], pixels.reshape(shape))
            first += answer["count"]
            if first >= answer["total"]:
                return

    async def cut(
        self,
        path: Path,
        target: Path,
        *,
        start: float,
        duration: float,
        side: int,
        rate: int,
        box: tuple[int, int, int, int] | None = None,
    ) -> ClipFacts:
        """Write a piece of a clip as a square clip; facts about it.

        H.264 and FLAC in Matroska. ``target`` (absolute) is overwritten and must be in a folder of the harness's own.

        Args:
            path: the clip; a link to it is followed.
            target: where the piece goes.
            start: seconds from the first picture.
            duration: seconds.
            side: pixels along each side.
            rate: frames a second.
            box: left, top, width and height of what is cut out; None for the largest square in the middle.
        """
        arguments = {"start": start, "duration": duration, "box": box, "side": side, "rate": rate}
        await self._call("cut", path, out=str(target), **arguments)
        return await self.inspect(target)

    @contextlib.asynccontextmanager
    async def _handover(self) -> AsyncIterator[Path]:
        """A name in the pool's private folder for a worker to write to; what it wrote is removed afterwards."""
        if self._exchange is None:
            self._exchange = Scratch("media")
        self._handed_over += 1
        target = self._exchange.path / str(self._handed_over)
        try:
            yield target
        finally:
            target.unlink(missing_ok=True)

    async def _call(self, task: str, path: Path, **arguments: Any) -> dict[str, Any]:
        try:
            return await self._workers.call(_request(task, path, **arguments), self.limits.timeout_s)
        except WorkerTimeoutError:
            raise _timed_out(path, self.limits) from None
        except WorkerDiedError:
            raise _crashed(path) from None
        except WorkerError as error:
            raise MediaError(error.code, f"{path}: {error}") from None


def probe_audio_files(paths: Sequence[Path], limits: Limits | None = None) -> list[SoundFacts | MediaError]:
    """What is in each sound file, or why it can't be read; blocks.

    One worker process serves as many of them as it survives. The errors have the codes of :class:`MediaPool`, and
    ``no_audio`` for a file without an audio track.
    """
    limits = limits or Limits()
    results: list[SoundFacts | MediaError] = []
    while rest := paths[len(results) :]:
        requests = [_request("probe_audio", path) for path in rest]
        answers, failure = _ask(requests, limits)
        for path, answer in zip(rest, answers, strict=False):
            error = answer.get("error")
            if error is None:
                results.append(SoundFacts(**answer["facts"]))
            else:
                results.append(MediaError(error["code"], f"{path}: {error['message']}"))
        if len(answers) < len(rest):
            culprit = rest[len(answers)]
            results.append(_timed_out(culprit, limits) if failure == "timeout" else _crashed(culprit))
    return results


def first_frame_time(arrivals: Sequence[tuple[int, float]], facts: ClipFacts) -> float:
    """When the first frame of a clip that arrived in pieces could be shown.

    Args:
        arrivals: per piece (bytes received up to and including it, time), in order of arrival.
        facts: of the whole clip; without ``first_frame_bytes`` the whole file is needed.

    Raises:
        ValueError: there are no arrivals.
    """
    if not arrivals:
        raise ValueError("a clip that never arrived has no first frame")
    return _arrival(arrivals, facts, facts.first_frame_bytes)


def first_speech_time(arrivals: Sequence[tuple[int, float]], facts: ClipFacts, first_frame_s: float) -> float | None:
    """When the first audible sample of a clip could be played; None if nothing is heard in it.

    Playback begins with the first frame and reaches the sample as far into it as the sample lies in the clip, or when
    the piece that holds it arrives, whichever is later. Audible is what :attr:`ClipFacts.audible` says.

    Args:
        arrivals: as for :func:`first_frame_time`; empty for a clip that was handed over whole.
        facts: of the whole clip; without ``speech_start_bytes`` the whole file is needed.
        first_frame_s: when the first frame could be shown.
    """
    if facts.speech_start_s is None:
        return None
    played = first_frame_s + facts.speech_start_s
    return max(played, _arrival(arrivals, facts, facts.speech_start_bytes)) if arrivals else played


def _arrival(arrivals: Sequence[tuple[int, float]], facts: ClipFacts, needed: int | None) -> float:
    """When the first ``needed`` bytes were there; the whole file if that is None."""
    enough = facts.bytes if needed is None else needed
    return next((time for received, time in arrivals if received >= enough), arrivals[-1][1])


def encode_audio(samples: npt.NDArray[np.float32], rate: int, path: Path, *, bits: int | None = None) -> None:
    """Write mono ``samples`` in -1..1 as 16-bit WAV, FLAC, MP3 or Opus in Ogg, whichever the suffix says.

    Same input, same bytes. ``bits``: per second, of MP3 and Opus; by default 24,000 and 32,000.

    Raises:
        UsageError: the suffix is none of .wav, .flac, .mp3 and .ogg.
    """
    kind = path.suffix.lower()[1:]
    if kind not in _ENCODERS:
        known = ", ".join(f".{kind}" for kind in _ENCODERS)
        raise UsageError(f"{path}: sound is written as {known}; give the file one of these suffixes.")
    with path.open("wb") as file:
        _encode_audio(samples, rate, kind, file, bits)


def encoded_audio(samples: npt.NDArray[np.float32], rate: int, kind: str) -> bytes:
    """What :func:`encode_audio` would write; ``kind`` is wav, flac, mp3 or ogg."""
    buffer = io.BytesIO()
    _encode_audio(samples, rate, kind, buffer)
    return buffer.getvalue()


def _encode_audio(
    samples: npt.NDArray[np.float32], rate: int, kind: str, target: BinaryIO, bits: int | None = None
) -> None:
    import av

    with av.open(target, "w", format=kind, options={"fflags": "+bitexact"}) as container:
        stream = cast("av.AudioStream", container.add_stream(_ENCODERS[kind], rate=rate, layout="mono"))
        stream.codec_context.options = {"flags": "+bitexact"}
        if (wanted := bits or _BITS.get(kind)) is not None:
            stream.codec_context.bit_rate = wanted
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
        frame = av.AudioFrame.from_ndarray(np.clip(samples, -1.0, 1.0).reshape(1, -1), format="flt", layout="mono")
        frame.sample_rate = rate
        frame.pts = 0
        for piece in resampler.resample(frame):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


def _command(limits: Limits) -> list[str]:
    return [*python_worker(_WORKER), json.dumps(asdict(limits))]


def _request(task: str, path: Path, **arguments: Any) -> dict[str, Any]:
    return {"task": task, "path": str(path.absolute()), **arguments}


def _with(clip: Path | None, name: str = "donor") -> dict[str, str]:
    return {} if clip is None else {name: str(clip.absolute())}


def worker_environment() -> dict[str, str]:
    """Of a process that decodes: foreign data has no business with keys and proxies, nor with modules in the current
    folder."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    # Every thread of a numeric library would reserve part of the worker's bounded address space.
    return kept | {"PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _ask(requests: Sequence[Mapping[str, Any]], limits: Limits) -> tuple[list[dict[str, Any]], str]:
    """Answers of one worker to ``requests`` until it stops, and why it stopped early (``timeout``, ``crash``)."""
    lines = "".join(json.dumps(request) + "\n" for request in requests).encode()
    failure = "crash"
    try:
        output = subprocess.run(
            _command(limits),
            input=lines,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=worker_environment(),
            timeout=limits.timeout_s,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as expired:
        output, failure = expired.output or b"", "timeout"
    return [json.loads(line) for line in output.splitlines(keepends=True) if line.endswith(b"\n")], failure


def _timed_out(path: Path, limits: Limits) -> MediaError:
    return MediaError(
        "timeout", f"{path}: decoding was given up after {limits.timeout_s:g} s. Deliver a shorter or smaller file."
    )


def _crashed(path: Path) -> MediaError:
    return MediaError(
        "crashed",
        f"{path}: the process that decodes it was brought down by it. The file is damaged or hostile; write it with "
        "another encoder, and keep the file if you want to report it.",
    )
