from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from livetalk.render.config import DiTConfig, StreamConfig
from livetalk.render.model import CausalDiT
from livetalk.render.model.audio import lead_in
from livetalk.render.model.cache import AnchoredKVCache
from livetalk.render.model.dit import block_causal_mask, sinusoid
from livetalk.render.model.layers import gelu_tanh
from torch import Tensor


@pytest.fixture
def stream(manifest: dict[str, Any]) -> StreamConfig:
    case = manifest["cases"]["dit_forward"]
    return StreamConfig(
        case["latent_hw"][0], case["latent_hw"][1], window=case["local_attn_size"], sink=case["sink_size"]
    )


def forwards(
    dit: CausalDiT, case: dict[str, Tensor], stream: StreamConfig, calls: list[tuple[int, int]]
) -> Iterator[tuple[int, Tensor, AnchoredKVCache]]:
    """Flow of each (call, first frame), on one cache; a call at the frames of the one before overwrites them."""
    cache, text = dit.new_cache(stream), dit.embed_text(case["context"])
    audio = dit.embed_audio(lead_in(case["audio_features"][0]))
    for call, start in calls:
        if start == cache.end:
            cache.begin_block()
        x = case[f"call{call}.x"][0].transpose(0, 1).to(dit.dtype)
        image = dit.embed_image(case["y"][0, :, start : start + 3].transpose(0, 1))
        time = dit.embed_time(case[f"call{call}.timestep"][0])
        flow = dit.flow(x, image, audio[:, start : start + 3], time, text, cache)
        yield call, flow.transpose(0, 1)[None], cache


def test_forwards_on_one_cache(
    golden_tensors: Callable[[str], dict[str, Tensor]],
    golden_dit: CausalDiT,
    manifest: dict[str, Any],
    stream: StreamConfig,
    close: Callable[..., None],
) -> None:
    case = golden_tensors("dit_forward")
    calls = [(i, call["start_frame"]) for i, call in enumerate(manifest["cases"]["dit_forward"]["calls"])]
    with torch.inference_mode():
        for call, flow, cache in forwards(golden_dit, case, stream, calls):
            close(flow, case[f"call{call}.flow"])
            for layer in (0, 3, 5):
                k, v = cache.in_order(layer)
                close(k, case[f"call{call}.k.{layer}"])
                close(v, case[f"call{call}.v.{layer}"])


def test_conditions(
    golden_tensors: Callable[[str], dict[str, Tensor]], golden_dit: CausalDiT, close: Callable[..., None]
) -> None:
    case = golden_tensors("dit_forward")
    rows = lead_in(case["audio_features"][0])
    close(golden_dit.audio.packed(rows)[None, :, None, None], case["audio_packed"])
    close(golden_dit.embed_audio(rows)[:, :, None, None], case["audio_cond"])
    text = golden_dit.embed_text(case["context"])
    for layer in (0, 5):
        close(text.k[layer].flatten(1)[None], case[f"cross_k.{layer}"])
        close(text.v[layer].flatten(1)[None], case[f"cross_v.{layer}"])


def test_bfloat16(
    golden_tensors: Callable[[str], dict[str, Tensor]],
    golden_config: DiTConfig,
    golden_state: dict[str, Tensor],
    stream: StreamConfig,
) -> None:
    dit = CausalDiT.from_state(golden_config, golden_state, dtype=torch.bfloat16)
    expected = golden_tensors("dit_forward_bf16")
    with torch.inference_mode():
        for call, flow, _ in forwards(dit, golden_tensors("dit_forward"), stream, [(0, 0), (2, 3)]):
            assert flow.dtype == torch.bfloat16
            difference = flow.float() - expected[f"call{call}.flow_fp32_same_inputs"]
            assert difference.abs().max() <= 0.12
            assert difference.square().mean().sqrt() <= 0.02


@pytest.mark.parametrize("name", ["dit_train_mask", "dit_train_mask_local"])
def test_whole_clip_under_the_training_mask(
    golden_tensors: Callable[[str], dict[str, Tensor]],
    golden_dit: CausalDiT,
    manifest: dict[str, Any],
    close: Callable[..., None],
    name: str,
) -> None:
    case = golden_tensors(name)
    flow = golden_dit.forward_clip(
        case["x"],
        case["timestep"],
        case["y"],
        case["audio_features"],
        case["context"],
        window=manifest["cases"][name]["local_attn_size"],
    )
    close(flow, case["flow"])


def test_a_token_sees_itself_even_in_a_window_smaller_than_a_block() -> None:
    mask = block_causal_mask(6, 1, 2, "cpu").int().tolist()
    first, second = [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1]
    assert mask == [[1, 1, 1, 0, 0, 0], first, first, [0, 0, 0, 1, 1, 1], second, second]


def test_the_whole_clip_can_be_trained(
    golden_tensors: Callable[[str], dict[str, Tensor]], golden_config: DiTConfig, golden_state: dict[str, Tensor]
) -> None:
    case = golden_tensors("dit_train_mask")
    dit = CausalDiT.from_state(golden_config, golden_state).requires_grad_(True)
    flow = dit.forward_clip(case["x"], case["timestep"], case["y"], case["audio_features"], case["context"])
    flow.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in dit.parameters())


def test_sinusoid(golden_tensors: Callable[[str], dict[str, Tensor]], close: Callable[..., None]) -> None:
    tables = golden_tensors("tables")
    t = tables["sinusoid256.t"]
    close(sinusoid(t, 256), tables["sinusoid256.emb"], 1e-6)
    close(sinusoid(t.bfloat16(), 256), tables["sinusoid256.emb_bf16"], 1e-6)


def test_the_fast_gelu_is_the_tanh_gelu() -> None:
    x = torch.linspace(-12, 12, 4001)
    expected = F.gelu(x.double(), approximate="tanh")
    torch.testing.assert_close(gelu_tanh(x).double(), expected, atol=2e-6, rtol=0)
    leaf = x.clone().requires_grad_()
    gelu_tanh(leaf).sum().backward()
    assert leaf.grad is not None
