"""``interbench run`` for Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interbench.base.errors import CapReachedError
from interbench.cli.commands import carry_out
from interbench.cli.results import load_table, make_report
from interbench.pipeline.config import load_settings
from interbench.pipeline.plan import make_plan
from interbench.pipeline.run import ALL_STAGES
from interbench.report.tables import Table


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run came to."""

    folder: Path
    table: Table
    report: Path
    """The report's first page."""
    status: int
    """The exit status that the command line would end with: 0, or 3 where a cap on spending left turns unplayed."""


def run(settings: Mapping[str, Any], config: Path | None, *, quiet: bool) -> RunResult:
    """See :func:`interbench.run`."""
    plan = make_plan(load_settings(settings, config))
    folder = plan.settings.out
    summary = carry_out(plan, ALL_STAGES, quiet=quiet)
    report = folder / "report" / "index.html"
    if summary.did_something or not report.exists():
        report = make_report(folder, None, portable=False, judge=None)
    return RunResult(folder, load_table([folder]), report, CapReachedError.exit_code if summary.cap else 0)
