"""From a sample's conditions to the loss of one update: of the ODE stage, of the generator, of the critic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from livetalk.render.config import FRAMES_PER_BLOCK
from livetalk.render.omniavatar.sampler import Guidance
from livetalk.render.sampler import add_noise, x0_from_flow
from livetalk.training.draws import Draws
from livetalk.training.guidance import Branch, branches_of, guided
from livetalk.training.losses import (
    CriticMask,
    MatchingGradient,
    critic_loss,
    matching_gradient,
    matching_loss,
    ode_loss,
)
from livetalk.training.rollout import Conditions, Context, rollout, with_reference
from livetalk.training.schedules import Levels, score_level, score_time, student_levels, student_times


@dataclass(frozen=True, slots=True)
class OdeResult:
    """Of one sample."""

    loss: Tensor
    predicted: Tensor
    """Clean sample [F,16,h,w]."""
    block_errors: Tensor
    """Mean squared error of every block, [blocks], without a gradient."""


@dataclass(frozen=True, slots=True)
class GeneratorResult:
    """Of one sample."""

    loss: Tensor
    sample: Tensor
    """What the generator made, [F,16,h,w]."""
    score_input: Tensor
    fake: Tensor
    """The critic's clean sample."""
    real: Tensor
    """The teacher's, guided."""
    branches: dict[Branch, Tensor]
    """The teacher's, branch by branch."""
    pull: MatchingGradient


@dataclass(frozen=True, slots=True)
class CriticResult:
    """Of one sample."""

    loss: Tensor
    sample: Tensor
    flow: Tensor
    noise: Tensor


@dataclass(frozen=True, slots=True)
class MatchingRules:
    """How the published code is followed. Defaults are this project's; what they replace can be chosen."""

    guidance: Guidance = field(default_factory=lambda: Guidance(6.0, 6.0))
    levels: Levels = "table"
    context: Context = "exact"
    critic_mask: CriticMask = "frame"
    latents: torch.dtype = torch.float32


def ode_input(states: Sequence[Tensor], indices: Sequence[int]) -> Tensor:
    """Every block out of the state that was drawn for it.

    Args:
        states: [F,16,h,w] each, noisiest first.
        indices: of each block.
    """
    return torch.cat([states[i][FRAMES_PER_BLOCK * b : FRAMES_PER_BLOCK * (b + 1)] for b, i in enumerate(indices)])


def ode_update(
    student: nn.Module,
    conditions: Conditions,
    noisy: Tensor,
    target: Tensor,
    indices: Sequence[int],
    *,
    levels: Levels = "table",
    reference_frame: bool = True,
) -> OdeResult:
    """One causal pass over the whole clip, each block at its own noise level, earlier ones noisy too (recipe 3.3).

    Args:
        noisy: [F,16,h,w], of ``ode_input``.
        target: the trajectory's last state.
        indices: 0 … 3 for each block.
    """
    device = noisy.device
    each = torch.tensor(indices, device=device).repeat_interleave(FRAMES_PER_BLOCK)
    times = student_times().to(device)[each]
    sigmas = student_levels(levels).to(device)[each].view(-1, 1, 1, 1)
    flow = student("clip", noisy, times, conditions.image(), conditions.rows, conditions.text)
    predicted = x0_from_flow(noisy, flow, sigmas)
    errors = (predicted.detach() - target).square().flatten(1).mean(1).view(-1, FRAMES_PER_BLOCK).mean(1)
    return OdeResult(ode_loss(predicted, target, reference_frame=reference_frame), predicted, errors)


def score_flow(network: nn.Module, x: Tensor, time: Tensor, conditions: Conditions) -> Tensor:
    """Flow of a bidirectional network for a whole clip at one time [1]."""
    flow: Tensor = network("whole", x, time, conditions.image(), conditions.rows, conditions.text)
    return flow


def generator_update(
    student: nn.Module,
    critic: nn.Module,
    teacher: nn.Module,
    conditions: Conditions,
    draws: Draws,
    exit_step: int,
    raw_time: int,
    rules: MatchingRules,
) -> GeneratorResult:
    """The loss that pulls what the generator makes from the critic's score to the teacher's (recipe 4.1 to 4.3)."""
    sample = rollout(
        student,
        conditions,
        draws,
        exit_step,
        gradient=True,
        levels=rules.levels,
        context=rules.context,
        dtype=rules.latents,
    )
    with torch.no_grad():
        time, sigma, noise = _score(conditions, draws, raw_time, sample)
        x = with_reference(add_noise(sample, noise, sigma), conditions.reference)
        fake = x0_from_flow(x, score_flow(critic, x, time, conditions), sigma)
        branches: dict[Branch, Tensor] = {
            branch: x0_from_flow(x, score_flow(teacher, x, time, conditions.branch(branch)), sigma)
            for branch in branches_of(rules.guidance)
        }
        real = guided(branches, rules.guidance)
    pull = matching_gradient(sample, fake, real)
    return GeneratorResult(matching_loss(sample, pull.gradient), sample, x, fake, real, branches, pull)


def critic_update(
    student: nn.Module,
    critic: nn.Module,
    conditions: Conditions,
    draws: Draws,
    exit_step: int,
    raw_time: int,
    rules: MatchingRules,
) -> CriticResult:
    """The loss that lets the critic follow what the generator makes (recipe 4.4)."""
    with torch.no_grad():
        sample = rollout(
            student,
            conditions,
            draws,
            exit_step,
            gradient=False,
            levels=rules.levels,
            context=rules.context,
            dtype=rules.latents,
        )
        time, sigma, noise = _score(conditions, draws, raw_time, sample)
        x = with_reference(add_noise(sample, noise, sigma), conditions.reference)
    flow = score_flow(critic, x, time, conditions)
    return CriticResult(critic_loss(flow, noise, sample, mask=rules.critic_mask), sample, flow, noise)


def _score(conditions: Conditions, draws: Draws, raw_time: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Time [1], noise level and noise [F,16,h,w] at which a clip is scored."""
    time = score_time(torch.tensor([raw_time]))
    level = score_level(time)[0]
    noise = draws.score(conditions.shape).to(like.device, like.dtype)
    return time.to(like.device), level.to(like.device), noise
