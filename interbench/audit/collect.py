"""From an audit's ledger to what it says of the judge. Judges nothing; the same ledger gives the same result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from interbench.audit.build import label_of
from interbench.audit.conditions import BASE, RENAMED, SHAM
from interbench.audit.conduct import SCHEMA
from interbench.audit.effects import REPLICATES, Condition, Effects, Judged, floors, take_effects
from interbench.audit.families import Family, family_of, read_opinions
from interbench.audit.further import (
    Cold,
    Dose,
    Halo,
    Injection,
    Position,
    Repeatability,
    Verbosity,
    colder,
    doses,
    halo,
    injections,
    positions,
    quoted_box,
    repeatability,
    verbosity,
)
from interbench.audit.verdicts import Matrix, Validity, judge_effects
from interbench.base.errors import UsageError
from interbench.domain.catalogue import Catalogue, Kind
from interbench.domain.dimensions import DIMENSION_KEYS
from interbench.domain.records import Missing, Verdict
from interbench.judge.stage import conversation_digest
from interbench.store.manifest import read_manifest
from interbench.store.played import played
from interbench.store.run_folder import Run

_NOT_ASKED = (Missing.NO_KEY_POINTS, Missing.NOT_APPLICABLE, Missing.NOT_MEASURABLE)
"""Of a verdict on the base: the key does not apply to this scenario at all."""


@dataclass(frozen=True, slots=True)
class Blinding:
    """Whether a judge is told the same of a conversation whatever its system is called."""

    compared: int
    different: int
    by: str
    """``messages`` (their SHA-256) or ``scores``."""


@dataclass(frozen=True, slots=True)
class ShownTake:
    """One turn, to be looked at."""

    clip: str
    """Relative to the folder."""
    words: str
    sha256: str
    """Of the clip."""


@dataclass(frozen=True)
class Result:
    """Everything an audit says."""

    folder: Path
    audit: Mapping[str, Any]
    """As the manifest keeps it: base, catalogue, options, conditions."""
    judge_label: str
    judge_key: str
    judge_identity: Mapping[str, Any]
    scenarios: tuple[str, ...]
    effects: Effects
    matrix: Matrix
    doses: tuple[Dose, ...]
    halo: Halo
    repeatability: tuple[Repeatability, ...]
    cold: tuple[Cold, ...]
    """Of the sham judged with nothing in the judge's caches; empty where it was not."""
    positions: tuple[Position, ...]
    injections: tuple[Injection, ...]
    verbosity: tuple[Verbosity, ...]
    blinding: Blinding
    family: Family
    coverage: tuple[int, int]
    """Verdicts with a score, and asked for."""
    missing: Mapping[str, int]
    """Verdicts without one, by reason."""
    replicates: int
    seed: int
    catalogue_differs: tuple[str, ...]
    """Entries that the catalogue of this version has otherwise."""
    takes: Mapping[tuple[str, str, int], ShownTake]
    """By condition, scenario and turn."""

    @property
    def base(self) -> str:
        return str(self.audit["base"]["system"])

    def validity(self, key: str) -> Validity:
        """The verdict on one dimension or measure."""
        return next((of.validity for of in self.matrix.dimensions if of.key == key), Validity.NOT_SCORED)


def collect(folder: Path, catalogue: Catalogue, *, judge: str | None = None, replicates: int = REPLICATES) -> Result:
    """Read an audit.

    Args:
        folder: the audit's.
        catalogue: this version's, to say what differs.
        judge: label or beginning of the key of the judge, where several have judged; None: the last one.
        replicates: of the bootstrap.

    Raises:
        UsageError: it is no audit, or nothing is judged in it yet.
    """
    with Run(folder, write=False) as run:
        manifest = read_manifest(run.manifest_path)
        audit = (manifest or {}).get("audit")
        if manifest is None or not isinstance(audit, dict) or audit.get("schema") != SCHEMA:
            raise UsageError(f"{folder} is no audit; interbench audit RUN --out {folder} makes one of a run.")
        judges = run.identities("judge")
        key = _choose(folder, judges, judge, manifest.get("judge"))
        label, identity = judges[key]
        keys = tuple(identity.get("dimensions", DIMENSION_KEYS))
        conditions = tuple(_condition(row) for row in audit["conditions"])
        # Which aim counts depends on who judges; an audit may be judged by another than it was begun for.
        conditions = _aimed(conditions, catalogue, keys)
        scenarios = tuple(audit["scenarios"])
        verdicts = _verdicts(run, audit, key, manifest["transcriber"], identity.get("shown", ()))
        exchanges = run.exchanges()
    planned = {name: set(of) for name, of in audit.get("planned", {}).items()}
    kept_cold = (audit.get("cold") or {}).get("sample")
    judged = _judged(keys, conditions, scenarios, verdicts, planned, without=kept_cold)
    if np.isnan(judged.scores).all():
        raise UsageError(f"Nothing in {folder} is judged yet; give the audit's command again.")
    seed = int(audit["options"]["seed"])
    effects = take_effects(judged, replicates=replicates, seed=seed)
    found = floors(effects)
    asked = (*DIMENSION_KEYS, *(k for k in keys if k not in DIMENSION_KEYS))
    missing = Counter(v.missing.value for of in verdicts.values() for v in of if v.missing is not None)
    every = sum(len(of) for of in verdicts.values())
    before, now = audit["catalogue"]["entries"], catalogue.digests()
    return Result(
        folder,
        audit,
        label,
        key,
        identity,
        scenarios,
        effects,
        matrix := judge_effects(effects, found, asked),
        doses(effects, matrix),
        halo(effects),
        repeatability(judged, SHAM),
        colder(judged, _judged(keys, conditions, scenarios, verdicts, planned), kept_cold, seed=seed),
        positions(effects),
        injections(effects, found, _quoted(verdicts, conditions, catalogue)),
        verbosity(effects, found),
        _blinding(verdicts, scenarios),
        family_of(
            label,
            audit["base"].get("settings", {}),
            read_opinions(Path(audit["base"]["folder"])),
            replicates=replicates,
            seed=seed,
        ),
        (every - sum(missing.values()), every),
        dict(missing),
        replicates,
        seed,
        tuple(sorted(name for name in before if before[name] != now.get(name))),
        {
            (str(e.detail["edit"]["condition"]), e.scenario, e.turn): ShownTake(
                e.clip, e.reply_text or "", "" if e.facts is None else e.facts.sha256
            )
            for e in exchanges
            if e.clip is not None and "edit" in e.detail
        },
    )


def _choose(folder: Path, judges: Mapping[str, Any], wanted: str | None, current: str | None) -> str:
    if wanted is None:
        if current is None or current not in judges:
            raise UsageError(f"Nothing in {folder} is judged yet; give the audit's command again.")
        return current
    matching = [key for key, (label, _) in judges.items() if label == wanted or key.startswith(wanted)]
    if len(matching) != 1:
        held = ", ".join(f"{label} ({key[:12]})" for key, (label, _) in judges.items()) or "none"
        raise UsageError(f"{wanted!r} names {len(matching)} judges of {folder}; it holds {held}.")
    return matching[0]


def _condition(row: Mapping[str, Any]) -> Condition:
    return Condition(**{**row, "kind": Kind(row["kind"]), "may": frozenset(row["may"])})


def _aimed(conditions: Sequence[Condition], catalogue: Catalogue, keys: Sequence[str]) -> tuple[Condition, ...]:
    entries = {entry.name: entry for entry in catalogue}
    return tuple(
        replace(c, aim=entries[c.entry].aim(keys)) if c.entry in entries and c.aim not in keys else c
        for c in conditions
    )


Verdicts = dict[tuple[str, str], list[Verdict]]
"""By condition and scenario."""


def _verdicts(run: Run, audit: Mapping[str, Any], judge: str, ear: str, shown: Sequence[str]) -> Verdicts:
    """Those that were given on the conversations as they are now."""
    base = audit["base"]["system"]
    names = {label_of(base, row["name"]): row["name"] for row in audit["conditions"]}
    planned_scenarios = {planned.scenario.id: planned for planned in run.planned_scenarios()}
    digests: dict[tuple[str, str], str] = {}
    found: Verdicts = {}
    for digest, verdict in run.verdicts(judge):
        if verdict.system not in names or verdict.scenario not in planned_scenarios:
            continue
        place = (verdict.system, verdict.scenario)
        if place not in digests:
            conversation = played(run, planned_scenarios[verdict.scenario].scenario, verdict.system, ear, "given")
            digests[place] = "" if conversation is None else conversation_digest(conversation, shown)
        if digests[place] == digest:
            found.setdefault((names[verdict.system], verdict.scenario), []).append(verdict)
    return found


def _judged(
    keys: tuple[str, ...],
    conditions: tuple[Condition, ...],
    scenarios: tuple[str, ...],
    verdicts: Verdicts,
    planned: Mapping[str, set[str]],
    *,
    without: int | None = None,
) -> Judged:
    """As arrays; ``without`` one judgement, which was given under other circumstances."""
    times = 1 + max((v.sample for of in verdicts.values() for v in of), default=0)
    scores = np.full((len(conditions), len(keys), len(scenarios), times), np.nan)
    made = np.zeros((len(conditions), len(keys), len(scenarios)), bool)
    for c, condition in enumerate(conditions):
        for s, scenario in enumerate(scenarios):
            made[c, :, s] = scenario in planned.get(condition.name, ())
            for verdict in verdicts.get((condition.name, scenario), ()):
                if verdict.dimension in keys and verdict.score is not None and verdict.sample != without:
                    scores[c, keys.index(verdict.dimension), s, verdict.sample] = verdict.score
    for s, scenario in enumerate(scenarios):
        for verdict in verdicts.get((BASE, scenario), ()):
            if verdict.dimension in keys and verdict.missing in _NOT_ASKED:
                made[:, keys.index(verdict.dimension), s] = False
    return Judged(keys, conditions, scenarios, scores, made)


def _quoted(verdicts: Verdicts, conditions: Sequence[Condition], catalogue: Catalogue) -> dict[str, int]:
    """Verdicts read from a box within a quotation of what was injected."""
    entries = {entry.name: entry for entry in catalogue}
    found: Counter[str] = Counter()
    for condition in conditions:
        if condition.kind is not Kind.INJECTION or condition.entry not in entries:
            continue
        text = str(entries[condition.entry].edit.get("text", ""))
        for (name, _), given in verdicts.items():
            if name == condition.name:
                found[name] += sum(quoted_box(str(v.evidence.get("answer", "")), text) for v in given)
    return dict(found)


def _blinding(verdicts: Verdicts, scenarios: Sequence[str]) -> Blinding:
    compared = different = 0
    by = "scores"
    for scenario in scenarios:
        other = {(v.dimension, v.sample): v for v in verdicts.get((RENAMED, scenario), ())}
        for verdict in verdicts.get((BASE, scenario), ()):
            twin = other.get((verdict.dimension, verdict.sample))
            if twin is None:
                continue
            compared += 1
            hashes = [v.evidence.get("messages_sha256") for v in (verdict, twin)]
            if all(hashes):
                by = "messages"
                different += hashes[0] != hashes[1]
            else:
                different += (verdict.score, verdict.missing) != (twin.score, twin.missing)
    return Blinding(compared, different, by)


def as_json(result: Result) -> dict[str, Any]:
    """``audit.json``."""
    matrix, effects = result.matrix, result.effects
    return {
        "schema": SCHEMA,
        "judge": {"label": result.judge_label, "key": result.judge_key, "identity": dict(result.judge_identity)},
        "catalogue": {name: result.audit["catalogue"][name] for name in ("version", "sha256")},
        "base": dict(result.audit["base"]),
        "scenarios": list(result.scenarios),
        "repeats": result.audit["options"]["repeats"],
        "replicates": result.replicates,
        "seed": result.seed,
        "coverage": {"scored": result.coverage[0], "asked": result.coverage[1], "missing": dict(result.missing)},
        "floor": [
            {
                "key": floor.key,
                "phi": floor.size,
                "delta": floor.margin,
                "steady": floor.steady,
                "by": floor.by,
                "nuisances": [{"condition": name, "mean": mean, "p_holm": p} for name, mean, p in floor.nuisances],
            }
            for floor in matrix.floors
        ],
        "cells": [asdict(cell) for cell in matrix.cells],
        "dimensions": [asdict(of) for of in matrix.dimensions],
        "makes_missing": [
            dict(zip(("condition", "key", "missing", "in_control"), row, strict=True)) for row in matrix.makes_missing
        ],
        "dose": [asdict(dose) for dose in result.doses],
        "halo": {"keys": list(effects.judged.keys), **asdict(result.halo)},
        "repeatability": [asdict(of) for of in result.repeatability],
        "cold": {**dict(result.audit.get("cold") or {}), "keys": [asdict(of) for of in result.cold]},
        "probes": {
            "position": [asdict(of) for of in result.positions],
            "injection": [asdict(of) for of in result.injections],
            "verbosity": [asdict(of) for of in result.verbosity],
            "blinding": asdict(result.blinding),
            "self_family": asdict(result.family),
        },
        "unfit": dict(result.audit.get("unfit", {})),
        "refused": dict(result.audit.get("refused", {})),
        "measured": dict(result.audit.get("measured", {})),
        "catalogue_differs": list(result.catalogue_differs),
    }


COLUMNS = ("condition", "key", "aimed", "state", "mean", "lo", "hi", "n", "planned", "missing", "p", "p_holm")


def matrix_rows(result: Result) -> list[list[Any]]:
    """``matrix.csv``: a row per cell, after one of headings."""
    return [
        list(COLUMNS),
        *(
            [int(value) if isinstance(value, bool) else value for value in (getattr(cell, name) for name in COLUMNS)]
            for cell in result.matrix.cells
        ),
    ]
