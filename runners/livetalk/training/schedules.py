"""Times and noise levels of training, and which network is updated when, as pure functions (recipe 1, 4.2 and 4.6).

In training every time is looked up in the 1000-entry table, where the nearest entry gives its noise level; inference
and the states of a trajectory use the exact levels. The two differ by up to 0.0016.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from livetalk.render.sampler import SHIFT, TRAINING_STEPS, Schedule, schedule, sigma_at

Levels = Literal["table", "exact"]
"""Where the student's noise levels come from: the training table, as published, or the sampler's own."""
Alternation = Literal["absolute", "after-warm-up"]
"""Where the count starts that the generator's turns are told by."""

STUDENT_STEPS = 4
TEACHER_STEPS = 48
LOWEST_TIME, HIGHEST_TIME = 20.0, 980.0
"""Times at which scores are taken are clamped to these."""


def training_table() -> Schedule:
    """The 1000 shifted entries in which times are looked up."""
    return schedule(TRAINING_STEPS)


def student_times() -> Tensor:
    """The student's four times, [4]: 1000, 936, 832, 624."""
    return schedule(STUDENT_STEPS, rounding="bfloat16").timesteps


def student_levels(levels: Levels = "table") -> Tensor:
    """Noise levels of the student's four steps, [4] float32."""
    if levels == "exact":
        return schedule(STUDENT_STEPS).sigmas
    return sigma_at(student_times(), training_table())


def context_level() -> float:
    """The noise that the published trainer's clean pass sees without meaning to: t = 0 in the table, 0.00498."""
    return float(sigma_at(0.0, training_table()))


def shifted(raw: Tensor) -> Tensor:
    """Raw times, integers in [0, 1000), after the shift, in float32."""
    linear = raw.float() / TRAINING_STEPS
    return TRAINING_STEPS * (SHIFT * linear / (1 + (SHIFT - 1) * linear))


def score_time(raw: Tensor) -> Tensor:
    """The time at which scores are taken: shifted, clamped, not rounded (recipe 4.2)."""
    return shifted(raw).clamp(LOWEST_TIME, HIGHEST_TIME)


def score_level(time: Tensor) -> Tensor:
    """Noise level of a score's time, by the nearest entry of the table."""
    return sigma_at(time, training_table())


def generator_due(step: int, *, warm_up: int, every: int, alternation: Alternation = "absolute") -> bool:
    """Whether the generator is updated in a trainer's step, counted from 0, before the critic is (recipe 4.6).

    A trainer's step is one update of the critic. The first ``warm_up`` are of the critic alone; of the others every
    ``every``-th has the generator's update, counted from the run's start or from the warm-up's end. With the published
    20 and 5 both mean the same steps.
    """
    if step < warm_up:
        return False
    return (step if alternation == "absolute" else step - warm_up) % every == 0


def generator_updates(steps: int, *, warm_up: int, every: int, alternation: Alternation = "absolute") -> int:
    """How many of the generator there are in so many trainer's steps."""
    return sum(generator_due(step, warm_up=warm_up, every=every, alternation=alternation) for step in range(steps))


DECAYED = 0.02
"""Share of the learning rate that is left when it has fallen."""


def rate_factor(update: int, warm_up: int, decay: int = 0) -> float:
    """What the learning rate is multiplied by at an update, counted from 0: a line from 1/warm_up up to 1, and half a
    cosine down to ``DECAYED`` at update ``decay``, where it stays.

    Neither is published; with both 0 the rate is constant.
    """
    factor = min(1.0, (update + 1) / warm_up) if warm_up else 1.0
    if decay:
        factor *= DECAYED + (1 - DECAYED) * (1 + math.cos(math.pi * min(1.0, update / decay))) / 2
    return factor
