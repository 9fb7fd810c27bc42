"""What the generator makes in training, block by block as the runner does, with a gradient in one step (recipe 4.1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from livetalk.render.config import FRAMES_PER_BLOCK, TEMPORAL_STRIDE
from livetalk.render.model.audio import lead_in
from livetalk.render.sampler import add_noise, x0_from_flow
from livetalk.training.draws import Draws
from livetalk.training.guidance import Branch
from livetalk.training.network import Chunk
from livetalk.training.schedules import Levels, context_level, student_levels, student_times

Context = Literal["exact", "published"]
"""What the clean pass sees: the block as it is, as at inference; or with the noise of the table's entry for t = 0."""


@dataclass(frozen=True)
class Conditions:
    """What one sample is made from, on the device of the networks."""

    reference: Tensor
    """Latent of the picture, [1,16,h,w]."""
    text: Tensor
    """Rows [T,text_dim], padding rows of zeros included."""
    negative_text: Tensor
    """Rows of the negative prompt, likewise."""
    features: Tensor
    """Raw speech features [4F−3,C], one row per video frame."""

    @property
    def frames(self) -> int:
        """Latent frames F."""
        return (len(self.features) + TEMPORAL_STRIDE - 1) // TEMPORAL_STRIDE

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the clip's latents, [F,16,h,w]."""
        return (self.frames, *self.reference.shape[1:])

    @cached_property
    def rows(self) -> Tensor:
        """Features with four rows for every latent frame, [4F,C]."""
        return lead_in(self.features)

    def image(self, first: int = 0, count: int | None = None) -> Tensor:
        """Image condition of frames ``first`` … ``first+count−1``, [count,17,h,w]: the reference, and a mask that is 0
        at the clip's frame 0 and 1 at those to be generated."""
        count = self.frames if count is None else count
        mask = self.reference.new_ones((count, 1, *self.reference.shape[2:]))
        if first == 0:
            mask = torch.cat((torch.zeros_like(mask[:1]), mask[1:]))
        return torch.cat((self.reference.expand(count, -1, -1, -1), mask), dim=1)

    def branch(self, branch: Branch) -> Conditions:
        """The conditions of a branch of guidance. Zero audio is zero features: their projection has biases."""
        if branch == "conditional":
            return self
        text = self.negative_text if branch == "unconditional" else self.text
        return replace(self, text=text, features=torch.zeros_like(self.features))

    def to(self, device: torch.device) -> Conditions:
        """The same on a device."""
        return Conditions(*(x.to(device) for x in (self.reference, self.text, self.negative_text, self.features)))


def with_reference(latents: Tensor, reference: Tensor) -> Tensor:
    """The latents with the reference as frame 0. Joined, not written: a write into what a sharded module returned drops
    its hook without a word."""
    return torch.cat((reference.to(latents.dtype), latents[1:]))


def rollout(
    student: nn.Module,
    conditions: Conditions,
    draws: Draws,
    exit_step: int,
    *,
    gradient: bool,
    levels: Levels = "table",
    context: Context = "exact",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Clean latents [F,16,h,w] as they stand after step ``exit_step`` (0 … 3) of every block.

    With ``gradient``, that step of every block carries one; the steps before it, the clean passes and the past keys and
    values do not. Every call with the same number of frames and the same exit step is the same number of forwards.

    Args:
        student: a ``TrainingDiT``, sharded or not.
        dtype: of the latents between passes; bfloat16 is what the published trainer's are.
    """
    reference = conditions.reference
    device = reference.device
    frames, size = conditions.frames, conditions.shape[1:]
    shape = (FRAMES_PER_BLOCK, *size)
    times = student_times().to(device)
    sigmas = student_levels(levels).to(device)
    noise = draws.clip(conditions.shape).to(device, dtype)
    past: list[Chunk] = []
    made = []
    for block, first in _blocks(frames):
        y = conditions.image(first, FRAMES_PER_BLOCK)
        rows = conditions.rows[TEMPORAL_STRIDE * first : TEMPORAL_STRIDE * (first + FRAMES_PER_BLOCK)]
        given = (y, rows, conditions.text)
        placed: dict[str, Any] = {"first_frame": first, "past": tuple(past)}
        x = noise[first : first + FRAMES_PER_BLOCK]
        x0 = x
        for step in range(exit_step + 1):
            if block == 0:
                x = with_reference(x, reference)
            with _gradient(gradient and step == exit_step):
                flow = student("block", x, times[step : step + 1], *given, **placed)
                x0 = x0_from_flow(x, flow, sigmas[step])
            if step < exit_step:
                fresh = draws.renoise(block, step, shape).to(device, dtype)
                x = add_noise(x0, fresh, sigmas[step + 1])
        if block == 0:
            x0 = with_reference(x0, reference)
        made.append(x0)
        if first + FRAMES_PER_BLOCK == frames:
            break  # nobody reads the last block's keys
        clean = x0.detach()
        if context == "published":
            clean = add_noise(clean, draws.context(block, shape).to(device, dtype), context_level())
        with torch.no_grad():
            chunk = cast(Chunk, student("keys", clean, times.new_zeros(1), *given, **placed))
        past.append(tuple((k.detach(), v.detach()) for k, v in chunk))
    return torch.cat(made)


def _blocks(frames: int) -> Iterator[tuple[int, int]]:
    """Index and first frame of each block.

    Raises:
        ValueError: the frames are no whole number of blocks.
    """
    if frames % FRAMES_PER_BLOCK:
        raise ValueError(f"{frames} latent frames are not a whole number of blocks of {FRAMES_PER_BLOCK}")
    return enumerate(range(0, frames, FRAMES_PER_BLOCK))


def _gradient(wanted: bool) -> AbstractContextManager[object]:
    return torch.enable_grad() if wanted else torch.no_grad()
