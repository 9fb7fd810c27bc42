"""The golden fixtures and the networks they were made with."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from livetalk.render.config import DiTConfig, StreamConfig
from livetalk.render.model import CausalDiT
from livetalk.render.model.block import BlockGenerator
from livetalk_published_loop import PublishedLoop
from safetensors.torch import load_file
from torch import Tensor, nn

GOLDEN = Path(__file__).parents[1] / "golden"
# pytest listens to every logger that does not propagate. Of this one torch asks only whether somebody listens, and then
# writes down all that its compiler does.
logging.getLogger("torch.__trace").propagate = True

LIMIT = 2e-5  # float32 on a CPU, from the fixtures' README


@pytest.fixture(scope="session")
def manifest() -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((GOLDEN / "manifest.json").read_text())
    return manifest


@pytest.fixture(scope="session")
def golden_tensors(manifest: dict[str, Any]) -> Callable[[str], dict[str, Tensor]]:
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


@pytest.fixture(scope="session")
def published_loop() -> type[PublishedLoop]:
    """The published loop's way of working, as the benchmark re-states it."""
    return PublishedLoop


@dataclass(frozen=True)
class Session:
    """Inputs of one random session on the golden network."""

    stream: StreamConfig
    context: Tensor
    reference: Tensor
    audio: Tensor  # [P,F,d]
    noise: Tensor  # [blocks,steps,3,16,h,w]


@pytest.fixture
def session(golden_config: DiTConfig) -> Callable[..., Session]:
    def make(blocks: int, seed: int = 0, **settings: Any) -> Session:
        # Two steps: there is a re-noised one, and every step after the first is alike. The fixtures have four.
        stream = StreamConfig(latent_height=4, latent_width=4, **{"steps": 2, **settings})
        draw = torch.Generator().manual_seed(seed)

        def random(*shape: int) -> Tensor:
            return torch.randn(shape, generator=draw)

        return Session(
            stream,
            random(1, 8, golden_config.text_dim),
            random(1, 16, 1, 4, 4),
            random(golden_config.audio_injections, 3 * blocks, golden_config.dim),
            random(blocks, stream.steps, 3, 16, 4, 4),
        )

    return make


@pytest.fixture
def run_session(golden_dit: CausalDiT) -> Callable[[Session], Tensor]:
    """Latents [blocks,3,16,h,w] of a session."""

    def run(session: Session) -> Tensor:
        generator = BlockGenerator(golden_dit, session.stream)
        generator.start(session.context, session.reference)
        latents = []
        for b, noise in enumerate(session.noise):
            latents.append(generator.denoise(session.audio[:, 3 * b : 3 * b + 3], noise))
            generator.clean()
        return torch.stack(latents)

    return run


@pytest.fixture
def live_bytes() -> Iterator[Callable[[], int]]:
    """Counts the bytes of all tensors that there are and were not before the test."""

    def count() -> int:
        gc.collect()
        # By exact type: what the compiler's tests leave behind are tensors without memory.
        tensors = [thing for thing in gc.get_objects() if type(thing) in (Tensor, nn.Parameter)]
        return sum({one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}.values())

    gc.collect()
    gc.freeze()  # to look through all that torch and its compiler keep takes many times as long as what is tested
    yield count
    gc.unfreeze()
