"""How fast the pipeline runs, stage by stage and as a whole, and how near that is to the arithmetic bound."""

from __future__ import annotations

import itertools
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from livetalk.base.errors import OptionError
from livetalk.base.rates import AUDIO_RATE, VIDEO_FPS
from livetalk.render.config import (
    FRAMES_PER_BLOCK,
    TEMPORAL_STRIDE,
    Size,
    StreamConfig,
    TextConfig,
    block_frames,
)
from livetalk.render.encoders.speech import SpeechEncoder, SpeechStream
from livetalk.render.model import CausalDiT
from livetalk.render.model.block import BlockGenerator
from livetalk.render.options import ModelChoice, SpeedOptions
from livetalk.render.performer import Performer, SeededNoise
from livetalk.render.speed import make_fast
from livetalk.render.vae import VAEStream
from livetalk.tools import cost
from livetalk.tools.environment import Environment, examine

REACHABLE = {"H100": 790e12, "H200": 790e12}
"""Dense bfloat16 rate that large matrix products reach on these cards, FLOP/s (spec 15)."""
WARM_UP = 3
"""Blocks left out of each measurement: the first has the reference frame, the second is a later one for the first time,
and at the third what comes again is recorded."""
PROMPT_ROWS = 128
"""Tokens of the prompt, about a hundred words; the other text rows are padding."""


@dataclass(frozen=True, slots=True)
class BenchReport:
    """Milliseconds are medians over the measured blocks, all after the window has filled."""

    size: str
    weights: str
    """"random" or the checkpoint's path."""
    device: str
    environment: Environment
    threads: int
    dtype: str
    attention: str
    compiled: bool
    compile_mode: str
    float8: bool
    window: int
    sink: int
    position: str
    picture: str
    blocks: int
    start_s: float
    """Loading left out: compiling, timing kernels, recording, by a session over every length of the window."""
    step_ms: list[float]
    """Each denoising step, launched one by one."""
    denoise_ms: float
    """All steps of a block, as a session runs them (one graph on CUDA)."""
    clean_ms: float
    decode_ms: float
    decode_replayed_ms: float | None
    """The same as CUDA graphs; None where there are none."""
    frames_per_second: float
    """Steady, denoising and decoding overlapped, frames on the host."""
    realtime_factor: float
    first_frames_ms: float
    """Block 0's frames on the host, from its sound being there; text and picture encoded before."""
    first_frame_ms: float
    """The same where the first picture is handed out alone."""
    peak_memory_bytes: int
    """Of the device's allocator on CUDA, of the process elsewhere."""
    peak_reserved_bytes: int | None
    """What the allocator took of the device for that; None where there is none."""
    block_tflop: float
    """As published: every denoising step and a whole clean pass."""
    decode_tflop: float
    bound_tflops: float
    """Arithmetic rate the bound assumes."""
    bound_source: str
    bound_frames_per_second: float
    bound_share: float
    """frames_per_second / bound_frames_per_second."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    def to_text(self) -> str:
        """A short table with what each figure means."""
        steps = "  ".join(f"{ms:.1f}" for ms in self.step_ms)
        rows = [
            ("model", f"{self.size}, weights {self.weights}, {self.dtype}{', float8' if self.float8 else ''}"),
            ("device", f"{self.device}, {self.threads} thread(s); {self.environment.in_words()}"),
            (
                "kernels",
                f"attention {self.attention}, {f'compiled ({self.compile_mode})' if self.compiled else 'not compiled'}"
                f", ready after {self.start_s:.1f} s",
            ),
            ("stream", f"{self.picture}, window {self.window}, sink {self.sink}, {self.position} positions"),
            ("steps", f"{steps} ms"),
            ("denoise", f"{self.denoise_ms:.1f} ms per block"),
            ("clean pass", f"{self.clean_ms:.1f} ms per block"),
            ("decode", f"{self.decode_ms:.1f} ms per block{_replayed(self.decode_replayed_ms)}"),
            ("steady", f"{self.frames_per_second:.2f} frames/s, {self.realtime_factor:.2f} × real time"),
            (
                "first frames",
                f"{self.first_frames_ms:.1f} ms after the sound of the first block; the first alone "
                f"{self.first_frame_ms:.1f} ms",
            ),
            ("peak memory", f"{in_gib(self.peak_memory_bytes)}{reserved(self.peak_reserved_bytes)}"),
            ("arithmetic", f"{self.block_tflop:.3g} + {self.decode_tflop:.3g} TFLOP per block (model + decoder)"),
            (
                "bound",
                f"{self.bound_frames_per_second:.2f} frames/s at {self.bound_tflops:.3g} TFLOP/s ({self.bound_source});"
                f" {100 * self.bound_share:.0f} % reached",
            ),
        ]
        return "\n".join(f"{name:<13} {value}" for name, value in rows)


def measure(choice: ModelChoice, stream: StreamConfig, speed: SpeedOptions, blocks: int) -> BenchReport:
    """Time every stage of a size on a device.

    Args:
        choice: the models and where they run.
        stream: with a finite window.
        speed: compiled by default on CUDA only.
        blocks: measured blocks, after warm-up.

    Raises:
        OptionError: no measured block, or a window that never fills.
        CheckpointError: the checkpoints can't be used.
    """
    if blocks < 1:
        raise OptionError("At least one block must be measured.")
    if stream.window == -1:
        raise OptionError("The bench times a full window, and window -1 never fills; choose a number of latent frames.")
    chosen, target, dtype = choice.size, torch.device(choice.device), choice.dtype
    on_cuda = target.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(target)
    models = choice.load()
    dit, vae, speech = models.dit, models.vae, models.speech
    clock = _Clock(target)
    context, reference = _conditions(chosen, stream, dtype, target)

    began = time.perf_counter()
    compiled = make_fast(
        models, stream, compiled=speed.compiled, mode=speed.compile_mode, float8=speed.float8, tune=speed.tune
    )
    benchmark = on_cuda if speed.tune is None else speed.tune
    performer = Performer(
        dit,
        vae.decoder_stream(graphs=speed.decoder_graph),
        stream,
        decode_device=vae.device,
        benchmark=benchmark,
    )
    # Only graphs and the compiler need every length of the window.
    performer.warm_up(SpeechStream(speech), blocks=None if on_cuda or compiled else 2)
    start_s = time.perf_counter() - began

    frames_per_second = _steady_rate(performer, context, reference, blocks)
    first_ms, alone_ms = (
        _first_frames(performer, speech, context, reference, min(blocks, 5), alone=alone) for alone in (False, True)
    )
    step_ms = _step_times(dit, stream, context, reference, blocks, clock)
    denoise_ms, clean_ms, decode_ms = _stage_times(dit, vae.decoder_stream(), stream, context, reference, blocks, clock)
    replayed_ms = None
    if vae.device.type == "cuda":
        replayed = vae.decoder_stream(graphs=True)
        replayed_ms = _stage_times(dit, replayed, stream, context, reference, blocks, clock)[2]

    steady = stream.window  # any block with a full window
    block_flop = cost.dit_block(chosen.dit, stream, steady)
    decode_flop = cost.decode_block(chosen.vae, stream, steady)
    rate, source = _arithmetic_rate(target, dtype)
    frames = FRAMES_PER_BLOCK * TEMPORAL_STRIDE
    # One card shares its arithmetic between denoising and decoding; on a CPU each has threads of its own.
    bound = frames * rate / (block_flop + decode_flop if on_cuda else max(block_flop, decode_flop))
    return BenchReport(
        size=chosen.name,
        weights=str(choice.checkpoints or "random"),
        device=torch.cuda.get_device_name(target) if on_cuda else "cpu",
        environment=examine(target),
        threads=torch.get_num_threads(),
        dtype=str(dtype).removeprefix("torch."),
        attention=dit.attention,
        compiled=compiled,
        compile_mode=speed.compile_mode,
        float8=speed.float8,
        window=stream.window,
        sink=stream.sink,
        position=stream.position,
        picture=f"{stream.width}×{stream.height}",
        blocks=blocks,
        start_s=start_s,
        step_ms=step_ms,
        denoise_ms=denoise_ms,
        clean_ms=clean_ms,
        decode_ms=decode_ms,
        decode_replayed_ms=replayed_ms,
        frames_per_second=frames_per_second,
        realtime_factor=frames_per_second / VIDEO_FPS,
        first_frames_ms=first_ms,
        first_frame_ms=alone_ms,
        peak_memory_bytes=torch.cuda.max_memory_allocated(target) if on_cuda else process_peak(),
        peak_reserved_bytes=torch.cuda.max_memory_reserved(target) if on_cuda else None,
        block_tflop=block_flop / 1e12,
        decode_tflop=decode_flop / 1e12,
        bound_tflops=rate / 1e12,
        bound_source=source,
        bound_frames_per_second=bound,
        bound_share=frames_per_second / bound,
    )


def _conditions(chosen: Size, stream: StreamConfig, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    context = torch.zeros((1, TextConfig().text_len, chosen.dit.text_dim))
    context[:, :PROMPT_ROWS].normal_(generator=draw)
    reference = torch.randn((1, chosen.dit.out_dim, 1, stream.latent_height, stream.latent_width), generator=draw)
    return context.to(device, dtype), reference.to(device)


def _fill(generator: BlockGenerator) -> None:
    """Let a session begin with a full window; what the cache holds makes no difference to time."""
    generator.cache.end = FRAMES_PER_BLOCK * -(-generator.stream.window // FRAMES_PER_BLOCK)


class _Clock:
    """Marks in the order of the device's work, read only at the end, so that reading disturbs nothing."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def mark(self) -> Callable[[], float]:
        """A point in time; call it, once the work is over, for its milliseconds on a common scale."""
        if self._device.type != "cuda":
            now = 1e3 * time.perf_counter()
            return lambda: now
        event = _timed_event()
        event.record(torch.cuda.current_stream(self._device))
        return lambda: self._milliseconds(event)

    def _milliseconds(self, event: torch.cuda.Event) -> float:
        event.synchronize()
        return float(self._zero.elapsed_time(event))

    def zero(self) -> None:
        if self._device.type == "cuda":
            self._zero = _timed_event()
            self._zero.record(torch.cuda.current_stream(self._device))


def _timed_event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)


def _inputs(generator: BlockGenerator) -> tuple[Tensor, Tensor]:
    return torch.randn_like(generator.audio), torch.randn_like(generator.noise)


def _step_times(
    dit: CausalDiT, stream: StreamConfig, context: Tensor, reference: Tensor, blocks: int, clock: _Clock
) -> list[float]:
    marks: list[Callable[[], float]] = []

    def observe(_generator: BlockGenerator, _step: int, _x: Tensor, _x0: Tensor | None) -> None:
        marks.append(clock.mark())

    generator = BlockGenerator(dit, stream, observe=observe)
    generator.start(context, reference)
    _fill(generator)
    per_block = []
    clock.zero()
    for b in range(WARM_UP + blocks):
        audio, noise = _inputs(generator)
        marks.clear()
        marks.append(clock.mark())
        generator.denoise(audio, noise)
        generator.clean()
        if b >= WARM_UP:
            times = [mark() for mark in marks]
            per_block.append([after - before for before, after in itertools.pairwise(times)][: stream.steps])
    return [statistics.median(step) for step in zip(*per_block, strict=True)]


def _replayed(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f", {milliseconds:.1f} ms as graphs"


def _stage_times(
    dit: CausalDiT,
    decoder: VAEStream,
    stream: StreamConfig,
    context: Tensor,
    reference: Tensor,
    blocks: int,
    clock: _Clock,
) -> tuple[float, float, float]:
    generator = BlockGenerator(dit, stream, graphs=dit.device.type == "cuda")
    generator.start(context, reference)
    _fill(generator)
    per_block = []
    clock.zero()
    for b in range(WARM_UP + blocks):
        audio, noise = _inputs(generator)
        marks = [clock.mark()]
        latents = generator.denoise(audio, noise)
        marks.append(clock.mark())
        generator.clean()
        marks.append(clock.mark())
        decoder.decode(latents.transpose(0, 1)[None])
        marks.append(clock.mark())
        if b >= WARM_UP:
            times = [mark() for mark in marks]
            per_block.append([after - before for before, after in itertools.pairwise(times)])
    denoise, clean, decode = (statistics.median(stage) for stage in zip(*per_block, strict=True))
    return denoise, clean, decode


def _steady_rate(performer: Performer, context: Tensor, reference: Tensor, blocks: int) -> float:
    """Frames per second over the measured blocks, once the window has filled as in any session: a session that began
    with a full one would do what no other does, and record it while the decoder is at work."""
    dit = performer.dit
    performer.start(context, reference, SeededNoise(0, dit.device))
    filling = -(-performer.stream.window // FRAMES_PER_BLOCK)

    def features() -> Iterator[Tensor]:
        for b in range(filling + 1 + blocks):
            first, last = block_frames(b)
            yield torch.randn((last - first + 1, dit.config.audio_feat_dim))

    began, frames = 0.0, 0
    for block in performer.blocks(features()):
        if block.index == filling:
            began = time.perf_counter()
        elif block.index > filling:
            frames += len(block.frames)
    return frames / (time.perf_counter() - began)


def _first_frames(
    performer: Performer, speech: SpeechEncoder, context: Tensor, reference: Tensor, repeats: int, *, alone: bool
) -> float:
    """Milliseconds from the sound of the first block being there to its frames, or to its first ``alone``, the picture
    and text encoded before."""
    performer.first_alone = alone
    sound = np.random.default_rng(0).standard_normal(2 * AUDIO_RATE).astype(np.float32)
    taken = []
    for _ in range(repeats):
        performer.start(context, reference, SeededNoise(0, performer.dit.device))
        handed = 0.0

        def arriving() -> Iterator[np.ndarray]:
            nonlocal handed
            handed = time.perf_counter()
            yield sound

        # The clean pass and the next block are under way meanwhile, as in any session.
        blocks = performer.perform(arriving(), SpeechStream(speech))
        next(blocks)
        taken.append(1e3 * (time.perf_counter() - handed))
        for _ in blocks:  # the session ends in order
            pass
    return statistics.median(taken)


def _arithmetic_rate(device: torch.device, dtype: torch.dtype) -> tuple[float, str]:
    """FLOP/s that a large matrix product reaches here."""
    if device.type == "cuda" and dtype == torch.bfloat16:
        for card, rate in REACHABLE.items():
            if card in torch.cuda.get_device_name(device):
                return rate, f"what large products reach on an {card}"
    n = 8192 if device.type == "cuda" else 1024
    a = torch.randn((n, n), device=device, dtype=dtype)
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2 * n**3 / best, "a large product timed here"


def in_gib(count: float) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.2f} GiB"


def reserved(count: int | None) -> str:
    """What the allocator took of the device, for people; nothing where that is not known."""
    return "" if count is None else f" ({in_gib(count)} taken from the device)"


def process_peak() -> int:
    """The most memory that this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
