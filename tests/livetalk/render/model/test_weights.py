import math
from typing import Any

import pytest
import torch
from livetalk.render.config import DiTConfig
from livetalk.render.model import CausalDiT, random_state, reference_shapes
from livetalk.render.model.weights import shape_digest, to_published
from torch import Tensor


def test_the_published_checkpoint_has_these_names_and_shapes() -> None:
    shapes = reference_shapes(DiTConfig())
    assert len(shapes) == 857
    assert sum(math.prod(shape) for shape in shapes.values()) == 1_421_187_232
    assert shape_digest(shapes) == "2bf9513c7a3e908015f11a800fc9b820"


def test_the_fixtures_have_these_names_and_shapes(golden_config: DiTConfig, golden_state: dict[str, Tensor]) -> None:
    assert reference_shapes(golden_config) == {name: tuple(value.shape) for name, value in golden_state.items()}


def test_every_tensor_is_read_once(golden_config: DiTConfig, golden_state: dict[str, Tensor]) -> None:
    names = []

    class Reads(dict[str, Tensor]):
        def __getitem__(self, name: str) -> Tensor:
            names.append(name)
            return super().__getitem__(name)

    CausalDiT.from_state(golden_config, Reads(golden_state))
    assert sorted(names) == sorted(golden_state)


def test_weights_go_to_the_asked_dtype(golden_config: DiTConfig, golden_state: dict[str, Tensor]) -> None:
    dit = CausalDiT.from_state(golden_config, golden_state, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in dit.parameters()} == {torch.bfloat16}


def test_random_weights_reproduce_and_carry_signal(golden_config: DiTConfig) -> None:
    first, again, other = (random_state(golden_config, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.head.weight"], other["head.head.weight"])
    assert all(value.abs().max() > 0 for value in first.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 100, "num_heads": 3}, "heads"),
        ({"num_layers": 2}, "audio"),
        ({"in_dim": 16}, "in_dim"),
    ],
)
def test_impossible_dimensions_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiTConfig(**settings)


def test_parameters_go_back_under_their_published_names(
    golden_config: DiTConfig, golden_state: dict[str, Tensor]
) -> None:
    dit = CausalDiT.from_state(golden_config, golden_state)
    back = to_published(golden_config, dit.state_dict())
    assert list(back) == list(reference_shapes(golden_config))
    assert all(torch.equal(back[name], value.to(back[name].dtype)) for name, value in golden_state.items())
