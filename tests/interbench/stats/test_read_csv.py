"""Long CSV files: what is read, what is refused and how the message names the place."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import interbench.stats.read_csv as module
from interbench.base.errors import ScoresError
from interbench.stats import Scores, read_scores


def rows(scores: Scores) -> list[tuple[str, str, int, str, float | None]]:
    return [
        (scores.systems[s], scores.scenarios[c], int(d), scores.samples[n], None if np.isnan(v) else float(v))
        for s, c, d, n, v in zip(
            scores.system, scores.scenario, scores.dimension, scores.sample, scores.value, strict=True
        )
    ]


def test_plain_file(csv_file: Callable[..., Path]) -> None:
    scores = read_scores([csv_file("z,s2,EA,7.25", "a,s1,OIE,1e1", "z,s1,NI,")])
    assert rows(scores) == [("z", "s2", 0, "0", 7.25), ("a", "s1", 8, "0", 10.0), ("z", "s1", 1, "0", None)]
    assert scores.systems == ("z", "a"), "in order of first appearance"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["", "newline"])
def test_line_ends_and_byte_order_mark(tmp_path: Path, newline: str, mark: str, end: str) -> None:
    path = tmp_path / "scores.csv"
    text = newline.join([mark + "system,scenario,dimension,score", "a,s,EA,1", "", "b,s,EA,2.5"])
    path.write_bytes((text + (newline if end else "")).encode())
    assert [row[4] for row in rows(read_scores([path]))] == [1.0, 2.5]


def test_columns_in_any_order_and_others_ignored(csv_file: Callable[..., Path]) -> None:
    path = csv_file(
        '3,"a,b",EA,"He said ""7"", then\nleft",s', "4,c,NI,,s", header="score,system,dimension,note, scenario"
    )
    assert [(row[0], row[1], row[4]) for row in rows(read_scores([path]))] == [("a,b", "s", 3.0), ("c", "s", 4.0)]


def test_names_that_look_like_missing_values_or_numbers_are_names(csv_file: Callable[..., Path]) -> None:
    path = csv_file("NA,1,EA,1", "nan,01,EA,2", "null,1.0,EA,3", "True,s,EA,4")
    assert [row[:2] for row in rows(read_scores([path]))] == [
        ("NA", "1"),
        ("nan", "01"),
        ("null", "1.0"),
        ("True", "s"),
    ]


def test_samples_and_reasons(csv_file: Callable[..., Path]) -> None:
    path = csv_file(
        "a,s,EA,1,0,", "a,s,EA,,1,refused", "a,s,NI,,,", header="system,scenario,dimension,score,sample,reason"
    )
    scores = read_scores([path])
    assert [row[3:] for row in rows(scores)] == [("0", 1.0), ("1", None), ("0", None)]
    assert [scores.reasons[scores.reason[n]] for n in (1, 2)] == ["refused", "no reason given"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a,s,EA,1", "a,s,NI,high"], r"line 3, column 'score': 'high' is not a number"),
        (["a,s,EA,nan"], r"line 2, column 'score': 'nan' is not a number; leave the cell empty"),
        (["a,s,EA,NA"], r"column 'score': 'NA' is not a number"),
        (["a,s,EA,inf"], r"line 2, column 'score': 'inf' is not a number"),
        (["a,s,EA,1e999"], r"line 2, column 'score': 1e999 is too large"),
        (["a,s,EA,True"], r"'True' is not a number"),
        (["a,s,EA,0x1F"], r"'0x1F' is not a number"),
        (["a,s,EA,1_000"], r"'1_000' is not a number"),
        (['a,s,EA,"1,5"'], r"'1,5' is not a number"),
        (["a,s,EA,1", "", "a,s,ea,1"], r"line 4, column 'dimension': 'ea' is not a dimension; there are EA, NI"),
        (["a,s,,1"], r"column 'dimension': '' is not a dimension"),
        ([",s,EA,1"], r"line 2, column 'system': empty"),
        (["a, ,EA,1"], r"line 2, column 'scenario': empty"),
        (["a,s,EA,1", "a,s,EA"], r"line 3: 3 cells where the header has 4"),
        (["a,s,EA,1", "a,t,EA,2,3"], r"line 3: 5 cells where the header has 4"),
        (["a,s,EA,1", "a,t,EA,2,3", "b,t,EA"], r"line 3: 5 cells"),
        (['a,"s\nt",EA,1', "a,s,EA,x"], r"line 4, column 'score'"),
        (['a,"s,EA,1', "b,s,EA,2"], r"line 2: broken CSV quoting"),
        (
            ["a,s,EA,1", "b,s,EA,1", "a,s,EA,1"],
            r"line 4: system 'a', scenario 's', dimension EA was already given in line 2",
        ),
        (["a,s,EA,1", "a,s,EA,"], r"line 3: .* already given in line 2.*column 'sample'"),
        (["a,s,EA,1\0"], r"line 2: holds a NUL byte"),
        ([], r"a header but no row"),
    ],
)
def test_bad_rows_are_named(csv_file: Callable[..., Path], lines: list[str], message: str) -> None:
    path = csv_file(*lines)
    with pytest.raises(ScoresError, match=message) as caught:
        read_scores([path])
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\r\n", "is empty"),
        (b"system,scenario,score\na,s,1\n", r"line 1: the header lacks 'dimension'"),
        (b"a,s,EA,1\n", r"the header lacks 'system' and 'scenario' and 'dimension' and 'score'; it reads 'a,s,EA,1'"),
        (b"system;scenario;dimension;score\na;s;EA;1\n", r"separated by commas"),
        (b"system,scenario,dimension,score,score\na,s,EA,1,2\n", r"'score' is there twice"),
        (b"system,scenario,dimension,score\na,s,EA,1\nb,\xff,EA,1\n", r"line 3: not UTF-8"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(data)
    with pytest.raises(ScoresError, match=message):
        read_scores([path])


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ScoresError, match=r"absent\.csv can't be read: No such file"):
        read_scores([tmp_path / "absent.csv"])
    with pytest.raises(ScoresError, match="can't be read"):
        read_scores([tmp_path])
    with pytest.raises(ScoresError, match="No CSV file"):
        read_scores([])


def test_several_files_are_one_pool_and_doubles_between_them_named(csv_file: Callable[..., Path]) -> None:
    first = csv_file("a,s,EA,1", "a,t,EA,2", name="one.csv")
    second = csv_file("b,t,EA,3", name="two.csv")
    third = csv_file("b,s,EA,4", "", "a,t,EA,5", name="three.csv")
    assert len(read_scores([first, second])) == 3
    with pytest.raises(ScoresError, match=r"three\.csv, line 4: .*already given in .*one\.csv, line 3"):
        read_scores([first, second, third])


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6).filter(
    lambda text: text.strip() and not text.startswith(" ")
)
score = st.one_of(st.none(), st.floats(-1e50, 1e50, allow_nan=False))


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.tuples(names, names), score, min_size=1, max_size=8),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_both_readings_agree_on_anything(table: dict[tuple[str, str], float | None], quoting: Literal[0, 1]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=quoting)
    writer.writerow(["system", "scenario", "dimension", "score"])
    for (system, scenario), value in table.items():
        writer.writerow([system, scenario, "CU", "" if value is None else repr(value)])
    data = text.getvalue().encode()
    file = module._File("x", data, {name: n for n, name in enumerate(module.REQUIRED)}, 4, 1)
    careful, lines = module._read_carefully(file)
    assert rows(careful) == [(s, c, 7, "0", v) for (s, c), v in table.items()]
    assert len(lines) == len(table)
    fast = module._read_fast(file)
    if fast is not None:
        assert rows(fast) == rows(careful)
        assert fast.systems == careful.systems


def test_an_ordinary_file_is_read_the_fast_way(csv_file: Callable[..., Path]) -> None:
    plain = csv_file("a,s,EA,1", "a,s,NI,", "b,s,EA,2.5", name="plain.csv")
    quoted = csv_file('"a","s","EA",1', '"b","s","EA",2', header='"system","scenario","dimension","score"')
    assert module._read_fast(module._File.open(plain)) is not None
    assert module._read_fast(module._File.open(quoted)) is not None


def test_names_that_look_like_numbers_stay_as_written(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("system,scenario,dimension,score\n01,007,SR,5\n1,1e3,SR,6\n1.0,7,SR,7\n1,inf,SR,8\n")
    scores = read_scores([path])
    assert scores.systems == ("01", "1", "1.0") and scores.scenarios == ("007", "1e3", "7", "inf")
