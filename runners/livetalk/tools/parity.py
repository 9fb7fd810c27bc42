"""Runs every case of a fixture folder through this implementation and compares with what the published code gave.

A folder holds ``manifest.json``, weights and one safetensors file per case, laid out as the golden fixtures of the
tests. All dimensions, windows and timesteps are read from it. How a case is run is told by what it contains, not by its
name (``parity_cases``); one that nobody knows how to run fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from livetalk.base.errors import FixtureError
from livetalk.base.fixtures import CaseResult, FixtureFolder, Measurement, as_text
from livetalk.render import vae as vae_module
from livetalk.render.checkpoint import StateFile, check, open_state
from livetalk.render.config import DiTConfig, SpeechConfig, TextConfig, VAEConfig
from livetalk.render.encoders import speech as speech_module
from livetalk.render.encoders import text as text_module
from livetalk.render.encoders.speech import SpeechEncoder
from livetalk.render.encoders.text import TextEncoder
from livetalk.render.model import CausalDiT, reference_shapes
from livetalk.render.vae import WanVAE

__all__ = ["Case", "CaseResult", "Fixtures", "Measurement", "as_text", "results", "run"]

LIMIT_CPU, LIMIT_GPU = 2e-5, 1e-4
"""Largest absolute difference allowed in float32 on a CPU, and on a GPU with TF32 off."""


class Fixtures(FixtureFolder):
    """A fixture folder, and the models its weights make.

    Raises:
        FixtureError: the folder has no readable manifest, or no cases.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        super().__init__(folder)
        self.device = torch.device(device)
        self.limit = LIMIT_CPU if self.device.type == "cpu" else LIMIT_GPU

    def tensors(self, name: str) -> dict[str, Tensor]:
        """All tensors of a safetensors file of the folder."""
        try:
            return load_file(self.path(name), device="cpu")
        except (SafetensorError, ValueError) as error:
            raise FixtureError(f"{name} is not a whole safetensors file: {error}") from error

    def weights(self, kind: str) -> tuple[dict[str, Any], StateFile]:
        """Configuration and tensors of one of the models: dit, wav2vec2, vae or t5."""
        try:
            entry = self.manifest["weights"][kind]
            config, file = entry["config"], entry["file"]
        except (KeyError, TypeError) as error:
            raise FixtureError(f"the manifest gives no weights and configuration for {kind!r}") from error
        return config, open_state(self.path(file))

    @cached_property
    def dit(self) -> CausalDiT:
        return self.dit_as(torch.float32)

    def dit_as(self, dtype: torch.dtype) -> CausalDiT:
        config, state = self.weights("dit")
        parsed = DiTConfig.from_manifest(config)
        check(state.path, state.shapes, reference_shapes(parsed), "the transformer the manifest describes")
        return CausalDiT.from_state(parsed, state, dtype=dtype, device=self.device)

    @cached_property
    def vae(self) -> WanVAE:
        config, state = self.weights("vae")
        if config.get("attn_scales"):
            raise FixtureError("a VAE with attention at further scales is not supported")
        parsed = VAEConfig.from_manifest(config)
        check(state.path, state.shapes, vae_module.reference_shapes(parsed), "the VAE the manifest describes")
        # The convolutions the published code ran: oneDNN sums in another order, and through the decoder's norms of few
        # channels that alone can come to the limit.
        return WanVAE.from_state(parsed, state, device=self.device, onednn=False)

    @cached_property
    def text(self) -> TextEncoder:
        config, state = self.weights("t5")
        if config.get("shared_pos"):
            raise FixtureError("a text encoder with one position bias for all layers is not supported")
        parsed = TextConfig.from_manifest(config)
        check(state.path, state.shapes, text_module.reference_shapes(parsed), "the text encoder the manifest describes")
        return TextEncoder.from_state(parsed, state, dtype=torch.float32, device=self.device)

    @cached_property
    def speech(self) -> SpeechEncoder:
        config, state = self.weights("wav2vec2")
        parsed, state = SpeechConfig.from_manifest(config), state.renamed(speech_module.current_name)
        check(state.path, state.shapes, speech_module.reference_shapes(parsed), "the wav2vec2 the manifest describes")
        return SpeechEncoder.from_state(parsed, state, device=self.device)


class Case:
    """One case while it runs: hands out its tensors, takes its comparisons, and knows which tensors nobody touched."""

    def __init__(
        self, name: str, parameters: Mapping[str, Any], tensors: dict[str, Tensor], fixtures: Fixtures
    ) -> None:
        self.name, self.parameters, self.fixtures = name, parameters, fixtures
        self.measurements: list[Measurement] = []
        self._tensors = tensors
        self._touched: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def tensor(self, name: str) -> Tensor:
        """A tensor of the case, on the device of the run.

        Raises:
            FixtureError: the file does not hold it.
        """
        if name not in self._tensors:
            raise FixtureError(f"the file holds no tensor {name!r}")
        self._touched.add(name)
        return self._tensors[name].to(self.fixtures.device)

    def parameter(self, name: str) -> Any:
        """An entry of the case in the manifest.

        Raises:
            FixtureError: it is missing.
        """
        if name not in self.parameters:
            raise FixtureError(f"the manifest does not give {name!r} for this case")
        return self.parameters[name]

    def expect(self, name: str, actual: Tensor, limit: float | None = None) -> None:
        """Compare with the case's tensor of this name, in shape and by the largest absolute difference."""
        expected = self.tensor(name)
        if actual.numel() == expected.numel() and actual.squeeze().shape == expected.squeeze().shape:
            actual = actual.reshape(expected.shape)
        else:
            raise FixtureError(f"{name} came out as {list(actual.shape)}, the file has {list(expected.shape)}")
        difference = (actual.double() - expected.double()).abs()
        self.measure(name, difference.max().item() if difference.numel() else 0.0, limit)

    def measure(self, name: str, value: float, limit: float | None = None, *, main: bool = True) -> None:
        self.measurements.append(Measurement(name, value, self.fixtures.limit if limit is None else limit, main))

    @property
    def untouched(self) -> tuple[str, ...]:
        return tuple(name for name in self._tensors if name not in self._touched)


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
    from livetalk.tools import parity_cases

    if torch.device(device).type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    fixtures = Fixtures(folder, device)
    for name, parameters in fixtures.cases.items():
        if progress is not None:
            progress(name)
        yield _run_case(name, parameters, fixtures, parity_cases.runner_of)


def _run_case(
    name: str,
    parameters: Mapping[str, Any],
    fixtures: Fixtures,
    runner_of: Callable[[Case], Callable[[Case], None] | None],
) -> CaseResult:
    case: Case | None = None
    try:
        if not isinstance(parameters, Mapping) or "file" not in parameters:
            raise FixtureError("the manifest names no file for this case")
        case = Case(name, parameters, fixtures.tensors(parameters["file"]), fixtures)
        _check_contents(case, parameters)
        runner = runner_of(case)
        if runner is None:
            raise FixtureError("this kind of case is not known here")
        with torch.inference_mode():
            runner(case)
    except Exception as error:  # whatever stops a case, the others still run and this one has failed
        problem = str(error) if isinstance(error, FixtureError) else f"{type(error).__name__}: {error}"
        return CaseResult(name, tuple(case.measurements) if case else (), (), problem)
    return CaseResult(name, tuple(case.measurements), case.untouched)


def _check_contents(case: Case, parameters: Mapping[str, Any]) -> None:
    """The file holds the tensors the manifest lists, in their shapes and types."""
    for name, entry in parameters.get("tensors", {}).items():
        if name not in case:
            raise FixtureError(f"the manifest lists tensor {name!r}, the file does not hold it")
        tensor = case._tensors[name]
        held = {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
        for fact, value in held.items():
            if fact in entry and value != entry[fact]:
                raise FixtureError(f"tensor {name!r} has {fact} {value}, the manifest says {entry[fact]}")
