"""The steps of the sheet, most informative first. Imported once, in the process that all steps are forked from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from livetalk.render.config import FRAMES_PER_BLOCK, SIZES, StreamConfig
from livetalk.render.model.attention import (
    attention_kernel,
    available_kernels,
    disagreement,
    kernel_seconds,
    variants,
)
from livetalk.render.options import PUBLISHED, ModelChoice, SpeedOptions
from livetalk.render.speed import make_fast
from livetalk.thinkers import registry
from livetalk.thinkers.script import ScriptedThinker
from livetalk.tools import (
    agreement,
    bench,
    doctor,
    environment,
    float8_error,
    live_bench,
    parity,
    parity_cases,  # noqa: F401 - so that no step has to import it
    profile,
)
from livetalk.tools.options import LiveLoad
from livetalk.tools.sheet import Deadline, Job, LeftOutError, Say, Step

SENTENCE = ("Let me tell you how this works, step by step.",)
"""What the scripted thinker says where there is little time: every attempt hears it to its end."""


def _choice(job: Job) -> ModelChoice:
    return job.model.choose(random_by_default=True)


def _random(job: Job) -> ModelChoice:
    """Without checkpoints, which have steps of their own."""
    return replace(job.model, random_weights=True).choose(random_by_default=True)


def _stream(job: Job, choice: ModelChoice) -> StreamConfig:
    return job.stream.apply(choice.size.stream, "bounded")


def _on_cpu(job: Job) -> bool:
    return _choice(job).device == "cpu"


def _environment(job: Job, say: Say, deadline: Deadline) -> None:
    choice = _choice(job)
    device = torch.device(choice.device)
    say({**asdict(environment.examine(device)), "device": _device_name(device), "threads": torch.get_num_threads()})
    for finding in doctor.examine(job.model.checkpoints or Path("pretrained_checkpoints"), choice.size.name):
        say(finding)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _parity(job: Job, say: Say, deadline: Deadline) -> None:
    if not (job.fixtures / "manifest.json").exists():
        raise LeftOutError(f"{job.fixtures} holds no fixtures; name the folder with --fixtures (it comes with a clone)")
    device = _choice(job).device
    missing = len(parity.Fixtures(job.fixtures, device).cases)
    failed = []
    for result in parity.results(job.fixtures, device):
        worst = result.worst
        say(
            {
                "case": result.name,
                "passed": result.passed,
                "difference": None if worst is None else worst.value,
                "limit": None if worst is None else worst.limit,
                "problem": result.problem,
            }
        )
        if not result.passed:
            failed.append(result.name)
        missing -= 1
        if missing and not deadline.allows():
            raise TimeoutError(f"there was no time for {missing} cases")
    if failed:
        raise RuntimeError(f"beyond the limit: {', '.join(failed)}")


def _agreements(found: Iterable[agreement.Agreement], expected: int, say: Say) -> None:
    failed, count = [], 0
    for one in found:
        say(one)
        count += 1
        if not one.passed:
            failed.append(one.way)
    if failed:
        raise RuntimeError(f"beyond the limit: {'; '.join(failed)}")
    if count < expected:
        raise TimeoutError(f"there was no time for {expected - count} of {expected} ways")


def _small(job: Job, say: Say, deadline: Deadline) -> None:
    device = torch.device(_choice(job).device)
    compiled = device.type == "cuda" if job.speed.compiled is None else job.speed.compiled
    expected = len(agreement.ways((torch.float32, torch.bfloat16), graphs=device.type == "cuda", compiled=compiled))
    found = agreement.small(SIZES["tiny"], device, compiled=compiled, worthwhile=deadline.allows)
    _agreements(found, expected, say)


def _real(job: Job, say: Say, deadline: Deadline) -> None:
    choice = _random(job)
    graphs = choice.device.startswith("cuda")
    compiled = graphs if job.speed.compiled is None else job.speed.compiled
    found = agreement.real(choice.load, choice.size, compiled=compiled, worthwhile=deadline.allows)
    _agreements(found, 1 + 2 * graphs + compiled, say)


def _kernels(job: Job, say: Say, deadline: Deadline) -> None:
    choice = _choice(job)
    device, dtype, config = torch.device(choice.device), choice.dtype, choice.size.dit
    stream = _stream(job, choice)
    queries = FRAMES_PER_BLOCK * stream.tokens_per_frame
    for frames in (stream.window, FRAMES_PER_BLOCK):
        for name in variants(available_kernels(device, dtype)):
            if not deadline.allows():
                raise TimeoutError("there was no time for the kernels that are missing")
            row: dict[str, Any] = {"kernel": name, "frames": frames, "ms": None, "tflops": None, "difference": None}
            try:
                keys = frames * stream.tokens_per_frame
                seconds = kernel_seconds(
                    name, device, dtype, heads=config.num_heads, head_dim=config.head_dim, queries=queries, keys=keys
                )
                few = [torch.randn(256, config.num_heads, config.head_dim, device=device, dtype=dtype) for _ in "qkv"]
                attention_kernel(name, device, dtype)
                row["ms"] = 1e3 * seconds
                row["tflops"] = 4e-12 * queries * keys * config.dim / seconds
                row["difference"] = disagreement(name, *few)
            except Exception as error:  # one kernel that does not run says nothing of the others
                row["problem"] = f"{type(error).__name__}: {error}"[:200]
            say(row)


def _bench(job: Job, say: Say, choice: ModelChoice, **speed: Any) -> None:
    say(bench.measure(choice, _stream(job, choice), SpeedOptions(**speed), job.blocks))


def _eager(job: Job, say: Say, deadline: Deadline) -> None:
    _bench(job, say, _random(job), compiled=False)


def _compiled(job: Job, say: Say, deadline: Deadline) -> None:
    _bench(job, say, _random(job), compiled=True)


def _autotuned(job: Job, say: Say, deadline: Deadline) -> None:
    _bench(job, say, _random(job), compiled=True, compile_mode="max-autotune")


def _eight_bit(job: Job, say: Say, deadline: Deadline) -> None:
    _bench(job, say, _random(job), compiled=True, float8=True)


def _eight_bit_error(job: Job, say: Say, deadline: Deadline) -> None:
    choice = _random(job)
    for error in float8_error.measure(choice.load().dit, _stream(job, choice), 3):
        say(error)
        if not deadline.allows():
            raise TimeoutError("there was no time for the blocks that are missing")


def _profile(job: Job, say: Say, deadline: Deadline) -> None:
    choice = _random(job)
    models, stream = choice.load(), _stream(job, choice)
    make_fast(models, stream, compiled=not _on_cpu(job) and job.speed.compiled is not False)
    for row in profile.measure(models, stream, choice.size):
        say(row)


def _load(job: Job) -> LiveLoad:
    many = 1 if _on_cpu(job) else 4
    return LiveLoad(turns=job.turns, conversations=many, seconds=job.seconds)


def _live(job: Job, say: Say, deadline: Deadline) -> None:
    choice = _random(job)
    answers = live_bench.SPEECH if job.minutes >= 20 else SENTENCE
    say(live_bench.measure(choice, _stream(job, choice), job.speed, _load(job), ScriptedThinker(answers)))


def _weights(job: Job, say: Say, deadline: Deadline) -> None:
    choice = _choice(job)
    _bench(job, say, choice, compiled=None)
    for error in float8_error.measure(choice.load().dit, _stream(job, choice), 3):
        say(error)


def _talk(job: Job, say: Say, deadline: Deadline) -> None:
    choice = _choice(job)
    assert job.thinker is not None
    texts = dict(entry.removeprefix("thinker.").split("=", 1) for entry in job.thinker_settings)
    speaker = registry.from_texts(job.thinker, texts)
    say(live_bench.measure(choice, _stream(job, choice), job.speed, _load(job), speaker))


def _no_compiler(job: Job) -> str | None:
    if _on_cpu(job) and job.speed.compiled is not True:
        return "on a CPU nothing is compiled unless --compile asks for it"
    return "--no-compile was asked for" if job.speed.compiled is False else None


def _no_card(job: Job) -> str | None:
    return "it is about what a GPU does" if _on_cpu(job) else None


def _nothing_to_choose(job: Job) -> str | None:
    return _no_card(job) or _no_compiler(job)


def _no_weights(job: Job) -> str | None:
    choice = _choice(job)
    if choice.checkpoints is not None:
        return None
    if choice.size.name != PUBLISHED:
        return f"size {choice.size.name} has no published weights"
    return "no --checkpoints were named"


STEPS = (
    Step("environment", "Environment", 20, _environment),
    Step("parity", "The published code's results on this device", 50, _parity),
    Step("agreement_small", "A small model, every way of computing it, against the plain one", 50, _small),
    Step("kernels", "Attention kernels one by one", 20, _kernels),
    Step("agreement_real", "The model itself, faster step by step, against the plain way", 60, _real, _no_card),
    Step("bench_eager", "Bench, nothing compiled", 60, _eager),
    Step("bench_compiled", "Bench, compiled", 80, _compiled, _no_compiler),
    Step("profile", "Where the time goes", 25, _profile),
    Step("live", "The live system with a scripted thinker", 60, _live),
    Step("float8_error", "What 8-bit layers change", 10, _eight_bit_error),
    Step("bench_float8", "Bench, 8-bit layers", 40, _eight_bit, _nothing_to_choose),
    Step("weights", "Bench and 8-bit layers on the published weights", 40, _weights, _no_weights),
    Step(
        "thinker",
        "The live system with a thinker of choice",
        60,
        _talk,
        lambda job: None if job.thinker is not None else "no --thinker was named",
    ),
    # Last: it may take all the time there is.
    Step(
        "bench_autotuned",
        "Bench, every kernel chosen by time",
        60,
        _autotuned,
        lambda j: _no_card(j) or _no_compiler(j),
    ),
)
