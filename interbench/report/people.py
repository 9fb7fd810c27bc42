"""What people said of a run beside its judge: rows for the table, agreement, and the arena."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from interbench.domain.dimensions import dimension
from interbench.rating.results import (
    Said,
    judge_votes,
    people_label,
    people_verdicts,
    people_votes,
    planned,
    rated_tables,
)
from interbench.report.grid import decimal
from interbench.report.rows import Row
from interbench.report.tables import Table, build_table
from interbench.stats import Expected, JudgeLabel, Scores
from interbench.stats.agreement import Agreement, agree
from interbench.stats.arena import Arena, Vote, fit_arena, inversions
from interbench.stats.ranking import Estimate

if TYPE_CHECKING:
    from interbench.report.collect import RunRecords

KEPT, EVERYONE, SILENT = "kept", "everyone", "silent"
"""Whose ratings: of raters whom the rule keeps, of all, and of the former without sound."""
GROUP_TITLES: Mapping[str, str] = {
    KEPT: "Raters who stood the checks",
    EVERYONE: "All raters, also those whom the rule leaves out",
    SILENT: "Without sound, as a judge without sound sees it",
}


@dataclass(frozen=True)
class ArenaOf:
    """Votes in one dimension, those of the judge on the same pairs, and where the two turn systems round."""

    people: Arena
    judge: Arena | None
    """None if there is no judge, or it scored none of the pairs on both sides."""
    inversions: tuple[tuple[str, str], ...]
    """The one that people prefer first."""
    judged: int
    """Of the votes, those on pairs that the judge scored on both sides."""
    same: int
    """Of these, without people's ties, the ones that the judge's scores decide the same way."""
    decided: int
    """Of these, the ones that are no tie to people."""


@dataclass(frozen=True)
class People:
    """Everything that people said of one run, worked out."""

    said: Said
    judge: JudgeLabel | None
    table: Table | None
    """Theirs, of the study's conversations; None if nobody rated any."""
    agreement: Mapping[str, Mapping[str, Agreement]]
    """By group of ratings, then by dimension."""
    arenas: Mapping[str, Mapping[str, ArenaOf]]
    """By group of raters, then by dimension."""
    replicates: int
    seed: int

    @property
    def rows(self) -> tuple[Row, ...]:
        """For a table, beneath the judge's."""
        return () if self.table is None else self.table.rows


def collect_people(run: RunRecords, said: Said, *, replicates: int = 2000, seed: int = 0) -> People:
    """Works out what people said of a run, and how its judge agrees."""
    judged = _judged(run)
    groups = {KEPT: said.kept} if said.kept or not said.raters else {}
    if len(said.kept) < len(said.raters):
        groups[EVERYONE] = said.raters
    agreement = {
        group: {
            key: agree(rated, replicates=replicates, seed=seed)
            for key, rated in rated_tables(said, raters, judged).items()
        }
        for group, raters in groups.items()
    }
    silent = rated_tables(said, said.kept, judged, sound=False)
    if silent:
        agreement[SILENT] = {key: agree(rated, replicates=replicates, seed=seed) for key, rated in silent.items()}
    settings = said.study.settings
    arenas = {
        group: {
            key: _arena(people_votes(said, raters, key), judged, key, said, replicates, seed)
            for key in settings.pair_dimensions
        }
        for group, raters in groups.items()
        if settings.pairs
    }
    return People(said, run.judge, people_table(said, seed), agreement, arenas, replicates, seed)


def people_table(said: Said, seed: int = 0) -> Table | None:
    """The table of what raters gave whom the rule keeps, on the study's conversations; None if they gave nothing."""
    verdicts = people_verdicts(said, said.kept)
    if not any(verdict.score is not None for verdict in verdicts):
        return None
    expected = Expected(planned(said), said.study.settings.asked)
    return build_table(Scores.from_records(verdicts), expected=expected, judge=people_label(said), seed=seed)


def people_note(said: Said) -> str:
    """What stands under a table with rows of what people rated."""
    out = len(said.raters) - len(said.kept)
    left = f", {out} left out by the study's rule" if out else ""
    return (
        f"Rows marked (people): {counted(len(said.raters), 'rater')} of study {said.study.id}{left}; percentiles are "
        "relative to the pool of their own ratings, so that they are read beside the judge's and not pooled with them."
    )


def _judged(run: RunRecords) -> dict[tuple[str, str, str], float]:
    scores: dict[tuple[str, str, str], list[float]] = {}
    for verdict in run.verdicts:
        if verdict.score is not None:
            name = (run.bare(verdict.system), verdict.scenario, verdict.dimension)
            scores.setdefault(name, []).append(verdict.score)
    return {name: statistics.fmean(of) for name, of in scores.items()}


def _arena(
    votes: Sequence[Vote],
    judged: Mapping[tuple[str, str, str], float],
    key: str,
    said: Said,
    replicates: int,
    seed: int,
) -> ArenaOf:
    systems = tuple(said.study.facts["systems"])
    people = fit_arena(votes, systems, replicates=replicates, seed=seed)
    seconded = judge_votes(votes, judged, key)
    known = [vote for vote in votes if all((s, vote.scenario, key) in judged for s in (vote.left, vote.right))]
    decided = [(a, b) for a, b in zip(known, seconded, strict=True) if a.choice in ("left", "right")]
    judge = fit_arena(seconded, systems, replicates=replicates, seed=seed) if seconded else None
    return ArenaOf(
        people,
        judge,
        tuple(inversions(people, judge)) if judge is not None else (),
        len(seconded),
        sum(a.choice == b.choice for a, b in decided),
        len(decided),
    )


# -- JSON -------------------------------------------------------------------------------------------------------------


def agreement_json(people: People) -> dict[str, Any]:
    """Schema ``interbench.agreement/1`` (``docs/rating.md``)."""
    return {
        "schema": "interbench.agreement/1",
        **_who(people),
        "raters": {rater: _diligence(people, rater) for rater in people.said.raters},
        "groups": {
            group: {key: _figures(of) for key, of in dimensions.items()}
            for group, dimensions in people.agreement.items()
        },
        "people": [
            {
                "system": row.system,
                "dimensions": {
                    key: {
                        "percentile": figure.percentile,
                        "lo": figure.lo,
                        "hi": figure.hi,
                        "mean": figure.mean,
                        "scored": figure.coverage.scored,
                        "expected": figure.coverage.expected,
                    }
                    for key, figure in row.figures.items()
                    if key in people.said.study.settings.asked
                },
            }
            for row in people.rows
        ],
    }


def arena_json(people: People) -> dict[str, Any]:
    """Schema ``interbench.arena/1`` (``docs/rating.md``)."""
    return {
        "schema": "interbench.arena/1",
        **_who(people),
        "groups": {
            group: {
                key: {
                    "people": _arena_figures(of.people),
                    "judge": None if of.judge is None else _arena_figures(of.judge),
                    "inversions": [list(pair) for pair in of.inversions],
                    "judged_votes": of.judged,
                    "decided_votes": of.decided,
                    "decided_the_same": of.same,
                }
                for key, of in dimensions.items()
            }
            for group, dimensions in people.arenas.items()
        },
    }


def _who(people: People) -> dict[str, Any]:
    said = people.said
    return {
        "study": said.study.published(),
        "judge": None if people.judge is None else people.judge.model_dump(),
        "replicates": people.replicates,
        "seed": people.seed,
        "left_out": [rater for rater in said.raters if rater not in said.kept],
        "recognised_a_system": sum(closing.recognised for closing in said.closings),
        "closed": len(said.closings),
        "played_anew_since": said.stale,
    }


def _diligence(people: People, rater: str) -> dict[str, Any]:
    stood = asdict(people.said.diligence[rater])
    return {**stood, "shown": len(people.said.assigned[rater])}


def _figures(of: Agreement) -> dict[str, Any]:
    held = asdict(of)
    return {**held, "inversions": [list(pair) for pair in of.inversions]}


def _arena_figures(arena: Arena) -> dict[str, Any]:
    return {**asdict(arena), "components": [list(group) for group in arena.components]}


# -- for people -------------------------------------------------------------------------------------------------------


def shown(estimate: Estimate, digits: int = 2) -> tuple[str, str]:
    """A figure and its interval as text; why it is missing instead of the figure."""
    if estimate.value is None:
        return estimate.why, ""
    interval = ""
    if estimate.lo is not None and estimate.hi is not None:
        interval = f"[{decimal(estimate.lo, digits)}, {decimal(estimate.hi, digits)}]"
    return decimal(estimate.value, digits), interval


def people_notes(people: People) -> list[str]:
    """What a reader must know of the raters, a sentence each."""
    said = people.said
    notes = [
        f"Study {said.study.id}: {counted(len(said.raters), 'rater')} of {len(said.assigned)} planned, "
        f"{counted(sum(d.done for d in said.diligence.values()), 'showing')} closed of "
        f"{sum(map(len, said.assigned.values()))}, {sum(d.skipped for d in said.diligence.values())} skipped."
    ]
    for rater in said.raters:
        stood = said.diligence[rater]
        retest = "" if stood.retest is None else f", repeats differ by {stood.retest:.1f}"
        hurry = "" if stood.hurry is None else f", median time {stood.hurry:.1f} of the play time"
        out = f" Left out: {'; '.join(stood.out)}." if stood.out else ""
        notes.append(
            f"{rater}: {stood.checks - len(stood.failed)} of {stood.checks} checks passed{retest}{hurry}.{out}"
        )
    if lost := said.study.facts["left_out"]:
        first = lost[0]
        notes.append(
            f"{counted(len(lost), 'conversation')} of the study can't be shown and count as missing (first: "
            f"{first['system']} on {first['scenario']}, {first['why']})."
        )
    if said.stale:
        notes.append(
            f"{counted(said.stale, 'conversation')} were played anew since; what was said of them is left out."
        )
    if said.closings:
        known = sum(closing.recognised for closing in said.closings)
        notes.append(
            f"{known} of {counted(len(said.closings), 'rater')} who closed believe to have recognised a system."
        )
    judge = "no judge" if people.judge is None else f"{people.judge.name} ({people.judge.identity})"
    notes.append(
        f"Judge: {judge}. 95 % intervals: bootstrap over scenarios, {people.replicates} replicates, seed {people.seed}."
    )
    return notes


def arena_notes(of: ArenaOf, key: str) -> list[str]:
    """What stands under the arena of one dimension."""
    arena = of.people
    left = "" if arena.left_share is None else f", {arena.left_share:.0f} % of the decided ones for the first"
    side, interval = shown(arena.side, 0)
    notes = [
        f"{dimension(key).name}: {counted(arena.votes, 'vote')}, {arena.ties} ties ({arena.both_bad} both bad){left}.",
        f"Expected win rate against the others of the pool, in percent: 50 is the middle. The first of two equal ones "
        f"wins {side} % {interval}.".rstrip()
        if arena.side.value is not None
        else "",
        f"{arena.intransitive} of {counted(arena.triads, 'triad')} go in a circle." if arena.triads else "",
    ]
    if not arena.connected:
        groups = "; ".join(", ".join(group) for group in arena.components)
        notes.append(
            f"Not all systems can be compared: between these groups nobody has both won and lost: {groups}. More votes "
            "may join them."
        )
    if of.judge is not None:
        turned = ", ".join(f"{a} over {b}" for a, b in of.inversions) or "none"
        notes.append(
            f"The judge's scores on {of.judged} of these pairs: {of.same} of {of.decided} decided votes the same way. "
            f"Inversions, people's order: {turned}."
        )
    return [note for note in notes if note]


def counted(number: int, noun: str) -> str:
    """``1 rater``, ``2 raters``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
