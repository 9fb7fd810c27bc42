"""What a run folder holds by one transcriber and one judge: read from its ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from interbench.base.errors import UsageError
from interbench.domain.dimensions import DIMENSION_KEYS
from interbench.domain.records import Exchange, Spend, Transcript, Verdict
from interbench.judge.stage import conversation_digest
from interbench.rating.results import PEOPLE, people_label, people_verdicts, read_ratings
from interbench.scenarios.plan import PlannedScenario
from interbench.stats import JudgeLabel
from interbench.store.clips import ClipProblem
from interbench.store.manifest import read_manifest
from interbench.store.played import played
from interbench.store.run_folder import Key, Run


@dataclass(frozen=True, slots=True)
class RunRecords:
    """Everything a run folder holds by one transcriber and one judge."""

    path: Path
    manifest: Mapping[str, Any]
    planned_scenarios: tuple[PlannedScenario, ...]
    exchanges: tuple[Exchange, ...]
    transcripts: Mapping[Key, Transcript]
    verdicts: tuple[Verdict, ...]
    """Those that were given on the conversations as they are now."""
    judge: JudgeLabel | None
    judge_identity: Mapping[str, Any]
    transcriber: str | None
    transcriber_identity: Mapping[str, Any]
    spending: tuple[Spend, ...] = ()
    """Every request that may have cost money."""
    clip_problems: Mapping[Key, ClipProblem] = field(default_factory=dict)
    """Clips that are no longer those that were recorded."""
    label: str = ""
    """Stands before the names of its systems (``label/system``); empty where they have their own."""
    remarks: tuple[str, ...] = ()
    """What a reader must know of how it was brought together with other runs."""

    @property
    def name(self) -> str:
        """For people."""
        return self.label or self.path.resolve().name

    def bare(self, system: str) -> str:
        """The name of one of its systems without the label."""
        return system.removeprefix(f"{self.label}/") if self.label else system

    @property
    def plan(self) -> Mapping[str, Sequence[str]]:
        """Scenario ids by system."""
        plan: Mapping[str, Sequence[str]] = self.manifest["plan"]
        return plan

    @property
    def turns(self) -> dict[str, int]:
        """Turns by scenario id."""
        return {planned.scenario.id: len(planned.scenario.turns) for planned in self.planned_scenarios}

    @property
    def unkept(self) -> tuple[str, ...]:
        """Scenarios of the plan of which the ledger holds nothing, not even what they are: the run was killed between
        planning and keeping them. None of them was played."""
        kept = self.turns
        return tuple(dict.fromkeys(name for names in self.plan.values() for name in names if name not in kept))

    @property
    def turns_planned(self) -> int:
        """Over all systems, as far as the scenarios are known."""
        turns = self.turns
        return sum(turns.get(name, 0) for names in self.plan.values() for name in names)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Keys of what its judge was asked for."""
        if self.judge_identity.get("judge") == "signals" and "dimensions" not in self.judge_identity:
            return tuple(_CALLED_BEFORE.values())
        return tuple(self.judge_identity.get("dimensions", DIMENSION_KEYS))


def read_records(path: Path, judge: str | None = None) -> RunRecords:
    """Read a run folder.

    Args:
        path: the folder.
        judge: label, or beginning of the key, of the judge whose verdicts are wanted; None means the run's last one,
            ``people`` those who rated it.

    Raises:
        StoreError: it is no run folder or can't be read.
        UsageError: that judge has left no verdicts here.
    """
    if judge == PEOPLE:
        said = read_ratings(path)
        return replace(
            read_records(path),
            verdicts=tuple(people_verdicts(said, said.kept)),
            judge=people_label(said),
            judge_identity=said.study.published(),
        )
    with Run(path, write=False) as run:
        manifest = read_manifest(run.manifest_path)
        if manifest is None:
            raise UsageError(
                f"{path} has no manifest.json: nothing was planned there yet. Give it to `interbench run`."
            )
        judges = run.identities("judge")
        key = _choose(judges, judge, manifest.get("judge"), path)
        transcribers = run.identities("transcriber")
        ear = manifest.get("transcriber")
        label, identity = judges.get(key, ("", {})) if key else ("", {})
        planned_scenarios = run.planned_scenarios()
        by_id = {planned.scenario.id: planned.scenario for planned in planned_scenarios}
        digests: dict[tuple[str, str], str] = {}
        if ear is not None:
            ear_label = transcribers[ear][0]
            for system, scenarios in manifest["plan"].items():
                for scenario in scenarios:
                    # The plan is written a moment before its scenarios, and a kill may come between.
                    kept = by_id.get(scenario)
                    conversation = None if kept is None else played(run, kept, system, ear, ear_label)
                    if conversation is not None:
                        digests[system, scenario] = conversation_digest(conversation, identity.get("shown", ()))
        verdicts = run.verdicts(key) if key else []
        exchanges = run.exchanges()
        return RunRecords(
            path=path,
            manifest=manifest,
            planned_scenarios=planned_scenarios,
            exchanges=tuple(exchanges),
            transcripts=run.transcripts(ear) if ear else {},
            verdicts=_renamed((v for seen, v in verdicts if digests.get((v.system, v.scenario)) == seen), identity),
            judge=JudgeLabel(
                name=label,
                identity=key[:12],
                comparable=bool(identity.get("comparable", True)),
                mode=judging_mode(identity),
            )
            if key
            else None,
            judge_identity=identity,
            transcriber=transcribers[ear][0] if ear else None,
            transcriber_identity=transcribers[ear][1] if ear else {},
            spending=tuple(run.spending()),
            clip_problems=run.clip_problems(exchanges),
        )


_CALLED_BEFORE = {"IC": "kp-recall", "CU": "kp-memory", "SR": "lexical", "MVC": "look"}
"""What the offline judge's measures are called, by the dimension under whose name its first versions kept them."""


def _renamed(verdicts: Iterable[Verdict], identity: Mapping[str, Any]) -> tuple[Verdict, ...]:
    """Verdicts of the offline judge under the names that its measures have; what it called not measurable is no row."""
    if identity.get("judge") != "signals" or "dimensions" in identity:
        return tuple(verdicts)
    return tuple(replace(v, dimension=_CALLED_BEFORE[v.dimension]) for v in verdicts if v.dimension in _CALLED_BEFORE)


def judging_mode(identity: Mapping[str, Any]) -> str:
    """In which reading of the rubrics a vision-language judge of this identity judged; empty for any other judge."""
    if identity.get("judge") != "vlm":
        return ""
    mode = str(identity.get("mode", "published"))
    from interbench.judge.vlm.rubrics import MODES, Prompts

    bundled = {key: rubric.sha256 for key, rubric in Prompts(mode).rubrics.items()} if mode in MODES else {}
    return mode if identity.get("rubrics") == bundled else f"{mode} with other prompts"


def _choose(
    judges: Mapping[str, tuple[str, Mapping[str, Any]]], wanted: str | None, current: str | None, path: Path
) -> str | None:
    if wanted is None:
        return current
    matching = [key for key, (label, _) in judges.items() if label == wanted or key.startswith(wanted)]
    if len(matching) == 1:
        return matching[0]
    held = ", ".join(f"{label} ({key[:12]})" for key, (label, _) in judges.items()) or "none"
    if matching:
        raise UsageError(f"Several judges in {path} are called {wanted!r}; name one by its key. Judges there: {held}.")
    raise UsageError(f"No judge called {wanted!r} has left verdicts in {path}. Judges there: {held}.")
