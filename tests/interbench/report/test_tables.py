"""The table in all its formats."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from interbench.base.errors import ReferencePoolError, ScoresError, UsageError
from interbench.domain.dimensions import DIMENSION_KEYS
from interbench.domain.names import unsheltered
from interbench.domain.published import PUBLISHED, PUBLISHED_KEYS
from interbench.report.columns import COLUMNS
from interbench.report.comparisons import render_comparison, render_comparison_rich
from interbench.report.grid import Mark, rank_marks
from interbench.report.rows import Speed
from interbench.report.tables import FORMATS, View, build_table, render, render_rich, table_from_csv
from interbench.stats import Expected, JudgeLabel, ReferencePool, Scores, compare, make_pool

JUDGE = JudgeLabel(name="Qwen3-VL-30B", identity="4f2a", mode="published")
NASTY = r"a|b_c%d&e$f#g{h}i~j^k\l`m*n<o>[p]"


@pytest.fixture
def table(make_scores: Callable[..., Scores]) -> Any:
    scores = make_scores(
        {
            "good": {"EA": [8, 9, 9, 7], "SR": [5, 5, 5, 5]},
            "fair": {"EA": [6, 5, 7, 6], "SR": [5, 5, 5, 5]},
            "poor": {"EA": [1, 2, None, 3], "SR": [5, 5, 5, 5]},
        }
    )
    return build_table(
        scores,
        expected=Expected.product(["good", "fair", "poor", "silent"], [f"s{n}" for n in range(5)]),
        speeds={
            "good": Speed(61.456, None, 20, first_speech_s=62.345),
            "poor": Speed(1.5, 24.82, 12, first_speech_s=2.25, unheard={"silent": 3}),
        },
        judge=JUDGE,
        published=True,
    )


def shown(renderable: Any, width: int = 200) -> str:
    file = io.StringIO()
    console = Console(width=width, file=file, force_terminal=True, color_system="standard")
    console.print(renderable)
    return file.getvalue()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def rows_of(text: str) -> list[dict[str, str]]:
    """The rows of a Markdown table by heading."""
    header, _, *lines = [line for line in text.splitlines() if line.startswith("|")]
    return [dict(zip(cells(header), cells(line), strict=True)) for line in lines]


def test_markdown(table: Any) -> None:
    text = render(table, "md", View(all_columns=True))
    lines = text.splitlines()
    assert cells(lines[0]) == [
        "System",
        "FPS",
        "Latency s",
        "First speech s",
        *DIMENSION_KEYS,
        "Mean",
        "Rank",
        "Coverage",
    ]
    assert set(lines[1]) <= set("|:- ")
    good, fair, poor, silent, *_ = rows_of(text)
    assert [good[name] for name in ("System", "FPS", "Latency s")] == ["good", "–", "<u>61.46</u>"]
    assert good["EA"].startswith("**")
    assert fair["EA"].startswith("<u>")
    assert re.fullmatch(r"\d+\.\d\d", poor["EA"])
    assert [row["SR"] for row in (good, fair, poor)] == ["**50.00**"] * 3, "all that tie for best are best"
    assert (poor["Latency s"], poor["First speech s"]) == ("**1.50**", "**2.25**")
    assert poor["FPS"] == "24.82", "a lone value is not marked"
    assert list(silent.values()) == ["silent", *["–"] * (5 + len(DIMENSION_KEYS)), f"0/{5 * len(DIMENSION_KEYS)}"]
    assert good["Coverage"] == f"8/{5 * len(DIMENSION_KEYS)}"
    assert len({len(line) for line in lines[:9]}) == 1, "reads as plain text too"
    assert "Turns without a time to first speech, left out of its median: silent 3." in text


def test_published_rows_are_quoted_beneath_and_never_marked(table: Any) -> None:
    lines = render(table, "md").splitlines()
    figures = "24.82 1.16 – 59.54 60.42 87.26 56.32 72.02 81.27 75.20 72.65 81.59"
    livetalk = rows_of(render(table, "md"))[-1]
    assert livetalk["System"] == "LiveTalk (quoted)" and livetalk["Coverage"] == "–"
    assert [livetalk[name] for name in ("FPS", "Latency s", "First speech s", *PUBLISHED_KEYS)] == figures.split()
    assert not any("**" in line or "<u>" in line for line in lines[6:9])
    assert "neither reproduced nor pooled" in lines[-1]
    quoted = json.loads(render(table, "json"))["published"]
    assert [row["system"] for row in quoted] == ["Veo3", "Sora2", "LiveTalk"]
    assert quoted[0]["quoted_from"] == "arXiv 2512.23576, Table 2"
    assert (quoted[0]["fps"], quoted[0]["latency_s"], quoted[0]["first_speech_s"]) == (None, 61.46, None)
    assert quoted[0]["dimensions"]["EA"] == {"percentile": 23.51}
    assert not {row.system for row in PUBLISHED} & set(table.pool.systems)


@pytest.mark.parametrize(
    ("judge", "why"),
    [
        (None, "nobody says by which reading of the rubrics"),
        (JudgeLabel(name="Qwen3-VL-30B", mode="observed"), "given in the mode observed."),
        (
            JudgeLabel(name="Qwen3-VL-30B", mode="published with other prompts"),
            "in the mode published with other prompts.",
        ),
        (JudgeLabel(name="signals", comparable=False), "what signals measures is none of the paper's dimensions."),
    ],
)
def test_beside_any_other_reading_the_published_rows_stand_apart(
    make_scores: Callable[..., Scores], judge: JudgeLabel | None, why: str
) -> None:
    scores = make_scores({"a": {"EA": [1, 5]}, "b": {"EA": [2, 4]}})
    table = build_table(scores, expected=Expected.from_scores(scores), judge=judge, published=True)
    assert why in table.why_apart
    for text in (render(table, "md"), render(table, "latex"), shown(render_rich(table), 200)):
        own, quoted = (text.index(name) for name in ("Coverage", "LiveTalk (quoted)"))
        assert own < quoted and text.count("24.82") == 1
    text = render(table, "md")
    first, second = text.split("\n| System", 1)
    assert "(quoted)" not in first and "LiveTalk (quoted)" in second and "Coverage" not in second
    assert table.why_apart in second and "judge with --judge-mode published" in second
    latex = render(table, "latex")
    assert latex.count(r"\begin{table}") == 2 and latex.count(r"\label") == 2
    document = json.loads(render(table, "json"))
    assert document["published_apart"] == table.why_apart and len(document["published"]) == 3
    with pytest.raises(UsageError, match="A CSV file holds one table"):
        render(table, "csv")


def test_json_is_documented_shape_and_full_precision(table: Any, protocol: Callable[..., dict[str, float]]) -> None:
    document = json.loads(render(table, "json"))
    assert list(document) == [
        "schema", "judge", "pool", "intervals", "columns", "systems", "people", "published", "published_apart",
        "repeats", "correlations", "notes"
    ]  # fmt: skip
    assert document["schema"] == "interbench.table/1"
    assert document["judge"] == {"name": "Qwen3-VL-30B", "identity": "4f2a", "comparable": True, "mode": "published"}
    assert document["pool"]["systems"] == ["good", "fair", "poor"]
    assert document["pool"]["dimensions"]["SR"] == {"mu": 5.0, "sigma": 0.0, "n": 12}
    assert document["intervals"] == {
        "level": 0.95,
        "method": "percentile bootstrap over scenarios",
        "replicates": 2000,
        "seed": 0,
    }
    pairs = [("good", x) for x in (8, 9, 9, 7)] + [("fair", x) for x in (6, 5, 7, 6)] + [("poor", x) for x in (1, 2, 3)]
    expected = protocol(pairs)
    by_name = {row["system"]: row for row in document["systems"]}
    for name, figure in expected.items():
        cell = by_name[name]["dimensions"]["EA"]
        assert cell["percentile"] == pytest.approx(figure, abs=1e-10)
        assert cell["lo"] <= cell["percentile"] <= cell["hi"]
    poor = by_name["poor"]["dimensions"]["EA"]
    assert (poor["mean"], poor["scored"], poor["expected"]) == (2.0, 3, 5)
    assert poor["missing"] == {"refused": 1, "no record": 1}
    assert by_name["silent"]["dimensions"]["EA"]["percentile"] is None
    assert (by_name["poor"]["fps"], by_name["poor"]["latency_s"], by_name["poor"]["turns"]) == (24.82, 1.5, 12)
    assert by_name["good"]["dimensions"]["EA"]["mark"] == "best"
    speech = {name: by_name["poor"][f"first_speech_{name}"] for name in ("s", "turns", "missing")}
    assert speech == {"s": 2.25, "turns": 9, "missing": {"silent": 3}}
    assert (by_name["good"]["scored"], by_name["good"]["expected"]) == (8, 5 * len(DIMENSION_KEYS))
    assert [column["key"] for column in document["columns"]] == [
        "fps", "latency_s", "first_speech_s", *DIMENSION_KEYS, "mean_percentile", "rank", "scored"
    ]  # fmt: skip


def test_csv_carries_full_precision_and_names_intact(make_scores: Callable[..., Scores]) -> None:
    names = [NASTY, '=1+2,"x"', "line\nbreak"]
    scores = make_scores({name: {"EA": [n, n + 1, n * n]} for n, name in enumerate(names)})
    table = build_table(scores, expected=Expected.from_scores(scores), judge=JUDGE, published=True)
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"), newline="")))
    # What a spreadsheet would calculate has an apostrophe before it, which reading takes off.
    assert [unsheltered(row["system"]) for row in rows] == [*names, "Veo3", "Sora2", "LiveTalk"]
    assert rows[1]["system"] == '\'=1+2,"x"'
    for row, name in zip(rows, names, strict=False):
        figure = next(r for r in table.rows if r.system == name).figures["EA"]
        assert float(row["EA"]) == figure.percentile
        assert (float(row["EA_lo"]), float(row["EA_hi"])) == (figure.lo, figure.hi)
        assert (row["NI"], row["fps"], row["scored"], row["expected"], row["source"]) == (
            "",
            "",
            "3",
            str(3 * len(DIMENSION_KEYS)),
            "measured",
        )
        assert row["judge"] == "Qwen3-VL-30B"
    assert rows[3]["source"] == "quoted from arXiv 2512.23576, Table 2"
    assert (rows[5]["latency_s"], rows[5]["EA"], rows[5]["EA_scored"], rows[5]["scored"]) == ("1.16", "59.54", "", "")


def test_latex_is_whole_and_escaped(make_scores: Callable[..., Scores]) -> None:
    scores = make_scores({NASTY: {"EA": [1, 2]}, "* starred--name": {"EA": [3, 4]}})
    table = build_table(scores, expected=Expected.from_scores(scores), judge=JUDGE, published=True)
    text = render(table, "latex", View(intervals=True))
    assert re.findall(r"\\(?:begin|end)\{(\w+)\}", text) == ["table", "tabular", "tabular", "table"]
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 2, 1]
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 6
    assert r"\label{tab:interbench}" in text and text.index(r"\caption") < text.index(r"\label")
    assert all(len(re.split(r"(?<!\\)&", row)) == 1 + len(table.shown) for row in rows)
    assert (
        r"a\textbar{}b\_c\%d\&e\$f\#g\{h\}i\textasciitilde{}j\textasciicircum{}k\textbackslash{}l"
        r"\textasciigrave{}m{*}n\textless{}o\textgreater{}{[}p]"
    ) in rows[1]
    assert rows[2].startswith(r"{*} starred-{}-name & ")
    assert r"\textbf{" in rows[2]
    assert r"{\scriptsize [" in rows[1]
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")


def test_markdown_and_terminal_escape_names(make_scores: Callable[..., Scores]) -> None:
    name = "x|y`z`<b>\x1b[31m\u202eevil\n| row"
    scores = make_scores({name: {"EA": [1, 2]}, "[bold]b[/bold]": {"EA": [3, 4]}})
    table = build_table(scores, expected=Expected.from_scores(scores))
    line = render(table, "md").splitlines()[2]
    assert cells(line)[0] == r"x\|y\`z\`&lt;b&gt;\\x1b\[31m\\u202eevil\\n\| row"
    assert len(cells(line)) == 1 + len(table.shown) < 1 + len(COLUMNS)
    text = shown(render_rich(table))
    assert "\x1b[31m" not in text
    assert r"\x1b[31m\u202eevil\n| row" in text
    assert "[bold]b[/bold]" in text


def test_terminal_marks_and_fits_its_width(table: Any) -> None:
    wide = shown(render_rich(table))
    assert re.search(r"\x1b\[1m\d+\.\d\d", wide)
    assert re.search(r"\x1b\[4m\d+\.\d\d", wide)
    for width in (40, 60, 80, 100, 120):
        text = re.sub(r"\x1b\[[\d;]*m", "", shown(render_rich(table, View(intervals=True), width=width), width))
        assert max(map(len, text.splitlines())) <= width
        assert text.count("50.00") == 3 * 3, "three figures with both ends of their intervals"
        assert text.count("61.46") == 2, "the measured and the published one: nothing is cut off"
        assert text.count(f"8/{5 * len(DIMENSION_KEYS)}") == 2


def test_precision(table: Any) -> None:
    figure = table.rows[0].figures["EA"].percentile
    assert f"**{figure:.5f}**" in render(table, "md", View(precision=5))
    assert f"**{figure:.0f}**" in render(table, "md", View(precision=0))
    assert render(table, "json", View(precision=0)) == render(table, "json", View(precision=9))
    assert render(table, "csv", View(precision=0)) == render(table, "csv", View(precision=9))
    for precision in (-1, 16):
        with pytest.raises(UsageError, match="precision"):
            render(table, "md", View(precision=precision))
    with pytest.raises(UsageError, match="md, csv, latex, json"):
        render(table, "html")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'XX' is not a dimension"):
        View(dimensions=("EA", "XX"))


def test_intervals_on_request(table: Any, make_scores: Callable[..., Scores]) -> None:
    figure = table.rows[0].figures["EA"]
    assert f"**{figure.percentile:.2f}** [{figure.lo:.2f}, {figure.hi:.2f}]" in render(
        table, "md", View(intervals=True)
    )
    assert "[" not in render(table, "md").split("\n\n")[0]
    scores = make_scores({"a": {"EA": [1, None]}, "b": {"EA": [2, 4]}})
    lone = build_table(scores, expected=Expected.from_scores(scores))
    assert lone.rows[0].figures["EA"].lo is None, "one scenario is too few"
    assert lone.rows[1].figures["EA"].lo is not None
    without = build_table(scores, expected=Expected.from_scores(scores), intervals=False)
    assert without.resampling is None
    assert without.rows[1].figures["EA"].lo is None
    assert without.rows[1].figures["EA"].percentile == lone.rows[1].figures["EA"].percentile
    with pytest.raises(UsageError, match="too few"):
        build_table(scores, expected=Expected.from_scores(scores), replicates=39)
    with pytest.raises(UsageError, match="negative"):
        compare(scores, "a", "b", seed=-1)


def test_seed_and_replicates_are_followed(make_scores: Callable[..., Scores]) -> None:
    scores = make_scores({"a": {"EA": [1, 5, 2, 8]}, "b": {"EA": [2, 4, 4, 4]}})
    plan = Expected.from_scores(scores)
    one, same, other = (build_table(scores, expected=plan, seed=seed, replicates=100) for seed in (1, 1, 2))
    assert render(one, "json") == render(same, "json")
    assert one.rows[0].figures["EA"].lo != other.rows[0].figures["EA"].lo
    assert "100 replicates, seed 1" in render(one, "md")


@pytest.mark.parametrize(
    ("values", "highest", "marks"),
    [
        ([1.0, 3.0, 2.0], True, [None, Mark.BEST, Mark.SECOND]),
        ([1.0, 3.0, 2.0], False, [Mark.BEST, None, Mark.SECOND]),
        ([3.0, 3.0, 2.0, 1.0], True, [Mark.BEST, Mark.BEST, Mark.SECOND, None]),
        ([3.0, 2.0, 2.0], True, [Mark.BEST, Mark.SECOND, Mark.SECOND]),
        ([3.0, 3.0 + 1e-13, 2.0], True, [Mark.BEST, Mark.BEST, Mark.SECOND]),
        ([None, 3.0, None], True, [None, None, None]),
        ([None, 3.0, 4.0], True, [None, Mark.SECOND, Mark.BEST]),
        ([0.0, 0.0], True, [Mark.BEST, Mark.BEST]),
        ([], True, []),
    ],
)
def test_marks(values: list[float | None], highest: bool, marks: list[Mark | None]) -> None:
    assert rank_marks(values, highest=highest) == marks


def test_an_offline_judge_is_called_incomparable_everywhere(make_scores: Callable[..., Scores]) -> None:
    scores = make_scores({"a": {"EA": [1, 5]}, "b": {"EA": [2, 4]}})
    offline = JudgeLabel(name="signals", identity="77", comparable=False)
    table = build_table(scores, expected=Expected.from_scores(scores), judge=offline)
    comparison = compare(scores, "a", "b", judge=offline)
    texts = [render(table, kind) for kind in ("md", "latex", "json")]
    texts += [shown(render_rich(table)), render_comparison(comparison, "md"), shown(render_comparison_rich(comparison))]
    assert all("not comparable with those of a vision-language model" in text for text in texts)
    assert "signals" in render(table, "csv")


def test_a_reference_keeps_figures_still_when_a_system_joins(make_scores: Callable[..., Scores]) -> None:
    pair = {"a": {"EA": [1, 5, 4]}, "b": {"EA": [2, 4, 8]}}
    two, three = make_scores(pair), make_scores({**pair, "c": {"EA": [9, 9, 10]}})
    before = build_table(two, expected=Expected.from_scores(two), judge=JUDGE)
    reference = before.to_reference()
    moved = build_table(three, expected=Expected.from_scores(three), judge=JUDGE)
    still = build_table(three, expected=Expected.from_scores(three), judge=JUDGE, reference=reference)
    for index in (0, 1):
        assert still.rows[index].figures["EA"].percentile == before.rows[index].figures["EA"].percentile
        assert moved.rows[index].figures["EA"].percentile != before.rows[index].figures["EA"].percentile
    document = json.loads(render(still, "json"))
    assert document["pool"]["frozen"]
    assert document["pool"]["systems"] == ["a", "b"]
    assert still.to_reference() is reference
    assert "frozen pool of 2 systems (a, b) on 3 scenarios" in render(still, "md")
    with pytest.raises(ReferencePoolError, match="never mix two judges"):
        build_table(three, expected=Expected.from_scores(three), judge=JudgeLabel(name="x"), reference=reference)
    unknown = build_table(three, expected=Expected.from_scores(three), reference=reference)
    assert "could not be checked" in render(unknown, "md")


def test_a_table_of_nothing_has_dashes(make_scores: Callable[..., Scores]) -> None:
    scores = make_scores({"a": {"EA": [None, None]}})
    table = build_table(scores, expected=Expected.from_scores(scores))
    (row,) = rows_of(render(table, "md", View(all_columns=True)))
    assert list(row.values()) == ["a", *["–"] * (5 + len(DIMENSION_KEYS)), f"0/{2 * len(DIMENSION_KEYS)}"]
    assert rows_of(render(table, "md")) == [{"System": "a", "Coverage": f"0/{2 * len(DIMENSION_KEYS)}"}]
    assert "no pool" in render(table, "md")
    with pytest.raises(ReferencePoolError):
        table.to_reference()
    with pytest.raises(ScoresError, match="does not ask for"):
        build_table(scores, expected=Expected.product(["a"], ["s0"]))


def test_from_csv(csv_file: Callable[..., Path]) -> None:
    lines = [
        f"{name},s{n},{key},{n * 2 + bonus}"
        for name, bonus in (("a", 0), ("b", 1))
        for n in range(3)
        for key in DIMENSION_KEYS
    ]
    table = table_from_csv([csv_file(*lines[:-1], "c,s9,EA,")])
    assert [(row.system, row.scored, row.expected) for row in table.rows] == [
        ("a", 3 * len(DIMENSION_KEYS), 4 * len(DIMENSION_KEYS)),
        ("b", 3 * len(DIMENSION_KEYS) - 1, 4 * len(DIMENSION_KEYS)),
        ("c", 0, 4 * len(DIMENSION_KEYS)),
    ]
    assert table.judge is None
    assert "without the name of their judge" in render(table, "md")
    for kind in FORMATS:
        assert render(table, kind).endswith("\n")


def test_comparison_formats(make_scores: Callable[..., Scores]) -> None:
    scores = make_scores({"a|b": {"EA": [1, 5, 4]}, "c": {"EA": [2, 4, 8]}})
    comparison = compare(scores, "a|b", "c", judge=JUDGE)
    row = comparison.dimensions[0]
    md = cells(render_comparison(comparison, "md").splitlines()[2])
    assert md == [
        "EA",
        f"{row.mean_a:.2f}",
        f"{row.mean_b:.2f}",
        f"{row.difference:+.2f}".replace("-", "−"),
        f"{row.lo:+.2f} to {row.hi:+.2f}".replace("-", "−"),
        f"{row.p:.4f}",
        f"{row.p_holm:.4f}",
        "3",
    ]
    document = json.loads(render_comparison(comparison, "json"))
    assert document["dimensions"]["EA"]["difference"] == row.difference
    assert document["dimensions"]["NI"]["p"] is None
    assert (document["a"], document["exact"], document["permutations"]) == ("a|b", True, 8)
    table = list(csv.DictReader(io.StringIO(render_comparison(comparison, "csv"))))
    assert float(table[0]["difference"]) == row.difference
    assert table[1]["difference"] == ""
    assert r"a\textbar{}b" in render_comparison(comparison, "latex")
    assert f"{row.difference:+.2f}".replace("-", "−") in shown(render_comparison_rich(comparison))
    assert make_pool(scores).systems == comparison.pool.systems
    with pytest.raises(UsageError):
        render_comparison(comparison, "html")  # type: ignore[arg-type]


def test_reference_round_trip_through_a_file_gives_the_same_table(
    make_scores: Callable[..., Scores], tmp_path: Path
) -> None:
    scores = make_scores({"a": {"EA": [0.1, 0.7, 0.3]}, "b": {"EA": [0.2, 0.4, 0.8]}})
    plan = Expected.from_scores(scores)
    table = build_table(scores, expected=plan, judge=JUDGE)
    table.to_reference().write(tmp_path / "pool.json")
    again = build_table(scores, expected=plan, judge=JUDGE, reference=ReferencePool.read(tmp_path / "pool.json"))
    assert [r.figures["EA"].percentile for r in again.rows] == [r.figures["EA"].percentile for r in table.rows]
