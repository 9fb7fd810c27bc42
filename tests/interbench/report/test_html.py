from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from interbench.base.errors import StoreError
from interbench.domain.records import Outcome
from interbench.report.html import MARKER, write_report
from interbench.report.links import anchor
from interbench.report.model import ReportData
from interbench.report.overview import make_overview
from interbench.report.payload import script

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)> {{ 7 * 7 }} {% raw %} \u202e\u2028\x00\ud800 &lt;"


class Page(HTMLParser):
    """Elements with their attributes, and the text of the page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self.text = ""
        self._in = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in = tag

    def handle_data(self, data: str) -> None:
        if self._in in ("script", "style") and data.strip():
            self.inline.append(data)
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def write(factory: Any, data: ReportData, **options: Any) -> Path:
    return write_report(data, factory.run / "report", media_root=factory.run, **options).parent


def part(report: Path, name: str) -> Any:
    """A part of the viewer's data as the browser gets it: the text inside the quotes, unescaped as JavaScript does."""
    text = (report / "data" / f"{name}.js").read_text(encoding="ascii")
    literal = re.fullmatch(rf"interbench\.receive\(\"{name}\",'(.*)'\);\n", text)
    assert literal is not None
    return json.loads(re.sub(r"\\(x3c|x3e|.)", lambda m: {"x3c": "<", "x3e": ">"}.get(m[1], m[1]), literal[1]))


@pytest.mark.parametrize("hostile", [None, HOSTILE])
def test_pages_hold_nothing_inline_and_nothing_from_elsewhere(factory: Any, hostile: str | None) -> None:
    report = write(factory, factory(hostile=hostile))
    for name in ("index.html", "conversations.html"):
        page = Page(report / name)
        assert page.inline == []
        policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
        assert policy is not None
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        for tag, attributes in page.elements:
            assert not [key for key in attributes if key.startswith("on") or key == "style"], tag
        for key in ("src", "href"):
            for address in (a[key] for _, a in page.elements if a.get(key)):
                assert address is not None
                if address.startswith("#"):
                    continue
                assert not re.match(r"[a-z]+:|/", address), address
                assert (report / unquote(address.partition("#")[0])).exists(), address
        assert {a["src"] for a in page.all("script")} >= {"static/common.js"}
        assert [image.get("src") for image in page.all("img")] == [None] * len(page.all("img"))


def test_hostile_text_is_shown_as_it_is(factory: Any) -> None:
    report = write(factory, factory(systems=("a", HOSTILE.replace("\ud800", ""), "c"), hostile=HOSTILE))
    text = Page(report / "index.html").text
    assert "<script>alert(1)</script><img src=x onerror=alert(1)> {{ 7 * 7 }} {% raw %}" in text
    assert "\x00" not in text
    assert "49" not in text.partition("{{ 7 * 7 }}")[2][:20]


def test_the_viewers_data_come_back_as_they_were(factory: Any) -> None:
    data = factory(hostile=HOSTILE)
    report = write(factory, data)
    assert part(report, "index")["scenarios"][0]["title"] == HOSTILE.replace("\ud800", "").strip()
    shard = part(report, "scenario-0001")
    turn = shard["systems"][0]["turns"][0]
    assert turn["transcript"]["text"] == HOSTILE
    assert turn["events"][0] == [0.0, "submitted", HOSTILE]
    assert shard["systems"][0]["verdicts"][2][0]["evidence"]["words"] == HOSTILE
    for path in (report / "data").iterdir():
        text = path.read_text(encoding="ascii")
        assert "<" not in text
        assert text.count("\n") == 1


def test_any_value_can_be_evidence() -> None:
    odd = {"nan": "nan", "deep": [[[1]]], "__proto__": {"polluted": True}, "quote": "'\\'", "line": "\u2028\n"}
    text = script("index", odd)
    assert text.isascii()
    assert "\n" not in text[:-1]
    assert "__proto__" in text


def test_figures_of_the_page_are_those_of_the_table(factory: Any) -> None:
    data = factory()
    overview = make_overview(data)
    page = Page(write(factory, data) / "index.html").text
    for row in data.table.rows:
        for figure in row.figures.values():
            if figure.percentile is not None:
                assert f"{figure.percentile:.1f}" in page
    assert "not comparable with those of a vision-language model" in page
    assert "24" not in overview.extent
    assert overview.extent == "3 systems on 3 scenarios with 6 turns"
    assert [(row.system, dict(row.counts)) for row in overview.outcomes] == [
        ("puppet", {"completed": 6}),
        ("puppet:amnesiac", {"completed": 5, "blocked": 1}),
        ("puppet:drift", {"completed": 6}),
    ]
    assert [row.usd for row in overview.costs] == [None, None, pytest.approx(0.72)]
    assert [(check.system, check.dimension) for check in overview.defects] == [
        ("puppet:amnesiac", "kp-memory"),
        ("puppet:drift", "look"),
    ]
    assert all(check.lowered for check in overview.defects)
    assert [plot.strips[0].n for plot in overview.speeds] == [6, 6, 6]


def test_best_is_bold_second_underlined_and_missing_a_dash_with_its_reason(factory: Any) -> None:
    data = factory()
    overview = make_overview(data)
    ranked = sorted(overview.results, key=lambda result: result.row.figure("kp-memory").percentile or 0, reverse=True)
    assert [result.cells["kp-memory"].mark for result in ranked] == ["best", "second", None]
    missing = overview.results[1].cells["fps"]
    assert (missing.text, missing.missing) == ("–", True)
    assert "EA" not in overview.results[0].cells, "nobody is scored in it"
    assert overview.unmeasured == (), "and nobody was asked for it"
    assert not [note for note in overview.notes if note.startswith("Without a measured value")]
    assert overview.results[1].cells["kp-memory"].why == "1 of 3 missing: incomplete conversation 1"


def test_turns_nobody_played_stay_in_the_count(factory: Any) -> None:
    data = factory()
    first, *rest = data.conversations
    unplayed = replace(first, exchanges=first.exchanges[:1], transcripts={}, verdicts=())
    overview = make_overview(replace(data, conversations=(unplayed, *rest)))
    assert dict(overview.outcomes[0].counts) == {"completed": 5, "pending": 1}
    report = write(factory, replace(data, conversations=tuple(rest)))
    index, shard = part(report, "index"), part(report, "scenario-0001")
    assert index["scenarios"][0]["cells"][0]["outcomes"] == []
    assert shard["systems"][0] is None


def test_resumed_turns_are_no_latencies(factory: Any) -> None:
    data = factory(trouble=False)
    first, *rest = data.conversations
    exchanges = tuple(replace(e, timings=replace(e.timings, resumed=True)) for e in first.exchanges)
    overview = make_overview(replace(data, conversations=(replace(first, exchanges=exchanges), *rest)))
    assert [strip.n for strip in overview.speeds[0].strips] == [4, 6, 6]
    assert "2 turns taken up after an interruption left out" in overview.speeds[0].note


def test_repeated_judgements_and_what_they_disagree_on(factory: Any) -> None:
    data = factory(repeats=3, offline=False)
    report = write(factory, data)
    cell = part(report, "index")["scenarios"][0]["cells"][0]
    samples = part(report, "scenario-0001")["systems"][0]["verdicts"][0]
    scores = [sample["score"] for sample in samples]
    assert [sample["sample"] for sample in samples] == [0, 1, 2]
    assert cell["scores"][0] == pytest.approx(sum(scores) / 3, abs=1e-5)
    assert cell["spread"][0] == max(scores) - min(scores)
    assert samples[0]["expected"] == pytest.approx(scores[0] - 0.2)


def test_a_report_is_made_of_links_and_a_portable_one_of_copies(factory: Any, tmp_path: Path) -> None:
    data = factory()
    linked = write(factory, data)
    assert not list(linked.rglob("*.mp4"))
    assert part(linked, "scenario-0001")["systems"][0]["turns"][0]["clip"]["href"].startswith("../media/")
    portable = write_report(data, tmp_path / "elsewhere" / "shown", media_root=factory.run, portable=True).parent
    moved = portable.rename(tmp_path / "moved")
    for name in ("scenario-0001", "scenario-0002", "scenario-0003"):
        for system in part(moved, name)["systems"]:
            for turn in system["turns"]:
                if turn["clip"]:
                    assert (moved / unquote(turn["clip"]["href"])).stat().st_size > 1000


def test_an_earlier_report_is_replaced_whole(factory: Any) -> None:
    report = write(factory, factory(scenarios=3))
    assert (report / "data" / "scenario-0003.js").exists()
    again = write(factory, factory(scenarios=2))
    assert again == report
    assert not (report / "data" / "scenario-0003.js").exists()
    assert sorted(path.name for path in factory.run.iterdir()) == ["media", "report"]


def test_nothing_but_a_report_is_ever_replaced(factory: Any) -> None:
    data = factory()
    for make in (Path.mkdir, Path.touch):
        out = factory.run / make.__name__
        make(out)
        if out.is_dir():
            (out / "thesis.tex").write_text("mine")
        with pytest.raises(StoreError, match=r"there already|other files"):
            write_report(data, out, media_root=factory.run)
        assert out.exists()
    (factory.run / "link").symlink_to(factory.run / "media")
    with pytest.raises(StoreError, match="no folder"):
        write_report(data, factory.run / "link", media_root=factory.run)
    (factory.run / "empty").mkdir()
    assert write_report(data, factory.run / "empty", media_root=factory.run).exists()


def test_a_failed_attempt_leaves_the_earlier_report(factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    report = write(factory, factory())
    before = (report / "index.html").read_text(encoding="utf-8")

    def full(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("interbench.report.html.payload.shard_payload", full)
    with pytest.raises(StoreError, match=r"No space left on device.*Make room"):
        write(factory, factory(scenarios=1))
    assert (report / "index.html").read_text(encoding="utf-8") == before
    assert sorted(path.name for path in factory.run.iterdir()) == ["media", "report"]
    assert (report / MARKER).exists()


def test_a_lost_clip_is_said_and_not_linked(factory: Any) -> None:
    data = factory()
    for clip in (factory.run / "media").iterdir():
        clip.unlink()
    turn = part(write(factory, data), "scenario-0001")["systems"][0]["turns"][0]
    assert turn["outcome"] == Outcome.COMPLETED.value
    assert turn["clip"] == {"href": None, "problem": "The file of this clip is no longer in the run folder."}


def test_a_report_names_only_what_it_lists(factory: Any) -> None:
    data = factory()
    with pytest.raises(ValueError, match="does not list: puppet:drift"):
        replace(data, systems=data.systems[:2])
    with pytest.raises(ValueError, match="same name"):
        replace(data, systems=(*data.systems, data.systems[0]))


def test_an_empty_run_still_makes_a_page(factory: Any) -> None:
    data = factory()
    nothing = replace(
        data,
        conversations=tuple(replace(c, exchanges=(), transcripts={}, verdicts=()) for c in data.conversations),
        comparisons=(),
    )
    text = Page(write(factory, nothing) / "index.html").text
    assert "Not yet played" in text
    assert "Time to first frame" not in text


def test_files_beside_the_page_hold_the_table(factory: Any) -> None:
    report = write(factory, factory())
    table = json.loads((report / "table.json").read_text(encoding="utf-8"))
    assert [row["system"] for row in table["systems"]] == ["puppet", "puppet:amnesiac", "puppet:drift"]
    header = (report / "table.csv").read_text(encoding="utf-8")
    assert header.startswith("system,fps,latency_s,first_speech_s,kp-recall,")
    assert (report / "table.tex").read_text(encoding="utf-8").startswith(r"\begin{table}")
    assert (report / "table.md").read_text(encoding="utf-8").startswith("| System")


@pytest.mark.parametrize(("name", "expected"), [("puppet:drift", "puppet-drift"), ("../..", "system"), ("Ü x", "x")])
def test_copies_have_names_that_any_system_takes(name: str, expected: str) -> None:
    assert anchor(name) == expected


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o755), (0o077, 0o700), (0o002, 0o775)])
def test_a_report_is_readable_by_whom_the_user_lets_read(factory: Any, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        report = write(factory, factory(scenarios=1))
    finally:
        os.umask(before)
    assert report.stat().st_mode & 0o777 == mode
