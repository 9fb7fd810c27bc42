"""Speech in, frames out, block by block; denoising and decoding overlapped."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from livetalk.base.errors import SessionError
from livetalk.base.rates import AUDIO_RATE, VIDEO_FPS
from livetalk.render.config import FRAMES_PER_BLOCK, StreamConfig, block_frames, video_frames
from livetalk.render.model.audio import lead_in
from livetalk.render.model.block import BlockGenerator, Observer
from livetalk.render.model.dit import CausalDiT

SAMPLES_PER_FRAME = AUDIO_RATE // VIDEO_FPS

_A = TypeVar("_A")
_B = TypeVar("_B")


class NoiseSource(Protocol):
    """Where the noise of a session comes from."""

    def draw(self, block: int, out: Tensor) -> None:
        """Fill ``out`` [steps,3,16,h,w]: what the block starts from, then the draw of every re-noising."""


class FrameDecoder(Protocol):
    """A streaming video decoder (``livetalk.render.vae.VAEStream``)."""

    def decode(self, latents: Tensor) -> Tensor:
        """[1,16,k,h,w] to uint8 frames [T,H,W,3]; state persists from call to call."""

    def reset(self) -> None:
        """Forget the stream."""


class SpeechFeatures(Protocol):
    """Speech features of one utterance as its audio arrives (``livetalk.render.encoders.speech.SpeechStream``)."""

    def push(self, samples: np.ndarray) -> None:
        """Take 16 kHz mono float32 samples."""

    def close(self) -> None:
        """No more samples will come."""

    def ready(self, first_frame: int, last_frame: int) -> bool:
        """Whether the features of these video frames can be had."""

    def features(self, first_frame: int, last_frame: int) -> Tensor:
        """[frames, channels], both ends included."""


Stage = Literal["denoise", "clean", "decode"]


class Gate(Protocol):
    """Admits a session to a device that it shares with others."""

    def turn(self, stage: Stage, block: int) -> AbstractContextManager[object]:
        """Wait for the device; the stage's work is over when the context is left."""


class SeededNoise:
    """Noise from a seed; the same on the same kind of device."""

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.seed = seed
        self._generator = torch.Generator(device).manual_seed(seed)

    def draw(self, block: int, out: Tensor) -> None:
        out.normal_(generator=self._generator)


class GivenNoise:
    """Noise laid out as in the fixtures: ``noise`` [1,F,16,h,w] and ``step_noise`` [blocks,steps−1,3,16,h,w]."""

    def __init__(self, noise: Tensor, step_noise: Tensor) -> None:
        self._noise = noise[0].view(-1, FRAMES_PER_BLOCK, *noise.shape[2:])
        self._step_noise = step_noise

    def draw(self, block: int, out: Tensor) -> None:
        if block >= len(self._noise):
            raise SessionError(f"Noise was given for {len(self._noise)} blocks; block {block} has none.")
        out[0].copy_(self._noise[block])
        if len(out) > 1:
            out[1:].copy_(self._step_noise[block])


@dataclass(frozen=True, slots=True)
class FrameBlock:
    """One block of finished video."""

    index: int
    first_frame: int
    """Of the session."""
    frames: Tensor
    """uint8 [T,H,W,3] on the host; T is 9 for the session's first block, then 12."""
    latents: Tensor
    """[3,16,h,w] on the model's device."""
    seconds: float
    """From the block's speech features being there to its frames being on the host."""


def generate_latents(
    dit: CausalDiT,
    *,
    noise: Tensor,
    step_noise: Tensor,
    reference: Tensor,
    audio: Tensor,
    context: Tensor,
    stream: StreamConfig,
    timesteps: Sequence[float] | None = None,
    observe: Observer | None = None,
) -> Tensor:
    """A clip's latents in one call, with all noise given (spec 8).

    Args:
        noise: [1,F,16,h,w].
        step_noise: [blocks,steps−1,3,16,h,w].
        reference: [1,16,1,h,w].
        audio: conditions [P,F,d], or [P,F,1,1,d] as in the fixtures.
        context: [1,T,text_dim].
        timesteps: what the network is shown at each step; by default the schedule rounded to bfloat16.
        observe: called after every pass.

    Returns:
        [1,F,16,h,w].
    """
    count = noise.shape[1]
    if count % FRAMES_PER_BLOCK:
        raise ValueError(f"{count} latent frames are not a whole number of blocks of {FRAMES_PER_BLOCK}")
    generator = BlockGenerator(dit, stream.for_clip(count), timesteps=timesteps, observe=observe)
    generator.start(context, reference)
    source = GivenNoise(noise, step_noise)
    audio = audio.flatten(2, -1).to(dit.device)
    draws = torch.empty_like(generator.noise)
    blocks = []
    for b in range(count // FRAMES_PER_BLOCK):
        source.draw(b, draws)
        blocks.append(generator.denoise(audio[:, FRAMES_PER_BLOCK * b : FRAMES_PER_BLOCK * (b + 1)], draws))
        generator.clean()
    return torch.cat(blocks)[None]


def split_features(features: Tensor) -> Iterator[Tensor]:
    """A clip's speech features [4F−3, C] block by block: 9 rows, then 12 each."""
    for block in itertools.count():
        first, last = block_frames(block)
        if last >= len(features):
            if first < len(features):
                raise ValueError(f"{len(features)} video frames do not fill a whole number of blocks")
            return
        yield features[first : last + 1]


class Performer:
    """One session of video: ``start`` it, then draw blocks of frames from ``perform`` or ``blocks``.

    Blocks are generated in one thread and decoded in another. With ``overlap``, block b is decoded while its clean pass
    and block b+1 are computed: on a CUDA device on a second stream (or a second device, where the decoder lives).
    Without it frames still come out before the clean pass. Both give the same frames.

    A performance can end before its audio does, and the session then goes on with the next one as if that audio had
    been all: set its ``stop``, and the block in work is the last that comes; or close the iterator, and the block in
    work is finished for nobody. Both wait for the audio to give or end its current chunk. After an error out of the
    model or the decoder only ``start`` puts the session in order again.
    """

    def __init__(
        self,
        dit: CausalDiT,
        decoder: FrameDecoder,
        stream: StreamConfig,
        *,
        overlap: bool = True,
        graphs: bool | None = None,
        decode_device: torch.device | str | None = None,
        keep_threads: bool | None = None,
    ) -> None:
        """
        Args:
            graphs: replay blocks as CUDA graphs; by default wherever CUDA is.
            decode_device: the decoder's.
            keep_threads: let the two threads live as long as the performer, not as long as a performance; by default
                wherever CUDA is. What cuDNN has planned for a shape is known to the thread that asked for it alone, so
                that the first block out of a new thread comes late.
        """
        self.dit, self.decoder, self.stream, self.overlap = dit, decoder, stream, overlap
        device = dit.device
        self.generator = BlockGenerator(dit, stream, graphs=device.type == "cuda" if graphs is None else graphs)
        self._decode_device = torch.device(decode_device) if decode_device is not None else device
        self._render_stream = _cuda_stream(device)
        self._decode_stream = _cuda_stream(self._decode_device)
        on_cuda = self._render_stream is not None or self._decode_stream is not None
        self._threads = _Threads() if (on_cuda if keep_threads is None else keep_threads) else None
        self._noise: NoiseSource | None = None
        self._draws = torch.empty_like(self.generator.noise)

    @property
    def next_block(self) -> int:
        """Index of the block that comes next in the session."""
        return self.generator.block + 1

    def start(self, context: Tensor, reference: Tensor, noise: NoiseSource) -> None:
        """Begin a session.

        Args:
            context: text rows [1,T,text_dim].
            reference: latent of the picture [1,16,1,h,w].
            noise: where the session's noise comes from.
        """
        for own in (self._render_stream, self._decode_stream):
            if own is not None:  # weights and conditions may still be under way on the caller's stream
                own.wait_stream(torch.cuda.current_stream(own.device))
        for given in (context, reference):  # the caller may let go of them before the device has read them
            if given.is_cuda and self._render_stream is not None:
                given.record_stream(self._render_stream)
        with self._on(self._render_stream):
            self.generator.start(context, reference)
        self.decoder.reset()
        self._noise = noise

    def warm_up(self, speech: SpeechFeatures | None = None, *, blocks: int | None = None) -> None:
        """Compile, capture, plan and allocate what a session needs, by running one on zeros; then ``start`` the real
        one.

        Nothing overlaps here: the compiler waits for the whole device now and then, which would break a capture that
        another thread is at.

        Args:
            speech: a fresh stream, to hear silence with; without it the features themselves are zeros.
            blocks: how many; by default enough for every length of the window.
        """
        config, stream = self.dit.config, self.stream
        context = torch.zeros((1, 512, config.text_dim), dtype=self.dit.dtype, device=self.dit.device)
        reference = torch.zeros((1, config.out_dim, 1, stream.latent_height, stream.latent_width))
        self.start(context, reference, SeededNoise(0, self.dit.device))
        wanted = -(-stream.window // FRAMES_PER_BLOCK) + 2 if blocks is None else blocks
        frames, stop = video_frames(FRAMES_PER_BLOCK * wanted), threading.Event()
        if speech is None:
            features = split_features(torch.zeros((frames, config.audio_feat_dim)))
        else:
            features = self._heard([np.zeros(frames * SAMPLES_PER_FRAME, np.float32)], speech, stop)
        for _ in self._run(features, stop, None, overlap=False):
            pass

    def end(self) -> None:
        """Forget the session; buffers of a fixed size stay for the next one, which begins with ``start``."""
        self.generator.cache.reset()
        self.decoder.reset()
        self._noise = None

    def perform(
        self,
        audio: Iterable[np.ndarray],
        speech: SpeechFeatures,
        *,
        stop: threading.Event | None = None,
        gate: Gate | None = None,
    ) -> Generator[FrameBlock]:
        """Frames for one utterance, each block as soon as its audio and look-ahead have come.

        Args:
            audio: chunks of 16 kHz mono float32 samples; the iterator may block until the next one comes.
            speech: a fresh stream, whose video frame 0 is the session's next frame. It is closed when ``audio`` ends,
                and the last block is completed as the stream does it (with silence).
            stop: no block is begun once it is set; closing the iterator sets it.
            gate: passed before each stage of each block, where the device is shared.
        """
        stop = stop or threading.Event()
        return self.blocks(self._heard(audio, speech, stop), stop=stop, gate=gate)

    def blocks(
        self, features: Iterable[Tensor], *, stop: threading.Event | None = None, gate: Gate | None = None
    ) -> Generator[FrameBlock]:
        """Frames for ready-made features: [9,C] for the session's first block, [12,C] for every later one."""
        if self._noise is None:
            raise SessionError("The session has not been started; call start() with its text, picture and noise first.")
        return self._run(features, stop or threading.Event(), gate, overlap=self.overlap)

    def _run(
        self, features: Iterable[Tensor], stop: threading.Event, gate: Gate | None, *, overlap: bool
    ) -> Generator[FrameBlock]:
        rendered = self._render(features, stop, gate)
        return _handed_out(rendered, functools.partial(self._decode, gate=gate), stop, self._threads, overlap=overlap)

    def _heard(self, audio: Iterable[np.ndarray], speech: SpeechFeatures, stop: threading.Event) -> Iterator[Tensor]:
        chunks, samples, ended = iter(audio), 0, False
        origin = block_frames(self.next_block)[0]
        for block in itertools.count(self.next_block):
            first, last = (frame - origin for frame in block_frames(block))
            while not stop.is_set() and not ended and not speech.ready(first, last):
                chunk = next(chunks, None)
                if chunk is None:
                    speech.close()
                    ended = True
                else:
                    speech.push(chunk)
                    samples += len(chunk)
            if stop.is_set() or (ended and first * SAMPLES_PER_FRAME >= samples):
                return
            yield speech.features(first, last)

    def _render(self, features: Iterable[Tensor], stop: threading.Event, gate: Gate | None) -> Iterator[_Rendered]:
        """Clean latents of block after block; the clean pass comes after they have been handed on."""
        assert self._noise is not None
        arriving = iter(features)
        while not stop.is_set():
            with self._on(self._render_stream):  # where features that are computed on demand belong, too
                rows = next(arriving, None)
            if rows is None:
                return
            began = time.perf_counter()
            block = self.next_block
            expected = block_frames(block)[1] - block_frames(block)[0] + 1
            if len(rows) != expected:
                raise SessionError(f"Block {block} needs the features of {expected} video frames; {len(rows)} came.")
            if self._render_stream is not None:
                self._render_stream.wait_stream(torch.cuda.default_stream(self.dit.device))
                if rows.is_cuda:
                    rows.record_stream(self._render_stream)
            with _turn(gate, "denoise", block), torch.inference_mode(), self._on(self._render_stream):
                if stop.is_set():  # while it waited for the device
                    return
                rows = rows.to(self.dit.device, non_blocking=True)
                audio = self.dit.embed_audio(lead_in(rows) if block == 0 else rows)
                self._noise.draw(block, self._draws)
                latents = self.generator.denoise(audio, self._draws)
                ready = self._render_stream.record_event() if self._render_stream is not None else None
                if gate is not None and ready is not None:
                    ready.synchronize()
            yield _Rendered(block, latents, ready, began)
            with _turn(gate, "clean", block), self._on(self._render_stream):
                self.generator.clean()
                if gate is not None and self._render_stream is not None:
                    self._render_stream.synchronize()

    @torch.inference_mode()
    def _decode(self, rendered: _Rendered, gate: Gate | None) -> FrameBlock:
        latents = rendered.latents
        with _turn(gate, "decode", rendered.block), self._on(self._decode_stream):
            if rendered.ready is not None and self._decode_stream is not None:
                self._decode_stream.wait_event(rendered.ready)
                if latents.device == self._decode_stream.device:
                    latents.record_stream(self._decode_stream)
            elif rendered.ready is not None:
                rendered.ready.synchronize()
            # A CPU would read them before a copy that does not block has come.
            moved = latents.to(self._decode_device, non_blocking=self._decode_stream is not None)
            frames = self.decoder.decode(moved.transpose(0, 1)[None])
            if self._decode_stream is not None:
                host = torch.empty(frames.shape, dtype=torch.uint8, pin_memory=True)
                frames = host.copy_(frames, non_blocking=True)
                self._decode_stream.synchronize()  # this thread only; the other stream goes on
        first = block_frames(rendered.block)[0]
        return FrameBlock(rendered.block, first, frames, latents, time.perf_counter() - rendered.began)

    @staticmethod
    def _on(stream: torch.cuda.Stream | None) -> AbstractContextManager[object]:
        return torch.cuda.stream(stream) if stream is not None else nullcontext()


def _cuda_stream(device: torch.device) -> torch.cuda.Stream | None:
    """A stream of its own on a CUDA device."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None


@dataclass(frozen=True, slots=True)
class _Rendered:
    block: int
    latents: Tensor
    ready: torch.cuda.Event | None
    began: float


def _turn(gate: Gate | None, stage: Stage, block: int) -> AbstractContextManager[object]:
    return nullcontext() if gate is None else gate.turn(stage, block)


class _Threads:
    """One thread that draws and one that finishes; they end when this is left as a context, or is gone."""

    def __init__(self) -> None:
        self.drawing = ThreadPoolExecutor(1, "livetalk-render")
        self.finishing = ThreadPoolExecutor(1, "livetalk-decode")

    def __enter__(self) -> _Threads:
        return self

    def __exit__(self, *_: object) -> None:
        self.drawing.shutdown()
        self.finishing.shutdown()


def _handed_out(
    source: Iterator[_A], finish: Callable[[_A], _B], stop: threading.Event, threads: _Threads | None, *, overlap: bool
) -> Generator[_B]:
    """``map(finish, source)``; with ``overlap`` the next item is drawn while the last is finished.

    However it is left early, it sets ``stop``, by which the source ends; closed, it first finishes what was drawn.
    Without ``threads`` it has its own.
    """
    end = object()
    closed = False
    with _Threads() if threads is None else nullcontext(threads) as at_work:
        upcoming = at_work.drawing.submit(next, source, end)
        finishing: Future[Any] | None = None
        try:
            while (item := upcoming.result()) is not end:
                if overlap:
                    upcoming = at_work.drawing.submit(next, source, end)
                finishing = at_work.finishing.submit(finish, item)  # type: ignore[arg-type]
                finished = finishing.result()
                try:
                    if not closed:
                        yield finished
                except GeneratorExit:
                    closed = True
                    stop.set()
                if not overlap:
                    upcoming = at_work.drawing.submit(next, source, end)
        finally:
            stop.set()
            wait([upcoming] if finishing is None else [upcoming, finishing])
