"""What a run is asked to do: made from settings, or taken up from the folder of a run that has been played."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from interbench.base.errors import StoreError, UsageError
from interbench.base.masking import MASK
from interbench.domain.names import alike, unprinted
from interbench.drive.words import check_choice
from interbench.judge.base import Judge
from interbench.pipeline.config import Settings, merged_settings, read_settings_file
from interbench.pipeline.set_options import script_options, with_options
from interbench.pipeline.shards import Sharding, take_shard
from interbench.scenarios.plan import PlannedScenario, plan_scenarios
from interbench.scenarios.sets import load_set
from interbench.store.manifest import read_manifest
from interbench.store.run_folder import Run
from interbench.systems.base import AvatarSystem
from interbench.systems.registry import SYSTEMS, SystemSpec

OF_A_CLUSTER = ("cluster", "renderers", "clips_via", "ears", "judge_servers", "judge_server")
"""Settings that are about the machines of a cluster."""
_LATER_SETTINGS = (
    *("judge", "judge_options", "transcriber", "transcriber_options", "repeats", "concurrency"),
    *OF_A_CLUSTER,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is asked to do."""

    settings: Settings
    planned_scenarios: tuple[PlannedScenario, ...]
    systems: tuple[SystemSpec, ...]
    factories: Mapping[str, Callable[[], AvatarSystem]]
    """By system label."""
    scenario_set: Mapping[str, str] | None = None
    """Name, version and digest of the set that was loaded; None where a run is taken up from its folder."""
    sharding: Sharding | None = None
    """Of which larger plan this is a shard; None if of none, or where a run is taken up from its folder."""
    left_out: tuple[str, ...] = ()
    """Systems that a run would play unasked and that can't be started here, a line each."""

    @property
    def taken_up(self) -> bool:
        """Whether it is what the folder of a run says, not what settings ask for."""
        return self.scenario_set is None

    @property
    def clips(self) -> int:
        return len(self.systems) * sum(len(planned.scenario.turns) for planned in self.planned_scenarios)

    def verdicts(self, judge: Judge) -> int:
        """How many ``judge`` is asked for."""
        return len(self.systems) * len(self.planned_scenarios) * len(judge.dimensions) * self.settings.repeats

    @property
    def labels(self) -> frozenset[str]:
        return frozenset(spec.label for spec in self.systems)

    @property
    def scenario_ids(self) -> frozenset[str]:
        return frozenset(planned.scenario.id for planned in self.planned_scenarios)

    def narrowed(
        self, only: Sequence[str] = (), *, limit: int | None = None, sample: int | None = None, seed: int = 0
    ) -> Plan:
        """The same with fewer scenarios.

        Args:
            only: ids or globs; none means all.
            limit: the first so many of them.
            sample: so many of them drawn at random, the same ones for the same ``seed``; in the order of the run.

        Raises:
            UsageError: a pattern matches nothing, or a number is below 1.
        """
        planned_scenarios = self.planned_scenarios
        for pattern in only:
            if not any(fnmatchcase(planned.scenario.id, pattern) for planned in planned_scenarios):
                raise UsageError(
                    f"This run has no scenario {pattern!r}; it has {_some(p.scenario.id for p in planned_scenarios)}."
                )
        if only:
            planned_scenarios = tuple(
                planned
                for planned in planned_scenarios
                if any(fnmatchcase(planned.scenario.id, pattern) for pattern in only)
            )
        for name, number in (("limit", limit), ("sample", sample)):
            if number is not None and number < 1:
                raise UsageError(f"The {name} is {number}; it must be at least 1.")
        if sample is not None and sample < len(planned_scenarios):
            draw = random.Random(seed)  # noqa: S311 - nothing is secret here
            drawn = sorted(draw.sample(range(len(planned_scenarios)), sample))
            planned_scenarios = tuple(planned_scenarios[index] for index in drawn)
        return replace(self, planned_scenarios=planned_scenarios[:limit])


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")


def make_plan(settings: Settings) -> Plan:
    """Load the scenarios and find the systems.

    Raises:
        InterbenchError: anything that can be known to be wrong before the first clip.
    """
    whole = load_set(settings.scenarios, personas=settings.personas)
    chosen = whole.select(settings.only, categories=settings.categories, limit=settings.limit)
    settings, left_out = _startable(settings)
    named = [SystemSpec.parse(text, settings.system) for text in settings.systems]
    if not named:
        raise UsageError(
            "There is no system to test; name at least one with --systems (see `interbench list systems`)."
        )
    names = [spec.label for spec in named]
    for label, count in Counter(names).items():
        if count > 1:
            raise UsageError(f"The system {label!r} is named twice; give one of them another label: other={label}.")
    for label in settings.system:
        if label not in names:
            raise UsageError(f"There are options for the system {label!r}, but it is not among those to test.")
    specs = tuple(spec.with_model() for spec in named)
    require_distinct([spec.label for spec in specs])
    if settings.script is not None:
        script_options().check(settings.script_options)
    elif settings.script_options:
        raise UsageError("There are script_options, but no server that writes replies; name one with --script URL.")
    check_choice(settings.words, settings.words_options, settings.speech, settings.speech_options)
    planned_scenarios = plan_scenarios(chosen, whole, rotation=settings.seed if settings.rotate_personas else None)
    sharding = None
    if settings.shard is not None:
        planned_scenarios, sharding = take_shard(planned_scenarios, settings.shard)
    facts = {"name": whole.name, "version": whole.version, "digest": whole.digest}
    factories = {spec.label: spec.factory() for spec in specs}
    return Plan(settings, planned_scenarios, specs, factories, facts, sharding, left_out)


def _startable(settings: Settings) -> tuple[Settings, tuple[str, ...]]:
    """The settings without those of the default systems that this machine lacks something for. Nobody has asked for
    them; a system that was named is refused when it is started, with what is to be done."""
    if "systems" in settings.model_fields_set:
        return settings, ()
    lacking = {text: SYSTEMS.find(text).cls.lacking() for text in settings.systems if text not in settings.system}
    here = tuple(text for text in settings.systems if not lacking.get(text))
    lines = tuple(f"{text} is left out: {why}" for text, why in lacking.items() if why)
    return settings.model_copy(update={"systems": here}), lines


def require_distinct(labels: Sequence[str]) -> None:
    """Refuse labels of systems that a reader of the table could not tell apart, or not see.

    Raises:
        UsageError: naming them.
    """
    for label in labels:
        if unprinted(label):
            raise UsageError(f"The label {label!a} holds control characters; give the system another: other=...")
    if pair := alike(labels):
        raise UsageError(
            f"The systems {pair[0]!a} and {pair[1]!a} look the same in a table; give one of them another label: "
            f"other=..."
        )


def resume_plan(path: Path, file: Path | None, changes: Mapping[str, Any], options: Iterable[str] = ()) -> Plan:
    """The plan of an existing run folder, for stages after the drive: nothing but the folder is needed.

    An option holds wherever it was given: with the run, in the file or on the command line, of which the later come
    before the earlier. Only those of a judge or transcriber that is no longer the one chosen are left behind.

    Args:
        path: the run folder.
        file: a settings file with settings of the judge and the transcriber.
        changes: settings that come before both (judge, transcriber, repeats); None keeps what is there.
        options: ``NAME.OPTION=VALUE`` each, from the command line.
    """
    with Run(path, write=False) as run:
        manifest = read_manifest(run.manifest_path)
        planned_scenarios = run.planned_scenarios()
    if manifest is None:
        raise StoreError(
            f"{path} has no manifest.json, so nothing was planned there yet; give it to `interbench run` first."
        )
    # A folder of another version may hold settings that there are no more; the stages to come need none of them.
    kept = {name: value for name, value in manifest["settings"].items() if name in Settings.model_fields}
    later = read_settings_file(file)
    merged_settings((str(file), later))
    if unusable := [name for name in later if name not in _LATER_SETTINGS]:
        raise UsageError(
            f"The setting {unusable[0]!r} in {file} is about playing; an existing run can only be given "
            f"{', '.join(_LATER_SETTINGS)}."
        )
    given = {name: value for name, value in changes.items() if value is not None}
    # Where it was played says nothing of where it goes on.
    kept = {name: value for name, value in kept.items() if name not in OF_A_CLUSTER}
    chosen = {**kept, **later, **given}
    for kind in ("judge", "transcriber"):
        own = kept.get(f"{kind}_options", {}) if chosen.get(kind) == kept.get(kind) else {}
        chosen[f"{kind}_options"] = {**own, **later.get(f"{kind}_options", {})}
    settings = with_options(
        merged_settings((str(path / "manifest.json"), {**chosen, "out": path})), options, playing=False
    )
    for kind in ("judge", "transcriber"):
        _refuse_masked(kind, getattr(settings, f"{kind}_options"))
    specs = tuple(SystemSpec(label, label, {}) for label in manifest["plan"])
    return Plan(settings, planned_scenarios, specs, {})


def _refuse_masked(kind: str, options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if value == MASK:
            raise UsageError(
                f"The {kind}'s option {name!r} was a secret, which no run folder keeps. Give it again (--set "
                f"{kind}.{name}=…), or let the {kind} read it from a variable of the environment."
            )
