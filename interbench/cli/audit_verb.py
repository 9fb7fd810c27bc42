"""What the verb ``audit`` does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interbench.base.errors import FailedAuditError, StoreError, UsageError

if TYPE_CHECKING:
    from interbench.audit.collect import Result
    from interbench.audit.plan import Options
    from interbench.pipeline.config import Settings


def audit(
    folder: Path,
    *,
    out: Path | None,
    asked: dict[str, Any],
    judge: str | None,
    options: Sequence[str],
    config: Path | None,
    only_plan: bool,
    only_report: bool,
    require: Sequence[str],
    quiet: bool,
) -> None:
    """Put the judge on trial, or read again what came of it.

    Raises:
        FailedAuditError: ``require`` names a dimension that does not pass.
    """
    from interbench.audit.collect import collect
    from interbench.audit.plan import Options
    from interbench.domain.catalogue import bundled
    from interbench.domain.dimensions import dimension

    for key in require:
        dimension(key)
    if only_report:
        _tell(collect(folder, bundled(), judge=judge), require)
        return
    settings = _settings(folder, out, judge, options, config)
    chosen = Options.make(**asked)
    if only_plan:
        _print_plan(folder, settings, chosen)
        return
    _conduct(folder, settings, chosen, quiet=quiet)
    _tell(collect(settings.out, bundled()), require)


def _settings(
    folder: Path, out: Path | None, judge: str | None, options: Sequence[str], config: Path | None
) -> Settings:
    from interbench.pipeline.config import load_settings
    from interbench.pipeline.set_options import with_options

    target = out if out is not None else folder.with_name(f"{folder.resolve().name}-audit")
    settings = with_options(load_settings({"judge": judge, "transcriber": "given", "out": target}, config), options)
    if settings.out.resolve() == folder.resolve():
        raise UsageError(f"An audit goes into a folder of its own, not into {folder}; give another --out.")
    return settings


def _print_plan(folder: Path, settings: Settings, options: Options) -> None:
    from interbench.audit.conduct import find_trial
    from interbench.audit.plan import count, few_line, plan_lines, power_for, power_lines
    from interbench.domain.catalogue import bundled
    from interbench.judge.registry import make_judge

    judge = make_judge(settings.judge, settings.judge_options, options.judgements)
    base, used, missing, conditions = find_trial(folder, bundled(), judge, options)
    counts = count(bundled(), conditions, used, len(missing), judge, options)
    lines = [
        line
        for line in (
            few_line(counts.scenarios, options),
            f"base        {base.system} of {base.folder}",
            *plan_lines(counts, conditions, options, judge),
            "",
            *power_lines(power_for(counts.scenarios, options.repeats)),
        )
        if line is not None
    ]
    sys.stdout.write("\n".join(lines).lstrip("\n") + "\n")


def _conduct(folder: Path, settings: Settings, options: Options, *, quiet: bool) -> None:
    from interbench.audit.conduct import conduct, find_trial
    from interbench.audit.plan import few_line
    from interbench.base.loops import run_to_end
    from interbench.base.progress import make_progress
    from interbench.domain.catalogue import bundled
    from interbench.judge.registry import make_judge

    judge = make_judge(settings.judge, settings.judge_options, options.judgements)
    _, used, missing, _ = find_trial(folder, bundled(), judge, options)
    if line := few_line(len(used) + len(missing), options):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    with make_progress(quiet=quiet) as progress:
        run_to_end(conduct(folder, settings.out, bundled(), judge, options, settings, progress))


def _tell(result: Result, require: Sequence[str]) -> None:
    from interbench.audit.collect import as_json, matrix_rows
    from interbench.audit.verdicts import Validity
    from interbench.report.audit_page import audit_page
    from interbench.report.audit_table import summary_lines
    from interbench.report.tables import csv_text

    files = {
        "audit.json": json.dumps(as_json(result), indent=1, allow_nan=False, ensure_ascii=False) + "\n",
        "matrix.csv": csv_text(matrix_rows(result)),
        "audit.html": audit_page(result),
    }
    for name, text in files.items():
        _write(result.folder / name, text)
    sys.stdout.write("\n".join([*summary_lines(result), "", f"Page: {result.folder / 'audit.html'}"]) + "\n")
    failed = [key for key in require if result.validity(key) is not Validity.PASS]
    if failed:
        told = ", ".join(f"{key} ({result.validity(key)})" for key in failed)
        raise FailedAuditError(f"Required to pass, and not passed: {told}.")


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StoreError(f"{path} can't be written: {error.strerror or error}.") from error
