"""Runs every case of a folder of training fixtures through this implementation, gradients included.

A folder holds ``manifest.json``, the weights of three tiny networks and a safetensors file per case, laid out as
tests/livetalk/training/golden. Dimensions, seeds, times and exit steps are read from it. How a case is run is told by
what it contains; one that nobody knows how to run fails, and so does one that leaves a tensor uncompared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from livetalk.base.errors import FixtureError
from livetalk.base.fixtures import CaseResult, FixtureFolder, Measurement
from livetalk.render.checkpoint import check, open_state
from livetalk.render.config import FRAMES_PER_BLOCK, DiTConfig
from livetalk.render.model.weights import reference_shapes, to_published
from livetalk.training.network import TrainingDiT
from livetalk.training.rollout import Conditions

GPU_FACTOR = 5
"""Limits on a GPU, with TF32 off, are so many times wider."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the fixtures' README: a second implementation keeps them tenfold."""

    output: float = 2e-5
    """Absolute, of what networks put out."""
    loss: float = 2e-6
    """Relative."""
    gradient: float = 2e-5
    """Relative: of a full gradient to its largest value, of a norm to itself and a thousandth of the total."""
    traced_loss: float = 1e-5
    traced_parameter: float = 1e-6
    traced_change: float = 1e-3


@dataclass(frozen=True, slots=True)
class GivenDraws:
    """The fixtures' draws: draw k of a case is ``RandomState(first + k)``, in the order of a rollout."""

    first: int
    exit_step: int

    def draw(self, index: int, shape: tuple[int, ...]) -> Tensor:
        return numbers(self.first + index, shape)

    def clip(self, shape: tuple[int, ...]) -> Tensor:
        return self.draw(0, shape)

    def renoise(self, block: int, step: int, shape: tuple[int, ...]) -> Tensor:
        return self.draw(1 + block * (self.exit_step + 1) + step, shape)

    def context(self, block: int, shape: tuple[int, ...]) -> Tensor:
        return self.draw(1 + block * (self.exit_step + 1) + self.exit_step, shape)

    def score(self, shape: tuple[int, ...]) -> Tensor:
        return self.draw(self.count(shape[0]) - 1, shape)

    def count(self, frames: int) -> int:
        """How many a rollout and its score take."""
        return 2 + frames // FRAMES_PER_BLOCK * (self.exit_step + 1)


def numbers(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal values as the fixtures draw them, in float32."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape)).float()


class TrainingFixtures(FixtureFolder):
    """A folder of training fixtures and the networks its weights make.

    Raises:
        FixtureError: the folder has no readable manifest, or no cases.
    """

    EXAMPLE = "tests/livetalk/training/golden"

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        super().__init__(folder)
        self.device = torch.device(device)
        self.factor = 1 if self.device.type == "cpu" else GPU_FACTOR
        self.limits = Limits()

    def tensors(self, name: str) -> dict[str, Tensor]:
        """All tensors of a safetensors file of the folder.

        Raises:
            FixtureError: it is missing, damaged or other than the manifest says.
        """
        try:
            return load_file(self.path(name), device="cpu")
        except (SafetensorError, ValueError) as error:
            raise FixtureError(f"{name} is not a whole safetensors file: {error}") from error

    def config(self, model: str) -> DiTConfig:
        """Dimensions of student, critic or teacher."""
        try:
            return DiTConfig.from_manifest(self.manifest["models"][model]["config"])
        except (KeyError, TypeError, ValueError) as error:
            raise FixtureError(f"the manifest describes no usable model {model!r} ({error})") from error

    def network(self, model: str, *, trained: bool = True, checkpointing: bool = False) -> TrainingDiT:
        """A new one at every call, in float32."""
        config = self.config(model)
        state = open_state(self.path(self.manifest["models"][model]["file"]))
        check(state.path, state.shapes, reference_shapes(config), f"the {model} that the manifest describes")
        network = TrainingDiT.from_state(config, state, dtype=torch.float32, device=self.device)
        assert isinstance(network, TrainingDiT)
        return network.train_with(checkpointing=checkpointing) if trained else network

    @cached_property
    def conditions(self) -> Conditions:
        """What all training cases are conditioned on."""
        held = self.tensors("conditions.safetensors")
        try:
            one = (held["ref_latent"][0], held["context"][0], held["negative_context"][0], held["audio"][0])
        except KeyError as error:
            raise FixtureError(f"conditions.safetensors holds no {error}") from error
        return Conditions(*one).to(self.device)


def gradients(config: DiTConfig, network: nn.Module) -> dict[str, Tensor]:
    """Gradients under the published names; one that is missing is zero."""
    found = {
        name: torch.zeros_like(value) if value.grad is None else value.grad
        for name, value in network.named_parameters()
    }
    return to_published(config, found)


class Case:
    """One case while it runs: hands out its tensors, takes its comparisons, and knows what nobody touched."""

    def __init__(
        self, name: str, about: Mapping[str, Any], tensors: dict[str, Tensor], fixtures: TrainingFixtures
    ) -> None:
        self.name, self.about, self.fixtures = name, about, fixtures
        self.measurements: list[Measurement] = []
        self.tensors = tensors
        self._touched: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def tensor(self, name: str) -> Tensor:
        """
        Raises:
            FixtureError: the file does not hold it.
        """
        if name not in self.tensors:
            raise FixtureError(f"the file holds no tensor {name!r}")
        self._touched.add(name)
        return self.tensors[name].to(self.fixtures.device)

    def parameter(self, name: str) -> Any:
        """
        Raises:
            FixtureError: the manifest does not give it.
        """
        if name not in self.about:
            raise FixtureError(f"the manifest does not give {name!r} for this case")
        return self.about[name]

    def measure(self, name: str, value: float, limit: float, *, main: bool = True) -> None:
        self.measurements.append(Measurement(name, value, limit * self.fixtures.factor, main))

    def output(self, name: str, actual: Tensor, limit: float | None = None) -> None:
        """The largest absolute difference; a batch dimension of one may be missing."""
        expected = self.tensor(name)
        actual = actual.detach()
        if actual.squeeze().shape != expected.squeeze().shape:
            raise FixtureError(f"{name} came out as {list(actual.shape)}, the file has {list(expected.shape)}")
        difference = (actual.reshape(expected.shape).double() - expected.double()).abs()
        self.measure(name, float(difference.max()), self.fixtures.limits.output if limit is None else limit)

    def number(self, name: str, actual: float, expected: float, limit: float | None = None) -> None:
        """A loss or the like, by relative difference."""
        limit = self.fixtures.limits.loss if limit is None else limit
        self.measure(name, abs(actual - expected) / max(abs(expected), 1e-30), limit)

    def loss(self, name: str, actual: Tensor) -> None:
        self.number(name, float(actual.detach()), float(self.tensor(name)))

    def gradients(self, found: Mapping[str, Tensor]) -> None:
        """Every gradient and every gradient's norm of the file, and that it has the norm of each parameter."""
        limit = self.fixtures.limits.gradient
        norms = {name: float(value.double().norm()) for name, value in found.items()}
        total = sum(norm**2 for norm in norms.values()) ** 0.5
        expected = self._expected_norms()
        if set(expected) != set(norms):
            raise FixtureError("the file's norms of gradients are not those of the network's parameters")
        if "grad_norm_total" in self:
            self.number("grad_norm_total", total, float(self.tensor("grad_norm_total")), limit)
        for name, norm in norms.items():
            self.measure(f"grad_norm.{name}", abs(norm - expected[name]) / (expected[name] + 1e-3 * total), limit)
        for key in [key for key in self.tensors if key.startswith("grad.")]:
            full = self.tensor(key).double()
            difference = float((found[key.removeprefix("grad.")].double() - full).abs().max())
            self.measure(key, difference / max(float(full.abs().max()), 1e-30), limit)

    def _expected_norms(self) -> dict[str, float]:
        if "grad_norm_vector" in self:
            return dict(zip(self.parameter("grad_norm_order"), self.tensor("grad_norm_vector").tolist(), strict=True))
        names = [key for key in self.tensors if key.startswith("grad_norm.")]
        return {key.removeprefix("grad_norm."): float(self.tensor(key)) for key in names}

    @property
    def untouched(self) -> tuple[str, ...]:
        return tuple(name for name in self.tensors if name not in self._touched)


def run(
    folder: Path, device: torch.device | str = "cpu", progress: Callable[[str], None] | None = None
) -> list[CaseResult]:
    """Run every case of the folder's manifest; a case that can't be run is a failed one.

    Raises:
        FixtureError: the folder has no readable manifest, or no cases.
    """
    return list(results(folder, device, progress))


def results(
    folder: Path, device: torch.device | str = "cpu", progress: Callable[[str], None] | None = None
) -> Iterator[CaseResult]:
    """As ``run``, case by case."""
    from livetalk.training.parity_cases import runner_of, unlisted

    if torch.device(device).type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    fixtures = TrainingFixtures(folder, device)
    for name, about in {**fixtures.cases, **unlisted(fixtures)}.items():
        if progress is not None:
            progress(name)
        yield _run_case(name, about, fixtures, runner_of)


def _run_case(
    name: str,
    about: Mapping[str, Any],
    fixtures: TrainingFixtures,
    runner_of: Callable[[Case], Callable[[Case], None] | None],
) -> CaseResult:
    case: Case | None = None
    try:
        if not isinstance(about, Mapping):
            raise FixtureError("the manifest says nothing of this case")
        tensors = {} if "windows_file" in about else fixtures.tensors(f"{name}.safetensors")
        case = Case(name, about, tensors, fixtures)
        _check_contents(case)
        runner = runner_of(case)
        if runner is None:
            raise FixtureError("this kind of case is not known here")
        runner(case)
        if case.untouched:
            count = len(case.untouched)
            raise FixtureError(f"{count} tensors were not compared: {', '.join(case.untouched[:4])}")
    except Exception as error:  # whatever stops a case, the others still run and this one has failed
        problem = str(error) if isinstance(error, FixtureError) else f"{type(error).__name__}: {error}"
        return CaseResult(name, tuple(case.measurements) if case else (), (), problem)
    return CaseResult(name, tuple(case.measurements))


def _check_contents(case: Case) -> None:
    """The file holds the tensors that the manifest lists, in their shapes and types, and no others."""
    listed = case.about.get("tensors", {})
    if case.tensors and set(listed) != set(case.tensors):
        differing = sorted(set(listed) ^ set(case.tensors))
        raise FixtureError(f"file and manifest list other tensors: {', '.join(differing[:4])}")
    for name, entry in listed.items():
        tensor = case.tensors[name]
        held = {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
        for fact, value in held.items():
            if fact in entry and value != entry[fact]:
                raise FixtureError(f"tensor {name!r} has {fact} {value}, the manifest says {entry[fact]}")
