"""The raw scores of runs as long CSV, which ``interbench table`` reads again to the same figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from interbench.report.collect import RunRecords, collect_scores
from interbench.report.frames import score_rows
from interbench.report.tables import csv_text
from interbench.stats.coverage import NO_RECORD

SCORES_COLUMNS = ("system", "scenario", "dimension", "score", "sample", "judge", "reason", "outcome")


def scores_csv(runs: Sequence[RunRecords]) -> str:
    """A row per judgement, and one per dimension of a conversation that was planned and not judged yet.

    Judgements stand in the order of the ledger, run by run, then what is still to be judged. A name that a spreadsheet
    would calculate has an apostrophe before it, which is taken off where the file is read.

    Raises:
        UsageError: as :func:`interbench.report.collect.collect_scores`: the runs may not stand in one table.
    """
    collect_scores(runs)
    return csv_text([SCORES_COLUMNS, *(row for run in runs for row in _rows(run))])


def _rows(run: RunRecords) -> Iterator[Sequence[Any]]:
    # The order decides which scenario is drawn where in the bootstrap, so that it is the one of `interbench table RUN`.
    place = {(v.system, v.scenario, v.dimension, v.sample): number for number, v in enumerate(run.verdicts)}
    judged = {key[:3] for key in place}
    given: dict[int, Sequence[Any]] = {}
    awaited = []
    for row in score_rows(run):
        named = dict(zip(SCORES_COLUMNS, row, strict=False))
        key = (named["system"], named["scenario"], named["dimension"])
        cells = list(named.values())
        if named["reason"] != NO_RECORD:
            given[place[*key, named["sample"]]] = cells
        elif key not in judged and not named["sample"]:
            awaited.append(cells)
    yield from (given[number] for number in sorted(given))
    yield from awaited
