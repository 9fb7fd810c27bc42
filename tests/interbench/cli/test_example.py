"""The example package, installed from wheels in an environment of its own, as a user would have it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds interbench and the example as wheels, and nothing of this checkout.

    Third-party packages are taken from the environment that runs the tests, so that nothing is downloaded.
    """
    folder = tmp_path_factory.mktemp("clean")
    wheels = folder / "wheels"
    for project in (ROOT, ROOT / "examples" / "still-avatar"):
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
             "--wheel-dir", str(wheels), str(project)],
            check=True,
        )  # fmt: skip
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index",
         *map(str, sorted(wheels.glob("*.whl")))],
        check=True,
    )  # fmt: skip
    (Path(site) / "third_party.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def interbench(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [python, "-m", "interbench", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_the_package_comes_from_the_wheel(python: Path, tmp_path: Path) -> None:
    where = subprocess.run(
        [python, "-c", "import interbench.base.bundled as d; print(d.data_path('scenarios'))"],
        cwd=tmp_path, check=True, capture_output=True, text=True, env={"PATH": os.environ["PATH"]},
    ).stdout.strip()  # fmt: skip
    assert Path(where).is_relative_to(python.parents[1]) and (Path(where) / "scenarios.jsonl").is_file()


def test_it_is_listed_with_its_origin(python: Path, tmp_path: Path) -> None:
    listed = interbench(python, tmp_path, "list", "systems", "--json")
    assert listed.returncode == 0, listed.stderr
    (row,) = [row for row in json.loads(listed.stdout) if row["name"] == "still"]
    assert row["from"] == "still-avatar"
    assert row["description"] == "Shows the persona's portrait and says that it heard the user."


def test_it_passes_the_conformance_check(python: Path, tmp_path: Path) -> None:
    checked = interbench(python, tmp_path, "check-system", "still")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "ready to be benchmarked" in checked.stdout and "wrong" not in checked.stdout


def test_it_is_benchmarked(python: Path, tmp_path: Path) -> None:
    done = interbench(python, tmp_path, "run", "--systems", "still", "--limit", "1", "--out", "run", "--quiet",
                      "--transcriber", "given")  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = interbench(python, tmp_path, "table", "run", "--format", "json")
    (row,) = json.loads(table.stdout)["systems"]
    assert row["system"] == "still"
    assert (tmp_path / "run" / "report" / "index.html").is_file()
