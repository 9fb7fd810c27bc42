from collections.abc import Callable

import pytest
import torch
from livetalk.render.model.rotary import angles, frame_rotation, part_widths, rotate, spatial_rotation, token_rotation
from torch import Tensor


@pytest.mark.parametrize("head_dim", [24, 32, 128])
def test_tables(golden_tensors: Callable[[str], dict[str, Tensor]], close: Callable[..., None], head_dim: int) -> None:
    tables = golden_tensors("tables")
    positions = tables[f"rope{head_dim}.pos"]
    for part, width in zip("fhw", part_widths(head_dim), strict=True):
        angle = angles(positions, width)
        close(angle.cos(), tables[f"rope{head_dim}.{part}_cos"], 1e-12)
        close(angle.sin(), tables[f"rope{head_dim}.{part}_sin"], 1e-12)


def test_rotation_of_tokens(golden_tensors: Callable[[str], dict[str, Tensor]], close: Callable[..., None]) -> None:
    tables = golden_tensors("tables")
    rotation = token_rotation(frame_rotation(5, 2, 24, "cpu"), spatial_rotation(3, 2, 24, "cpu"))
    x = tables["rope_apply.x"].view(12, 2, 24)
    close(rotate(x, rotation).flatten(1)[None], tables["rope_apply.out"], 1e-6)


def test_both_ways_of_rotating_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(6, 2, 32, generator=torch.Generator().manual_seed(0))
    rotation = token_rotation(frame_rotation(3, 1, 32, "cpu"), spatial_rotation(2, 3, 32, "cpu"))
    complex_form = rotate(x, rotation)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(rotate(x, rotation), complex_form, atol=1e-6, rtol=0)


def test_rotation_keeps_the_dtype() -> None:
    x = torch.ones(4, 1, 24, dtype=torch.bfloat16)
    rotation = token_rotation(frame_rotation(0, 1, 24, "cpu"), spatial_rotation(2, 2, 24, "cpu"))
    assert rotate(x, rotation).dtype == torch.bfloat16


def test_what_is_joined_is_rounded_before() -> None:
    """In the form that a compiler sees, nothing of the whole width lies in float32."""
    x = torch.randn((6, 2, 32), generator=torch.Generator().manual_seed(0)).bfloat16()
    rotation = token_rotation(frame_rotation(3, 1, 32, "cpu"), spatial_rotation(2, 3, 32, "cpu"))
    seen: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        seen.append(graph)
        return graph.forward

    turned = torch.compile(rotate, backend=keep, fullgraph=True, dynamic=False)(x, rotation)
    torch.testing.assert_close(turned, rotate(x, rotation), atol=0, rtol=0)
    joined = [node for node in seen[0].graph.nodes if node.target in (torch.stack, torch.ops.aten.stack.default)]
    assert [node.meta["example_value"].dtype for node in joined] == [torch.bfloat16]


def test_a_head_that_does_not_split_is_refused() -> None:
    with pytest.raises(ValueError, match="head width 16"):
        part_widths(16)
