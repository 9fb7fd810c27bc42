"""Names that look the same, and names that a spreadsheet would calculate."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interbench.base.errors import ScoresError, UsageError
from interbench.domain.names import alike, look, sheltered, unsheltered
from interbench.pipeline.plan import require_distinct
from interbench.report.sheet import SheetWriter
from interbench.stats.read_csv import read_scores

PAIRS = [
    ("Puppet", "puppet"),
    ("caf\u00e9", "cafe\u0301"),
    ("\uff50uppet", "puppet"),
    ("pup\u200bpet", "puppet"),
    ("puppet ", "puppet"),
    ("my  system", "my system"),
    ("my\u00a0system", "my system"),
    ("\u202epuppet", "puppet"),
    ("STRASSE", "stra\u00dfe"),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_names_that_nobody_can_tell_apart(one: str, other: str) -> None:
    assert alike([one, "something else", other]) == (one, other)
    assert alike([one, one, "something else"]) is None
    with pytest.raises(UsageError, match="look the same"):
        require_distinct([other, one])


def test_names_that_differ_to_the_eye() -> None:
    names = [
        "puppet",
        "puppet:drift",
        "puppet-drift",
        "puppet_drift",
        "pupp\u00e9t",
        "a",
        "\u00e4",
        "v1",
        "v1.0",
        "1",
        "l",
    ]
    assert alike(names) is None
    require_distinct(names)


def test_names_with_control_characters_are_refused() -> None:
    for name in ("two\nlines", "bell\x07", "half \ud83d"):
        with pytest.raises(UsageError, match="control characters"):
            require_distinct([name])


@given(st.text())
def test_the_look_of_a_name_does_not_change_again(name: str) -> None:
    assert look(look(name)) == look(name) or alike([name, look(name)]) in (None, (name, look(name)))


@given(st.text())
def test_a_sheltered_name_comes_back(name: str) -> None:
    assert unsheltered(sheltered(name)) == name
    assert not sheltered(name).startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize("name", ['=HYPERLINK("http://x")', "+1", "-lora", "@me", "\tx", "'quoted", "'=1"])
def test_what_a_table_writes_a_spreadsheet_shows_and_scores_read(csv_file: Callable[..., Path], name: str) -> None:
    out = io.StringIO()
    writer = SheetWriter(out)
    writer.writerow([name, "s1", "SR", -3.5])
    writer.writerow(["other", name, "SR", 2.0])
    rows = list(csv.reader(io.StringIO(out.getvalue())))
    assert rows[0][3] == "-3.5" and rows[0][0][0] not in "=+-@\t\r"
    scores = read_scores([csv_file(*out.getvalue().splitlines())])
    assert name in scores.systems and name in scores.scenarios


@pytest.mark.parametrize("column", ["system", "scenario"])
@pytest.mark.parametrize(("one", "other"), PAIRS[:4])
def test_a_table_of_names_that_look_the_same_is_refused(
    csv_file: Callable[..., Path], column: str, one: str, other: str
) -> None:
    rows = [f"{one},s1,SR,1", f"{other},s1,SR,2"] if column == "system" else [f"a,{one},SR,1", f"a,{other},SR,2"]
    with pytest.raises(ScoresError, match="look the same"):
        read_scores([csv_file(*rows)])
