"""Lips and sound in a run's report: what `interbench single --run RUN` left in the run's folder, as texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interbench.base.errors import StoreError
from interbench.report.grid import DASH, decimal
from interbench.single.conversation_file import FILE, FOLDER, SCHEMA


@dataclass(frozen=True, slots=True)
class ShownFigure:
    """A cell."""

    text: str
    ends: str
    """Its interval and how many clips it is made of."""
    why: str
    """Why it is missing."""


@dataclass(frozen=True, slots=True)
class ShownTurn:
    """A turn of a conversation."""

    turn: int
    cells: tuple[str, ...]
    missing: str


@dataclass(frozen=True, slots=True)
class ShownSync:
    """A conversation."""

    system: str
    scenario: str
    cells: tuple[ShownFigure, ...]
    drift: str
    turns: tuple[ShownTurn, ...]


@dataclass(frozen=True, slots=True)
class SyncSection:
    """Everything that the section shows."""

    headings: tuple[tuple[str, str], ...]
    """Heading and meaning of each column."""
    systems: tuple[tuple[str, tuple[ShownFigure, ...]], ...]
    conversations: tuple[ShownSync, ...]
    per_turn: tuple[str, ...]
    """Headings of the values of single turns."""
    notes: tuple[str, ...]


def read_sync(run: Path) -> SyncSection | None:
    """What was measured; None if nothing was.

    Raises:
        StoreError: the file is damaged.
    """
    path = run / FOLDER / FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema"] != SCHEMA:
            raise ValueError(f"its schema is {found['schema']!r}")
        return _section(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path} can't be read ({error}). Measure again (interbench single --run {run}), or remove it."
        ) from error


def _section(found: Mapping[str, Any]) -> SyncSection:
    columns = found["columns"]
    measured = [column for column in columns if column["key"] != "drift_ms_per_min"]
    values = {key for one in found["conversations"] for turn in one["turns"] for key in turn["values"]}
    per_turn = [column for column in measured if column["key"] in values]
    return SyncSection(
        headings=tuple((column["heading"], column["title"]) for column in columns),
        systems=tuple(
            (one["system"], tuple(_figure(one["figures"].get(column["key"]), column) for column in columns))
            for one in found["systems"]
        ),
        conversations=tuple(
            ShownSync(
                one["system"],
                one["scenario"],
                tuple(_figure(one["figures"].get(column["key"]), column) for column in measured),
                DASH if one["drift_ms_per_min"] is None else decimal(one["drift_ms_per_min"], 1),
                tuple(
                    ShownTurn(
                        turn["turn"],
                        tuple(_number(turn["values"].get(column["key"]), column) for column in per_turn),
                        turn["missing"],
                    )
                    for turn in one["turns"]
                ),
            )
            for one in found["conversations"]
        ),
        per_turn=tuple(column["heading"] for column in per_turn),
        notes=(*found["caveats"], *(f"{one['metric']}: {one['because']}" for one in found["unavailable"])),
    )


def _number(value: float | None, column: Mapping[str, Any]) -> str:
    return DASH if value is None else decimal(value, int(column["digits"]))


def _figure(figure: Mapping[str, Any] | None, column: Mapping[str, Any]) -> ShownFigure:
    if figure is None:
        return ShownFigure(DASH, "", "")
    covered = f"{int(figure['scored'])}/{int(figure['expected'])}"
    if figure["value"] is None:
        return ShownFigure(DASH, covered, str(figure["missing"]))
    if figure["low"] is None or figure["high"] is None:
        return ShownFigure(_number(figure["value"], column), covered, "")
    ends = f"[{_number(figure['low'], column)}, {_number(figure['high'], column)}] {covered}"
    return ShownFigure(_number(figure["value"], column), ends, "")
