"""The walks of docs/architecture.md lead through files and functions that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rooms import INTERBENCH, LIVETALK

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^\| \d+\. .*$", PAGE, re.M)


def test_the_page_has_both_walks() -> None:
    assert len(STEPS) >= 20


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.split("|")[1].strip())
def test_every_file_and_function_of_a_step_exists(step: str) -> None:
    quoted = re.findall(r"`([^`]+)`", step)
    files = [ROOT / name for name in quoted if name.endswith(".py")]
    assert files
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    where = step.split("|")[2]
    for name in re.findall(r"`([^`]+)`", where):
        if not name.endswith(".py"):
            assert re.search(rf"\b(def|class) {re.escape(name.rpartition('.')[2])}\b", text), name


def test_contributing_has_a_row_for_every_room() -> None:
    rows = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for house, folder in ((INTERBENCH, ROOT / "interbench"), (LIVETALK, ROOT / "runners" / "livetalk")):
        for room in (room for row in house.rows for room in row if (folder / room).is_dir()):
            assert f"`{room}/`" in rows, room
