"""How each kind of training fixture is run; ``parity`` hands them their tensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from livetalk.base.errors import FixtureError
from livetalk.render.checkpoint import StateFile
from livetalk.render.config import FRAMES_PER_BLOCK
from livetalk.render.model import CausalDiT
from livetalk.render.model.audio import lead_in
from livetalk.render.model.weights import reference_shapes, to_published
from livetalk.render.omniavatar.files import LoraConfig, MergedState
from livetalk.render.omniavatar.sampler import Guidance, GuidedFlow, denoise
from livetalk.render.omniavatar.windows import plan_windows
from livetalk.render.sampler import Rounding, schedule
from livetalk.training.losses import critic_loss
from livetalk.training.network import TrainingDiT
from livetalk.training.optimiser import Optimiser
from livetalk.training.parity import Case, GivenDraws, TrainingFixtures, gradients, numbers
from livetalk.training.rollout import with_reference
from livetalk.training.schedules import (
    TEACHER_STEPS,
    Alternation,
    context_level,
    generator_due,
    score_level,
    score_time,
    shifted,
    student_levels,
    student_times,
)
from livetalk.training.settings import Adam
from livetalk.training.sharding import Average
from livetalk.training.updates import (
    GeneratorResult,
    MatchingRules,
    critic_update,
    generator_update,
    ode_input,
    ode_update,
)

Runner = Callable[[Case], None]
WINDOWS = "omni_windows.json"


def runner_of(case: Case) -> Runner | None:
    """The runner for a case, told by what the case holds; None if it is of no known kind."""
    names, about = set(case.tensors), set(case.about)
    prefixes = {name.partition(".")[0] for name in names}
    kinds: tuple[tuple[Runner, bool], ...] = (
        (run_windows, "windows_file" in about),
        (run_trace, {"steps", "schedule"} <= about),
        (run_schedules, "score.raw" in names),
        (run_forward, "flow.cond" in names),
        (run_sampler, {"noise", "state_rms"} <= names),
        (run_merge, prefixes in ({"base", "adapter"}, {"merged"})),
        (run_ode, "noisy_input" in names),
        (run_critic, "loss_as_published" in names),
        (run_separate, "pred_real_text_only" in names),
        (run_generator, "score_input" in names),
        (run_exit, {"grad_norm_vector", "x0_hat"} <= names),
        (run_generator_gradients, "grad" in prefixes and "loss" not in names),
        (run_conditions, {"ref_latent", "y", "audio"} <= names),
    )
    return next((runner for runner, fits in kinds if fits), None)


def unlisted(fixtures: TrainingFixtures) -> dict[str, dict[str, Any]]:
    """What the manifest names among its files and not among its cases: the table of windows."""
    files = fixtures.manifest.get("files", {})
    return {Path(WINDOWS).stem: {"windows_file": WINDOWS}} if WINDOWS in files else {}


# -- tables and teacher ----------------------------------------------------------------------------------------------


def run_schedules(case: Case) -> None:
    """Tables of the teacher and of training, and the times of scores."""
    teacher, rounded = schedule(TEACHER_STEPS), schedule(TEACHER_STEPS, rounding="bfloat16")
    case.output("teacher48.sigmas", teacher.sigmas, 1e-6)
    case.output("teacher48.timesteps", teacher.timesteps, 1e-3)
    case.output("teacher48.timesteps_bf16", rounded.timesteps, 0)
    raw = case.tensor("score.raw")
    case.output("score.shifted", shifted(raw), 1e-3)
    case.output("score.clamped", score_time(raw), 1e-3)
    case.output("score.sigma", score_level(score_time(raw)), 1e-6)
    case.output("student.t", torch.cat((student_times(), torch.zeros(1))), 0)
    levels = torch.cat((student_levels("table"), torch.tensor([context_level()])))
    case.output("student.sigma_train_lookup", levels, 1e-6)


def run_conditions(case: Case) -> None:
    """The image condition made from the reference; the other tensors are inputs of other cases."""
    conditions = case.fixtures.conditions
    case.output("y", conditions.image(), 0)
    for name, value in (
        ("ref_latent", conditions.reference),
        ("context", conditions.text),
        ("negative_context", conditions.negative_text),
        ("audio", conditions.features),
    ):
        case.output(name, value, 0)


def run_forward(case: Case) -> None:
    """Branches of guidance, by the runner's bidirectional pass and by the training network's."""
    fixtures = case.fixtures
    trained = fixtures.network(case.parameter("model"), trained=False)
    runner = _runner_network(case)
    x, y, t = case.tensor("x"), case.tensor("y"), case.tensor("t")
    audio = case.tensor("audio")
    silence = torch.zeros_like(audio)
    text, negative = case.tensor("context"), case.tensor("negative_context")
    flows = {}
    for name, features, context in (
        ("flow.cond", audio, text),
        ("flow.text_only_zero_audio", silence, text),
        ("flow.negative_zero_audio", silence, negative),
        ("flow.cond_without_audio_argument", None, text),
    ):
        with torch.no_grad():
            flows[name] = runner.forward_bidirectional(x, t, y, features, context)
            case.output(name, flows[name])
            if features is not None:
                given = (x[0].transpose(0, 1), t, y[0].transpose(0, 1), lead_in(features[0]), context[0])
                case.output(name, trained("whole", *given).transpose(0, 1))
    equal, separate = case.parameter("text_scale"), case.parameter("audio_scale")
    branches = (flows["flow.cond"], flows["flow.text_only_zero_audio"], flows["flow.negative_zero_audio"])
    case.output("cfg.equal", Guidance(equal, equal).combine(*branches))
    case.output("cfg.separate", Guidance(equal, separate).combine(*branches))


def run_sampler(case: Case) -> None:
    """The teacher's Euler sampler over all steps."""
    about = case.about
    scales = (
        (about["scale"],) * 2 if "scale" in about else (case.parameter("text_scale"), case.parameter("audio_scale"))
    )
    rounding: Rounding = (
        "bfloat16" if str(about.get("timesteps_fed", "")).startswith("rounded to bfloat16") else "exact"
    )
    noise = case.tensor("noise")[0].transpose(0, 1)
    reference = case.tensor("ref_latent")[0]
    conditions = replace(case.fixtures.conditions, reference=reference, features=case.tensor("audio")[0])
    flow = GuidedFlow(
        _runner_network(case),
        Guidance(*map(float, scales)),
        case.tensor("context"),
        case.tensor("negative_context"),
        conditions.features,
        conditions.image(),
    )
    states = list(denoise(flow, noise, reference, schedule(case.parameter("steps"), rounding=rounding)))
    case.output("final", states[-1].transpose(0, 1))
    case.output("state_rms", torch.stack([state.square().mean().sqrt() for state in states]))
    if "state_1" in case:
        case.output("state_1", states[1].transpose(0, 1))
    if "trajectory" in case:
        case.output("trajectory", torch.stack([states[index] for index in case.parameter("indices")]))


def run_windows(case: Case) -> None:
    """Windows of long clips."""
    table = json.loads(case.fixtures.path(case.parameter("windows_file")).read_text("utf-8"))
    for entry in table["cases"]:
        height, width = entry["size"]
        plan = plan_windows(entry["samples"], (height, width), entry["fps"], table["overlap_frame"])
        found: dict[str, Any] = {
            "frames_per_window": plan.window_frames,
            "latent_frames": plan.latent_frames,
            "padded_audio_rows": plan.rows,
            "padded_samples": plan.padded_samples,
            "output_frames": plan.output_frames,
            "rounds": [
                {
                    "round": window.index,
                    "known_video_frames": window.known_frames,
                    "known_latent_frames": window.known_latents,
                    "audio_rows": [window.first_row, window.end_row],
                    "mask_zero_latent_frames": window.known_latents,
                }
                for window in plan.windows
            ],
        }
        wanted = dict(entry["result"])
        # What a round says in words follows from its number.
        wanted["rounds"] = [{key: one[key] for key in found["rounds"][0]} for one in wanted["rounds"]]
        name = f"{height}×{width}, {entry['fps']} fps, {entry['seconds']:g} s"
        case.measure(name, sum(found[key] != wanted.get(key) for key in found), 0)


def run_merge(case: Case) -> None:
    """Adapter into base; inputs and result are two cases."""
    held = {prefix: _pair(case, prefix) for prefix in ("base", "adapter", "merged")}
    about = next(entry for entry in case.fixtures.cases.values() if "rank" in entry and "alpha" in entry)
    files = {
        name: StateFile(Path(name), {key: tuple(value.shape) for key, value in tensors.items()}, tensors.__getitem__)
        for name, tensors in held.items()
    }
    merged = MergedState(files["base"], files["adapter"], LoraConfig(about["rank"], about["alpha"], ()))
    case.measure("names", len(set(merged) ^ set(held["merged"])), 0)
    worst = max(float((merged[name] - value).abs().max()) for name, value in held["merged"].items())
    case.measure("merged", worst, 1e-6)
    for name in case.tensors:
        case.tensor(name)


def _pair(case: Case, prefix: str) -> dict[str, Tensor]:
    for name, entry in case.fixtures.cases.items():
        if any(key.startswith(f"{prefix}.") for key in entry.get("tensors", {})):
            tensors = case.fixtures.tensors(f"{name}.safetensors")
            own = {key: value for key, value in tensors.items() if key.startswith(f"{prefix}.")}
            return {key.removeprefix(f"{prefix}."): value for key, value in own.items()}
    raise FixtureError(f"no case of the manifest holds tensors {prefix}.…")


def _runner_network(case: Case) -> CausalDiT:
    model = case.parameter("model")
    config = case.fixtures.config(model)
    state = to_published(config, case.fixtures.network(model, trained=False).state_dict())
    return CausalDiT.from_state(config, state, device=case.fixtures.device)


# -- updates ---------------------------------------------------------------------------------------------------------


def run_ode(case: Case) -> None:
    """The loss of the ODE stage and every gradient."""
    fixtures, conditions = case.fixtures, case.fixtures.conditions
    student = fixtures.network(case.parameter("model"))
    seeds = case.parameter("seeds")
    clean, noise = (numbers(seeds[name], (1, *conditions.shape))[0].to(fixtures.device) for name in ("clean", "noise"))
    sigmas = case.parameter("sigmas")
    states = [with_reference((1 - sigma) * clean + sigma * noise, conditions.reference) for sigma in sigmas]
    indices = case.tensor("indices")[0, ::FRAMES_PER_BLOCK].tolist()
    noisy = ode_input(states, indices)
    case.output("noisy_input", noisy, 1e-6)
    case.output("timestep", student_times()[case.tensor("indices")[0].cpu()].to(fixtures.device), 0)
    result = ode_update(student, conditions, noisy, states[-1], indices)
    case.output("pred_x0", result.predicted)
    case.loss("loss", result.loss)
    if "loss_excluding_reference_frame" in case.about:
        later = ode_update(student, conditions, noisy, states[-1], indices, reference_frame=False)
        case.number("without frame 0", float(later.loss.detach()), case.about["loss_excluding_reference_frame"])
    result.loss.backward()
    case.gradients(gradients(student.config, student))


def run_generator(case: Case) -> None:
    """The generator's rollout, both scores, the normalised gradient and the loss."""
    _, result = _generator(case, case.about)
    case.output("x0_hat", result.sample)
    case.output("score_input", result.score_input)
    case.output("pred_fake", result.fake)
    case.output("pred_real_cond", result.branches["conditional"])
    case.output("pred_real_uncond", result.branches["unconditional"])
    case.output("grad_x0", result.pull.gradient)
    time = score_time(torch.tensor([case.parameter("raw_timestep")]))
    case.output("score_t", time.expand(len(result.sample)), 1e-3)
    case.loss("loss", result.loss)
    case.loss("dmdtrain_gradient_norm", result.pull.gradient.abs().mean())
    _check_draws(case)


def run_generator_gradients(case: Case) -> None:
    """Every gradient of the generator's case, with checkpointed activations."""
    student, result = _generator(case, _base(case), checkpointing=True)
    result.loss.backward()
    case.gradients(gradients(student.config, student))


def run_separate(case: Case) -> None:
    """The generator's case with separate scales."""
    scales = Guidance(float(case.parameter("text_scale")), float(case.parameter("audio_scale")))
    _, result = _generator(case, _base(case), scales)
    case.output("pred_real_cond", result.branches["conditional"])
    case.output("pred_real_text_only", result.branches["text-only"])
    case.output("pred_real_uncond", result.branches["unconditional"])
    case.output("grad_x0", result.pull.gradient)
    case.loss("loss", result.loss)


def run_exit(case: Case) -> None:
    """Another exit step, with the clean pass that inference has: loss, sample, and every gradient's norm."""
    student, result = _generator(case, {**_base(case), **case.about})
    case.output("x0_hat", result.sample)
    case.loss("loss", result.loss)
    result.loss.backward()
    case.gradients(gradients(student.config, student))
    _check_draws(case)


def run_critic(case: Case) -> None:
    """The critic's loss and every gradient; and the loss with the published code's mistake."""
    fixtures, about = case.fixtures, case.about
    student, critic = fixtures.network("student"), fixtures.network(case.parameter("model"))
    draws = GivenDraws(case.parameter("first_draw_seed"), case.parameter("exit_step"))
    raw = case.parameter("raw_timestep")
    result = critic_update(student, critic, fixtures.conditions, draws, draws.exit_step, raw, _rules(about))
    case.output("x0_hat", result.sample)
    case.loss("loss", result.loss)
    mistaken = critic_loss(result.flow, result.noise, result.sample, mask="channel")
    case.loss("loss_as_published", mistaken)
    with torch.no_grad():
        sigma = score_level(score_time(torch.tensor([raw])))[0].to(fixtures.device)
        noisy = with_reference((1 - sigma) * result.sample + sigma * result.noise, fixtures.conditions.reference)
        case.output("pred_fake", noisy - sigma * result.flow)
    result.loss.backward(retain_graph="grad_norm_total_as_published" in case)
    case.gradients(gradients(critic.config, critic))
    if "grad_norm_total_as_published" in case:
        critic.zero_grad()
        mistaken.backward()
        total = torch.stack([value.double().norm() for value in gradients(critic.config, critic).values()]).norm()
        expected = float(case.tensor("grad_norm_total_as_published"))
        case.number("grad_norm_total_as_published", float(total), expected, fixtures.limits.gradient)
    _check_draws(case)


def run_trace(case: Case) -> None:
    """Some steps of the trainer: warm-up, alternation, AdamW, clipping, EMA."""
    fixtures, plan, steps = case.fixtures, case.parameter("schedule"), case.parameter("steps")
    networks = {name: fixtures.network(name, trained=name != "teacher") for name in ("student", "critic", "teacher")}
    before = {name: _published(networks[name]) for name in ("student", "critic")}
    adam = plan["adamw"]
    beta1, beta2 = adam["betas"]
    rates = {"student": adam["lr_generator"], "critic": adam["lr_critic"]}
    optimisers = {
        name: Optimiser(networks[name], Adam(rate, beta1, beta2, adam["eps"], adam["weight_decay"], plan["clip"]))
        for name, rate in rates.items()
    }
    limits = fixtures.limits
    average: Average | None = None
    rules = _rules(case.about)
    for number, step in enumerate(steps):
        for update, network in (("generator", "student"), ("critic", "critic")):
            if update not in step:
                continue
            entry = step[update]
            draws = GivenDraws(entry["first_draw_seed"], entry["exit"])
            given = (fixtures.conditions, draws, entry["exit"], entry["raw"], rules)
            if update == "generator":
                loss = generator_update(networks["student"], networks["critic"], networks["teacher"], *given).loss
            else:
                loss = critic_update(networks["student"], networks["critic"], *given).loss
            loss.backward()
            norm = optimisers[network].step()
            name = f"step {number + 1}, {update}"
            case.number(f"{name}: loss", float(loss.detach()), entry["loss"], limits.traced_loss)
            case.number(f"{name}: grad_norm", norm, entry["grad_norm"], 10 * limits.traced_loss)
            if update == "generator" and average is not None:
                average.update(networks["student"], plan["ema_decay"])
        if average is None and number + 1 >= plan["ema_start_step"]:
            average = Average(networks["student"])
    case.measure("steps in which the generator is updated", _alternation_faults(plan, steps), 0)
    if average is None:
        raise FixtureError("the average has not begun in the steps of the trace")
    after = {name: _published(networks[name]) for name in ("student", "critic")}
    after["ema"] = to_published(networks["student"].config, average.values)
    for key in case.tensors:
        kind, _, name = key.partition(".")
        if kind in after:
            case.output(key, after[kind][name], limits.traced_parameter)
        elif kind.endswith("_change_norm"):
            network = kind.removesuffix("_change_norm")
            _norm(case, key, after[network][name] - before[network][name])
        elif kind == "ema_minus_student_norm":
            _norm(case, key, after["ema"][name] - after["student"][name])


def _norm(case: Case, key: str, difference: Tensor) -> None:
    case.number(key, float(difference.double().norm()), float(case.tensor(key)), case.fixtures.limits.traced_change)


def _alternation_faults(plan: Mapping[str, Any], steps: list[dict[str, Any]]) -> int:
    """Steps whose updates are not those of the rule, in the reading that fits best."""
    ways: tuple[Alternation, ...] = ("absolute", "after-warm-up")
    options = {"warm_up": plan["critic_warmup_steps"], "every": plan["generator_every"]}
    return min(
        sum(
            generator_due(number, alternation=way, **options) != ("generator" in step)
            for number, step in enumerate(steps)
        )
        for way in ways
    )


def _published(network: TrainingDiT) -> dict[str, Tensor]:
    values = {name: value.detach().clone() for name, value in network.named_parameters()}
    published = to_published(network.config, values)
    assert published.keys() == reference_shapes(network.config).keys()
    return published


def _rules(about: Mapping[str, Any], scales: Guidance | None = None) -> MatchingRules:
    """The clean pass is the published one unless the case says that it is exact."""
    exact = str(about.get("context", "published")).startswith("exact")
    cfg = float(about.get("effective_cfg", 6.0))
    return MatchingRules(scales or Guidance(cfg, cfg), context="exact" if exact else "published")


def _base(case: Case) -> Mapping[str, Any]:
    """The generator's case whose rollout others use."""
    found = [entry for entry in case.fixtures.cases.values() if "effective_cfg" in entry]
    if len(found) != 1:
        raise FixtureError(f"{len(found)} cases of the manifest give an effective_cfg; one is needed")
    return found[0]


def _generator(
    case: Case, about: Mapping[str, Any], scales: Guidance | None = None, *, checkpointing: bool = False
) -> tuple[TrainingDiT, GeneratorResult]:
    fixtures = case.fixtures
    student = fixtures.network("student", checkpointing=checkpointing)
    critic, teacher = (fixtures.network(name, trained=False) for name in ("critic", "teacher"))
    draws = GivenDraws(about["first_draw_seed"], about["exit_step"])
    given = (fixtures.conditions, draws, about["exit_step"], about["raw_timestep"], _rules(about, scales))
    return student, generator_update(student, critic, teacher, *given)


def _check_draws(case: Case) -> None:
    """The manifest lists as many draws as the rollout takes, each with the next seed."""
    listed = case.about.get("draws")
    if listed is None:
        return
    draws = GivenDraws(case.parameter("first_draw_seed"), case.parameter("exit_step"))
    wanted = [draws.first + index for index in range(draws.count(case.fixtures.conditions.frames))]
    case.measure("draws", sum(a != b for a, b in zip([d["seed"] for d in listed], wanted, strict=False)), 0)
    case.measure("number of draws", abs(len(listed) - len(wanted)), 0)
