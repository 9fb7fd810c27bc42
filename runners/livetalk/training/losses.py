"""The three losses (recipe 3.3, 4.3 and 4.4), each of one sample; latents are [F,C,h,w], frame 0 is the reference."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

CriticMask = Literal["frame", "channel", "none"]
"""What of the critic's error does not count: the reference frame; latent channel 0 of every frame, which is the
published code's mistake; or nothing."""


def ode_loss(predicted: Tensor, target: Tensor, *, reference_frame: bool = True) -> Tensor:
    """Mean squared error of the clean sample.

    Args:
        reference_frame: count frame 0, whose input and target are the reference latent, as published.
    """
    first = 0 if reference_frame else 1
    return (predicted[first:] - target[first:]).square().mean()


class MatchingGradient(NamedTuple):
    """Where distribution matching pulls a sample, and what it was made of."""

    gradient: Tensor
    """[F,C,h,w] float64."""
    normaliser: Tensor
    """Mean distance of the sample from the real score's clean sample."""
    difference: Tensor
    """Mean distance of the two scores' clean samples."""


@torch.no_grad()
def matching_gradient(sample: Tensor, fake: Tensor, real: Tensor) -> MatchingGradient:
    """(fake − real) / mean|sample − real|, the mean over all elements, the reference frame's included; NaN becomes 0.

    Args:
        sample: the generator's clean latents.
        fake, real: clean samples predicted by the critic and by the teacher.
    """
    difference = fake.double() - real.double()
    normaliser = (sample.double() - real.double()).abs().mean()
    return MatchingGradient(torch.nan_to_num(difference / normaliser), normaliser, difference.abs().mean())


def matching_loss(sample: Tensor, gradient: Tensor) -> Tensor:
    """½·mean((x − sg(x − g))²) in float64, whose gradient with respect to x is g divided by the number of elements."""
    exact = sample.double()
    return 0.5 * (exact - (exact - gradient).detach()).square().mean()


def critic_loss(flow: Tensor, noise: Tensor, sample: Tensor, *, mask: CriticMask = "frame") -> Tensor:
    """Mean squared error of the flow ε − x over what counts.

    Frame 0 of the critic's input is the clean reference, so that its target can't be predicted. The published code
    means to leave it out and leaves out channel 0 of every frame instead (recipe 4.4).
    """
    error = (flow - (noise - sample)).square()
    if mask == "frame":
        return error[1:].mean()
    return error[:, 1:].mean() if mask == "channel" else error.mean()
