"""The ratings of a study as a sheet, a row per answer, with the systems' names: for whoever analyses them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from interbench.domain.names import sheltered
from interbench.domain.ratings import WHOLE
from interbench.rating.results import Said

COLUMNS = (
    "rater", "left_out", "showing", "kind", "sound", "system", "other_system", "scenario", "dimension", "value",
    "choice", "skipped", "revision", "seconds", "played", "at",
)  # fmt: skip
"""Of two, ``system`` was on the left and ``other_system`` on the right."""


def export_csv(said: Said) -> str:
    """The latest answers to everything that is closed, rater by rater in the order in which it was shown."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([sheltered(cell) if isinstance(cell, str) else cell for cell in row] for row in _rows(said))
    return out.getvalue()


def _rows(said: Said) -> Iterator[list[Any]]:
    for rater in said.raters:
        for name in said.assigned[rater]:
            given, showing = said.answers.get((rater, name)), said.showings[name]
            if given is None:
                continue
            sides = [side.system for side in showing.sides]
            for key in (WHOLE,) if given[WHOLE].skipped else showing.dimensions:
                if key not in given:
                    continue
                answer = given[key]
                yield [
                    rater, "; ".join(said.diligence[rater].out), name, showing.kind.value, showing.sound, sides[0],
                    sides[1] if len(sides) > 1 else "", showing.scenario, key, answer.value, answer.choice,
                    answer.skipped, answer.revision, round(answer.seconds, 1), round(answer.played, 3), answer.at,
                ]  # fmt: skip
