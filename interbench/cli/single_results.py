"""What the verb ``single`` does and prints."""

from __future__ import annotations

import sys
from pathlib import Path

from interbench.report.notes import counted


def print_parity(folder: Path) -> int:
    """A row per case as soon as it is known, and the exit status."""
    from interbench.single.parity import check

    cases = []
    for case in check(folder):
        if case.passed:
            said = f"ok      {case.name}: {case.difference:.2g} of {case.tolerance:g}"
        elif case.difference is None:
            said = f"NOT RUN {case.name}: {case.because}"
        else:
            said = f"FAILED  {case.name}: {case.difference:.2g}, and {case.tolerance:g} is allowed"
        sys.stdout.write(said + "\n")
        sys.stdout.flush()
        cases.append(case)
    failed = sum(case.difference is not None and not case.passed for case in cases)
    left = sum(case.difference is None for case in cases)
    sys.stdout.write(
        f"{counted(len(cases), 'case')}: {len(cases) - failed - left} ok, {failed} failed, {left} not run\n"
    )
    return 1 if failed or left or not cases else 0
