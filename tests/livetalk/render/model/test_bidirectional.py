"""The bidirectional mode against the published teacher (training recipe 2.2)."""

import pytest
import recipe_kit
import torch
from livetalk.render.model.dit import merge_padding
from recipe_kit import LIMIT, off
from torch import Tensor

BRANCHES = {
    "flow.cond": ("context", "audio"),
    "flow.text_only_zero_audio": ("context", "zeros"),
    "flow.negative_zero_audio": ("negative_context", "zeros"),
    "flow.cond_without_audio_argument": ("context", "none"),
}


@pytest.fixture(scope="module")
def case() -> dict[str, Tensor]:
    return recipe_kit.case("omni_forward")


@pytest.mark.parametrize("branch", BRANCHES)
@torch.inference_mode()
def test_flow_is_the_published_teachers(case: dict[str, Tensor], branch: str) -> None:
    text, sound = BRANCHES[branch]
    features = {"audio": case["audio"], "zeros": torch.zeros_like(case["audio"]), "none": None}[sound]
    teacher = recipe_kit.network("teacher")
    flow = teacher.forward_bidirectional(case["x"], case["t"], case["y"], features, case[text])
    assert off(flow, case[branch]) < LIMIT


def test_zero_features_are_not_no_audio(case: dict[str, Tensor]) -> None:
    assert off(case["flow.text_only_zero_audio"], case["flow.cond_without_audio_argument"]) > 100 * LIMIT


@pytest.mark.parametrize("kernel", ["sdpa", "math"])
@torch.inference_mode()
def test_every_kernel_gives_it(case: dict[str, Tensor], kernel: str) -> None:
    teacher = recipe_kit.network("teacher").use_attention(kernel)
    flow = teacher.forward_bidirectional(case["x"], case["t"], case["y"], case["audio"], case["context"])
    assert off(flow, case["flow.cond"]) < LIMIT


@torch.inference_mode()
def test_padding_of_the_prompt_may_be_merged(case: dict[str, Tensor]) -> None:
    teacher = recipe_kit.network("teacher")
    context = torch.cat((case["context"], torch.zeros(1, 9, case["context"].shape[-1])), dim=1)
    whole = teacher.forward_bidirectional(case["x"], case["t"], case["y"], case["audio"], context)
    audio = torch.cat((case["audio"][0, :1].expand(3, -1), case["audio"][0]))
    merged = teacher.forward_frames(
        case["x"][0].transpose(0, 1),
        teacher.embed_image(case["y"][0].transpose(0, 1)),
        teacher.embed_audio(audio),
        teacher.embed_time(case["t"]),
        teacher.embed_text(*merge_padding(context)),
    )
    assert off(merged.transpose(0, 1)[None], whole) < LIMIT


def test_every_parameter_gets_a_gradient(case: dict[str, Tensor]) -> None:
    critic = recipe_kit.network("critic").requires_grad_(True)
    features = case["audio"]
    flow = critic.forward_bidirectional(case["x"], case["t"], case["y"], features, case["context"])
    flow.square().mean().backward()
    without = [name for name, value in critic.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []


def test_gradients_are_those_of_finite_differences(case: dict[str, Tensor]) -> None:
    critic = recipe_kit.network("critic").double().requires_grad_(True)
    given = [case[name].double() for name in ("x", "t", "y", "audio", "context")]

    def loss() -> Tensor:
        return critic.forward_bidirectional(*given).square().mean()

    names = ("layers.0.self_qkv.weight", "layers.5.cross_kv.weight", "audio.pack.weight", "text_in.weight")
    for name in names:
        parameter = critic.get_parameter(name)
        critic.zero_grad()
        loss().backward()
        assert parameter.grad is not None
        slope = float(parameter.grad.square().sum())
        direction, step = parameter.grad.clone(), 1e-4
        with torch.no_grad():
            parameter.add_(direction, alpha=step)
            above = loss()
            parameter.sub_(direction, alpha=2 * step)
            below = loss()
            parameter.add_(direction, alpha=step)
        assert float(above - below) / (2 * step) == pytest.approx(slope, rel=1e-4)
