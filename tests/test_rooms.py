"""The order of the house: a room imports only rooms below it, and the two packages never each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from rooms import INTERBENCH, LIVETALK, House, faults, imports, modules

ROOT = Path(__file__).resolve().parents[1]
HOUSES = [
    pytest.param(INTERBENCH, ROOT / "interbench", ("livetalk",), id="interbench"),
    pytest.param(LIVETALK, ROOT / "runners" / "livetalk", ("interbench",), id="livetalk"),
]


@pytest.mark.parametrize(("house", "root", "strangers"), HOUSES)
def test_nothing_imports_upward(house: House, root: Path, strangers: tuple[str, ...]) -> None:
    assert faults(house, root, strangers) == []


PLANTED = [
    ("base/x.py", "from interbench.domain.records import Outcome", "base imports interbench.domain.records.Outcome"),
    ("drive/x.py", "import interbench.asr.base", "drive imports interbench.asr.base"),
    (
        "judge/vlm/x.py",
        "from interbench.judge.signals import judge",
        "judge.vlm imports interbench.judge.signals.judge",
    ),
    ("judge/vlm/x.py", "from ..signals import judge", "judge.vlm imports interbench.judge.signals.judge"),
    ("systems/live/x.py", "def f():\n    from interbench.systems.puppet import x", "systems.live imports"),
    ("stats/x.py", "from interbench import store", "stats imports interbench.store"),
    ("media/x.py", "from livetalk.base import errors", "interbench imports livetalk.base.errors"),
    ("loose.py", "", "loose.py: not a room"),
    ("audit/x.py", "import interbench.rating.page", "audit imports interbench.rating.page"),
]


@pytest.mark.parametrize(("place", "code", "said"), PLANTED)
def test_a_planted_import_is_found(tmp_path: Path, place: str, code: str, said: str) -> None:
    path = tmp_path / "interbench" / place
    path.parent.mkdir(parents=True)
    path.write_text(code + "\n", encoding="utf-8")
    (found,) = faults(INTERBENCH, tmp_path / "interbench", ("livetalk",))
    assert said in found


def test_what_is_allowed_is_not_found(tmp_path: Path) -> None:
    path = tmp_path / "interbench" / "judge" / "vlm" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import json\nimport numpy\nfrom interbench.judge.base import Judge\nfrom interbench.base import errors\n"
    )
    assert faults(INTERBENCH, tmp_path / "interbench", ("livetalk",)) == []


def test_only_media_touches_codecs() -> None:
    found = {
        name
        for name, path in modules(ROOT / "interbench", "interbench")
        if any(target == "av" or target.startswith("av.") for _, target in imports(path, name))
    }
    assert found
    assert {name for name in found if not name.startswith("interbench.media.")} == set()
