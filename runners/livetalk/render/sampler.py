"""Noise schedules and the two conversions between noise levels, as pure functions (spec 8 and 13)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

SHIFT = 5.0
TRAINING_STEPS = 1000

Rounding = Literal["bfloat16", "float16", "exact"]
_ROUNDED = {"bfloat16": torch.bfloat16, "float16": torch.float16, "exact": torch.float32}


class Schedule(NamedTuple):
    """Noise levels from high to low, both [steps] float32 on the CPU."""

    sigmas: Tensor
    timesteps: Tensor


def schedule(steps: int, *, rounding: Rounding = "exact") -> Schedule:
    """Shifted linear schedule: 4 steps are the student's, 48 or 50 the teacher's, 1000 the training table.

    ``rounding`` is what the timesteps shown to the network are rounded to; the noise levels never are. The student was
    trained with timesteps rounded to bfloat16 (1000, 936, 832, 624).
    """
    if steps < 1:
        raise ValueError("a schedule needs at least one step")
    linear = torch.linspace(1, 0, steps + 1)[:-1]
    sigmas = SHIFT * linear / (1 + (SHIFT - 1) * linear)
    return Schedule(sigmas, (1000 * sigmas).to(_ROUNDED[rounding]).float())


def training_weights() -> Tensor:
    """Loss weight of every entry of the 1000-step training schedule, [1000]; a bell whose mean is 1."""
    timesteps = schedule(TRAINING_STEPS).timesteps
    bell = torch.exp(-2 * ((timesteps - TRAINING_STEPS / 2) / TRAINING_STEPS) ** 2)
    bell = bell - bell.min()
    return bell * (TRAINING_STEPS / bell.sum())


def sigma_at(timestep: float | Tensor, table: Schedule) -> Tensor:
    """Noise level of the entry of ``table`` whose timestep is nearest, in the shape of ``timestep``."""
    wanted = torch.as_tensor(timestep, dtype=torch.float32)
    nearest = (table.timesteps - wanted.unsqueeze(-1)).abs().argmin(-1)
    return table.sigmas[nearest]


def x0_from_flow(x: Tensor, flow: Tensor, sigma: Tensor | float) -> Tensor:
    """Clean sample x − σ·v, in float64, in the dtype of ``flow`` (spec 8)."""
    return (x.double() - sigma * flow.double()).to(flow.dtype)


def add_noise(x0: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
    """(1−σ)·x0 + σ·ε in float32, in the dtype of ``noise`` (spec 8)."""
    return ((1 - sigma) * x0.float() + sigma * noise.float()).to(noise.dtype)
