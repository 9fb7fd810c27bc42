"""The example packages, installed from wheels in an environment of its own, as a user would have it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds interbench and the examples as wheels, and nothing of this checkout.

    Third-party packages are taken from the environment that runs the tests, so that nothing is downloaded.
    """
    folder = tmp_path_factory.mktemp("clean")
    wheels = folder / "wheels"
    projects = (ROOT, ROOT / "examples" / "still-avatar", ROOT / "examples" / "own-judge")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--wheel-dir", str(wheels), *map(str, projects)],
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
         "--no-compile", *map(str, sorted(wheels.glob("*.whl")))],
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
    assert Path(where).is_relative_to(python.parents[1]) and (Path(where) / "v2" / "tier1.jsonl").is_file()


def test_it_is_listed_with_its_origin(python: Path, tmp_path: Path) -> None:
    listed = interbench(python, tmp_path, "list", "systems", "--json")
    assert listed.returncode == 0, listed.stderr
    (row,) = [row for row in json.loads(listed.stdout) if row["name"] == "still-avatar"]
    assert row["from"] == "still-avatar"
    assert row["description"] == "Shows the persona's portrait and says that it heard the user."


def test_it_passes_the_conformance_check(python: Path, tmp_path: Path) -> None:
    checked = interbench(python, tmp_path, "check-system", "still-avatar")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "ready to be benchmarked" in checked.stdout and "wrong" not in checked.stdout


@pytest.fixture(scope="module")
def ran(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the system, heard and judged by what the other package brings."""
    folder = tmp_path_factory.mktemp("ran")
    hear = folder / "hear.py"
    hear.write_text("import sys, wave\nwith wave.open(sys.argv[1]) as sound:\n"
                    "    print('I heard', sound.getnframes() // sound.getframerate(), 'seconds')\n")  # fmt: skip
    argv = json.dumps([str(python), str(hear), "{sound}"])
    done = interbench(python, folder, "run", "--systems", "still-avatar", "--limit", "1", "--out", "run", "--quiet",
                      "--transcriber", "program", "--set", f"program.argv={argv}",
                      "--judge", "shared-words", "--set", "judge.shortest=1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def table(python: Path, ran: Path) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(interbench(python, ran.parent, "table", "run", "--format", "json").stdout)
    return shown


def test_it_is_benchmarked(ran: Path, table: dict[str, Any]) -> None:
    (row,) = table["systems"]
    assert row["system"] == "still-avatar"
    assert (ran / "report" / "index.html").is_file()


def test_a_transcriber_and_a_judge_of_another_package(
    python: Path, ran: Path, table: dict[str, Any], tmp_path: Path
) -> None:
    for kind, name, option in (("transcribers", "program", "argv"), ("judges", "shared-words", "shortest")):
        (row,) = [row for row in json.loads(interbench(python, tmp_path, "list", kind, "--json").stdout)
                  if row["name"] == name]  # fmt: skip
        assert row["from"] == "own-judge" and option in [one["option"] for one in row["options"]]
    settings = json.loads((ran / "manifest.json").read_text())["settings"]
    assert settings["transcriber_options"] == {"argv": [str(python), str(ran.parent / "hear.py"), "{sound}"]}
    assert settings["judge_options"] == {"shortest": 1}
    assert table["judge"]["name"] == "shared-words"
    code = ("import interbench; run = interbench.read_run('run'); print(run.transcripts.text[0]);"
            "print(run.scores.score.notna().sum())")  # fmt: skip
    read = subprocess.run([python, "-c", code], cwd=ran.parent, capture_output=True, text=True)
    assert read.stdout.startswith("I heard ") and read.stdout.splitlines()[1:] == ["1"], read.stderr
    again = interbench(python, ran.parent, "judge", "run", "--set", "judge.shrotest=2", "--quiet")
    assert again.returncode == 2 and "Did you mean 'shortest'" in again.stderr
