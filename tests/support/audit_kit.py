"""A small run of the drawn person, made once, for audits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from interbench.asr.given import Given
from interbench.base.progress import PlainProgress
from interbench.domain.dimensions import DIMENSION_KEYS
from interbench.domain.records import Exchange, Outcome, Timings, Transcript, Verdict
from interbench.judge.stage import conversation_digest
from interbench.media.pool import MediaPool
from interbench.pipeline.config import Settings
from interbench.pipeline.plan import Plan, make_plan
from interbench.pipeline.run_manifest import RunManifest
from interbench.store.played import played
from interbench.store.run_folder import Key, Run
from interbench.systems.facts import system_facts


class Quiet(PlainProgress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


async def played_run(out: Path, clips: Sequence[Path], *, scenarios: Sequence[str], systems: Sequence[str]) -> Plan:
    """A run folder as if ``systems`` had played: the clips in turn, and the reference replies as what was said."""
    plan = make_plan(
        Settings(out=out, scenarios="all", only=tuple(scenarios), systems=tuple(systems), transcriber="given")
    )
    async with MediaPool(1) as media:
        facts = [await media.inspect(clip) for clip in clips]
    with Run(out, write=True) as run:
        manifest = RunManifest(run, plan, {"seed": 0})
        made = {spec.label: system_facts(plan.factories[spec.label](), spec) for spec in plan.systems}
        manifest.write(made)
        ear = run.identify("transcriber", "given", Given().identity())
        number = 0
        for spec in plan.systems:
            for planned in plan.planned_scenarios:
                run.record_planned(planned)
                for index, turn in enumerate(planned.scenario.turns, start=1):
                    key = Key(spec.label, planned.scenario.id, index)
                    # Of one persona always the same clip, so that another persona looks otherwise.
                    chosen = sorted({p.persona.id for p in plan.planned_scenarios}).index(planned.persona.id) % len(
                        clips
                    )
                    draft = run.workdir(key) / "clip.mp4"
                    draft.write_bytes(clips[chosen].read_bytes())
                    exchange = Exchange(
                        key.system,
                        key.scenario,
                        index,
                        Outcome.COMPLETED,
                        clip=run.relative(run.clip_path(key, ".mp4")),
                        facts=facts[chosen],
                        timings=Timings(1.0, 1.0),
                        reply_text=turn.reply,
                    )
                    run.stage(exchange, draft, None)
                    run.adopt(key, draft)
                    run.record(exchange)
                    run.record_transcript(key, ear, Transcript(turn.reply, flags=("reported",)))
                    number += 1
        manifest.amend(transcriber=ear)
    return plan


def judged_by(run: Path, out: Path, *, families: Mapping[str, str], scores: Mapping[str, Mapping[str, float]]) -> Path:
    """A copy of a run whose systems name models, judged by judges who give each system one score in all."""
    shutil.copytree(run, out)
    manifest = json.loads((out / "manifest.json").read_text())
    for system, model in families.items():
        manifest["systems"][system]["settings"] = {"thinker": model}
    (out / "manifest.json").write_text(json.dumps(manifest))
    with Run(out, write=True) as folder:
        ear = manifest["transcriber"]
        for label, given in scores.items():
            judge = folder.identify("judge", label, {"judge": "vlm", "served": label, "dimensions": DIMENSION_KEYS})
            for planned in folder.planned_scenarios():
                for system, score in given.items():
                    conversation = played(folder, planned.scenario, system, ear, "given")
                    if conversation is None:
                        continue
                    digest = conversation_digest(conversation)
                    for key in DIMENSION_KEYS:
                        folder.record_verdict(Verdict(system, planned.scenario.id, key, score=score), judge, digest)
    return out
