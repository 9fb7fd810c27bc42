"""Where the time of a steady block goes, kernel by kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from livetalk.render.config import FRAMES_PER_BLOCK, Size, StreamConfig
from livetalk.render.model.block import BlockGenerator
from livetalk.render.pipeline import Models

BLOCKS = 2
"""Steady ones, that are profiled together."""
ROWS = 40


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """A kernel on CUDA, an operation elsewhere."""

    name: str
    calls: int
    """Per block."""
    ms: float
    """Per block."""
    share: float
    """Of the time of all."""


@torch.inference_mode()
def measure(models: Models, stream: StreamConfig, size: Size) -> Iterator[ProfileRow]:
    """The most expensive of a steady block, decoding included; nothing overlaps and no graph is replayed, so that each
    can be told from the others."""
    dit, device = models.dit, models.dit.device
    generator, decoder = BlockGenerator(dit, stream), models.vae.decoder_stream()
    draw = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw).to(device, dit.dtype)

    generator.start(
        random(1, 512, size.dit.text_dim), random(1, size.dit.out_dim, 1, stream.latent_height, stream.latent_width)
    )

    def block() -> None:
        latents = generator.denoise(random(*generator.audio.shape), random(*generator.noise.shape))
        generator.clean()
        decoder.decode(latents.to(models.vae.device).transpose(0, 1)[None])

    # What the cache holds makes no difference to time, only how much of it is attended to.
    generator.cache.end = FRAMES_PER_BLOCK * -(-stream.window // FRAMES_PER_BLOCK)
    for _ in range(3):  # the session's first block, the first of the others, and what these two have not compiled
        block()
    on_cuda = device.type == "cuda"
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with torch.profiler.profile(activities=kinds) as found:  # of this thread alone
        for _ in range(BLOCKS):
            block()
        if on_cuda:
            torch.cuda.synchronize(device)
    yield from rows(found.key_averages(), on_cuda)


def rows(averages: Any, on_cuda: bool) -> Iterator[ProfileRow]:
    """The profiler's averages as rows, most expensive first."""

    def microseconds(entry: Any) -> float:
        return float(entry.self_device_time_total if on_cuda else entry.self_cpu_time_total)

    total = sum(map(microseconds, averages)) or 1.0
    for entry in sorted(averages, key=microseconds, reverse=True)[:ROWS]:
        spent = microseconds(entry)
        yield ProfileRow(entry.key, round(entry.count / BLOCKS), spent / 1e3 / BLOCKS, spent / total)
