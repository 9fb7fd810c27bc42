"""One session run every way that a device knows, against the plainest: what is fast must show the same.

Graphs, the compiler, overlapping stages and a lower precision each change how a session is computed. ``livetalk
parity`` holds the plain way to the published code; this holds the others to the plain way.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from livetalk.render.config import FRAMES_PER_BLOCK, Size, StreamConfig, TextConfig, block_frames
from livetalk.render.performer import GivenNoise, Performer
from livetalk.render.pipeline import Models, random_models
from livetalk.render.speed import make_fast

BLOCKS = 8
"""The window has rolled three times."""
FLOAT32_LIMIT = 2e-3
"""Largest difference of a latent over so many blocks, of values of about 1."""
SMALL_RMS, REAL_RMS = 0.10, 0.05
"""Root mean square of the difference to that of the latents, in bfloat16. Guesses: no GPU has told better ones."""
FRAMES_MEAN = 2.0
"""Mean difference of a pixel's value, of 255."""
_PROMPT_ROWS = 77


@dataclass(frozen=True, slots=True)
class Way:
    """How a session is computed."""

    dtype: torch.dtype = torch.float32
    graphs: bool = False
    compiled: bool = False
    overlap: bool = False
    decoder: bool = False
    """The decoder is recorded, too."""

    @property
    def name(self) -> str:
        used = [word for word in ("graphs", "compiled", "overlap") if getattr(self, word)]
        used += ["decoder's graph"] if self.decoder else []
        return ", ".join([str(self.dtype).removeprefix("torch."), *(used or ["eager"])])


@dataclass(frozen=True, slots=True)
class Run:
    """A session's results on the host, and seconds of its second performance, when everything is known."""

    latents: Tensor
    frames: Tensor
    seconds: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of a way with the reference."""

    way: str
    reference: str
    passed: bool
    latents_max: float
    latents_rms: float
    """To the root mean square of the reference."""
    frames_max: int
    frames_mean: float
    same_bits: bool
    limit: str
    seconds: float


def ways(dtypes: Sequence[torch.dtype], *, graphs: bool, compiled: bool) -> list[Way]:
    """Every combination, the plainest of each precision first; and the decoder's graph with all else that there is."""
    recorded, compiling = ((False, True) if usable else (False,) for usable in (graphs, compiled))
    found = [Way(*chosen) for chosen in itertools.product(dtypes, recorded, compiling, (False, True))]
    return found + ([Way(dtype, graphs, compiled, True, decoder=True) for dtype in dtypes] if graphs else [])


def compare(way: str, reference: str, run: Run, expected: Run, *, rms: float | None = None) -> Agreement:
    """Hold a run to the reference: by ``FLOAT32_LIMIT``, or with ``rms`` by that and ``FRAMES_MEAN``."""
    difference = run.latents.double() - expected.latents.double()
    largest = difference.abs().max().item()
    relative = (difference.square().mean().sqrt() / expected.latents.double().square().mean().sqrt()).item()
    frames = (run.frames.int() - expected.frames.int()).abs()
    mean = frames.double().mean().item()
    if rms is None:  # of what is not a number neither holds
        passed, limit = largest <= FLOAT32_LIMIT, f"largest {FLOAT32_LIMIT:g}"
    else:
        passed, limit = relative <= rms and mean <= FRAMES_MEAN, f"rms {rms:g}, frames' mean {FRAMES_MEAN:g}"
    same = torch.equal(run.latents, expected.latents) and torch.equal(run.frames, expected.frames)
    return Agreement(
        way, reference, passed, largest, relative, int(frames.max().item()), mean, same, limit, run.seconds
    )


def small(
    size: Size, device: torch.device, *, compiled: bool, blocks: int = BLOCKS, worthwhile: Callable[[], bool]
) -> Iterator[Agreement]:
    """A small network in float32 and bfloat16, every way, against the eager run in float32 on the CPU.

    Args:
        compiled: try the compiler, too.
        worthwhile: asked before each way; the rest is left out once it says no.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    stream = replace(size.stream, position="bounded")
    given = _inputs(size, stream, blocks)
    expected = _session(random_models(size), stream, given, Way())
    reference = "eager float32 on the CPU"
    for way in ways((torch.float32, torch.bfloat16), graphs=device.type == "cuda", compiled=compiled):
        if not worthwhile():
            return
        run = _session(random_models(size, dtype=way.dtype, device=device), stream, given, way)
        yield compare(way.name, reference, run, expected, rms=None if way.dtype == torch.float32 else SMALL_RMS)


def real(
    load: Callable[[], Models],
    size: Size,
    *,
    compiled: bool,
    blocks: int = BLOCKS,
    worthwhile: Callable[[], bool],
) -> Iterator[Agreement]:
    """The size that is meant in its own precision, step by step from the plain way to that of the server."""
    models = load()
    stream = replace(size.stream, position="bounded")
    given = _inputs(size, stream, blocks)
    dtype, graphs = models.dit.dtype, models.dit.device.type == "cuda"
    plain = Way(dtype)
    expected = _session(models, stream, given, plain)
    steps = [Way(dtype, overlap=True), *([Way(dtype, graphs=True, overlap=True)] if graphs else [])]
    if compiled:
        steps.append(Way(dtype, graphs=graphs, compiled=True, overlap=True))
    if graphs:
        steps.append(Way(dtype, graphs=True, compiled=compiled, overlap=True, decoder=True))
    for way in steps:
        if not worthwhile():
            return
        yield compare(way.name, plain.name, _session(models, stream, given, way), expected, rms=REAL_RMS)


@dataclass(frozen=True, slots=True)
class _Inputs:
    context: Tensor
    reference: Tensor
    noise: Tensor
    step_noise: Tensor
    features: list[Tensor]


def _inputs(size: Size, stream: StreamConfig, blocks: int) -> _Inputs:
    draw = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw)

    context = torch.zeros((1, TextConfig().text_len, size.dit.text_dim))
    context[:, :_PROMPT_ROWS] = random(_PROMPT_ROWS, size.dit.text_dim)
    latent = (size.dit.out_dim, stream.latent_height, stream.latent_width)
    frames = [last - first + 1 for first, last in map(block_frames, range(blocks))]
    return _Inputs(
        context,
        random(1, latent[0], 1, *latent[1:]),
        random(1, FRAMES_PER_BLOCK * blocks, *latent),
        random(blocks, stream.steps - 1, FRAMES_PER_BLOCK, *latent),
        [random(count, size.dit.audio_feat_dim) for count in frames],
    )


def _session(models: Models, stream: StreamConfig, given: _Inputs, way: Way) -> Run:
    """Performed twice: what compiles and records at the first time is replayed at the second."""
    dit, device = models.dit, models.dit.device
    if way.compiled:
        torch._dynamo.reset()  # codes of the model before would count towards the limit
        make_fast(models, stream, compiled=True)  # as a server has it
    performer = Performer(
        dit,
        models.vae.decoder_stream(graphs=way.decoder),
        stream,
        graphs=way.graphs,
        overlap=way.overlap,
        decode_device=models.vae.device,
    )
    if way.decoder:
        performer.warm_up(blocks=2)  # it is recorded while nothing else is at work
    for again in (False, True):
        noise = GivenNoise(given.noise.to(device), given.step_noise.to(device))
        performer.start(given.context.to(device, dit.dtype), given.reference.to(device), noise)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        blocks = list(performer.blocks(given.features))
        seconds = time.perf_counter() - began
        if not again and not way.graphs and not way.compiled:
            break
    return Run(
        torch.cat([block.latents.float().cpu() for block in blocks]),
        torch.cat([block.frames for block in blocks]),
        seconds,
    )
