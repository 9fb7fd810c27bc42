"""Every benchmark starts by one command, from the root, with nothing set beforehand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BARE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
NAMES = [path.stem for path in sorted((ROOT / "benchmarks").glob("*.py")) if "argparse" in path.read_text("utf-8")]


#: It borrows from the tests and from another benchmark.
BORROWER = "judge_overlap"
OTHERS = sorted({*NAMES} - {BORROWER})
#: Starts each in turn, as `python -m benchmarks NAME --help` does; what several import is imported once.
EACH = """
import runpy, sys
for name in sys.argv[1:]:
    sys.argv = ["benchmarks", name, "--help"]
    try:
        runpy.run_module("benchmarks", run_name="__main__")
    except SystemExit as end:
        assert not end.code, f"{name} ended with {end.code}"
"""


def start(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *argv], cwd=ROOT, env=BARE, capture_output=True, text=True)


def test_all_of_them_start() -> None:
    done = start("-c", EACH, *NAMES)
    assert (done.returncode, done.stderr) == (0, "")
    for name in NAMES:
        assert f"usage: {name}.py [-h]" in done.stdout


@pytest.mark.parametrize("name", [BORROWER, *(pytest.param(name, marks=pytest.mark.soak) for name in OTHERS)])
def test_one_starts_alone(name: str) -> None:
    done = start("-m", "benchmarks", name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: {name}.py [-h]" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_each_names_the_command_that_starts_it(name: str) -> None:
    assert f"python -m benchmarks {name}" in (ROOT / "benchmarks" / f"{name}.py").read_text("utf-8")


def test_they_are_listed() -> None:
    assert [line.split()[0] for line in start("-m", "benchmarks").stdout.splitlines()[-len(NAMES) :]] == NAMES
    unknown = start("-m", "benchmarks", "nothing")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "There is no benchmark 'nothing'" in unknown.stderr
