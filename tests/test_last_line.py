"""The last line of a run says what was not tested."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.skipif(True, reason="NOT TESTED IN A BROWSER: there is no Chromium, not 1.0. Install one (apt-get ...).")
@pytest.mark.parametrize("number", range(3))
def test_a_page(number): ...

@pytest.fixture(scope="session")
def engine():
    pytest.skip("NOT TESTED ON THE REAL ENGINE: no vLLM in /a/b.c/bin. `make test` installs it there.")

def test_an_engine(engine): ...

@pytest.mark.skipif(True, reason="needs Linux's /proc")
def test_linux(): ...

def test_runs(): ...
"""


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "1")], ids=["alone", "xdist"])
def test_what_was_not_tested_is_the_last_line(tmp_path: Path, workers: tuple[str, ...]) -> None:
    lines = run(tmp_path, TESTS, *workers)
    assert "1 passed, 5 skipped" in lines[-2]
    assert lines[-1] == (
        "NOT TESTED: 3 in a browser (there is no Chromium, not 1.0), 1 on the real engine (no vLLM in /a/b.c/bin), "
        "1 (needs Linux's /proc)"
    )


def test_nothing_is_said_where_all_was_tested(tmp_path: Path) -> None:
    assert "1 passed" in run(tmp_path, "def test_runs(): ...")[-1]


def run(folder: Path, tests: str, *options: str) -> list[str]:
    """Lines of a run of these tests with the hooks of ours."""
    (folder / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text("utf-8"), "utf-8")
    (folder / "test_it.py").write_text(tests, "utf-8")
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(folder)]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # they take most of the time to start
    done = subprocess.run([*argv, *options, str(folder)], capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().splitlines()
