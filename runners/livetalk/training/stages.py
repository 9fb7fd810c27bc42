"""The two stages of a run as a loop sees them: one step, and what must be kept of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from livetalk.base.errors import LiveTalkError
from livetalk.render.config import FRAMES_PER_BLOCK
from livetalk.training.batches import Batches, Place
from livetalk.training.draws import CountedDraws, exit_step
from livetalk.training.metrics import Tally
from livetalk.training.monitors import observe
from livetalk.training.optimiser import Optimiser
from livetalk.training.samples import Samples
from livetalk.training.schedules import STUDENT_STEPS, generator_due, score_time, student_times
from livetalk.training.settings import MatchingSettings, OdeSettings, Offload
from livetalk.training.sharding import Average, Processes, parameters, split, synchronise
from livetalk.training.updates import critic_update, generator_update, ode_update


class CollapseError(LiveTalkError):
    """The run makes nothing of use any more."""


Brightness = Callable[[Tensor, Tensor], float]
"""Of a clip's latents [F,16,h,w] and its reference [1,16,h,w]: how bright a frame is, as a share of the portrait."""


class Stage(ABC):
    """What a run does step by step. Every process makes the same calls."""

    name: str

    def __init__(self, student: nn.Module, samples: Samples, batch: int, seed: int, on: Processes) -> None:
        self.student, self.samples, self.batch, self.seed, self.on = student, samples, batch, seed, on
        self.cursor = 0
        """Samples taken so far."""
        self._batches = Batches(samples.ids, seed)

    @abstractmethod
    def step(self, step: int) -> dict[str, float]:
        """Do step ``step``, counted from 0; what was measured.

        Raises:
            CollapseError: a gradient is no number; nothing was updated by it.
        """

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint holds, sharing memory."""

    def progress(self) -> dict[str, Any]:
        """What else it holds."""
        return {"cursor": self.cursor}

    def prepare(self, progress: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; ``tensors`` are filled after this."""
        self.cursor = int(progress["cursor"])

    def weights(self) -> tuple[str, dict[str, Tensor]]:
        """Which network is the result so far, and its parameters."""
        return "student", parameters(self.student)

    def _mine(self) -> Iterator[tuple[Place, float, bool]]:
        """This process's samples of the next batch: the sample, the weight of its loss, and whether it is the last.

        Sharding takes the mean of all processes' gradients. Where the batch can't be divided by their number, some
        compute a sample whose weight is 0, so that all do the same number of passes.
        """
        places = self._batches.at(self.cursor, self.batch)
        self.cursor += self.batch
        mine = split(self.batch, self.on.rank, self.on.world)
        for count, index in enumerate(mine, 1):
            weight = 0.0 if index is None else self.on.world / self.batch
            yield places[0 if index is None else index], weight, count == len(mine)


class OdeStage(Stage):
    """The student learns to reach a trajectory's end from any of its four states (recipe 3.3)."""

    name = "ode"

    def __init__(
        self,
        student: nn.Module,
        samples: Samples,
        settings: OdeSettings,
        seed: int,
        on: Processes,
        *,
        offload: Offload | None = None,
    ) -> None:
        super().__init__(student, samples, settings.batch, seed, on)
        self.settings = settings
        self.optimiser = Optimiser(student, settings.adam, on_host=(offload or Offload()).optimiser)

    def step(self, step: int) -> dict[str, float]:
        tally = Tally()
        blocks, times = self.samples.frames // FRAMES_PER_BLOCK, student_times()
        for place, weight, last in self._mine():
            draws = CountedDraws(self.seed, step, place.name, self.name)
            indices = draws.indices(blocks, STUDENT_STEPS)
            conditions = self.samples.read(place.id, self.on.device)
            noisy, target = self.samples.pair(place.id, indices, self.on.device)
            result = ode_update(
                self.student,
                conditions,
                noisy,
                target,
                indices,
                levels=self.settings.levels,
                reference_frame=self.settings.reference_frame,
            )
            synchronise(self.student, last)
            (result.loss * weight).backward()
            if weight:
                seen = observe(result.predicted)
                tally.add({"loss": float(result.loss.detach()), **seen})
                for index, error in zip(indices, result.block_errors.tolist(), strict=True):
                    tally.add({f"loss/t{int(times[index])}": error})
        norm = self.optimiser.step()
        _require_number("student", norm, step)
        return {**tally.means(self.on), "gradient_norm": norm}

    def tensors(self) -> dict[str, Tensor]:
        return {**_named("student", parameters(self.student)), **self.optimiser.tensors("student_adam")}

    def progress(self) -> dict[str, Any]:
        return {**super().progress(), "student_updates": self.optimiser.updates}

    def prepare(self, progress: Mapping[str, Any]) -> None:
        super().prepare(progress)
        self.optimiser.restore(int(progress["student_updates"]))


class MatchingStage(Stage):
    """Generator and critic in turn (recipe 4.6)."""

    name = "dmd"

    def __init__(
        self,
        student: nn.Module,
        critic: nn.Module,
        teacher: nn.Module,
        samples: Samples,
        settings: MatchingSettings,
        seed: int,
        on: Processes,
        *,
        brightness: Brightness | None = None,
        offload: Offload | None = None,
    ) -> None:
        super().__init__(student, samples, settings.batch, seed, on)
        self.critic, self.teacher, self.settings = critic, teacher, settings
        self.brightness = brightness
        self.offload = offload or Offload()
        self.generator_optimiser = Optimiser(student, settings.generator, on_host=self.offload.optimiser)
        self.critic_optimiser = Optimiser(critic, settings.critic, on_host=self.offload.optimiser)
        self.average: Average | None = None

    def step(self, step: int) -> dict[str, float]:
        settings = self.settings
        measured: dict[str, float] = {}
        due = generator_due(step, warm_up=settings.warm_up, every=settings.every, alternation=settings.alternation)
        if due:
            measured |= self._update_generator(step)
        measured |= self._update_critic(step)
        if self.average is None and step + 1 >= settings.ema_start:
            self.average = self._copy()
        return measured

    def _update_generator(self, step: int) -> dict[str, float]:
        tally, leave = Tally(), exit_step(self.seed, step, "generator", STUDENT_STEPS)
        for place, weight, last in self._mine():
            draws = CountedDraws(self.seed, step, place.name, "generator")
            conditions = self.samples.read(place.id, self.on.device)
            result = generator_update(
                self.student,
                self.critic,
                self.teacher,
                conditions,
                draws,
                leave,
                draws.raw_time(),
                self.settings.rules,
            )
            synchronise(self.student, last)
            (result.loss * weight).backward()
            if weight:
                loss = float(result.loss.detach())
                seen = {
                    "loss": loss,
                    f"loss/exit{leave}": loss,
                    "pull": float(result.pull.gradient.abs().mean()),
                    "normaliser": float(result.pull.normaliser),
                    "score_difference": float(result.pull.difference),
                    **observe(result.sample),
                }
                if last and self.on.first and self.brightness is not None:
                    seen["brightness"] = self.brightness(result.sample.detach(), conditions.reference)
                tally.add({f"generator/{name}": value for name, value in seen.items()})
        norm = self.generator_optimiser.step()
        _require_number("generator", norm, step)
        if self.average is not None:
            self.average.update(self.student, self.settings.ema_decay)
        return {**tally.means(self.on), "generator/gradient_norm": norm}

    def _update_critic(self, step: int) -> dict[str, float]:
        tally, leave = Tally(), exit_step(self.seed, step, "critic", STUDENT_STEPS)
        for place, weight, last in self._mine():
            draws = CountedDraws(self.seed, step, place.name, "critic")
            raw = draws.raw_time()
            conditions = self.samples.read(place.id, self.on.device)
            result = critic_update(self.student, self.critic, conditions, draws, leave, raw, self.settings.rules)
            synchronise(self.critic, last)
            (result.loss * weight).backward()
            if weight:
                loss = float(result.loss.detach())
                quarter = min(3, int(score_time(torch.tensor(raw)) // 250))
                seen = {"loss": loss, f"loss/t{250 * quarter}-{250 * quarter + 250}": loss, f"loss/exit{leave}": loss}
                tally.add({f"critic/{name}": value for name, value in seen.items()})
        norm = self.critic_optimiser.step()
        _require_number("critic", norm, step)
        return {**tally.means(self.on), "critic/gradient_norm": norm}

    def weights(self) -> tuple[str, dict[str, Tensor]]:
        return super().weights() if self.average is None else ("ema", self.average.values)

    def tensors(self) -> dict[str, Tensor]:
        return {
            **_named("student", parameters(self.student)),
            **_named("critic", parameters(self.critic)),
            **self.generator_optimiser.tensors("student_adam"),
            **self.critic_optimiser.tensors("critic_adam"),
            **({} if self.average is None else _named("ema", self.average.values)),
        }

    def progress(self) -> dict[str, Any]:
        return {
            **super().progress(),
            "student_updates": self.generator_optimiser.updates,
            "critic_updates": self.critic_optimiser.updates,
            "ema": self.average is not None,
        }

    def prepare(self, progress: Mapping[str, Any]) -> None:
        super().prepare(progress)
        self.generator_optimiser.restore(int(progress["student_updates"]))
        self.critic_optimiser.restore(int(progress["critic_updates"]))
        self.average = self._copy() if progress["ema"] else None

    def _copy(self) -> Average:
        return Average(self.student, on_host=self.offload.average)


def _named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def _require_number(network: str, norm: float, step: int) -> None:
    if not math.isfinite(norm):
        raise CollapseError(
            f"The {network}'s gradient is {norm} at step {step + 1}, and nothing was updated by it. The last "
            "checkpoint is whole. Lower the learning rate or the guidance, look for a broken sample, and run again "
            "from it."
        )
