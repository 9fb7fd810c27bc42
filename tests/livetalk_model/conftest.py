"""The golden fixtures and the networks they were made with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from livetalk.config import DiTConfig
from livetalk.model import CausalDiT
from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"
LIMIT = 2e-5  # float32 on a CPU, from the fixtures' README


@pytest.fixture(scope="session")
def manifest() -> dict[str, Any]:
    return json.loads((GOLDEN / "manifest.json").read_text())


@pytest.fixture(scope="session")
def golden(manifest: dict[str, Any]) -> Callable[[str], dict[str, Tensor]]:
    """Tensors of a case by its name."""
    return lambda case: load_file(GOLDEN / manifest["cases"][case]["file"])


@pytest.fixture(scope="session")
def golden_config(manifest: dict[str, Any]) -> DiTConfig:
    return DiTConfig.from_manifest(manifest["weights"]["dit"]["config"])


@pytest.fixture(scope="session")
def golden_state(manifest: dict[str, Any]) -> dict[str, Tensor]:
    return load_file(GOLDEN / manifest["weights"]["dit"]["file"])


@pytest.fixture(scope="session")
def golden_dit(golden_config: DiTConfig, golden_state: dict[str, Tensor]) -> CausalDiT:
    return CausalDiT.from_state(golden_config, golden_state)


@pytest.fixture
def close() -> Callable[..., None]:
    """Fail unless two tensors agree within the fixtures' limit."""

    def check(actual: Tensor, expected: Tensor, limit: float = LIMIT) -> None:
        assert actual.shape == expected.shape
        difference = (actual.double() - expected.double()).abs().max().item()
        assert difference <= limit, f"differs by {difference:.2e}, limit {limit:.0e}"

    return check
