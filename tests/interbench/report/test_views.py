"""What people are shown of a table: which columns, on which scale, with which warnings."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from known import known
from rich.console import Console

from interbench.report.breakdown import Breakdown, break_down, render_breakdown, render_breakdown_rich
from interbench.report.comparisons import power_note, render_comparison
from interbench.report.tables import Table, View, build_table, render
from interbench.stats import Expected, JudgeLabel, ScoreRecord, Scores, compare

JUDGE = JudgeLabel(name="Qwen3-VL-30B", identity="4f2a")


def built(scores: Scores, **options: Any) -> Table:
    return build_table(scores, expected=Expected.from_scores(scores), judge=JUDGE, replicates=200, **options)


@pytest.fixture
def scores(make_scores: Callable[..., Scores]) -> Scores:
    return make_scores(
        {
            "good": {"EA": [8, 9, 9, 7, 8, 9], "SR": [5, 6, 5, 7, 6, 5]},
            "fair": {"EA": [6, 5, 7, 6, 5, 6], "SR": [5, 5, 6, 6, 5, 6]},
            "poor": {"EA": [1, 2, 1, 3, 2, 1], "SR": [1, 2, 2, 1, 2, None]},
        }
    )


def header(text: str) -> list[str]:
    return [cell.strip() for cell in text.splitlines()[0].strip("| ").split("|")]


def test_only_measured_columns_are_shown_and_one_note_names_the_others(scores: Scores) -> None:
    table = built(scores)
    for text in (render(table, "md"), render(table, "latex")):
        assert "Without a measured value and not shown: FPS, Latency s, First speech s, NI, MVC, CN" in text
    assert header(render(table, "md")) == ["System", "EA", "SR", "Mean", "Rank", "Coverage"]
    everything = render(table, "md", View(all_columns=True))
    assert "NI" in header(everything) and "not shown" not in everything
    chosen = render(table, "md", View(dimensions=("SR", "NI")))
    assert header(chosen) == ["System", "NI", "SR", "Mean", "Rank", "Coverage"], "asked for, so shown"
    assert "NI" in json.loads(render(table, "json"))["systems"][0]["dimensions"]


def test_raw_means_take_the_place_of_percentiles(scores: Scores) -> None:
    table = built(scores)
    text = render(table, "md", View(means=True, intervals=True))
    good, fair, poor = ([c.strip() for c in line.strip("| ").split("|")] for line in text.splitlines()[2:5])
    assert good[1:4] == ["**8.33**", "**5.67**", "**7.00**"]
    assert (fair[1], poor[2]) == ("<u>5.83</u>", "1.60")
    assert "raw means on the judge's own scale" in text and "95 % intervals" not in text


def test_the_mean_is_plain_and_says_over_what(scores: Scores) -> None:
    table = built(scores)
    for row in table.rows:
        figures = [known(row.figure(key).percentile) for key in ("EA", "SR")]
        assert row.mean.percentile == pytest.approx(sum(figures) / 2)
        assert known(row.mean.lo) <= known(row.mean.percentile) <= known(row.mean.hi)
    assert [row.rank for row in table.rows] == [1, 2, 3]
    assert "Mean: plain average over the measured dimensions (EA, SR), no overall score." in render(table, "md")
    row = json.loads(render(table, "json"))["systems"][0]
    assert (row["mean_percentile"], row["mean_percentile_lo"]) == (table.rows[0].mean.percentile, table.rows[0].mean.lo)
    assert (row["mean_raw"], row["rank"]) == (7.0, 1)


def test_with_one_dimension_the_mean_is_that_dimension(make_scores: Callable[..., Scores]) -> None:
    table = built(make_scores({"a": {"EA": [1, 5, 4, 2]}, "b": {"EA": [2, 4, 8, 9]}}))
    for row in table.rows:
        figure = row.figure("EA")
        assert (row.mean.percentile, row.mean.lo, row.mean.hi) == (figure.percentile, figure.lo, figure.hi)


def test_a_system_without_a_score_in_a_measured_dimension_has_no_mean(make_scores: Callable[..., Scores]) -> None:
    table = built(make_scores({"a": {"EA": [1, 5], "SR": [2, 2]}, "b": {"EA": [9, 9], "SR": [None, None]}}))
    assert table.rows[1].mean.percentile is None and table.rows[1].rank is None
    (column,) = [column for column in table.columns if column.key == "mean_percentile"]
    assert column.why(table.rows[1]) == "not scored in every measured dimension"
    assert column.text(table.rows[1], str) == "–"


def test_without_intervals_nobody_is_ranked(scores: Scores) -> None:
    table = built(scores, intervals=False)
    assert [row.rank for row in table.rows] == [None] * 3
    assert "Rank" not in header(render(table, "md"))


def test_small_pools_are_called_small(make_scores: Callable[..., Scores]) -> None:
    two = render(built(make_scores({"a": {"EA": [1, 5, 4]}, "b": {"EA": [2, 4, 8]}})), "md")
    assert "2 systems compared with each other only" in two and "with 3 scenarios, intervals are too narrow" in two
    wide = {name: {"EA": [float(n + place) for n in range(10)]} for place, name in enumerate("abc")}
    assert "Small pool" not in render(built(make_scores(wide)), "md")
    lone = render(built(make_scores({"a": {"EA": [1]}, "b": {"EA": [2]}, "c": {"EA": [4]}})), "md")
    assert "with 1 scenario," in lone
    assert "95 % intervals" not in lone, "there are none"


def test_repeated_judgements_get_a_line(make_scores: Callable[..., Scores]) -> None:
    repeated = Scores.from_records(
        ScoreRecord("a", f"s{n}", "EA", float(value), None, sample)
        for n, values in enumerate([(4, 6), (9, 9)])
        for sample, value in enumerate(values)
    )
    table = built(repeated)
    assert "share that agree exactly: EA 1.00, 50 %." in render(table, "md")
    assert json.loads(render(table, "json"))["repeats"]["EA"] == {
        "conversations": 2, "pairs": 2, "sd": 1.0, "agreement": 0.5
    }  # fmt: skip
    assert "Repeated" not in render(built(make_scores({"a": {"EA": [1, 5]}})), "md")


# -- comparisons ------------------------------------------------------------------------------------------------------


def test_a_comparison_says_when_nothing_can_be_significant(make_scores: Callable[..., Scores]) -> None:
    six = {"EA": [8, 9, 9, 7, 8, 9], "SR": [5, 6, 5, 7, 6, 5]}
    comparison = compare(
        make_scores({"a": six, "b": {key: [x - 3.5 for x in of] for key, of in six.items()}}), "a", "b"
    )
    note = "smallest p possible with 6 scenarios is 0.03125, corrected for 2 dimensions 0.0625"
    text = render_comparison(comparison, "md")
    assert note in text and "Mean percentiles of a minus those of b" in text and "all 64 exchanges" in text
    assert "Without a scenario scored for both and not shown: NI, MVC" in text
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 2 + 2
    one = compare(make_scores({"a": {"EA": six["EA"]}, "b": {"EA": [1, 2, 3, 1, 2, 3]}}), "a", "b")
    assert power_note(one) == "" and "significant" not in render_comparison(one, "md")
    document = json.loads(render_comparison(one, "json"))
    assert (document["smallest_p"], document["smallest_p_holm"]) == (2 / 64, 2 / 64)


# -- by category and persona ------------------------------------------------------------------------------------------

KINDS = {"travel": ["s0", "s2", "s3"], "health": ["s1", "s4", "s5"]}


@pytest.fixture
def parts(scores: Scores) -> Breakdown:
    return break_down("category", KINDS, built(scores), scores, Expected.from_scores(scores), {})


def test_kinds_add_up_to_the_whole(parts: Breakdown) -> None:
    assert list(parts.parts) == ["travel", "health"] and parts.scenarios == {"travel": 3, "health": 3}
    for place, whole in enumerate(parts.whole.rows):
        for key in ("EA", "SR"):
            figures = [table.rows[place].figure(key) for table in parts.parts.values()]
            scored = sum(figure.coverage.scored for figure in figures)
            assert scored == whole.figure(key).coverage.scored
            weighted = sum(known(figure.percentile) * figure.coverage.scored for figure in figures) / scored
            assert weighted == pytest.approx(whole.figure(key).percentile)
    assert parts.parts["health"].rows[2].figure("SR").coverage.missing == {"refused": 1}


def test_kinds_in_every_format(parts: Breakdown) -> None:
    text = render_breakdown(parts, "md", View(intervals=True))
    assert header(text) == ["Category", "System", "EA", "SR", "Mean", "Scenarios"]
    assert [line.split("|")[1].strip() for line in text.splitlines()[2:8]] == ["travel"] * 3 + ["health"] * 3
    assert "Percentiles in the pool of all scenarios, apart by category" in text
    assert r"\label{tab:interbench-category}" in render_breakdown(parts, "latex")
    lines = render_breakdown(parts, "csv").splitlines()
    assert lines[0].startswith("category,system,fps") and lines[1].startswith("travel,good,") and len(lines) == 7
    document = json.loads(render_breakdown(parts, "json"))
    assert document["schema"] == "interbench.breakdown/1"
    figure = document["parts"]["health"]["systems"][2]["dimensions"]["SR"]
    assert (figure["scored"], figure["expected"]) == (2, 3)
    file = io.StringIO()
    console = Console(width=50, file=file)
    console.print(render_breakdown_rich(parts, width=50))
    assert file.getvalue().count("travel") == 3


def test_kinds_of_nothing_scored_are_dashes(make_scores: Callable[..., Scores]) -> None:
    nothing = make_scores({"a": {"EA": [None, None]}})
    kinds = {"ada": ["s0"], "bo": ["s1"]}
    parts = break_down("persona", kinds, built(nothing), nothing, Expected.from_scores(nothing), {})
    assert header(render_breakdown(parts, "md")) == ["Persona", "System", "Scenarios"]
