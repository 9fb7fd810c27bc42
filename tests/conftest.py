"""What holds for all tests."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Generator, Sequence

import pytest
from hypothesis import settings

# Tests share the machine with each other: a thread of torch's that has to wait for its fellows spins, and two of them
# to a test took seventeen times the processor time of one. Set before torch is loaded, here and in all programs that
# tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Many container images forbid bytecode. Each of the hundreds of programs that tests start would then compile all that
# it imports: three quarters of what starting one takes.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The same examples on every machine, and no verdict that depends on how busy one is.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    """End with one line that says what was not tested: below everything else, where it can't be overlooked."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(session.config, "workerinput"):
        reasons = [" ".join(report.longrepr[2].split()) for report in reporter.stats.get("skipped", [])]
        if reasons:
            reporter.write_line(not_tested(reasons), yellow=True, bold=True)


def not_tested(reasons: Sequence[str]) -> str:
    """How many tests were skipped, for what. A reason says so in the words ``NOT TESTED WHERE: why. What to do.``"""
    counts = Counter(re.sub(r"^Skipped: |(?<=[^.])\. .*", "", reason) for reason in reasons)
    parts = []
    for reason, count in counts.most_common():
        where, _, why = reason.removeprefix("NOT TESTED").strip().partition(": ")
        parts.append(f"{count} {where.lower()} ({why})" if reason.startswith("NOT TESTED") else f"{count} ({reason})")
    return f"NOT TESTED: {', '.join(parts)}"
