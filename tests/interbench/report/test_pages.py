"""What one can mail, and the CSV files beside every table."""

from __future__ import annotations

import base64
import csv
import hashlib
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from interbench.base.errors import StoreError
from interbench.report.html import write_archive, write_page, write_report


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_every_table_and_plot_has_its_figures_beside_it(factory: Any) -> None:
    data = factory(repeats=2, scenarios=4)
    report = write_report(data, factory.run / "report", media_root=factory.run).parent
    page = (report / "index.html").read_text(encoding="utf-8")
    linked = set(re.findall(r'href="([a-z-]+\.csv)"', page))
    assert linked == {path.name for path in report.glob("*.csv")}
    assert linked == {
        "table.csv", "profile.csv", "turns.csv", "outcomes.csv", "costs.csv", "comparisons.csv", "defects.csv",
        "repeats.csv", "correlations.csv", "by-category.csv",
    }  # fmt: skip
    bars = {(row["system"], row["dimension"]): row for row in rows(report / "profile.csv")}
    figure = data.table.rows[1].figure("kp-memory")
    assert float(bars["puppet:amnesiac", "kp-memory"]["lo"]) == figure.lo
    assert {key for _, key in bars} == {"kp-recall", "kp-memory", "lexical", "look"}
    assert bars["puppet:amnesiac", "look"]["missing"] == "incomplete_conversation 1"
    assert "Dimensions that go together" in page and "Effective number of dimensions" in page
    found = {row["dimension"]: row for row in rows(report / "correlations.csv")}
    known = data.table.correlations
    assert float(found["look"]["lexical"]) == known.r[known.keys.index("look")][known.keys.index("lexical")]
    turns = rows(report / "turns.csv")
    assert len(turns) == 3 * 4 * 2
    (lost,) = [row for row in turns if row["outcome"] != "completed"]
    assert (lost["code"], lost["first_frame_s"]) == ("content_policy", "")
    assert float(turns[0]["first_frame_s"]) == data.conversations[0].exchanges[0].timings.first_frame_s
    pairs = rows(report / "comparisons.csv")
    assert len(pairs) == 3 * len(data.comparisons[0].dimensions)


def test_an_archive_holds_a_portable_report(factory: Any, tmp_path: Path) -> None:
    out = write_archive(factory(), tmp_path / "out" / "mail.zip", media_root=factory.run)
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert {"mail/index.html", "mail/conversations.html", "mail/table.csv"} <= set(names)
        clips = [info for info in archive.infolist() if info.filename.endswith(".mp4")]
        assert clips and all(info.compress_type == zipfile.ZIP_STORED for info in clips)
    assert [path.name for path in out.parent.iterdir()] == ["mail.zip"], "nothing is left behind"
    for wrong in (tmp_path / "mail.tar", factory.run):
        with pytest.raises(StoreError, match=r"ending|folder"):
            write_archive(factory(), wrong, media_root=factory.run)


def test_only_an_earlier_report_is_replaced(factory: Any, tmp_path: Path) -> None:
    data = factory(scenarios=1)
    archive, page = tmp_path / "a.zip", tmp_path / "a.html"
    for _ in range(2):
        write_archive(data, archive, media_root=factory.run)
        write_page(data, page)
    with zipfile.ZipFile(archive, "w") as theses:
        theses.writestr("thesis.tex", "mine")
    page.write_text("<p>mine", encoding="utf-8")
    with pytest.raises(StoreError, match="there already"):
        write_archive(data, archive, media_root=factory.run)
    with pytest.raises(StoreError, match="there already"):
        write_page(data, page)
    assert page.read_text(encoding="utf-8") == "<p>mine"


def test_a_single_page_needs_no_other_file(factory: Any, tmp_path: Path) -> None:
    out = write_page(factory(hostile="</script><script>alert(1)</script>"), tmp_path / "one.html")
    page = out.read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)
    assert "conversations.html" not in page
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None and "unsafe" not in policy[1] and "default-src 'none'" in policy[1]
    for tag in ("script", "style"):
        inline = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        allowed = re.search(rf"{tag}-src ([^;]+)", policy[1].replace("&#39;", "'"))
        assert allowed is not None and len(inline) == len(allowed[1].split())
        for text in inline:
            assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in allowed[1]
    files = dict(re.findall(r'href="data:text/csv;charset=utf-8;base64,([^"]+)" download="([^"]+)"', page))
    by_name = {name: base64.b64decode(text).decode() for text, name in files.items()}
    assert by_name["table.csv"].startswith("system,fps") and "turns.csv" in by_name
    assert [path.name for path in tmp_path.glob("*.html*")] == ["one.html"]


def test_costs_nobody_states_take_no_column(factory: Any) -> None:
    page = write_report(factory(systems=("a", "b")), factory.run / "report", media_root=factory.run)
    costs = page.read_text(encoding="utf-8").partition('id="costs"')[2].partition("</section>")[0]
    assert "No system states a price." in costs and '<th scope="col">Cost</th>' not in costs
