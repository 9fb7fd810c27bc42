"""Money for people: what a run would cost, which jobs are in flight, and how to stop them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from interbench.base import termination
from interbench.base.errors import InterbenchError, UsageError
from interbench.base.foreign import whole
from interbench.drive.script import DEFAULT_WORDS
from interbench.drive.spending import spoken_totals
from interbench.pipeline.config import read_settings_file
from interbench.pipeline.plan import Plan
from interbench.pipeline.set_options import system_options
from interbench.store.manifest import read_manifest
from interbench.store.run_folder import Job, Key, Run
from interbench.systems.base import AvatarSystem
from interbench.systems.prompting import speaking_s
from interbench.systems.registry import SystemSpec


def spending_lines(plan: Plan) -> list[str]:
    """What the turns still to be played would cost at most, by system; nothing if none of them costs money."""
    settings = plan.settings
    turns_left = {
        spec.label: sum(len(planned.scenario.turns) for planned in plan.planned_scenarios) for spec in plan.systems
    }
    spending = []
    if (settings.out / "ledger.sqlite").exists():
        ids = {planned.scenario.id for planned in plan.planned_scenarios}
        with Run(settings.out, write=False) as run:
            held = Counter(e.system for e in run.exchanges() if e.scenario in ids)
            spending = run.spending()
        turns_left = {label: turns - held[label] for label, turns in turns_left.items()}
    lines, known, unknown = [], 0.0, False
    for spec in plan.systems:
        system = plan.factories[spec.label]()
        turns, longest = turns_left[spec.label], system.turn_video_s
        price = system.capabilities.price_usd_per_s
        if not turns or price == 0 or (price is None and not system.capabilities.announces_cost):
            continue
        usd = None if longest is None else system.estimate_usd(turns * longest)
        video = "clips of unknown length" if longest is None else f"clips of up to {longest:g} s"
        if usd is None:
            unknown = True
            lines.append(f"cost         {spec.label}: {turns} {video}, price not known (set price_usd_per_s)")
        else:
            known += usd
            lines.append(f"cost         {spec.label}: {turns} {video} at {price:g} USD/s, up to {usd:.2f} USD")
    if lines:
        lines.append(f"cost         up to {known:.2f} USD{' and what has no known price' if unknown else ''}")
        caps = [
            f"{cap:g} {unit}"
            for cap, unit in ((settings.max_usd, "USD"), (settings.max_video_seconds, "s of video"))
            if cap is not None
        ]
        lines.append(f"caps         {', '.join(caps) or 'none; see --max-usd and --max-video-seconds'}")
    if spent := spoken_totals(spending):
        lines.append(f"cost so far  {spent}")
    return lines


def gpu_lines(plan: Plan) -> list[str]:
    """How long GPUs would be busy with the turns still to be played, by system; nothing where nobody knows."""
    done = _held(plan)
    lines, total, several = [], 0.0, 0
    for spec in plan.systems:
        system = plan.factories[spec.label]()
        if not system.takes_speech or system.estimate_gpu_s(1.0) is None:
            continue
        speech_s = [
            speaking_s(_words(plan, reference.reply))
            for planned in plan.planned_scenarios
            for turn, reference in enumerate(planned.references, start=1)
            if (spec.label, planned.scenario.id, turn) not in done
        ]
        longest = system.capabilities.max_duration_s
        video_s = sum(speech_s if longest is None else (min(longest, one) for one in speech_s))
        seconds = system.estimate_gpu_s(video_s) or 0.0
        total, several = total + seconds, several + 1
        lanes = system.capabilities.max_concurrency or 1
        apart = f", {seconds / 3600 / lanes:.1f} h on {lanes} GPUs" if lanes > 1 else ""
        lines.append(
            f"GPU time     {spec.label}: {len(speech_s)} clips, about {video_s:.0f} s of video, "
            f"{seconds / 3600:.1f} GPU hours{apart}"
        )
    if several > 1:
        lines.append(f"GPU time     about {total / 3600:.1f} GPU hours in all")
    return lines


def _words(plan: Plan, reply: str) -> int:
    """How long a reply is, where it is the scenario's own, or may be, where somebody else makes it up."""
    settings = plan.settings
    own = settings.script is None and (settings.words or "script") == "script"
    most = whole((settings.words_options if settings.script is None else settings.script_options).get("words"))
    return min(len(reply.split()), most or sys.maxsize) if own else most or DEFAULT_WORDS


def _held(plan: Plan) -> set[tuple[str, str, int]]:
    """The turns that the run folder holds."""
    if not (plan.settings.out / "ledger.sqlite").exists():
        return set()
    with Run(plan.settings.out, write=False) as run:
        return {(exchange.system, exchange.scenario, exchange.turn) for exchange in run.exchanges()}


def list_jobs(folder: Path, config: Path | None, options: Iterable[str], *, cancel: bool, forget: bool) -> None:
    """Print the jobs in flight of a run folder; cancel them, or give them up.

    Args:
        config: settings file with the options of the systems; without it those of the last invocation are used.
        options: ``NAME.OPTION=VALUE`` each, options of the systems that come before both.
        cancel: ask the services to stop them. A job that a service does not stop stays in the list.
        forget: close them without asking anybody.

    Raises:
        UsageError: both were asked for, or the options of a system are not known.
    """
    if cancel and forget:
        raise UsageError("Give either --cancel or --forget.")
    with Run(folder, write=cancel or forget) as run:
        jobs = run.open_jobs()
        if not jobs:
            sys.stdout.write(f"No job of {folder} is in flight.\n")
            return
        answers: dict[Key, str] = {}
        if cancel:
            specs = _specs(run, folder, config, options)
            for label in dict.fromkeys(job.key.system for job in jobs):
                own = [job for job in jobs if job.key.system == label]
                answers |= termination.run(_cancel(specs.get(label), own))
        for job in jobs:
            answer = "given up" if forget else answers.get(job.key, "")
            if answer in ("given up", "cancelled"):
                run.close_job(job.key, job.job_id)
            reserved = run.spending(job.key)
            usd = reserved[-1].usd if reserved else None
            cost = "price not known" if usd is None else f"up to {usd:.2f} USD"
            sys.stdout.write(f"{job.key}  {job.job_id}  {cost}  {answer}".rstrip() + "\n")
        if not (cancel or forget):
            sys.stdout.write(
                f"{len(jobs)} in flight. The command that began the run takes them up again; --cancel asks the "
                f"services to stop them, --forget gives them up.\n"
            )


def _specs(run: Run, folder: Path, config: Path | None, options: Iterable[str]) -> Mapping[str, SystemSpec]:
    manifest = read_manifest(run.manifest_path)
    if manifest is None:
        raise UsageError(f"{folder} has no manifest.json, so nobody knows which services its jobs belong to.")
    tables: dict[str, dict[str, Any]] = read_settings_file(config).get("system") or manifest["settings"]["system"]
    specs = {
        label: SystemSpec(
            label,
            facts["spec"],
            {name: value for name, value in tables.get(_given(label, facts), {}).items() if name != "spec"},
        )
        for label, facts in manifest.get("systems", {}).items()
    }
    return system_options(specs, options)


def _given(label: str, facts: Mapping[str, Any]) -> str:
    """The name that the user gave to a system, under which its options stand: without the model."""
    spec = str(facts["spec"])
    return spec if label.startswith(f"{spec} (") else label


async def _cancel(spec: SystemSpec | None, jobs: Iterable[Job]) -> dict[Key, str]:
    """What the service says to each job."""
    if spec is None:
        return {job.key: "its system is not in the manifest" for job in jobs}
    system: AvatarSystem = spec.factory()()
    answers = {}
    try:
        await system.start()
        for job in jobs:
            try:
                stopped = await system.cancel(job.job_id)
            except InterbenchError as error:
                answers[job.key] = f"not cancelled: {error}"
            else:
                answers[job.key] = "cancelled" if stopped else "not cancelled: the service does not stop it"
    finally:
        await system.stop()
    return answers
