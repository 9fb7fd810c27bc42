"""What the stages below the recipe have in common: one small network, one loss, an average, one process."""

from __future__ import annotations

import contextlib
import json
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from livetalk.training.batches import Place
from livetalk.training.checkpoints import newest, read_network
from livetalk.training.loop import Habits, Outcome, opened, train
from livetalk.training.optimiser import Optimiser
from livetalk.training.settings import Adam
from livetalk.training.sharding import Average, Processes, processes
from livetalk.training.stages import CollapseError, Stage

NETWORK, AVERAGE = "student", "ema"
"""Names in a checkpoint: of what is trained, as every stage's is named, and of its average."""

Part = Callable[[], tuple[Tensor, dict[str, float]]]
"""Computes a part of a step's loss, and what is measured of it."""

Told = Callable[[int, int, Mapping[str, float]], None]
"""Told of every step done: its number, how many there are, what was measured."""


@dataclass(frozen=True, slots=True)
class Named:
    """Samples that are told apart by a name."""

    ids: Sequence[str]


class OwnStage(Stage):
    """One network that learns by one loss."""

    check_every = 200
    """Steps between measurements on what is not trained on."""

    def __init__(
        self, network: nn.Module, ids: Sequence[str], batch: int, adam: Adam, ema_decay: float, seed: int, on: Processes
    ) -> None:
        super().__init__(network, Named(ids), batch, seed, on)  # type: ignore[arg-type]
        network.requires_grad_(True)
        self.network, self.ema_decay = network, ema_decay
        self._trained = list(network.parameters())
        self.optimiser = Optimiser(network, adam)
        self.average = Average(network)
        self._compiled = False

    @abstractmethod
    def parts(self, step: int, places: Sequence[Place]) -> Iterator[Part]:
        """Parts of a step's loss, each to go backward by itself; all weigh the same. Several are computed side by side,
        each by one core: small networks' products are too small to be shared among cores."""

    @abstractmethod
    def check(self) -> dict[str, float]:
        """What the network does, with the average's parameters, on what it is not trained on."""

    def step(self, step: int) -> dict[str, float]:
        places = self._batches.at(self.cursor, self.batch)
        self.cursor += self.batch
        sums: dict[str, list[float]] = {}
        for gradients, measured in self._computed(list(self.parts(step, places))):
            for parameter, gradient in zip(self._trained, gradients, strict=True):
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
            for name, value in measured.items():
                sums.setdefault(name, []).append(value)
        # A loss comes with its share of the batch, so that losses are added; all else is a mean.
        found = {name: sum(seen) / (1 if name == "loss" else len(seen)) for name, seen in sums.items()}
        norm = self.optimiser.step()
        if not math.isfinite(norm):
            raise CollapseError(
                f"The gradient is {norm} at step {step + 1}, and nothing was updated by it. Lower the learning rate "
                "and run again from the last checkpoint."
            )
        # While there are few updates, the average is of these few, not of the random beginning.
        self.average.update(self.network, min(self.ema_decay, (step + 1) / (step + 10)))
        if (step + 1) % self.check_every == 0:
            # Of other shapes, and rare: not worth minutes of compiling.
            with self.averaged(), torch.inference_mode(), torch.compiler.set_stance("force_eager"):
                found |= self.check()
        return {**found, "gradient_norm": norm}

    def _computed(self, parts: Sequence[Part]) -> Iterator[tuple[Sequence[Tensor | None], dict[str, float]]]:
        """Gradients of every parameter, and what was measured, part by part in their order, so that the sum is the same
        on any number of cores."""
        cores = torch.get_num_threads()
        if len(parts) == 1 or self._compiled:
            yield from map(self._gradients, parts)
            return
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(cores, "training") as pool:
                yield from pool.map(self._gradients, parts)
        finally:
            torch.set_num_threads(cores)

    def _gradients(self, part: Part) -> tuple[Sequence[Tensor | None], dict[str, float]]:
        loss, measured = part()
        return torch.autograd.grad(loss, self._trained, allow_unused=True), {"loss": float(loss.detach()), **measured}

    def compile(self) -> None:
        """Compile what a step spends its time in; every step has the same shapes. It takes minutes, and may round
        otherwise."""
        self._compiled = True
        self.network.compile(dynamic=False)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The network has the average's parameters meanwhile."""
        own = {name: value.detach().clone() for name, value in self.network.named_parameters()}
        fill(self.network, self.average.values)
        try:
            yield
        finally:
            fill(self.network, own)

    def further(self) -> dict[str, Tensor]:
        """What a checkpoint holds of the network beside its parameters."""
        return dict(self.network.named_buffers())

    def tensors(self) -> dict[str, Tensor]:
        own = {name: value.detach() for name, value in self.network.named_parameters()}
        return {
            **{f"{NETWORK}.{name}": value for name, value in {**own, **self.further()}.items()},
            **{f"{AVERAGE}.{name}": value for name, value in {**self.average.values, **self.further()}.items()},
            **self.optimiser.tensors(f"{NETWORK}_adam"),
        }

    def progress(self) -> dict[str, Any]:
        return {**super().progress(), "student_updates": self.optimiser.updates}

    def prepare(self, progress: Mapping[str, Any]) -> None:
        super().prepare(progress)
        self.optimiser.restore(int(progress["student_updates"]))


def fill(network: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Give a network's parameters, and buffers if they are named, these values."""
    with torch.no_grad():
        for name, own in network.named_parameters():
            own.copy_(values[name].reshape(own.shape))
        for name, buffer in network.named_buffers():
            if name in values:
                buffer.copy_(values[name])


def average_of(run: str | Path) -> dict[str, Tensor]:
    """A run's average, of its newest checkpoint or of the one that is named.

    Raises:
        RunError: there is none.
    """
    return read_network(newest(Path(run)), AVERAGE)


def train_own(
    out: Path,
    config: Mapping[str, Any],
    steps: int,
    habits: Habits,
    told: Told,
    build: Callable[[Processes], OwnStage],
) -> Outcome:
    """Train, or go on where the folder stands.

    Args:
        config: all that makes the run what it is.

    Raises:
        RunError: the folder is of another run.
        CollapseError: a gradient is no number.
    """
    with processes("cpu") as on, opened(out, json.loads(json.dumps(dict(config))), on):
        stage = build(on)
        if habits.compiled:
            stage.compile()
        return train(stage, out, steps, habits, progress=lambda step, measured: told(step, steps, measured))
