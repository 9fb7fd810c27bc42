"""`livetalk train parity`: passes on the fixtures, fails on what is not right, and finds every deliberate mistake."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from livetalk.base.errors import FixtureError
from livetalk.base.fixtures import CaseResult, as_text
from livetalk.cli.main import app
from livetalk.render.config import FRAMES_PER_BLOCK, TEMPORAL_STRIDE
from livetalk.render.omniavatar.sampler import Guidance
from livetalk.render.sampler import add_noise, x0_from_flow
from livetalk.training import parity
from livetalk.training.guidance import Branch, guided
from livetalk.training.losses import critic_loss, matching_loss
from livetalk.training.network import TrainingDiT
from livetalk.training.parity import Case, GivenDraws, TrainingFixtures, gradients
from livetalk.training.rollout import Conditions, rollout, with_reference
from livetalk.training.schedules import context_level, score_level, score_time, student_levels, student_times
from livetalk.training.updates import score_flow
from recipe_kit import RECIPE
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

MISTAKES: list[str] = [entry["mistake"] for entry in json.loads((RECIPE / "sensitivity.json").read_text())]


@pytest.fixture(scope="module")
def results() -> dict[str, CaseResult]:
    return {result.name: result for result in parity.run(RECIPE)}


def test_every_case_passes_and_every_tensor_is_compared(results: dict[str, CaseResult]) -> None:
    manifest = json.loads((RECIPE / "manifest.json").read_text())
    assert list(results) == [*manifest["cases"], "omni_windows"]
    assert not [as_text([result]) for result in results.values() if not result.passed]


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("ode", "grad_norm.blocks.3.cross_attn.k.weight"),
        ("ode", "grad_norm_total"),
        ("dmd_generator", "grad_x0"),
        ("dmd_generator_grads", "grad.audio_proj.proj.weight"),
        ("dmd_generator_exit3", "grad_norm.text_embedding.2.bias"),
        ("dmd_separate_cfg", "pred_real_text_only"),
        ("critic", "grad_norm_total_as_published"),
        ("trace", "ema_minus_student_norm.head.head.weight"),
        ("trace", "step 3, generator: grad_norm"),
        ("omni_windows", "512×512, 25 fps, 30 s"),
        ("lora_merge_result", "merged"),
    ],
)
def test_what_is_compared(results: dict[str, CaseResult], case: str, name: str) -> None:
    assert name in [measurement.name for measurement in results[case].measurements]


# -- what is not right -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The fixtures' tables and conditions: what runs in a moment."""
    copy = tmp_path / "fixtures"
    shutil.copytree(RECIPE, copy)
    keep = ("schedules", "conditions")
    edit(copy, lambda m: m.update(cases={name: m["cases"][name] for name in keep}))
    edit(copy, lambda m: m["files"].pop("omni_windows.json"))
    return copy


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def known(name: str) -> dict[str, Any]:
    """What the manifest says of a case, but for its exit step."""
    entry: dict[str, Any] = json.loads((RECIPE / "manifest.json").read_text())["cases"][name]
    del entry["exit_step"]
    return entry


def rewrite(folder: Path, name: str, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change a case's file, and what the manifest says of it."""
    path = folder / f"{name}.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    content = path.read_bytes()
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit(folder, lambda m: m["files"].update({path.name: entry}))


def list_one_more(folder: Path) -> None:
    """A tensor that no runner asks for."""
    rewrite(folder, "schedules", lambda t: t.update(more=torch.zeros(1)))
    edit(folder, lambda m: m["cases"]["schedules"]["tensors"].update(more={"shape": [1]}))


def test_the_verb_prints_a_row_for_each_case(folder: Path) -> None:
    done = CliRunner().invoke(app, ["train", "parity", str(folder)])
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.output.splitlines()] == [
        "case",
        "schedules",
        "conditions",
        "all",
    ]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: rewrite(f, "schedules", lambda t: t["score.sigma"].add_(1e-4)), "beyond the limit: score.sigma"),
        (lambda f: edit(f, lambda m: m["cases"].update(other={"tensors": {}})), "other.safetensors can't be read"),
        (lambda f: (f / "conditions.safetensors").write_bytes(b"x"), "cut short or changed"),
        (lambda f: rewrite(f, "schedules", lambda t: t.update(more=torch.zeros(1))), "list other tensors: more"),
        (
            list_one_more,
            "1 tensors were not compared: more",
        ),
        (lambda f: edit(f, lambda m: m["cases"].update(critic=known("critic"))), "does not give 'exit_step'"),
    ],
)
def test_what_is_not_right_fails(folder: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(folder)
    done = CliRunner().invoke(app, ["train", "parity", str(folder)])
    assert done.exit_code == 1
    assert said in done.output


def test_a_folder_without_fixtures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FixtureError, match="training/golden"):
        parity.run(tmp_path)


# -- deliberate mistakes -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fixtures() -> TrainingFixtures:
    return TrainingFixtures(RECIPE)


@pytest.fixture(scope="module")
def teacher(fixtures: TrainingFixtures) -> TrainingDiT:
    return fixtures.network("teacher", trained=False)


def case_of(fixtures: TrainingFixtures, name: str) -> Case:
    return Case(name, fixtures.cases[name], fixtures.tensors(f"{name}.safetensors"), fixtures)


def mistaken_rollout(
    student: TrainingDiT,
    conditions: Conditions,
    draws: GivenDraws,
    *,
    every_step: bool = False,
    through_cache: bool = False,
    mask_every_block: bool = False,
    exact_levels: bool = False,
    context_noise: bool = True,
) -> Tensor:
    """The generator's rollout written out once more, in which each mistake can be made."""
    times, sigmas = student_times(), student_levels("exact" if exact_levels else "table")
    noise = draws.clip(conditions.shape)
    shape = (FRAMES_PER_BLOCK, *conditions.shape[1:])
    past: list[Any] = []
    made = []
    for block, first in enumerate(range(0, conditions.frames, FRAMES_PER_BLOCK)):
        y = conditions.image(0 if mask_every_block else first, FRAMES_PER_BLOCK)
        rows = conditions.rows[TEMPORAL_STRIDE * first : TEMPORAL_STRIDE * (first + FRAMES_PER_BLOCK)]
        x = x0 = noise[first : first + FRAMES_PER_BLOCK]
        for step in range(draws.exit_step + 1):
            x = with_reference(x, conditions.reference) if block == 0 else x
            with torch.set_grad_enabled(every_step or step == draws.exit_step):
                flow = student(
                    "block", x, times[step : step + 1], y, rows, conditions.text, first_frame=first, past=past
                )
                x0 = x0_from_flow(x, flow, sigmas[step])
                if step < draws.exit_step:
                    x = add_noise(x0, draws.renoise(block, step, shape), sigmas[step + 1])
        x0 = with_reference(x0, conditions.reference) if block == 0 else x0
        made.append(x0)
        clean = x0 if through_cache else x0.detach()
        if context_noise:
            clean = add_noise(clean, draws.context(block, shape), context_level())
        with torch.set_grad_enabled(through_cache):
            chunk = student("keys", clean, torch.zeros(1), y, rows, conditions.text, first_frame=first, past=past)
        past = [*past, chunk]
    return torch.cat(made)


def caught_in_rollout(fixtures: TrainingFixtures, *, frozen: tuple[str, ...] = (), **mistake: bool) -> bool:
    """Whether sample or gradients of a rollout with a mistake are beyond the limits; the pull is the fixture's."""
    generator, grads = case_of(fixtures, "dmd_generator"), case_of(fixtures, "dmd_generator_grads")
    student = fixtures.network("student")
    for name, parameter in student.named_parameters():
        parameter.requires_grad_(not name.endswith(frozen) if frozen else True)
    draws = GivenDraws(generator.parameter("first_draw_seed"), generator.parameter("exit_step"))
    sample = mistaken_rollout(student, fixtures.conditions, draws, **mistake)
    generator.output("x0_hat", sample)
    if all(one.passed for one in generator.measurements):  # else it is caught already
        matching_loss(sample, generator.tensor("grad_x0")[0]).backward()
        grads.gradients(gradients(student.config, student))
    return not all(one.passed for one in (*generator.measurements, *grads.measurements))


def caught_in_scores(
    fixtures: TrainingFixtures,
    teacher: TrainingDiT,
    *,
    cfg: float = 6,
    keep_audio: bool = False,
    keep_text: bool = False,
    reference: bool = True,
    normaliser: Callable[[Tensor], Tensor] = lambda distance: distance.mean(),
    factor: float = 1,
) -> bool:
    """Whether scores, gradient or loss with a mistake are beyond the limits; the sample is the fixture's."""
    case = case_of(fixtures, "dmd_generator")
    conditions, critic = fixtures.conditions, fixtures.network("critic", trained=False)
    sample = case.tensor("x0_hat")[0]
    draws = GivenDraws(case.parameter("first_draw_seed"), case.parameter("exit_step"))
    time = score_time(torch.tensor([case.parameter("raw_timestep")]))
    sigma = score_level(time)[0]
    x = add_noise(sample, draws.score(conditions.shape), sigma)
    x = with_reference(x, conditions.reference) if reference else x
    unconditional = conditions.branch("unconditional")
    if keep_audio:
        unconditional = replace(unconditional, features=conditions.features)
    if keep_text:
        unconditional = replace(unconditional, text=conditions.text)
    with torch.no_grad():
        predictions: dict[Branch, Tensor] = {
            "conditional": x0_from_flow(x, score_flow(teacher, x, time, conditions), sigma),
            "unconditional": x0_from_flow(x, score_flow(teacher, x, time, unconditional), sigma),
        }
        fake = x0_from_flow(x, score_flow(critic, x, time, conditions), sigma)
    real = guided(predictions, Guidance(cfg, cfg))
    pull = (fake.double() - real.double()) / normaliser((sample.double() - real.double()).abs())
    case.output("grad_x0", pull)
    case.loss("loss", factor * matching_loss(sample, pull))
    return not all(one.passed for one in case.measurements)


def caught_in_critic(fixtures: TrainingFixtures, *, mask: Any = "frame", shifted: bool = True) -> bool:
    """Whether the critic's loss with a mistake is beyond the limit; the sample is the fixture's."""
    case = case_of(fixtures, "critic")
    conditions, critic = fixtures.conditions, fixtures.network("critic", trained=False)
    raw = torch.tensor([case.parameter("raw_timestep")])
    time = score_time(raw) if shifted else raw.float()
    sample = case.tensor("x0_hat")[0]
    noise = GivenDraws(case.parameter("first_draw_seed"), case.parameter("exit_step")).score(conditions.shape)
    x = with_reference(add_noise(sample, noise, score_level(time)[0]), conditions.reference)
    with torch.no_grad():
        case.loss("loss", critic_loss(score_flow(critic, x, time, conditions), noise, sample, mask=mask))
    return not all(one.passed for one in case.measurements)


IN_ROLLOUT: dict[str, dict[str, Any]] = {
    "exact sigma (0.9375, ...) instead of the table look-up": {"exact_levels": True},
    "context noise left out of the clean pass": {"context_noise": False},
    "gradient through the clean pass and the cache": {"through_cache": True},
    "gradient in every denoising step": {"every_step": True},
    "audio projection without gradient": {"frozen": ("audio.pack.weight", "audio.pack.bias", "audio.project.weight")},
    "mask channel 0 in every block's first frame": {"mask_every_block": True},
    "cross-attention keys/values without gradient": {"frozen": ("cross_kv.weight", "cross_kv.bias", "cross_norm_k")},
}
IN_SCORES: dict[str, dict[str, Any]] = {
    "teacher CFG 5 instead of 6": {"cfg": 5},
    "uncond branch keeps the audio": {"keep_audio": True},
    "uncond branch keeps the positive text": {"keep_text": True},
    "reference frame not put into the score input": {"reference": False},
    "normaliser over channels only per frame": {"normaliser": lambda distance: distance.mean((1, 2, 3), keepdim=True)},
    "factor 0.5 missing": {"factor": 2},
    "reference frame left out of the mean": {"normaliser": lambda distance: distance[1:].mean()},
}
IN_CRITIC: dict[str, dict[str, Any]] = {
    "critic: reference frame not masked": {"mask": "none"},
    "critic: channel 0 masked (as published)": {"mask": "channel"},
    "critic: unshifted timestep": {"shifted": False},
}


def test_without_a_mistake_nothing_is_caught(fixtures: TrainingFixtures, teacher: TrainingDiT) -> None:
    assert {*IN_ROLLOUT, *IN_SCORES, *IN_CRITIC} == set(MISTAKES)
    assert not caught_in_rollout(fixtures)
    assert not caught_in_scores(fixtures, teacher)
    assert not caught_in_critic(fixtures)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_deliberate_mistake_is_caught(fixtures: TrainingFixtures, teacher: TrainingDiT, mistake: str) -> None:
    if mistake in IN_ROLLOUT:
        assert caught_in_rollout(fixtures, **IN_ROLLOUT[mistake])
    elif mistake in IN_SCORES:
        assert caught_in_scores(fixtures, teacher, **IN_SCORES[mistake])
    else:
        assert caught_in_critic(fixtures, **IN_CRITIC[mistake])


def test_the_mildest_mistakes_are_our_own_options_too(fixtures: TrainingFixtures) -> None:
    case = case_of(fixtures, "dmd_generator")
    draws = GivenDraws(case.parameter("first_draw_seed"), case.parameter("exit_step"))
    expected = case.tensor("x0_hat")[0]

    def off(**options: Any) -> float:
        student = fixtures.network("student", trained=False)
        made = rollout(student, fixtures.conditions, draws, draws.exit_step, gradient=False, **options)
        return float((made - expected).abs().max())

    limit = fixtures.limits.output
    assert off(context="published") < limit < off(context="exact")
    assert off(context="published", levels="exact") > limit
