"""Speech in, frames out, block by block; denoising and decoding overlapped."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from livetalk.base.errors import SessionError
from livetalk.base.rates import AUDIO_RATE, VIDEO_FPS
from livetalk.render.config import FRAMES_PER_BLOCK, StreamConfig, block_frames, video_frames
from livetalk.render.lanes import Quiet, Threads, drawn, handed_out
from livetalk.render.model.audio import lead_in
from livetalk.render.model.block import BlockGenerator, Observer
from livetalk.render.model.dit import CausalDiT
from livetalk.render.model.graphs import CudaRecorder, Recorder
from livetalk.render.streams import Streams, finish, follow, lend, mark, on

SAMPLES_PER_FRAME = AUDIO_RATE // VIDEO_FPS


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
    """One block of finished video, or a part of the session's first."""

    index: int
    first_frame: int
    """Of the session."""
    frames: Tensor
    """uint8 [T,H,W,3] on the host; T is 9 for the session's first block, then 12. Where the first picture comes alone,
    the first block has two parts, of 1 and of 8."""
    latents: Tensor
    """What they were decoded from, [3,16,h,w] on the model's device; of a part [1,16,h,w] and [2,16,h,w]."""
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

    Speech is heard in one thread, blocks are generated in another and decoded in a third. With ``overlap``, block b is
    decoded while its clean pass and block b+1 are computed, and the speech of block b+1 is encoded while block b is
    denoised: on a CUDA device on streams of their own (or a second device, where the decoder lives). Without it frames
    still come out before the clean pass. Both give the same frames.

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
        graphs: bool | Recorder | None = None,
        decode_device: torch.device | str | None = None,
        streams: Streams | None = None,
        keep_threads: bool | None = None,
        first_alone: bool = False,
        benchmark: bool = False,
    ) -> None:
        """
        Args:
            graphs: replay blocks as CUDA graphs; by default wherever CUDA is.
            decode_device: the decoder's.
            streams: shared with other performers that take turns with it at a ``gate``; by default its own.
            keep_threads: let its threads live as long as the performer, not as long as a performance; by default
                wherever CUDA is. What cuDNN has planned for a shape is known to the thread that asked for it alone, so
                that the first block out of a new thread comes late.
            first_alone: hand out the session's first picture by itself, before the eight that come with it.
            benchmark: let ``warm_up`` time cuDNN's convolutions and keep the fastest of each, which may change from
                run to run and with it the last bits of a picture.
        """
        self.dit, self.decoder, self.stream, self.overlap = dit, decoder, stream, overlap
        self.first_alone, self.benchmark = first_alone, benchmark
        device = dit.device
        self._decode_device = torch.device(decode_device) if decode_device is not None else device
        self._streams = Streams.on(device, self._decode_device) if streams is None else streams
        on_cuda = self._streams.render is not None or self._streams.decode is not None
        if graphs is True or (graphs is None and device.type == "cuda"):
            graphs = CudaRecorder(device, self._streams.capture)
        self._quiet = Quiet()
        self.generator = BlockGenerator(dit, stream, graphs=graphs or False, alone=self._quiet.alone)
        self._threads = Threads() if (on_cuda if keep_threads is None else keep_threads) else None
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
        # Weights and conditions may still be under way on the caller's stream.
        for own in (self._streams.render, self._streams.decode, self._streams.speech):
            follow(own)
        for given in (context, reference):  # the caller may let go of them before the device has read them
            lend(given, self._streams.render)

        def begin() -> None:
            with on(self._streams.render):
                self.generator.start(context, reference)

        if self._threads is None:
            begin()
        else:  # what libraries set up for a thread is set up once
            self._threads.drawing.submit(begin).result()
        self.decoder.reset()
        self._noise = noise

    def warm_up(self, speech: SpeechFeatures | None = None, *, blocks: int | None = None) -> None:
        """Compile, record, plan and allocate what a session needs, by running one on zeros; then ``start`` the real
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
            features = self._given(split_features(torch.zeros((frames, config.audio_feat_dim))))
        else:
            features = self._heard([np.zeros(frames * SAMPLES_PER_FRAME, np.float32)], speech, stop)
        with self.generator.recording_at_once(), _benchmarked() if self.benchmark else nullcontext():
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
        self._require_noise()
        stop = stop or threading.Event()
        return self._run(self._heard(audio, speech, stop), stop, gate, overlap=self.overlap)

    def blocks(
        self, features: Iterable[Tensor], *, stop: threading.Event | None = None, gate: Gate | None = None
    ) -> Generator[FrameBlock]:
        """Frames for ready-made features: [9,C] for the session's first block, [12,C] for every later one.

        Features on a CUDA device must have been begun by the caller's thread before this is called, or by the iterator
        itself.
        """
        self._require_noise()
        follow(self._streams.speech)
        return self._run(self._given(iter(features)), stop or threading.Event(), gate, overlap=self.overlap)

    def _require_noise(self) -> None:
        if self._noise is None:
            raise SessionError("The session has not been started; call start() with its text, picture and noise first.")

    def _run(
        self, features: Iterator[_Heard], stop: threading.Event, gate: Gate | None, *, overlap: bool
    ) -> Generator[FrameBlock]:
        with Threads() if self._threads is None else nullcontext(self._threads) as threads:
            rendered = self._render(features, stop, gate, threads, ahead=overlap)
            parts = functools.partial(self._parts, gate=gate)
            yield from handed_out(rendered, parts, stop, threads, overlap=overlap)

    def _given(self, features: Iterator[Tensor]) -> Iterator[_Heard]:
        while True:
            with on(self._streams.speech):  # where an iterator may compute them
                rows = next(features, None)
                ready = mark(self._streams.speech)
            if rows is None:
                return
            yield _Heard(rows, ready)

    def _heard(self, audio: Iterable[np.ndarray], speech: SpeechFeatures, stop: threading.Event) -> Iterator[_Heard]:
        """Features of block after block as their audio comes; drawn in the listening thread."""
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
            with self._quiet.at_work(), on(self._streams.speech):
                rows = speech.features(first, last)
                ready = mark(self._streams.speech)
            yield _Heard(rows, ready)

    def _render(
        self,
        features: Iterator[_Heard],
        stop: threading.Event,
        gate: Gate | None,
        threads: Threads,
        *,
        ahead: bool,
    ) -> Generator[_Rendered]:
        """Clean latents of block after block; the clean pass comes after they have been handed on."""
        assert self._noise is not None
        render = self._streams.render
        with closing(drawn(features, threads.listening, ahead=ahead)) as arriving:
            while not stop.is_set():
                heard = next(arriving, None)
                if heard is None:
                    return
                began = time.perf_counter()
                block = self.next_block
                expected = block_frames(block)[1] - block_frames(block)[0] + 1
                if len(heard.rows) != expected:
                    raise SessionError(
                        f"Block {block} needs the features of {expected} video frames; {len(heard.rows)} came."
                    )
                with _turn(gate, "denoise", block), torch.inference_mode(), on(render):
                    if stop.is_set():  # while it waited for the device
                        return
                    if heard.ready is not None and render is not None:
                        render.wait_event(heard.ready)
                    lend(heard.rows, render)
                    rows = heard.rows.to(self.dit.device, non_blocking=True)
                    audio = self.dit.embed_audio(lead_in(rows) if block == 0 else rows)
                    self._noise.draw(block, self._draws)
                    latents = self.generator.denoise(audio, self._draws)
                    ready = mark(render)
                    if gate is not None and ready is not None:
                        ready.synchronize()
                yield _Rendered(block, latents, ready, began)
                with _turn(gate, "clean", block), on(render):
                    self.generator.clean()
                    if gate is not None:
                        finish(render)

    def _parts(self, rendered: _Rendered, gate: Gate | None) -> list[Callable[[], FrameBlock]]:
        """What is left to do for its frames, in the order in which they are shown."""
        cuts = [(0, 1), (1, FRAMES_PER_BLOCK)] if self.first_alone and rendered.block == 0 else [(0, FRAMES_PER_BLOCK)]
        return [functools.partial(self._decode, rendered, begin, end, gate) for begin, end in cuts]

    @torch.inference_mode()
    def _decode(self, rendered: _Rendered, begin: int, end: int, gate: Gate | None) -> FrameBlock:
        latents, stream = rendered.latents[begin:end], self._streams.decode
        with _turn(gate, "decode", rendered.block), self._quiet.at_work(), on(stream):
            if rendered.ready is not None and stream is not None:
                stream.wait_event(rendered.ready)
                lend(latents, stream)
            elif rendered.ready is not None:
                rendered.ready.synchronize()
            # A CPU would read them before a copy that does not block has come.
            moved = latents.to(self._decode_device, non_blocking=stream is not None)
            frames = self.decoder.decode(moved.transpose(0, 1)[None])
            if stream is not None:
                host = torch.empty(frames.shape, dtype=torch.uint8, pin_memory=True)
                frames = host.copy_(frames, non_blocking=True)
                finish(stream)
        first = block_frames(rendered.block)[0] + video_frames(begin)
        return FrameBlock(rendered.block, first, frames, latents, time.perf_counter() - rendered.began)


@dataclass(frozen=True, slots=True)
class _Heard:
    rows: Tensor
    ready: torch.cuda.Event | None
    """When they are; None if they are."""


@dataclass(frozen=True, slots=True)
class _Rendered:
    block: int
    latents: Tensor
    ready: torch.cuda.Event | None
    began: float


def _turn(gate: Gate | None, stage: Stage, block: int) -> AbstractContextManager[object]:
    return nullcontext() if gate is None else gate.turn(stage, block)


@contextmanager
def _benchmarked() -> Iterator[None]:
    """cuDNN times what it can do at every new shape; what it has chosen for a thread stays chosen."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
