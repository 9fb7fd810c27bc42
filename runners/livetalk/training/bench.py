"""Times one update of each kind at real shapes with random weights: the same arithmetic, and no data is needed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from livetalk.render.config import DiTConfig
from livetalk.render.model import random_tensors, reference_shapes
from livetalk.training import draws as randomness
from livetalk.training.draws import CountedDraws
from livetalk.training.optimiser import Optimiser
from livetalk.training.planning import Shape, StageName
from livetalk.training.rollout import Conditions
from livetalk.training.schedules import STUDENT_STEPS
from livetalk.training.settings import Preset
from livetalk.training.sharding import Average, Processes, sharded
from livetalk.training.updates import critic_update, generator_update, ode_update


@dataclass(frozen=True, slots=True)
class Timing:
    """One update of one sample on every process, the optimiser's step included."""

    update: str
    seconds: float
    """The least of the rounds after the first."""
    memory_gb: float | None
    """The most that was allocated on this GPU; None on a CPU."""


class RandomWeights(Mapping[str, Tensor]):
    """Random tensors, each made when it is asked for: of 14B not all could be held."""

    def __init__(self, config: DiTConfig, seed: int, device: torch.device) -> None:
        self._shapes, self._seed, self._device = reference_shapes(config), seed, device

    def __getitem__(self, name: str) -> Tensor:
        seed = randomness.integer(2**31, self._seed, name)
        return random_tensors({name: self._shapes[name]}, seed=seed, device=self._device)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def measure(
    stage: StageName,
    student: DiTConfig,
    teacher: DiTConfig,
    preset: Preset,
    shape: Shape,
    on: Processes,
    *,
    rounds: int = 2,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Timing]:
    """Time the ODE update, or the generator's after each exit step and the critic's.

    Args:
        rounds: timed, after one that is not.
    """
    device = on.device
    compute = torch.bfloat16 if device.type == "cuda" else torch.float32
    progress("weights")
    network = sharded(student, RandomWeights(student, 0, device), on, compute=compute)
    conditions = _conditions(student, shape, device)

    def timed(update: str, work: Callable[[], Tensor], optimiser: Optimiser) -> Timing:
        progress(update)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        taken = []
        for _ in range(rounds + 1):
            on.wait()
            began = time.perf_counter()
            work().backward()
            optimiser.step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(time.perf_counter() - began)
        memory = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
        return Timing(update, min(taken[1:]), memory)

    if stage == "ode":
        noisy, target = (randomness.normal(conditions.shape, 0, role).to(device) for role in ("noisy", "target"))
        indices = CountedDraws(0, 0, "bench", "ode").indices(conditions.frames // 3, STUDENT_STEPS)

        def ode() -> Tensor:
            return ode_update(network, conditions, noisy, target, indices).loss

        return [timed("ode", ode, Optimiser(network, preset.ode.adam))]

    critic = sharded(student, RandomWeights(student, 1, device), on, compute=compute)
    taught = sharded(teacher, RandomWeights(teacher, 2, device), on, compute=compute, stored=compute, trained=False)
    generator_optimiser = Optimiser(network, preset.matching.generator)
    critic_optimiser = Optimiser(critic, preset.matching.critic)
    average = Average(network)
    rules, draw = preset.matching.rules, CountedDraws(0, 0, "bench", "generator")
    found = []
    for leave in range(STUDENT_STEPS):

        def generator(leave: int = leave) -> Tensor:
            return generator_update(network, critic, taught, conditions, draw, leave, 500, rules).loss

        found.append(timed(f"generator, exit step {leave}", generator, generator_optimiser))
    average.update(network, preset.matching.ema_decay)

    def follow() -> Tensor:
        return critic_update(network, critic, conditions, draw, STUDENT_STEPS - 1, 500, rules).loss

    return [*found, timed(f"critic, exit step {STUDENT_STEPS - 1}", follow, critic_optimiser)]


def _conditions(config: DiTConfig, shape: Shape, device: torch.device) -> Conditions:
    def random(*size: int) -> Tensor:
        return randomness.normal(size, 0, *size)

    text, negative = (random(shape.text_rows, config.text_dim) for _ in range(2))
    features = random(4 * shape.frames - 3, config.audio_feat_dim)
    return Conditions(random(1, config.out_dim, shape.height, shape.width), text, negative, features).to(device)


def as_text(timings: list[Timing]) -> str:
    """One row per update."""
    rows = [("update", "seconds", "memory")]
    rows += [
        (one.update, f"{one.seconds:.2f}", "-" if one.memory_gb is None else f"{one.memory_gb:.1f} GB")
        for one in timings
    ]
    return "\n".join(f"{update:<26}{seconds:>9}  {memory:>10}" for update, seconds, memory in rows)


def as_json(timings: list[Timing]) -> str:
    """The same."""
    return json.dumps([asdict(one) for one in timings], indent=1)
