"""What the pipeline writes into the manifest of its run folder, and when."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from interbench.asr.stage import TranscriptionStage
from interbench.base.bundled import data_path
from interbench.judge.stage import JudgingStage
from interbench.pipeline.plan import Plan, require_distinct
from interbench.store.manifest import merge, read_manifest
from interbench.store.run_folder import Run


class RunManifest:
    """The manifest of a run that this process works on.

    Args:
        run: the run folder, open for writing.
        plan: what the run is asked to do.
        frozen: settings that must stay as they are as long as the folder is added to.
    """

    def __init__(self, run: Run, plan: Plan, frozen: Mapping[str, Any]) -> None:
        self._run = run
        self._path = run.manifest_path
        self._plan = plan
        self._frozen = dict(frozen)

    def read(self) -> dict[str, Any]:
        """What is there; empty before the first :meth:`write`."""
        return read_manifest(self._path) or {}

    def write(self, systems: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Write down the plan, and the facts of systems that have started, by label.

        Raises:
            IncomparableError: the folder was made differently.
        """
        plan = self._plan
        held = read_manifest(self._path)
        require_distinct([*(held or {}).get("plan", {}), *plan.labels])
        manifest = merge(
            held,
            settings=plan.settings.public(),
            frozen=self._frozen,
            scenarios={planned.scenario.id: planned.scenario.digest() for planned in plan.planned_scenarios},
            personas={
                planned.persona.id: digest(planned.persona.model_dump_json()) for planned in plan.planned_scenarios
            },
            plan={spec.label: [planned.scenario.id for planned in plan.planned_scenarios] for spec in plan.systems},
            systems=systems or {},
            prompts=_prompts_digest(data_path("prompts")),
            scenario_sets=() if plan.scenario_set is None else (plan.scenario_set,),
        )
        if plan.sharding is not None:
            manifest["shard"] = plan.sharding.record()
        self._run.keep_manifest(manifest)

    def freeze(self, **settings: Any) -> None:
        """Further settings that must stay as they are from the next :meth:`write` on: those of the words and the voice
        hold only where a system is given them."""
        self._frozen |= settings

    def amend(self, **entries: Any) -> None:
        """Replace entries."""
        self._run.keep_manifest({**self.read(), **entries})

    def note_transcriber(self, stage: TranscriptionStage) -> None:
        """Say whose transcripts are the run's current ones."""
        self.amend(transcriber=stage.key, transcriber_notes=list(stage.notes))

    def note_judge(self, stage: JudgingStage) -> None:
        """Say whose verdicts are the run's current ones.

        Raises:
            JudgeError: it calls itself as an earlier judge of this run did, and is another.
        """
        known = self.read().get("judge_likeness", {})
        if stage.key in known:
            stage.judge.recognise(known[stage.key])
        elif (likeness := stage.judge.likeness()) is not None:
            self.amend(judge_likeness={**known, stage.key: likeness})
        self.amend(judge=stage.key)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _prompts_digest(folder: Path) -> str:
    """Of the bundled prompts and their names.

    Templates of systems count under the suffix that they had in the first runs, so that the same prompts have the same
    digest in a new run as in an old one.
    """
    names = {
        (name.removesuffix(".j2") + ".jinja" if name.startswith("systems/") else name): path
        for path in folder.rglob("*")
        if path.is_file()
        for name in (path.relative_to(folder).as_posix(),)
    }
    total = hashlib.sha256()
    for name in sorted(names, key=PurePosixPath):
        total.update(name.encode() + b"\0" + names[name].read_bytes() + b"\0")
    return total.hexdigest()
