"""The results page in a real browser: sorting, scales, systems shown and hidden, narrow screens, paper, one file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from interbench.domain.dimensions import DIMENSIONS
from interbench.report.html import write_page, write_report
from interbench.report.model import ReportData

pytestmark = pytest.mark.browser


@dataclass(frozen=True)
class Rendered:
    data: ReportData
    index: Path
    single: Path


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory, factory_at: Any) -> Rendered:
    """One report for all of these tests."""
    root = tmp_path_factory.mktemp("results")
    make = factory_at(root)
    data = make(systems=("puppet", "puppet:amnesiac", "puppet:drift", "it"), scenarios=4, repeats=2, offline=False)
    index = write_report(data, make.run / "report", media_root=make.run)
    single = write_page(data, root / "mail" / "one.html")
    return Rendered(data, index, single)


@pytest.fixture
def page(browser: Any, rendered: Rendered) -> Iterator[Any]:
    yield from _opened(browser, rendered.index)


@pytest.fixture
def single(browser: Any, rendered: Rendered) -> Iterator[Any]:
    yield from _opened(browser, rendered.single)


def _opened(browser: Any, path: Path) -> Iterator[Any]:
    shown = browser.new_page(viewport={"width": 1400, "height": 900})
    complaints: list[str] = []
    shown.on("console", lambda message: complaints.append(message.text))
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:")) else complaints.append(request.url),
    )
    shown.goto(path.as_uri())
    yield shown
    shown.close()
    assert complaints == []


def order(page: Any) -> list[str]:
    return [text.strip() for text in page.locator("#result-table tbody th .system").all_inner_texts()]


def expected_order(data: ReportData, figure: Any) -> list[str]:
    return [row.system for row in sorted(data.table.rows, key=figure)]


def test_headings_sort_by_mouse_and_keyboard(page: Any, rendered: Rendered) -> None:
    planned = order(page)
    assert planned == [row.system for row in rendered.data.table.rows]
    heading = page.locator("#result-table thead th", has_text="CU")
    assert heading.get_attribute("aria-sort") == "none"
    heading.locator("button").click()
    falling = expected_order(rendered.data, lambda row: -row.figure("CU").percentile)
    assert order(page) == falling != planned
    assert heading.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")
    assert order(page) == falling[::-1]
    assert heading.get_attribute("aria-sort") == "ascending"
    latency = page.locator("#result-table thead th", has_text="Latency s")
    latency.locator("button").focus()
    page.keyboard.press("Space")
    assert latency.get_attribute("aria-sort") == "ascending", "lower is better, so the lowest comes first"
    assert heading.get_attribute("aria-sort") == "none"
    # The one system with frames per second comes first either way: what is missing is last.
    for _ in range(2):
        page.click("#result-table thead th:has-text('FPS') button")
        assert order(page)[0] == "puppet"
    page.click("#result-table thead th:has-text('System') button")
    assert order(page) == sorted(planned)


def test_raw_means_take_the_place_of_percentiles_and_sort_too(page: Any, rendered: Rendered) -> None:
    row = rendered.data.table.rows[2]
    cell = page.locator("#result-table tbody tr").nth(2).locator("td[data-label=MVC]")
    assert cell.inner_text().split()[0] == f"{row.figure('MVC').percentile:.1f}"
    page.click("text=Raw mean")
    assert cell.inner_text() == f"{row.figure('MVC').mean:.2f}"
    kind = page.locator("#kinds-category tbody tr").first.locator("td").nth(1)
    part = rendered.data.breakdowns[0].parts["travel"].rows[0]
    assert kind.inner_text() == f"{part.mean.mean:.2f}"
    page.click("#result-table thead th:has-text('MVC') button")
    assert order(page) == expected_order(rendered.data, lambda row: -row.figure("MVC").mean)
    page.click("[data-scale=percentile]")
    assert cell.is_visible() and page.get_attribute("[data-scale=percentile]", "aria-pressed") == "true"


def test_chips_show_and_hide_a_system_everywhere(page: Any) -> None:
    def shown(of: str) -> int:
        return int(page.locator(f"{of} >> visible=true").count())

    before = {
        of: shown(of) for of in ("#result-table tbody tr", ".radars figure", ".compared tbody tr", ".coverage tbody tr")
    }
    assert list(before.values()) == [4, 4, 6, 4]
    dots = shown(".dots .dot")
    chip = page.locator("#chips .chip", has_text="puppet:drift")
    chip.focus()
    page.keyboard.press("Space")
    assert chip.get_attribute("aria-pressed") == "false"
    assert [shown(of) for of in before] == [3, 3, 3, 3]
    assert shown(".dots .dot") == dots - len(DIMENSIONS)
    assert not page.locator("#kinds-category thead th", has_text="puppet:drift").is_visible()
    page.select_option("#pairs-with", "3")
    assert shown(".compared tbody tr") == 2
    page.select_option("#pairs-with", "")
    for name in ("puppet:amnesiac", "it"):
        page.click(f"#chips .chip:has-text('{name}')")
    assert page.locator("#chips .chip", has_text="puppet").first.is_disabled(), "the last one stays"
    page.click("#all-systems")
    assert {of: shown(of) for of in before} == before


def test_no_heading_that_is_jumped_to_lies_behind_the_chips(page: Any) -> None:
    headings = [name for name in page.eval_on_selector_all("h2[id]", "found => found.map((one) => one.id)") if name]
    assert len(headings) > 4
    for name in headings:
        page.evaluate("name => { location.hash = name; }", name)
        top, covered = page.evaluate(
            "name => [document.getElementById(name), document.getElementById('chips')].map((node, at) => "
            "node.getBoundingClientRect()[at ? 'bottom' : 'top'])",
            name,
        )
        assert top >= covered, name


def test_kinds_show_the_chosen_dimension(page: Any, rendered: Rendered) -> None:
    page.select_option("[data-kinds=category]", "CU")
    part = rendered.data.breakdowns[0].parts["health"].rows[0].figure("CU").percentile
    row = page.locator("#kinds-category tbody tr", has_text="health")
    assert row.locator("td").nth(1).inner_text() == f"{part:.1f}"
    page.click("#kinds-category thead th:has-text('puppet') >> nth=0 >> button")
    figures = [float(text) for text in page.locator("#kinds-category td:nth-child(3)").all_inner_texts()]
    assert figures == sorted(figures, reverse=True)


OUTSIDE = """() => [...document.querySelectorAll('.value, .range, .none, td, tbody th, .figure')].filter((node) => {
  if (!node.checkVisibility() || !node.textContent.trim()) return false;
  const box = node.getBoundingClientRect(); return box.left < 0 || box.right > innerWidth + 0.5; })
  .map((node) => `${node.tagName} ${node.textContent.trim().slice(0, 40)}`)"""
"""Figures that a reader would have to scroll to."""


@pytest.mark.parametrize("width", [360, 400])
def test_every_figure_can_be_read_on_a_phone(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OUTSIDE) == []
    label = page.evaluate(
        "getComputedStyle(document.querySelector('#result-table td[data-label=MVC]'), '::before').content"
    )
    assert label == '"MVC"'
    page.select_option("#sort-by", label="CU")
    assert page.locator("#result-table th", has_text="CU").get_attribute("aria-sort") == "descending"


def test_what_scrolls_can_be_reached_by_keyboard_and_has_a_name(page: Any) -> None:
    page.set_viewport_size({"width": 700, "height": 800})
    scrollers = page.evaluate(
        """() => [...document.querySelectorAll('*')].filter((n) => n.checkVisibility()
             && /auto|scroll/.test(getComputedStyle(n).overflowX) && n.tagName !== 'PRE')
             .map((n) => [n.tabIndex, n.getAttribute('role'), Boolean(n.getAttribute('aria-label')
                || document.getElementById(n.getAttribute('aria-labelledby'))), n.scrollWidth > n.clientWidth])"""
    )
    assert len(scrollers) >= 8 and any(wide for *_, wide in scrollers)
    assert {tuple(facts) for *facts, _ in scrollers} == {(0, "region", True)}
    results = page.locator("[aria-labelledby=results].scroll")
    results.focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('.scroll').scrollLeft > 0")


def test_every_abbreviation_is_written_out_on_the_page(page: Any) -> None:
    meanings = page.locator(".meanings").inner_text()
    assert all(f"{d.key} {d.name}" in meanings for d in DIMENSIONS)


def test_paper_shows_figures_and_no_controls(page: Any) -> None:
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 1020, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 1020
    assert not page.locator("#chips").is_visible() and not page.locator(".switch").is_visible()
    assert page.locator("#result-table").is_visible()
    assert page.evaluate(OUTSIDE) == []


def test_the_single_page_works_alone(single: Any, rendered: Rendered) -> None:
    assert [path.name for path in rendered.single.parent.iterdir()] == ["one.html"]
    single.click("#result-table thead th:has-text('CU') button")
    assert order(single) == expected_order(rendered.data, lambda row: -row.figure("CU").percentile)
    assert single.evaluate("getComputedStyle(document.querySelector('.card')).borderTopWidth") == "1px"
    with single.expect_download() as download:
        single.click("a[download='comparisons.csv']")
    written = Path(download.value.path())
    assert written.read_bytes() == (rendered.index.parent / "comparisons.csv").read_bytes()
    shutil.rmtree(written.parent, ignore_errors=True)
