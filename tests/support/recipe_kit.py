"""The training recipe's fixtures (tests/livetalk/training/golden): cases, and the networks they were made with."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from livetalk.render.config import DiTConfig
from livetalk.render.model import CausalDiT
from safetensors.torch import load_file
from torch import Tensor

RECIPE = Path(__file__).parents[1] / "livetalk" / "training" / "golden"
LIMIT = 2e-5  # of network outputs in float32 on a CPU, from the fixtures' README


@functools.cache
def manifest() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((RECIPE / "manifest.json").read_text("utf-8"))
    return read


def case(name: str) -> dict[str, Tensor]:
    """Tensors of a case."""
    return load_file(RECIPE / f"{name}.safetensors")


def config(name: str) -> DiTConfig:
    """Dimensions of ``student``, ``teacher`` or ``critic``."""
    return DiTConfig.from_manifest(manifest()["models"][name]["config"])


def weights(name: str) -> dict[str, Tensor]:
    """A network's tensors under their published names."""
    return {key: value.float() for key, value in load_file(RECIPE / manifest()["models"][name]["file"]).items()}


def network(name: str) -> CausalDiT:
    """``student``, ``teacher`` or ``critic``; a new one at every call, for the caller to change."""
    return CausalDiT.from_state(config(name), weights(name))


def off(actual: Tensor, expected: Tensor) -> float:
    """The largest absolute difference; the shapes must be the same."""
    assert actual.shape == expected.shape
    return float((actual.double() - expected.double()).abs().max())
