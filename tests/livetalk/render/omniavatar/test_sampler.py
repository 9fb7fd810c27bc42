"""Guidance, sampler and windows against the published ones."""

import itertools
import json
from typing import Any

import pytest
import recipe_kit
import torch
from livetalk.render.omniavatar.sampler import Guidance, GuidedFlow, denoise, image_condition
from livetalk.render.omniavatar.windows import plan_windows
from livetalk.render.sampler import Schedule, schedule
from recipe_kit import LIMIT, off
from torch import Tensor


def frame_major(x: Tensor) -> Tensor:
    """[1,C,F,h,w] as in the fixtures to [F,C,h,w]."""
    return x[0].transpose(0, 1)


def guided(case: dict[str, Tensor], guidance: Guidance, image: Tensor, **changed: Tensor) -> GuidedFlow:
    given = {**case, **changed}
    teacher = recipe_kit.network("teacher")
    return GuidedFlow(teacher, guidance, given["context"], given["negative_context"], given["audio"][0], image)


def states(
    case: dict[str, Tensor], guidance: Guidance, table: Schedule, *, first: int | None = None, **changed: Tensor
) -> list[Tensor]:
    """All states of a run, or so many of the first."""
    noise, reference = frame_major(case["noise"]), case["ref_latent"][0]
    flow = guided(case, guidance, image_condition(reference, len(noise), 1), **changed)
    return list(itertools.islice(denoise(flow, noise, reference, table), first))


def test_schedules_are_the_published_ones() -> None:
    case = recipe_kit.case("schedules")
    exact, rounded = schedule(48), schedule(48, rounding="bfloat16")
    assert off(exact.sigmas, case["teacher48.sigmas"]) < 1e-6
    assert off(exact.timesteps, case["teacher48.timesteps"]) < 1e-3
    assert torch.equal(rounded.timesteps, case["teacher48.timesteps_bf16"])
    assert rounded.timesteps[[0, 12, 24, 36]].tolist() == [1000, 936, 832, 624] == case["student.t"][:4].tolist()


@pytest.mark.parametrize(("name", "scales"), [("cfg.equal", (4.5, 4.5)), ("cfg.separate", (4.5, 3.0))])
def test_guidance_is_the_published_one(name: str, scales: tuple[float, float]) -> None:
    case = recipe_kit.case("omni_forward")
    about = recipe_kit.manifest()["cases"]["omni_forward"]
    assert (about["text_scale"], about["audio_scale"]) == (4.5, 3.0)
    flow = guided(case, Guidance(*scales), frame_major(case["y"]))
    found = flow(frame_major(case["x"]), float(case["t"]))
    assert off(found.transpose(0, 1)[None], case[name]) < 5 * LIMIT  # scales of 4.5 widen what the flows differ by


def test_separate_scales_that_are_equal_are_one_scale() -> None:
    c, t, u = (torch.randn(3, 4) for _ in range(3))
    nearly = Guidance(4.5, 4.5 + 1e-6).combine(c, t, u)
    assert off(nearly, Guidance(4.5, 4.5).combine(c, None, u)) < 1e-4
    assert torch.equal(Guidance(1, 1).combine(c, None, None), c)
    assert [Guidance(1, 1).branches, Guidance(5, 5).branches, Guidance(5, 5.01).branches] == [1, 2, 3]


def test_the_image_condition_is_the_published_one() -> None:
    case = recipe_kit.case("omni_forward")
    y = frame_major(case["y"])
    assert torch.equal(image_condition(y[:1, :16], len(y), 1), y)
    assert image_condition(y[:1, :16], len(y), 4)[:, 16, 0, 0].tolist() == [0.0] * 4 + [1.0] * 5


def test_forty_eight_steps_give_the_published_states() -> None:
    case, about = recipe_kit.case("omni_sampler48"), recipe_kit.manifest()["cases"]["omni_sampler48"]
    found = states(case, Guidance(about["scale"], about["scale"]), schedule(about["steps"], rounding="bfloat16"))
    assert len(found) == about["steps"] + 1
    kept = torch.stack([found[index] for index in about["indices"]])[None]
    assert off(kept, case["trajectory"]) < 5 * LIMIT
    assert off(found[-1].transpose(0, 1)[None], case["final"]) < 5 * LIMIT
    rms = torch.stack([state.square().mean().sqrt() for state in found])
    assert off(rms, case["state_rms"]) < LIMIT
    assert all(torch.equal(state[0], case["ref_latent"][0, 0]) for state in found)


def test_separate_scales_give_the_published_states() -> None:
    name = "omni_sampler12_separate"
    case, about = recipe_kit.case(name), recipe_kit.manifest()["cases"][name]
    found = states(case, Guidance(about["text_scale"], about["audio_scale"]), schedule(about["steps"]))
    assert off(found[1].transpose(0, 1)[None], case["state_1"]) < 5 * LIMIT
    assert off(found[-1].transpose(0, 1)[None], case["final"]) < 5 * LIMIT
    rms = torch.stack([state.square().mean().sqrt() for state in found])
    assert off(rms, case["state_rms"]) < LIMIT


def mistakes() -> dict[str, dict[str, Any]]:
    case = recipe_kit.case("omni_sampler12_separate")
    return {
        "scale counted from 0": {"guidance": Guidance(5.5, 4.0)},
        "scales exchanged": {"guidance": Guidance(3.0, 4.5)},
        "one scale for both": {"guidance": Guidance(4.5, 4.5)},
        "positive text in the unconditional branch": {"negative_context": case["context"]},
        "timesteps rounded": {"table": schedule(12, rounding="bfloat16")},
        "shift 8": {"table": shifted(8.0)},
        "no shift": {"table": shifted(1.0)},
    }


def shifted(shift: float) -> Schedule:
    linear = torch.linspace(1, 0, 13)[:-1]
    sigmas = shift * linear / (1 + (shift - 1) * linear)
    return Schedule(sigmas, 1000 * sigmas)


@pytest.mark.parametrize("mistake", mistakes())
def test_the_fixture_catches_a_mistake(mistake: str) -> None:
    case = recipe_kit.case("omni_sampler12_separate")
    changed = {"guidance": Guidance(4.5, 3.0), "table": schedule(12), **mistakes()[mistake]}
    found = states(case, changed.pop("guidance"), changed.pop("table"), first=3, **changed)
    rms = torch.stack([state.square().mean().sqrt() for state in found])
    assert off(rms, case["state_rms"][:3]) > 5 * LIMIT


def test_windows_are_the_published_ones() -> None:
    table = json.loads((recipe_kit.RECIPE / "omni_windows.json").read_text())
    for case in table["cases"]:
        expected = case["result"]
        plan = plan_windows(case["samples"], tuple(case["size"]), case["fps"], table["overlap_frame"])
        assert plan.window_frames == expected["frames_per_window"]
        assert plan.latent_frames == expected["latent_frames"]
        assert plan.rows == expected["padded_audio_rows"]
        assert plan.padded_samples == expected["padded_samples"]
        assert plan.output_frames == expected["output_frames"]
        assert len(plan.windows) == len(expected["rounds"])
        for window, of in zip(plan.windows, expected["rounds"], strict=True):
            assert window.index == of["round"]
            assert window.known_frames == of["known_video_frames"]
            assert window.known_latents == of["known_latent_frames"] == of["mask_zero_latent_frames"]
            assert [window.first_row, window.end_row] == of["audio_rows"]


@pytest.mark.parametrize("overlap", [0, 4, 12, 117, 121])
def test_an_overlap_that_is_no_whole_latent_is_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match="use 1, 5, 9 or 13"):
        plan_windows(16_000, (512, 512), overlap=overlap)
