"""What a run is made with: Table 4 of the paper, and the six rows of its Table 3 as presets (recipe 5).

Every place where this project departs from the published code is a field here, whose other value is the published
behaviour; docs/training.md lists them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch

from livetalk.render.omniavatar.sampler import Guidance
from livetalk.training.losses import CriticMask
from livetalk.training.rollout import Context
from livetalk.training.schedules import Alternation, Levels
from livetalk.training.updates import MatchingRules

Latents = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Adam:
    """Of one network."""

    learning_rate: float
    beta1: float
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 10.0
    """Largest norm of the gradient of one update."""
    warm_up: int = 0
    """Updates over which the learning rate rises from 0. None is published."""
    decay: int = 0
    """Updates over which it falls to ``DECAYED`` of itself, along half a cosine; 0 for never. None is published."""


@dataclass(frozen=True, slots=True)
class Offload:
    """What lies in the host's memory and comes to the GPU when it is its turn. Nothing that is computed changes."""

    teacher: bool = False
    """Layer by layer, at every pass."""
    average: bool = False
    """Tensor by tensor, at every update of the generator."""
    optimiser: bool = False
    """AdamW's moments, tensor by tensor, at every update."""

    @property
    def options(self) -> tuple[str, ...]:
        """The command line's for what is chosen."""
        chosen = {"teacher": self.teacher, "average": self.average, "optimiser": self.optimiser}
        return tuple(f"--offload-{name}" for name, on in chosen.items() if on)


@dataclass(frozen=True, slots=True)
class OdeSettings:
    """The ODE initialisation."""

    steps: int = 20_000
    batch: int = 64
    adam: Adam = Adam(4e-5, 0.9)
    guidance: float = 4.5
    """True scale that the trajectories were sampled with."""
    levels: Levels = "table"
    reference_frame: bool = True
    """Count the reference frame in the loss, as published."""


@dataclass(frozen=True, slots=True)
class MatchingSettings:
    """Distribution matching."""

    steps: int = 1000
    """Of the trainer: updates of the critic."""
    batch: int = 64
    generator: Adam = Adam(4e-6, 0.0, weight_decay=0.01)
    critic: Adam = Adam(8e-7, 0.0, weight_decay=0.01)
    text_scale: float = 6.0
    """True scale of the teacher's text."""
    audio_scale: float = 6.0
    warm_up: int = 20
    """First steps, of the critic alone."""
    every: int = 5
    """Updates of the critic for one of the generator."""
    alternation: Alternation = "absolute"
    ema_decay: float = 0.99
    """Of every update of the generator."""
    ema_start: int = 200
    """The step after which the average begins, as a copy."""
    levels: Levels = "table"
    context: Context = "exact"
    critic_mask: CriticMask = "frame"
    latents: Latents = "float32"

    @property
    def rules(self) -> MatchingRules:
        """What one update needs to know."""
        guidance = Guidance(self.text_scale, self.audio_scale)
        return MatchingRules(guidance, self.levels, self.context, self.critic_mask, getattr(torch, self.latents))


@dataclass(frozen=True, slots=True)
class Results:
    """What the paper reports of a row: HDTF, 100 clips of 5 s."""

    fid: float
    fvd: float
    sync_c: float
    sync_d: float
    iqa: float
    ase: float


@dataclass(frozen=True, slots=True)
class Preset:
    """A row of Table 3."""

    name: str
    data: Literal["filtered", "curated"]
    """Which conditions: filtered by brightness and quality, or curated as well. Nothing here can tell them apart."""
    results: Results
    ode: OdeSettings = field(default_factory=OdeSettings)
    matching: MatchingSettings = field(default_factory=MatchingSettings)


def _row(
    name: str,
    data: Literal["filtered", "curated"],
    ode_steps: int,
    rates: tuple[float, float],
    scale: float,
    *of: float,
) -> Preset:
    final = MatchingSettings()
    matching = replace(
        final,
        generator=replace(final.generator, learning_rate=rates[0]),
        critic=replace(final.critic, learning_rate=rates[1]),
        text_scale=scale,
        audio_scale=scale,
    )
    return Preset(name, data, Results(*of), OdeSettings(steps=ode_steps), matching)


_CAUTIOUS, _AGGRESSIVE = (2e-6, 4e-7), (4e-6, 8e-7)

PRESETS = {
    preset.name: preset
    for preset in (
        _row("baseline", "filtered", 4_000, _CAUTIOUS, 4.0, 27.10, 338.08, 3.13, 11.77, 3.95, 2.38),
        _row("curated", "curated", 4_000, _CAUTIOUS, 4.0, 14.90, 217.68, 3.53, 11.47, 3.99, 2.31),
        _row("converged-ode", "curated", 20_000, _CAUTIOUS, 4.0, 11.67, 169.75, 4.15, 11.19, 4.18, 2.56),
        _row("aggressive-lr", "curated", 20_000, _AGGRESSIVE, 4.0, 12.10, 179.73, 4.29, 11.07, 4.15, 2.53),
        _row("final", "curated", 20_000, _AGGRESSIVE, 6.0, 13.68, 190.07, 4.50, 11.00, 4.13, 2.52),
        _row("final-not-curated", "filtered", 20_000, _AGGRESSIVE, 6.0, 23.89, 261.19, 3.85, 11.42, 4.06, 2.47),
    )
}
DEFAULT_PRESET = "final"


def flat(settings: OdeSettings | MatchingSettings) -> dict[str, Any]:
    """Every setting under one name, such as ``adam.learning_rate``."""
    found: dict[str, Any] = {}
    for name, value in asdict(settings).items():
        found.update(
            {f"{name}.{part}": inner for part, inner in value.items()} if isinstance(value, dict) else {name: value}
        )
    return found
