import pytest
import torch
from livetalk.render.config import DiTConfig
from livetalk.render.model import CausalDiT, random_state
from livetalk.render.model.float8 import Float8Linear, quantize_layers, use_float8


def test_a_cpu_is_refused_with_the_reason(golden_dit: CausalDiT) -> None:
    with pytest.raises(ValueError, match=r"compute capability 8\.9"):
        use_float8(golden_dit)


def test_a_linear_map_keeps_its_values_to_the_format_s_precision() -> None:
    draw = torch.Generator().manual_seed(0)
    linear = torch.nn.Linear(64, 48)
    torch.nn.init.normal_(linear.weight, generator=draw)
    x = torch.randn(5, 7, 64, generator=draw)
    with torch.inference_mode():
        expected, actual = linear(x), Float8Linear(linear)(x)
    assert actual.shape == expected.shape
    relative = (actual - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert relative < 0.05  # e4m3 has three bits of fraction


def test_only_the_layers_linear_maps_are_replaced() -> None:
    config = DiTConfig(
        dim=64, num_heads=2, num_layers=4, ffn_dim=160, text_dim=48, freq_dim=32, audio_hidden=8, audio_feat_dim=16
    )
    dit = quantize_layers(CausalDiT.from_state(config, random_state(config)))
    names = [name for name, module in dit.named_modules() if isinstance(module, Float8Linear)]
    assert len(names) == 6 * config.num_layers
    assert all(name.startswith("layers.") for name in names)
    assert dit.layers[0].ffn_in.weight.dtype == torch.float8_e4m3fn
