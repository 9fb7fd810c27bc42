"""The wheel, installed where nothing else is: away from the clone, with what the core asks for and no more."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / "environments"
PYTHONS = ("3.11", "3.12", "3.13")
#: One conversation of the starter set, its shortest.
SHORT = ("--only", "howto-poached-eggs", "--systems", "puppet")


class Installed:
    """An environment that holds the wheel."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "venv" / "bin"
        self.away = folder / "away"
        self.away.mkdir()

    def run(self, *argv: str, status: int = 0) -> str:
        """Output of a program of the environment, started in a folder of its own, with nothing to lead it home."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.away), "LANG": "C.UTF-8", "COLUMNS": "120"}
        done = subprocess.run(
            [str(self.bin / argv[0]), *argv[1:]], cwd=self.away, env=environment, capture_output=True, text=True
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the locked hatchling without asking any index for anything."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an empty environment of this Python.

    What the core asks for, and what that asks for, is linked from the environment of the tests instead of installed
    once more: the same files in seconds, and without an index.
    """
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    (folder / "empty.txt").touch()
    share = [sys.executable, str(ENVIRONMENTS / "share.py"), str(folder / "venv"), str(folder / "empty.txt")]
    subprocess.run([*share, *sorted(core())], check=True)
    place = Installed(folder)
    pip("--python", str(place.bin / "python"), "install", "--no-deps", "--no-index", "--no-compile", str(wheel))
    pip("--python", str(place.bin / "python"), "check")
    return place


def pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def core() -> set[str]:
    """Every package that the core needs on this Python, however far down."""
    found: set[str] = set()
    todo = [Requirement("interbench")]
    while todo:
        asking = todo.pop()
        for line in distribution(asking.name).requires or []:
            needed = Requirement(line)
            if needed.marker and not any(needed.marker.evaluate({"extra": e}) for e in ("", *asking.extras)):
                continue
            if (name := canonicalize_name(needed.name)) not in found or needed.extras:
                found.add(name)
                todo.append(needed)
    return found


def test_it_is_small_enough_for_an_index(wheel: Path) -> None:
    """Recordings and portraits are most of it; indexes take a hundred megabytes."""
    assert wheel.stat().st_size <= 60 * 2**20


def test_it_holds_the_packages_and_their_data_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    tracked = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("NOT TESTED AGAINST WHAT IS TRACKED: this is no git checkout.")
    places = {
        "interbench/": "interbench/",
        "runners/livetalk/": "livetalk/",
        "prompts/": "interbench/_data/prompts/",
        "scenarios/": "interbench/_data/scenarios/",
    }
    expected = {
        path.replace(place, inside, 1)
        for path in tracked.stdout.splitlines()
        for place, inside in places.items()
        if path.startswith(place)
    }
    assert names == expected


def test_nothing_of_the_clone_is_in_reach(installed: Installed) -> None:
    say = "import interbench, livetalk, sys; print(interbench.__file__, livetalk.__file__, *sys.path, sep='\\n')"
    assert str(ROOT) not in installed.run("python", "-c", say)
    heavy = "import importlib.util as u; print([n for n in ('torch', 'transformers', 'datasets') if u.find_spec(n)])"
    assert installed.run("python", "-c", heavy).strip() == "[]"


def test_it_plays_a_conversation_of_the_starter_set(installed: Installed) -> None:
    installed.run("interbench", "run", *SHORT, "--out", "run", "--quiet")
    assert (installed.away / "run" / "report" / "index.html").stat().st_size > 0
    table = json.loads(installed.run("interbench", "table", "run", "--format", "json"))
    assert [row["system"] for row in table["systems"]] == ["puppet"]


def test_it_finds_scenarios_and_prompts(installed: Installed) -> None:
    assert len(json.loads(installed.run("interbench", "list", "scenarios", "--json"))) == 100
    rubrics = "from interbench.judge.vlm.rubrics import Prompts; print(len(Prompts().rubrics))"
    assert installed.run("python", "-c", rubrics).strip() == "9"


def test_the_doctor_says_what_is_missing(installed: Installed) -> None:
    said = installed.run("livetalk", "doctor", status=1)
    assert "missing  torch             not installed" in said
    assert re.search(r'^to mend  torch, .*: pip install "interbench\[livetalk\]"$', said, re.MULTILINE)
    assert "ok       libx264" in said


@functools.cache
def find_python(version: str) -> str | None:
    """A Python of this version, on the path or among those of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    on_path = shutil.which(f"python{version}")
    places = ([] if on_path is None else [Path(on_path)]) + sorted(pyenv.glob(f"versions/{version}.*/bin/python"))
    for place in places:
        say = subprocess.run([place, "-c", "import sys; print(*sys.version_info[:2], sep='.')"], capture_output=True)
        if say.stdout.decode().strip() == version:
            return str(place)
    return None


@pytest.mark.soak
@pytest.mark.parametrize("version", PYTHONS)
def test_the_whole_starter_set_on_each_python(version: str, wheel: Path, tmp_path: Path) -> None:
    """As a user would: from the index, by the lock, everything that `make bench` does."""
    python = find_python(version)
    if python is None:
        pytest.skip(f"NOT TESTED ON PYTHON {version}: there is none on the path or in pyenv.")
    subprocess.run([python, "-m", "venv", str(tmp_path / "venv")], check=True)
    place = Installed(tmp_path)
    install = [str(place.bin / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    locked = [*install, "--require-hashes", "-r", str(ENVIRONMENTS / "core.txt")]
    done = subprocess.run(locked, capture_output=True, text=True)
    if "Retrying (Retry(" in done.stderr and done.returncode:
        pytest.skip(f"NOT TESTED ON PYTHON {version}: the index that pip is configured for can't be reached.")
    assert done.returncode == 0, done.stderr
    subprocess.run([*install, "--no-index", str(wheel)], check=True)
    subprocess.run([str(place.bin / "python"), "-m", "pip", "check"], check=True)
    installed_run = place.run("interbench", "run", "--out", "run", "--quiet")
    assert installed_run.count("puppet") >= 5
    assert '"interbench[livetalk]"' in place.run("livetalk", "doctor", status=1)
