"""Whether judges favour systems whose models are of their own family: estimated from two judges on, never from one.

One judge that scores its family's systems high may be right. Of two judges on the same conversations the difference of
differences (J1F1 − J1F2) − (J2F1 − J2F2) is free of how good the systems are and of how mild a judge is. From three
judges of three families on, the table of families and judges is standardised by judge, then by family, and its diagonal
read, as in Philautia-Eval (arXiv 2604.11589).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from interbench.audit.effects import EPSILON, LEAST_SCENARIOS, REPLICATES, TAIL, FloatArray, draws
from interbench.base.errors import InterbenchError
from interbench.domain.dimensions import DIMENSION_KEYS
from interbench.judge.stage import conversation_digest
from interbench.store.manifest import read_manifest
from interbench.store.played import played
from interbench.store.run_folder import Run

_MODEL = re.compile(
    r"\b(qwen|gpt|gemini|claude|llama|internvl|glm|kimi|deepseek|mistral|pixtral|phi|gemma|minicpm)", re.I
)
_LEAST_FOR_TABLE = 3


@dataclass(frozen=True, slots=True)
class Favour:
    """Of two judges in one key: raw points that each gives to its own family beyond what the other does."""

    families: tuple[str, str]
    key: str
    scenarios: int
    points: float | None
    lo: float | None
    hi: float | None
    """The 90 % interval."""
    says: str
    """``favoured``, ``not favoured`` (demonstrably by less than half a point) or ``undecided``."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Of three judges or more: how one family stands with the judge of its own, in standard deviations."""

    family: str
    key: str
    value: float | None
    lo: float | None
    hi: float | None


@dataclass(frozen=True, slots=True)
class Family:
    """Whose models judge and speak; told always, estimated only where judges can be set against one another."""

    judge: str
    system: tuple[str, ...]
    same: bool
    says: str
    favours: tuple[Favour, ...] = ()
    standings: tuple[Standing, ...] = ()


@dataclass(frozen=True)
class Opinions:
    """What several judges said of the same conversations."""

    judges: tuple[str, ...]
    """Their families."""
    systems: tuple[str, ...]
    """Families of the systems' models."""
    keys: tuple[str, ...]
    scores: FloatArray
    """``[judges, systems, keys, scenarios]``, means over judgements; NaN where there is none."""


def families_of(text: str) -> tuple[str, ...]:
    """The families of models that a text names."""
    return tuple(sorted({name.casefold() for name in _MODEL.findall(text)}))


def favours(opinions: Opinions, *, replicates: int = REPLICATES, seed: int = 0) -> tuple[Favour, ...]:
    """For each two judges whose families both have systems, by key; scenarios count that all of it is scored for."""
    means = _by_family(opinions)
    found = []
    for (i, one), (j, other) in combinations(enumerate(opinions.judges), 2):
        if one == other or not {one, other} <= set(means):
            continue
        for k, key in enumerate(opinions.keys):
            table = (means[one][i, k] - means[other][i, k]) - (means[one][j, k] - means[other][j, k])
            known = table[~np.isnan(table)]
            found.append(_favour((one, other), key, known, replicates, seed))
    return tuple(found)


def _favour(families: tuple[str, str], key: str, known: FloatArray, replicates: int, seed: int) -> Favour:
    count = len(known)
    if count < LEAST_SCENARIOS:
        mean = float(known.mean()) if count else None
        return Favour(families, key, count, mean, None, None, "undecided")
    drawn = draws(count, replicates, seed) @ known / count
    lo, hi = np.quantile(drawn, [TAIL, 1 - TAIL]).tolist()
    says = "favoured" if lo > 0 else "not favoured" if hi < EPSILON else "undecided"
    return Favour(families, key, count, float(known.mean()), lo, hi, says)


def standings(opinions: Opinions, *, replicates: int = REPLICATES, seed: int = 0) -> tuple[Standing, ...]:
    """The diagonal of families and judges, standardised by judge and then by family; empty with fewer than three."""
    means = _by_family(opinions)
    shared = [f for f in dict.fromkeys(opinions.judges) if f in means]
    if len(shared) < _LEAST_FOR_TABLE:
        return ()
    rows = [opinions.judges.index(family) for family in shared]
    found = []
    for k, key in enumerate(opinions.keys):
        # [families, judges, scenarios]
        table = np.stack([means[family][rows, k] for family in shared])
        table = table[..., ~np.isnan(table).any(axis=(0, 1))]
        if table.shape[-1] < LEAST_SCENARIOS:
            found += [Standing(family, key, None, None, None) for family in shared]
            continue
        weights = draws(table.shape[-1], replicates, seed) / table.shape[-1]
        drawn = _standardised(np.einsum("fjs,rs->rfj", table, weights))
        whole = _standardised(table.mean(axis=-1)[None])[0]
        for n, family in enumerate(shared):
            lo, hi = np.quantile(drawn[:, n, n], [TAIL, 1 - TAIL]).tolist()
            found.append(Standing(family, key, float(whole[n, n]), lo, hi))
    return tuple(found)


def _standardised(tables: FloatArray) -> FloatArray:
    """``[n, families, judges]`` by column, then by row."""
    for axis in (1, 2):
        spread = tables.std(axis=axis, keepdims=True)
        tables = (tables - tables.mean(axis=axis, keepdims=True)) / np.where(spread > 0, spread, 1.0)
    return tables


def _by_family(opinions: Opinions) -> dict[str, FloatArray]:
    """``[judges, keys, scenarios]`` by family of systems: the mean over its systems, where all of them are scored."""
    return {
        family: opinions.scores[:, [s for s, own in enumerate(opinions.systems) if own == family]].mean(axis=1)
        for family in dict.fromkeys(opinions.systems)
    }


def read_opinions(folder: Path) -> Opinions | None:
    """Of the judges of a run who name a family, on its systems that name one; None where that leaves nothing to set
    against one another. Of two judges of a family the one that judged last counts."""
    try:
        with Run(folder, write=False) as run:
            return _read(run)
    except InterbenchError:
        # It has been moved or removed since; the audit says that nothing is estimated.
        return None


def _read(run: Run) -> Opinions | None:
    manifest = read_manifest(run.manifest_path) or {}
    systems = {
        label: named[0]
        for label, facts in manifest.get("systems", {}).items()
        if len(named := families_of(str(facts.get("settings", {})))) == 1
    }
    judges = {
        named[0]: (key, identity)
        for key, (label, identity) in run.identities("judge").items()
        if len(named := families_of(label)) == 1
    }
    ear = manifest.get("transcriber")
    if len(judges) < 2 or len(set(systems.values())) < 2 or ear is None:
        return None
    planned = {one.scenario.id: one for one in run.planned_scenarios()}
    scores: FloatArray = np.full((len(judges), len(systems), len(DIMENSION_KEYS), len(planned)), np.nan)
    ear_label = run.identities("transcriber")[ear][0]
    for j, (key, identity) in enumerate(judges.values()):
        shown = identity.get("shown", ())
        for s, system in enumerate(systems):
            for n, one in enumerate(planned.values()):
                conversation = played(run, one.scenario, system, ear, ear_label)
                if conversation is None:
                    continue
                digest = conversation_digest(conversation, shown)
                by_key: dict[str, list[float]] = {}
                for seen, verdict in run.verdicts(key, system, one.scenario.id):
                    if seen == digest and verdict.score is not None:
                        by_key.setdefault(verdict.dimension, []).append(verdict.score)
                for dimension, given in by_key.items():
                    if dimension in DIMENSION_KEYS:
                        scores[j, s, DIMENSION_KEYS.index(dimension), n] = float(np.mean(given))
    return Opinions(tuple(judges), tuple(systems.values()), DIMENSION_KEYS, scores)


def family_of(
    judge: str, settings: Any, opinions: Opinions | None, *, replicates: int = REPLICATES, seed: int = 0
) -> Family:
    """What is to be said of the judge's family and the base's."""
    own, others = families_of(judge)[:1], families_of(str(settings))
    name = own[0] if own else ""
    if not name:
        says = "The judge names no known family of models."
    elif not others:
        says = f"The judge is of the family {name}; the base names no model of its own."
    elif name in others:
        says = f"The judge is of the family {name}, and so is a model of the base."
    else:
        says = f"The judge is of the family {name}, the base works with {', '.join(others)}."
    found = () if opinions is None else favours(opinions, replicates=replicates, seed=seed)
    table = () if opinions is None else standings(opinions, replicates=replicates, seed=seed)
    if not found:
        says += " How far a judge favours its family is not testable with one judge."
    return Family(name, others, name in others, says, found, table)
