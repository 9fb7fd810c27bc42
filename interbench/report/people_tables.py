"""Agreement and arena as text: for the terminal, Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rich.console import Group, RenderableType

from interbench.report.grid import DASH, Cell, Grid, to_latex, to_markdown
from interbench.report.people import (
    GROUP_TITLES,
    ArenaOf,
    People,
    agreement_json,
    arena_json,
    arena_notes,
    people_note,
    people_notes,
    shown,
)
from interbench.report.rows import Row
from interbench.report.tables import Format, Table, csv_text
from interbench.report.terminal import to_rich
from interbench.stats.agreement import NOT_JUDGED, Agreement
from interbench.stats.arena import Arena
from interbench.stats.ranking import Estimate

AMONG_PEOPLE: Mapping[str, tuple[str, Callable[[Agreement], Estimate]]] = {
    "alpha": ("Krippendorff α", lambda a: a.alpha),
    "icc_single": ("ICC(1,1)", lambda a: a.icc_single),
    "icc_mean": ("ICC(1,k)", lambda a: a.icc_mean),
    "ceiling": ("Rater ρ others", lambda a: a.ceiling),
    "judge_on_others": ("Judge ρ others", lambda a: a.judge_on_others),
    "judge_above_rater": ("Judge less rater", lambda a: a.judge_above_rater),
}
WITH_JUDGE: Mapping[str, tuple[str, Callable[[Agreement], Estimate]]] = {
    "pooled_spearman": ("ρ pooled", lambda a: a.pooled_spearman),
    "pooled_tau": ("τ pooled", lambda a: a.pooled_tau),
    "within_spearman": ("ρ within", lambda a: a.within_spearman),
    "within_tau": ("τ within", lambda a: a.within_tau),
    "between_spearman": ("ρ systems", lambda a: a.between_spearman),
    "between_tau": ("τ systems", lambda a: a.between_tau),
    "accuracy": ("Pairs alike", lambda a: a.accuracy),
}
"""Headings and figures, by name of the field."""


@dataclass(frozen=True)
class PeopleSection:
    """The report's part on people."""

    grids: tuple[tuple[str, Grid], ...]
    notes: tuple[str, ...]
    files: Mapping[str, str]
    """By name."""


def people_section(people: People, table: Table) -> PeopleSection:
    """Their rows beside those of the judge's ``table``, agreement and arena."""
    grids = [("Mean percentiles", rows_grid(people, table))] if people.rows else []
    files = {}
    if people.agreement:
        grids += agreement_grids(people)
        files["agreement.json"] = render_agreement(people, "json")
    if people.arenas:
        grids += arena_grids(people)
        files["arena.json"] = render_arena(people, "json")
    return PeopleSection(tuple(grids), tuple(people_notes(people)), files)


def rows_grid(people: People, table: Table) -> Grid:
    """A row per system for people, and one for the judge, each by its own pool."""
    keys = people.said.study.settings.asked
    judge = "judge" if table.judge is None else table.judge.name
    by_system = {row.system: row for row in table.rows}

    def cells(row: Row) -> list[Cell]:
        figures = [row.figure(key) for key in keys]
        return [Cell(DASH if f.percentile is None else f"{f.percentile:.1f}", aside=_ends(f.interval)) for f in figures]

    body = []
    for row in people.rows:
        body.append((Cell(f"{row.system} (people)"), *cells(row)))
        if row.system in by_system:
            body.append((Cell(f"{row.system} ({judge})"), *cells(by_system[row.system])))
    return Grid(("System", *keys), (tuple(body),), (people_note(people.said),))


def _ends(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"[{interval[0]:.1f}, {interval[1]:.1f}]"


def agreement_grids(people: People) -> Iterator[tuple[str, Grid]]:
    """Titled: per group of ratings, people among themselves and the judge with them."""
    for group, dimensions in people.agreement.items():
        if not dimensions:
            continue
        title = GROUP_TITLES[group]
        counts = [(key, f"{a.ratings} by {a.raters}") for key, a in dimensions.items()]
        yield f"{title}: among people", _grid(dimensions, AMONG_PEOPLE, ("Ratings", [text for _, text in counts]))
        turned = [
            NOT_JUDGED if a.pooled_tau.why == NOT_JUDGED else f"{len(a.inversions)} of {a.system_pairs}"
            for a in dimensions.values()
        ]
        yield f"{title}: the judge with people", _grid(dimensions, WITH_JUDGE, ("Inversions", turned))
        systems = list(dict.fromkeys(name for a in dimensions.values() for name in a.bias))
        body = tuple(
            (Cell(key), *(_cell(a.bias.get(name, Estimate.missing(DASH))) for name in systems))
            for key, a in dimensions.items()
        )
        yield f"{title}: judge less people, on the scale", Grid(("Dimension", *systems), (body,))


def render_agreement(people: People, format: Format) -> str:  # noqa: A002
    """As text that ends in a newline."""
    if format == "json":
        return json.dumps(agreement_json(people), indent=2, allow_nan=False) + "\n"
    if format == "csv":
        return csv_text([("group", "dimension", "figure", "value", "lo", "hi", "why"), *_long(people)])
    return _texts(agreement_grids(people), people_notes(people), format)


def render_agreement_rich(people: People, width: int) -> RenderableType:
    """For a terminal of ``width`` columns."""
    return _rich(agreement_grids(people), people_notes(people), width)


def arena_grids(people: People) -> Iterator[tuple[str, Grid]]:
    """Titled: per group of raters and dimension, people's win rates beside the judge's."""
    for group, dimensions in people.arenas.items():
        for key, of in dimensions.items():
            yield f"Arena, {key}: {GROUP_TITLES[group].lower()}", _arena_grid(of, key)


def render_arena(people: People, format: Format) -> str:  # noqa: A002
    """As text that ends in a newline."""
    if format == "json":
        return json.dumps(arena_json(people), indent=2, allow_nan=False) + "\n"
    if format == "csv":
        header = (
            "group",
            "dimension",
            "who",
            "system",
            "win_rate",
            "lo",
            "hi",
            "why",
            "votes",
            "wins",
            "losses",
            "ties",
        )
        return csv_text([header, *_arena_rows(people)])
    return _texts(arena_grids(people), people_notes(people), format)


def render_arena_rich(people: People, width: int) -> RenderableType:
    """For a terminal of ``width`` columns."""
    return _rich(arena_grids(people), people_notes(people), width)


def _grid(
    dimensions: Mapping[str, Agreement],
    columns: Mapping[str, tuple[str, Callable[[Agreement], Estimate]]],
    counts: tuple[str, Sequence[str]],
) -> Grid:
    body = tuple(
        (Cell(key), Cell(count), *(_cell(figure(a)) for _, figure in columns.values()))
        for (key, a), count in zip(dimensions.items(), counts[1], strict=True)
    )
    return Grid(("Dimension", counts[0], *(heading for heading, _ in columns.values())), (body,))


def _arena_grid(of: ArenaOf, key: str) -> Grid:
    by_judge = {} if of.judge is None else {s.system: s for s in of.judge.standings}
    body = tuple(
        (
            Cell(s.system),
            _cell(s.win_rate, 1),
            _cell(by_judge[s.system].win_rate, 1) if s.system in by_judge else Cell("not judged"),
            *(Cell(str(count)) for count in (s.votes, s.wins, s.losses, s.ties)),
        )
        for s in of.people.standings
    )
    header = ("System", "People's win rate", "Judge's win rate", "Votes", "Won", "Lost", "Tied")
    return Grid(header, (body,), tuple(arena_notes(of, key)))


def _cell(estimate: Estimate, digits: int = 2) -> Cell:
    text, aside = shown(estimate, digits)
    return Cell(text, aside=aside)


def _texts(grids: Iterator[tuple[str, Grid]], notes: Sequence[str], format: Format) -> str:  # noqa: A002
    if format == "latex":
        parts = [to_latex(Grid(g.header, g.sections, (title + ".", *g.notes))) for title, g in grids]
        return "\n".join(parts)
    parts = [f"**{title}**\n\n{to_markdown(grid)}" for title, grid in grids]
    return "\n".join([*parts, "".join(f"- {note}\n" for note in notes)])


def _rich(grids: Iterator[tuple[str, Grid]], notes: Sequence[str], width: int) -> RenderableType:
    from rich.text import Text

    shown_ = [part for title, grid in grids for part in (Text(title, style="bold"), to_rich(grid, width))]
    return Group(*shown_, *(Text(note, style="dim") for note in notes))


def _long(people: People) -> Iterator[Sequence[Any]]:
    for group, dimensions in people.agreement.items():
        for key, a in dimensions.items():
            for field in fields(a):
                value = getattr(a, field.name)
                if isinstance(value, Estimate):
                    yield group, key, field.name, value.value, value.lo, value.hi, value.why
                elif isinstance(value, int):
                    yield group, key, field.name, value, None, None, ""
            for system, bias in a.bias.items():
                yield group, key, f"bias of {system}", bias.value, bias.lo, bias.hi, bias.why
            yield group, key, "inversions", len(a.inversions), None, None, ""


def _arena_rows(people: People) -> Iterator[Sequence[Any]]:
    def rows(group: str, key: str, who: str, arena: Arena) -> Iterator[Sequence[Any]]:
        for s in arena.standings:
            rate = s.win_rate
            yield (group, key, who, s.system, rate.value, rate.lo, rate.hi, rate.why, s.votes, s.wins, s.losses, s.ties)

    for group, dimensions in people.arenas.items():
        for key, of in dimensions.items():
            yield from rows(group, key, "people", of.people)
            if of.judge is not None:
                yield from rows(group, key, "judge", of.judge)
