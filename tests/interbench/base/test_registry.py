"""Finding what is chosen by name: names, plug-ins, module:Class, addresses; for any kind of thing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interbench.base.errors import UsageError
from interbench.base.registry import IMPORT_FROM, RESTRICT, Alias, Registry


class Metric:
    """A kind of thing that the registry has never heard of."""


class Distance(Metric):
    def __init__(self, frames: int = 16) -> None:
        self.frames = frames


class Remote(Metric):
    def __init__(self, url: str, model: str = "m") -> None:
        self.url, self.model = url, model


METRICS: Registry[Metric] = Registry(
    "metric",
    Metric,
    "interbench.metrics",
    {"distance": f"{__name__}:Distance"},
    address=f"{__name__}:Remote",
    aliases={"best": Alias("the best there is", lambda: "distance")},
)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    # Tests are imported under names of their own; the registry finds this module by them all the same.
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    monkeypatch.delenv(IMPORT_FROM, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An installed distribution with an entry point, as pip leaves it."""
    site = tmp_path / "site"
    info = site / "nice_metrics-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nice-metrics\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[interbench.metrics]\nnice = nice_metrics:Nice\n")
    (site / "nice_metrics.py").write_text(f"from {__name__} import Metric\nclass Nice(Metric):\n    pass\n")
    monkeypatch.syspath_prepend(str(site))
    yield str(info)
    sys.modules.pop("nice_metrics", None)


def test_a_name_an_alias_and_an_address() -> None:
    made = METRICS.make("distance", {"frames": 4})
    assert isinstance(made, Distance) and made.frames == 4
    assert isinstance(METRICS.make("best", {}), Distance)
    remote = METRICS.make("https://metrics.example.com", {"model": "x"})
    assert isinstance(remote, Remote) and (remote.url, remote.model) == ("https://metrics.example.com", "x")


def test_plug_ins_are_found_and_can_be_restricted(plug_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert METRICS.entries()["nice"].source == "nice-metrics"
    assert type(METRICS.make("nice", {})).__name__ == "Nice"
    for allowed, there in (("", False), ("other", False), ("other, Nice-Metrics", True)):
        monkeypatch.setenv(RESTRICT, allowed)
        assert ("nice" in METRICS.entries()) is there, allowed


def test_what_is_installed_after_a_look_up_is_found(plug_in: str) -> None:
    assert "later" not in METRICS.entries()
    info = Path(plug_in).with_name("later_metrics-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: later-metrics\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[interbench.metrics]\nlater = nice_metrics:Nice\n")
    assert METRICS.entries()["later"].source == "later-metrics"


def test_a_plug_in_cannot_take_a_name(plug_in: str) -> None:
    Path(plug_in, "entry_points.txt").write_text("[interbench.metrics]\ndistance = nice_metrics:Nice\n")
    with pytest.raises(UsageError, match="nice-metrics names its metric 'distance', which built-in already has"):
        METRICS.find("distance")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "distances",
            r"no metric 'distances'. Known are best, distance; a URL .*interbench\.metrics.* mean 'distance'",
        ),
        ("distance:fast", "'distance' has no variants"),
        ("no_such_module:X", "'no_such_module' can't be imported"),
        ("json:JSONDecodr", "'json' has no 'JSONDecodr' .*Did you mean 'JSONDecoder'"),
        ("json:JSONDecoder", "has to be a class derived from Metric"),
        (".json:X", "can't be imported"),
    ],
)
def test_what_cannot_be_found_says_what_there_is(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        METRICS.make(text, {})


def test_a_module_that_ends_itself_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_script_that_ends.py").write_text("raise SystemExit('usage: ...')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"can't be imported .SystemExit: usage"):
        METRICS.find("a_script_that_ends:X")


CHILD = """
import os, subprocess, sys
from interbench.systems.registry import SYSTEMS
found = SYSTEMS.find("only_here:Mine").cls
where = os.path.dirname(sys.modules["only_here"].__file__)
if sys.argv[1:] == ["parent"]:
    child = [sys.executable, "-P", "-c", os.environ["CODE"], "child"]
    sys.exit(subprocess.run(child, cwd="/").returncode)
print(where)
"""


def test_the_current_folder_is_on_the_path_also_of_worker_processes(tmp_path: Path) -> None:
    (tmp_path / "only_here.py").write_text(
        "from interbench.systems import ClipSystem\nclass Mine(ClipSystem):\n    def render(self, *_): ...\n"
    )
    # Installed modules come first: a file of the user's that is called like one hides nothing.
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')\n")
    done = subprocess.run(
        [sys.executable, "-P", "-c", CHILD, "parent"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "CODE": CHILD},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path)
