"""The recipe's pure parts: times, order, randomness, presets, monitors, plans."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import training_kit
from livetalk.cli import train_runs
from livetalk.cli.main import app
from livetalk.render.config import SIZES, DiTConfig
from livetalk.render.omniavatar.files import OMNIAVATAR
from livetalk.render.omniavatar.sampler import Guidance
from livetalk.training import bench, draws, planning
from livetalk.training.batches import Batches
from livetalk.training.clip_attention import block_causal, flex_block_causal
from livetalk.training.guidance import Branch, branches_of, from_published, guided
from livetalk.training.losses import critic_loss, matching_gradient, matching_loss
from livetalk.training.monitors import Limits, Monitor, brightness, observe
from livetalk.training.planning import Plan, PlanError, Shape, forward_tflop, plan_matching, plan_ode
from livetalk.training.schedules import (
    context_level,
    generator_due,
    generator_updates,
    rate_factor,
    score_time,
    student_levels,
    student_times,
)
from livetalk.training.settings import PRESETS, MatchingSettings, OdeSettings, Offload
from livetalk.training.sharding import split
from training_kit import SMALL
from typer.testing import CliRunner

STUDENT, TEACHER = SIZES["1.3B"].dit, OMNIAVATAR["omniavatar-14b"]


def test_times_and_levels_are_those_of_the_recipe() -> None:
    assert student_times().tolist() == [1000, 936, 832, 624]
    assert [round(level, 5) for level in student_levels("table").tolist()] == [1, 0.93593, 0.83222, 0.62375]
    assert [round(level, 5) for level in student_levels("exact").tolist()] == [1, 0.9375, 0.83333, 0.625]
    assert round(context_level(), 7) == 0.0049801
    times = score_time(torch.arange(1000))
    assert round(float((times == 980).float().mean()), 3) == 0.092
    assert round(float((times == 20).float().mean()), 3) == 0.005


def test_the_critic_goes_alone_at_first() -> None:
    due = [step for step in range(60) if generator_due(step, warm_up=20, every=5)]
    assert due == [20, 25, 30, 35, 40, 45, 50, 55]
    assert due == [step for step in range(60) if generator_due(step, warm_up=20, every=5, alternation="after-warm-up")]
    assert generator_updates(1000, warm_up=20, every=5) == 196
    assert [step for step in range(9) if generator_due(step, warm_up=3, every=2)] == [4, 6, 8]
    assert [step for step in range(9) if generator_due(step, warm_up=3, every=2, alternation="after-warm-up")] == [
        3,
        5,
        7,
    ]


def test_the_learning_rate_rises_to_itself() -> None:
    assert [rate_factor(update, 4) for update in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert rate_factor(0, 0) == 1


def test_the_learning_rate_falls_when_it_is_told_to() -> None:
    assert [rate_factor(update, 0, decay=4) for update in (0, 2, 4, 9)] == pytest.approx([1, 0.51, 0.02, 0.02])
    assert rate_factor(0, 2, decay=4) == 0.5


def test_equal_and_separate_scales_meet() -> None:
    conditional, text_only, unconditional = torch.randn(3, 4, dtype=torch.float64)
    predictions: dict[Branch, torch.Tensor] = {
        "conditional": conditional,
        "text-only": text_only,
        "unconditional": unconditional,
    }
    equal, nearly = (guided(predictions, Guidance(6.0, audio)) for audio in (6.0, 6.0 + 1e-9))
    assert torch.allclose(equal, nearly)
    published = conditional + 5 * (conditional - unconditional)
    assert torch.allclose(equal, published)
    assert from_published(5) == 6
    assert [len(branches_of(Guidance(*scales))) for scales in ((1, 1), (6, 6), (4, 7))] == [1, 2, 3]


def test_the_gradient_of_the_matching_loss_is_the_pull() -> None:
    sample, fake, real = torch.randn(3, 6, 2, 2, 2, dtype=torch.float64)
    pull = matching_gradient(sample, fake, real)
    sample.requires_grad_(True)
    matching_loss(sample, pull.gradient).backward()
    assert sample.grad is not None
    assert torch.allclose(sample.grad, pull.gradient / sample.numel())
    assert torch.equal(matching_gradient(real, fake, real).gradient.isfinite(), torch.ones_like(real, dtype=torch.bool))


def test_the_critic_does_not_learn_from_the_reference_frame() -> None:
    flow, noise, sample = torch.randn(3, 6, 16, 2, 2)
    spoiled = torch.cat((flow[:1] + 9, flow[1:]))
    assert critic_loss(flow, noise, sample) == critic_loss(spoiled, noise, sample)
    assert critic_loss(flow, noise, sample, mask="channel") != critic_loss(spoiled, noise, sample, mask="channel")


@pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning")
def test_flex_attention_is_the_dense_one() -> None:
    # Forward alone: torch has no backward of it on a CPU.
    q, k, v = torch.randn(3, 12, 2, 16)
    dense, flex = block_causal(q, k, v, 6), flex_block_causal(q, k, v, 6, compiled=False)
    assert torch.allclose(dense, flex, atol=1e-6)
    assert torch.allclose(block_causal(q[:6], k[:6], v[:6], 3), dense[:6], atol=1e-6)  # no look-ahead


# -- order and randomness ----------------------------------------------------------------------------------------------


def test_every_pass_takes_every_sample_and_drops_none() -> None:
    batches = Batches([f"{i}" for i in range(5)], seed=3)
    taken = [place for cursor in range(0, 20, 4) for place in batches.at(cursor, 4)]
    for epoch in range(4):
        assert sorted(place.id for place in taken if place.epoch == epoch) == ["0", "1", "2", "3", "4"]
    assert len({place.name for place in taken}) == 20
    assert [place.id for place in taken[:5]] != [place.id for place in taken[5:10]]
    assert batches.at(7, 6) == taken[7:13]


@pytest.mark.parametrize(("count", "world"), [(4, 1), (4, 2), (5, 2), (2, 3), (64, 8)])
def test_all_processes_do_the_same_number_of_passes(count: int, world: int) -> None:
    parts = [split(count, rank, world) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    assert sorted(index for part in parts for index in part if index is not None) == list(range(count))


def test_randomness_is_told_by_its_counter_alone() -> None:
    one = draws.CountedDraws(0, 5, "0/a", "critic")
    again = draws.CountedDraws(0, 5, "0/a", "critic")
    again.score((3, 2))
    assert torch.equal(one.clip((6, 2)), again.clip((6, 2)))
    others = [replace(one, seed=1), replace(one, step=6), replace(one, sample="1/a"), replace(one, update="generator")]
    assert not any(torch.equal(one.clip((6, 2)), other.clip((6, 2))) for other in others)
    assert not torch.equal(one.renoise(0, 1, (4,)), one.renoise(1, 0, (4,)))
    assert draws.exit_step(0, 5, "critic", 4) == draws.exit_step(0, 5, "critic", 4)
    steps = [draws.exit_step(0, step, "generator", 4) for step in range(400)]
    assert {steps.count(step) // 70 for step in range(4)} == {1}
    assert draws.generator(0, 1, "1").integers(2**60) != draws.generator(0, "1", 1).integers(2**60)


# -- presets -----------------------------------------------------------------------------------------------------------


def test_table_4_stands_in_the_settings() -> None:
    ode, matching = OdeSettings(), MatchingSettings()
    assert (ode.batch, ode.steps, ode.guidance) == (64, 20_000, 4.5)
    assert tuple(asdict(ode.adam).values()) == (4e-5, 0.9, 0.999, 1e-8, 0.0, 10.0, 0, 0)
    assert (matching.batch, matching.steps, matching.every, matching.warm_up) == (64, 1000, 5, 20)
    assert tuple(asdict(matching.generator).values()) == (4e-6, 0.0, 0.999, 1e-8, 0.01, 10.0, 0, 0)
    assert tuple(asdict(matching.critic).values()) == (8e-7, 0.0, 0.999, 1e-8, 0.01, 10.0, 0, 0)
    assert (matching.text_scale, matching.audio_scale, matching.ema_decay, matching.ema_start) == (6, 6, 0.99, 200)


def test_the_presets_are_the_rows_of_table_3() -> None:
    rows = {
        name: (one.data, one.ode.steps, one.matching.generator.learning_rate, one.matching.text_scale, one.results.fid)
        for name, one in PRESETS.items()
    }
    assert rows == {
        "baseline": ("filtered", 4_000, 2e-6, 4, 27.10),
        "curated": ("curated", 4_000, 2e-6, 4, 14.90),
        "converged-ode": ("curated", 20_000, 2e-6, 4, 11.67),
        "aggressive-lr": ("curated", 20_000, 4e-6, 4, 12.10),
        "final": ("curated", 20_000, 4e-6, 6, 13.68),
        "final-not-curated": ("filtered", 20_000, 4e-6, 6, 23.89),
    }
    assert all(
        one.matching.critic.learning_rate * 5 == pytest.approx(one.matching.generator.learning_rate)
        for one in PRESETS.values()
    )
    assert tuple(PRESETS) == train_runs.PRESET_NAMES


def test_options_stand_over_the_preset() -> None:
    options = train_runs.MatchingOptions(preset="baseline", audio_scale=7, critic_mask="channel", clip=1, every=3)
    found = options.settings()
    assert (found.text_scale, found.audio_scale, found.every, found.critic_mask) == (4, 7, 3, "channel")
    assert (found.generator.learning_rate, found.generator.clip, found.critic.clip) == (2e-6, 1, 1)
    assert train_runs.MatchingOptions().settings() == PRESETS["final"].matching
    assert train_runs.OdeOptions().settings() == PRESETS["final"].ode
    assert train_runs.OdeOptions(preset="curated", reference_frame=False).settings() == replace(
        PRESETS["curated"].ode, reference_frame=False
    )


# -- monitors ----------------------------------------------------------------------------------------------------------


def moving(scale: float = 1.0, change: float = 1.0) -> dict[str, float]:
    base, steps = torch.randn(1, 16, 4, 4), torch.randn(6, 16, 4, 4)
    return observe(scale * (base + change * steps))


def test_what_collapses_is_named() -> None:
    torch.manual_seed(0)
    limits = Limits(beginning=3, patience=2)

    def seen(*observations: dict[str, float]) -> str | None:
        monitor = Monitor(limits)
        for _ in range(3):
            assert monitor.look({**moving(), "brightness": 0.9}) is None
        return [monitor.look(one) for one in observations][-1]

    black = {**moving(), "brightness": 0.01}
    assert seen(moving(), moving()) is None
    assert seen(black) is None
    assert seen(black, black) == "black"
    assert seen(black, moving(), black) is None
    assert seen(moving(change=0.01), moving(change=0.01)) == "static"
    assert seen(moving(scale=4), moving(scale=4)) == "oversaturated"
    assert seen({**moving(), "loss": float("nan")}) == "not a number"


def test_a_monitor_goes_on_where_it_was() -> None:
    torch.manual_seed(0)
    first = Monitor(Limits(beginning=2, patience=2))
    for one in (moving(), moving(), moving(scale=9)):
        assert first.look(one) is None
    second = Monitor(first.limits)
    second.restore(json.loads(json.dumps(first.state())))
    assert second.look(moving(scale=9)) == "oversaturated"


def test_brightness_is_luma() -> None:
    frames = torch.zeros(2, 3, 3, 3, dtype=torch.uint8)
    frames[..., 1] = 255
    assert brightness(frames) == pytest.approx(0.7152, abs=1e-4)


# -- plans -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "causal", "tflop"), [(STUDENT, False, 141), (STUDENT, True, 104.5), (TEACHER, False, 902)]
)
def test_operations_of_a_pass(config: DiTConfig, causal: bool, tflop: float) -> None:
    assert forward_tflop(config, Shape(), causal=causal) == pytest.approx(tflop, rel=0.005)


def test_the_plan_has_the_figures_of_the_recipe() -> None:
    ode = plan_ode(STUDENT, OdeSettings(), gpus=8, memory_gb=80)
    assert ode.step_seconds == pytest.approx(8.4, abs=0.05)
    assert ode.hours == pytest.approx(46.4, abs=0.5)
    matching = plan_matching(STUDENT, STUDENT, TEACHER, MatchingSettings(), gpus=8, memory_gb=80)
    assert matching.sample_tflop == {
        "generator": pytest.approx(2609, rel=0.005),
        "critic": pytest.approx(915, rel=0.01),
    }
    assert matching.step_seconds == pytest.approx(29, rel=0.03)
    assert matching.fits
    alone = plan_matching(STUDENT, STUDENT, TEACHER, MatchingSettings(), gpus=1, memory_gb=141)
    state = sum(row.gb for row in alone.rows[:6])
    assert (round(state, 1), alone.fits) == (79.7, True)
    assert planning.trajectory_gpu_hours(STUDENT, 4000) == pytest.approx(38, abs=0.5)


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    settings = MatchingSettings()
    small = plan_matching(STUDENT, STUDENT, TEACHER, settings, gpus=1, memory_gb=80)
    with pytest.raises(PlanError, match=r"needs 9\d\.\d GB on each of 1 GPUs of 80 GB.*--offload-teacher"):
        small.require()
    streamed = plan_matching(STUDENT, STUDENT, TEACHER, settings, gpus=1, memory_gb=80, offload=Offload(teacher=True))
    assert streamed.fits
    third = replace(settings, audio_scale=7.0)
    more = plan_matching(STUDENT, STUDENT, TEACHER, third, gpus=8, memory_gb=80)
    assert more.sample_tflop["generator"] - small.sample_tflop["generator"] == pytest.approx(902, rel=0.005)


def test_what_lies_with_the_host_is_off_the_gpu_and_costs_its_way() -> None:
    def of(**lies: bool) -> Plan:
        return plan_matching(
            STUDENT, STUDENT, TEACHER, MatchingSettings(), gpus=2, memory_gb=48, offload=Offload(**lies)
        )

    plain, average, optimiser = of(), of(average=True), of(optimiser=True)
    assert plain.host_gb == 0
    # 4 bytes a parameter of 1.3B, and 8 of each of two networks, of which a GPU has its half.
    for found, moved in ((average, 5.7), (optimiser, 22.7)):
        assert plain.total_gb - found.total_gb == pytest.approx(moved / 2, rel=0.01)
        assert found.host_gb == pytest.approx(moved, rel=0.01)
    # There and back at 25 GB/s: the critic's 11.4 at each step, the student's and the average at each fifth.
    assert optimiser.step_seconds - plain.step_seconds == pytest.approx(2 * 11.4 / 2 * 1.196 / 25, rel=0.01)
    assert average.step_seconds - plain.step_seconds == pytest.approx(2 * 5.7 / 2 * 0.196 / 25, rel=0.01)
    ode = [
        plan_ode(STUDENT, OdeSettings(), gpus=1, memory_gb=24, offload=Offload(optimiser=on)) for on in (False, True)
    ]
    assert ode[0].total_gb - ode[1].total_gb == pytest.approx(11.4, rel=0.01)
    with pytest.raises(PlanError, match=r"or --offload-teacher, --offload-average or --offload-optimiser\."):
        plain.require()
    with pytest.raises(PlanError, match=r"or larger ones\.$"):
        ode[1].require()


def test_the_verb_plans_and_refuses(tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["train", "plan", "--gpus", "8", "--memory", "80"])
    assert done.exit_code == 0
    assert "28.0 GB  of 80 on each GPU: fits" in done.output
    assert "nothing was timed" in done.output
    refused = runner.invoke(app, ["train", "plan", "--gpus", "1", "--memory", "24", "--json"])
    assert refused.exit_code == 1
    assert [one["fits"] for one in json.loads(refused.output)["plans"]] == [False, False]
    everything = ("--offload-teacher", "--offload-average", "--offload-optimiser")
    fits = runner.invoke(app, ["train", "plan", "--gpus", "1", "--memory", "48", *everything])
    assert fits.exit_code == 0, fits.output
    assert "(  5.7 GB) average of the student (fp32), in the host's memory" in fits.output
    assert "57.0 GB  of the hosts' memory, for all GPUs" in fits.output


def test_the_bench_times_every_update() -> None:
    with training_kit.alone() as on:
        shape = Shape(6, 4, 4, 5)
        timings = bench.measure("dmd", SMALL, SMALL, PRESETS["final"], shape, on, rounds=1)
    assert [one.update for one in timings] == [*(f"generator, exit step {i}" for i in range(4)), "critic, exit step 3"]
    assert all(one.seconds > 0 and one.memory_gb is None for one in timings)
    assert len(bench.as_text(timings).splitlines()) == 6


def test_the_verb_benches() -> None:
    arguments = ["train", "bench", "--stage", "ode", "--size", "tiny", "--frames", "3", "--rounds", "1", "--json"]
    done = CliRunner().invoke(app, [*arguments, "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert [one["update"] for one in json.loads(done.stdout)] == ["ode"]
