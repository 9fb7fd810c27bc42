"""The report in a real browser, opened from disk as a reader would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from interbench.domain.dimensions import DIMENSIONS
from interbench.domain.records import Exchange, Outcome
from interbench.report.html import write_report

pytestmark = pytest.mark.browser

HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\"'>`${window.hacked = 1}`"
    "</script>\u202egnp.exe\u2028\x00 javascript:window.hacked=1 __proto__ {{ 7 * 7 }}"
)
Opener = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, factory: Any) -> Iterator[Opener]:
    """Opens a page of the report of some data; afterwards nothing may have complained."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    complaints: list[str] = []
    tolerated: list[str] = []

    def failed(request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # a clip that was not wanted any more
            complaints.append(f"failed: {request.url} {request.failure}")

    def watch(page: Any) -> None:
        page.on("console", lambda m: complaints.append(f"{m.type}: {m.text}") if m.type != "log" else None)
        page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
        page.on("requestfailed", failed)
        page.on("request", lambda r: None if r.url.startswith("file:") else complaints.append(f"request: {r.url}"))

    context.on("page", watch)

    def open_(data: Any, page: str = "conversations.html", fragment: str = "", *, tolerate: str = "") -> Any:
        index = write_report(data, factory.run / "report", media_root=factory.run)
        shown = context.new_page()
        shown.goto(index.with_name(page).as_uri() + fragment)
        if page == "conversations.html":
            shown.wait_for_selector("#play-turn")
        if tolerate:  # one thing the test itself provokes
            tolerated.append(tolerate)
        return shown

    yield open_
    context.close()
    assert [c for c in complaints if not any(part in c for part in tolerated)] == []


def until(page: Any, condition: str) -> None:
    """Waits for a condition in JavaScript. (The browser driver's own wait evaluates text, which the pages forbid.)"""
    page.evaluate(
        f"""() => new Promise((resolve, reject) => {{
              const late = setTimeout(() => reject(new Error('still not: ' + {condition!r})), 20000);
              const look = () => ({condition}) ? (clearTimeout(late), resolve()) : setTimeout(look, 20);
              look(); }})"""
    )


def clip_times(page: Any) -> list[float]:
    times: list[float] = page.evaluate("[...document.querySelectorAll('#stage video')].map((v) => v.currentTime)")
    return times


def heading(page: Any) -> str:
    return str(page.text_content("#scenario-title"))


def names(page: Any) -> list[str]:
    return [text.strip() for text in page.locator(".names .system").all_text_contents()]


def titles(page: Any) -> list[str]:
    return list(page.locator("#scenarios .title").all_text_contents())


def test_the_results_page_shows_table_and_plots(opened: Opener, factory: Any) -> None:
    page = opened(factory(systems=("a", "b", "c", "d"), offline=False, scenarios=4), "index.html")
    assert page.title() == "starter-set · interbench"
    assert page.locator(".results tbody tr").count() == 4
    assert page.locator(".radar .outline").count() == 4
    assert page.locator(".dots .dot").count() == 4 * len(DIMENSIONS)
    assert page.locator(".strips .point").count() == 3 * (4 * 4 * 2 - 1)
    box = page.locator(".dots .dot").first.bounding_box()
    assert 6 < box["width"] < 16
    assert page.locator(".compared tbody tr:visible").count() == 6
    page.select_option("#pairs-with", "3")
    assert page.locator(".compared tbody tr:visible").count() == 3
    page.click(".meanings a >> text=Multi-Video Coherence")
    page.wait_for_selector("#play-turn")
    assert page.input_value("#order") == "systems"
    assert page.input_value("#dimension") == "MVC"


def test_clips_play_side_by_side_after_the_users_voice(opened: Opener, factory: Any) -> None:
    page = opened(factory())
    assert names(page) == ["puppet", "puppet:amnesiac", "puppet:drift"]
    until(page, "[...document.querySelectorAll('#stage video')].every((v) => v.readyState >= 2)")
    assert clip_times(page) == [0, 0, 0]
    page.click("#play-turn")
    assert page.text_content("#play-turn") == "❚❚ Pause"
    until(page, "[...document.querySelectorAll('#stage video')].every((v) => v.currentTime > 0.2)")
    muted = page.evaluate("[...document.querySelectorAll('#stage video')].map((v) => v.muted)")
    assert muted == [False, True, True]
    until(page, "document.body.dataset.playing === 'idle'")
    assert all(time > 1.0 for time in clip_times(page))
    assert page.evaluate("document.querySelector('#stage video').videoWidth") == 192


def test_the_whole_conversation_plays_in_sequence(opened: Opener, factory: Any) -> None:
    page = opened(factory(turns=3), fragment="#scenario=cooking-002&system=puppet&system=puppet:amnesiac&turn=2")
    page.uncheck("#with-voice")
    page.click("#play-all")
    until(page, "document.querySelector('.now').textContent === 'Turn 3 of 3'")
    assert page.locator("#stage .absent").inner_text().startswith("Blocked")
    until(page, "document.body.dataset.playing === 'idle'")
    assert "turn=3" in page.url
    assert page.locator(".said[aria-current=true] .who button").first.inner_text() == "Turn 3"


def test_playing_can_be_paused_taken_up_and_stopped(opened: Opener, factory: Any) -> None:
    page = opened(factory(trouble=False))
    page.uncheck("#with-voice")
    page.locator("h1").click()
    page.keyboard.press("Space")
    until(page, "document.querySelector('#stage video').currentTime > 0.1")
    page.keyboard.press("Space")
    until(page, "[...document.querySelectorAll('#stage video')].every((v) => v.paused)")
    assert page.text_content("#play-turn") == "▶ Go on"
    page.click("#play-turn")
    until(page, "document.querySelector('#stage video').currentTime > 0.4")
    page.click("#play-all")
    assert page.evaluate("document.body.dataset.playing") == "idle"
    assert page.evaluate("[...document.querySelectorAll('#stage video')].every((v) => v.paused)")


def test_scenarios_switch_by_click_by_key_and_back(opened: Opener, factory: Any) -> None:
    page = opened(factory())
    assert heading(page) == "The Eiffel Tower"
    page.click("#scenarios >> text=Bad news from the clinic")
    until(page, "document.querySelector('#scenario-title').textContent.startsWith('Bad news')")
    assert "scenario=health-003" in page.url
    page.keyboard.press("k")
    until(page, "document.querySelector('#scenario-title').textContent.startsWith('A sourdough')")
    page.go_back()
    until(page, "document.querySelector('#scenario-title').textContent.startsWith('Bad news')")
    page.keyboard.press("ArrowRight")
    assert page.text_content(".now") == "Turn 2 of 2"
    page.focus("#turn-1")
    page.keyboard.press("Enter")
    assert page.text_content(".now") == "Turn 1 of 2"
    assert page.evaluate("document.activeElement.id") == "turn-1"


def test_one_to_four_systems_stand_side_by_side(opened: Opener, factory: Any) -> None:
    page = opened(factory(systems=("a", "b", "c", "d", "e")))
    assert names(page) == ["a", "b", "c", "d"]
    assert page.locator("#systems button").nth(4).is_disabled()
    page.click("#systems >> text=b")
    page.click("#systems >> text=c")
    page.click("#systems >> text=e")
    assert names(page) == ["a", "d", "e"]
    assert page.locator("#stage .player").count() == 3
    for _ in range(3):
        page.keyboard.press("1")
    assert names(page) == ["d", "e"]
    page.click("#systems >> text=d")
    page.click("#systems >> text=e")
    assert names(page) == ["e"]
    assert page.url.endswith("system=e")


def test_links_lead_to_what_they_name(opened: Opener, factory: Any) -> None:
    fragment = "#scenario=health-003&system=puppet&system=puppet:drift&turn=2&dimension=look&order=systems"
    page = opened(factory(), fragment=fragment)
    assert heading(page) == "Bad news from the clinic"
    assert names(page) == ["puppet", "puppet:drift"]
    assert page.text_content(".now") == "Turn 2 of 2"
    assert page.locator("#reasons-look").is_visible()
    assert not page.locator("#reasons-kp-memory").is_visible()
    assert page.input_value("#order") == "systems"
    page.evaluate("window.location.hash = '#scenario=nothing&system=none&turn=99&dimension=X'")
    until(page, "document.querySelector('#scenario-title').textContent === 'The Eiffel Tower'")
    assert names(page) == ["puppet", "puppet:amnesiac", "puppet:drift"]
    assert page.text_content(".now") == "Turn 2 of 2"


def test_filters_leave_what_they_ask_for(opened: Opener, factory: Any) -> None:
    page = opened(factory(scenarios=8))
    assert len(titles(page)) == 8
    page.select_option("#category", "cooking")
    assert titles(page) == ["A sourdough that will not rise", "A sourdough that will not rise, 2"]
    page.select_option("#outcome", "blocked")
    assert titles(page) == ["A sourdough that will not rise"]
    assert page.text_content("#count") == "1 of 8 scenarios"
    assert {"category=cooking", "outcome=blocked"} <= set(page.url.partition("#")[2].split("&"))
    page.select_option("#outcome", "complete")
    assert titles(page) == ["A sourdough that will not rise, 2"]
    page.click("#reset")
    page.select_option("#dimension", "kp-memory")
    page.select_option("#verdict", "missing")
    assert titles(page) == ["A sourdough that will not rise"]
    page.click("#reset")
    page.fill("#query", "CLINIC")
    assert titles(page) == ["Bad news from the clinic", "Bad news from the clinic, 2"]
    page.fill("#query", "nothing like it")
    assert page.text_content("#scenarios") == "No scenario passes these filters."


@pytest.mark.parametrize("order", ["systems", "samples", "lowest"])
def test_orders_go_by_disagreement(opened: Opener, factory: Any, order: str) -> None:
    data = factory(scenarios=8, repeats=2, offline=False)
    page = opened(data)
    page.select_option("#dimension", "SR")
    page.select_option("#order", order)
    figures = [
        float(text.strip("ΔP ")) for text in page.locator("#scenarios .about span:last-child").all_text_contents()
    ]
    assert len(figures) == 8
    assert figures == sorted(figures, reverse=order != "lowest")
    assert len(set(figures)) > 1
    if order == "samples":
        by_pair: dict[tuple[str, str], list[float]] = {}
        for c in data.conversations:
            for v in c.verdicts:
                if v.dimension == "SR" and v.score is not None:
                    by_pair.setdefault((c.scenario, c.system), []).append(v.score)
        assert figures[0] == max(max(scores) - min(scores) for scores in by_pair.values())


def test_verdicts_show_scores_reasons_evidence_and_why_they_are_missing(opened: Opener, factory: Any) -> None:
    data = factory(repeats=2, offline=False)
    page = opened(data, fragment="#scenario=cooking-002&system=puppet&system=puppet:amnesiac")
    page.keyboard.press("e")
    panel = page.locator("#reasons-CU")
    text = panel.inner_text()
    assert "keep the conversation's state" in text
    assert "judgement 2:" in text
    assert "expected score" in text
    assert "missing: incomplete conversation" in text
    assert "This cannot be had." in text
    panel.locator("summary >> text=Evidence").first.click()
    assert "share\n0.75" in panel.inner_text()
    row = page.locator(".verdict-row", has_text="Context Understanding")
    assert "– incomplete conversation" in row.inner_text()
    scores = [
        v.score
        for c in data.conversations
        for v in c.verdicts
        if (c.scenario, c.system, v.dimension) == ("cooking-002", "puppet", "CU")
    ]
    assert row.locator(".score .value").inner_text().split()[0] == f"{sum(scores) / 2:.6g}"


def test_turns_show_words_flags_times_and_trouble(opened: Opener, factory: Any) -> None:
    page = opened(factory(), fragment="#scenario=cooking-002&turn=2")
    second = page.locator(".said").nth(1).inner_text()
    assert "reported by the system" in second
    assert "blocked" in second
    assert "Refused by the provider." in second
    assert "first frame" in second
    assert "polled every 1.5 s" in second
    assert "Leans on turn 1: the avenue named before" in second
    assert page.locator(".turns button.trouble").count() == 1


def test_hostile_text_is_only_text(opened: Opener, factory: Any) -> None:
    systems = ("a", HOSTILE.replace("\x00", ""), "c")
    data = factory(systems=systems, hostile=HOSTILE, scenarios=2, repeats=2, offline=False)
    for name, fragment in (("index.html", ""), ("conversations.html", "#scenario=cooking-002&turn=2&dimension=CU")):
        page = opened(data, name, fragment)
        if name == "conversations.html":
            page.keyboard.press("e")
            for summary in page.locator("summary:visible").all():
                summary.click()
            assert "<script>window.hacked = 1</script>" in heading(page)
            assert "<img src=x" in names(page)[1]
            assert page.evaluate("({}).polluted") is None
            assert page.locator("#lanes img, #lanes script, #scenarios img, h1 img").count() == 0
        body = page.inner_text("body")
        assert "<script>window.hacked = 1</script>" in body
        assert "\x00" not in body
        assert page.evaluate("window.hacked") is None
        assert page.locator("a[href^='javascript']").count() == 0


def test_injected_markup_would_not_run(opened: Opener, factory: Any) -> None:
    page = opened(factory(), tolerate="This document requires")
    blocked = page.evaluate(
        """() => { try { document.body.innerHTML = '<p>'; return 'written'; } catch { return 'refused'; } }"""
    )
    assert blocked == "refused"
    handler = "const a = document.createElement('a'); a.setAttribute('onclick', 'window.hacked = 1'); a.click();"
    script = "const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s);"
    for attempt in (handler, script):
        page.evaluate(f"() => {{ try {{ {attempt} }} catch {{}} }}")
    assert page.evaluate("window.hacked") is None


def test_huge_texts_are_clipped_until_asked_for(opened: Opener, factory: Any) -> None:
    data = factory(scenarios=1, trouble=False)
    first, *rest = data.conversations
    verdicts = tuple(replace(v, reasons="long " * 20_000) for v in first.verdicts)
    transcripts = {turn: replace(t, text="x" * 100_000) for turn, t in first.transcripts.items()}
    page = opened(replace(data, conversations=(replace(first, verdicts=verdicts, transcripts=transcripts), *rest)))
    reply = page.locator(".said").first.locator(".reply").first
    assert reply.bounding_box()["height"] < 500
    reply.locator("text=Show all 100,000 characters").click()
    assert len(reply.locator(".words").inner_text()) == 100_000
    assert page.evaluate("document.documentElement.scrollWidth") <= 1440


def test_what_is_not_played_judged_or_there_is_said(opened: Opener, factory: Any) -> None:
    data = factory(trouble=False)
    _, second, third, *rest = data.conversations
    lost = Exchange(third.system, third.scenario, 1, Outcome.TIMED_OUT, "deadline", "No answer in 120 s.")
    changed = (
        replace(second, exchanges=second.exchanges[:1], verdicts=()),
        replace(third, exchanges=(lost, *third.exchanges[1:])),
    )
    page = opened(replace(data, conversations=(*changed, *rest)), fragment="#turn=1")
    assert "Not planned" in page.locator("#stage .player").nth(0).inner_text()
    assert "Timed out\ndeadline: No answer in 120 s." in page.locator("#stage .player").nth(2).inner_text()
    assert "Not yet played." in page.locator(".said").nth(1).inner_text()
    scores = page.locator(".verdict-row", has_text="Same look").inner_text()
    assert "– not planned" in scores
    assert "– not yet judged" in scores


def test_a_clip_the_browser_cannot_play_says_so(opened: Opener, factory: Any) -> None:
    data = factory(scenarios=1, systems=("a", "b", "c"))
    next((factory.run / "media").glob("1 *")).write_bytes(b"not a film")
    page = opened(data, tolerate="DEMUXER_ERROR")
    page.wait_for_selector("#stage .absent")
    assert "can't play this clip" in page.locator("#stage .player").nth(1).inner_text()
    page.uncheck("#with-voice")
    page.click("#play-turn")
    until(page, "document.querySelector('#stage video').currentTime > 0.1")


def test_a_missing_part_is_an_error_in_words(opened: Opener, factory: Any) -> None:
    page = opened(factory(), tolerate="ERR_FILE_NOT_FOUND")
    (factory.run / "report" / "data" / "scenario-0002.js").unlink()
    page.click("#scenarios >> text=A sourdough")
    page.wait_for_selector("#trouble:not(.hidden)")
    assert "data/scenario-0002.js of this report is missing" in page.text_content("#trouble")
    page.click("#scenarios >> text=Bad news")
    page.wait_for_selector("#trouble.hidden", state="attached")
    assert heading(page) == "Bad news from the clinic"


def test_a_portable_report_plays_where_it_was_moved(browser: Any, factory: Any, tmp_path: Path) -> None:
    index = write_report(factory(), tmp_path / "shown", media_root=factory.run, portable=True)
    moved = index.parent.rename(tmp_path / "moved #1 %20")
    (factory.run).rename(tmp_path / "gone")
    page = browser.new_page()
    page.goto((moved / "conversations.html").as_uri())
    until(page, "[...document.querySelectorAll('#stage video')].filter((v) => v.readyState >= 2).length === 3")
    page.click("#play-turn")
    until(page, "document.querySelector('#stage video').currentTime > 0.1")
    page.close()


@pytest.mark.parametrize("width", [360, 768, 1024, 1440, 2200])
def test_pages_fit_every_width(opened: Opener, factory: Any, width: int) -> None:
    data = factory(systems=("puppet", "puppet:amnesiac", "puppet:drift", "a-system-with-a-rather-long-name"))
    for name in ("index.html", "conversations.html"):
        page = opened(data, name, "#scenario=travel-001" if name == "conversations.html" else "")
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Any, factory: Any, scheme: str) -> None:
    """WCAG AA: 4.5 to 1, for every piece of text of both pages."""
    index = write_report(factory(repeats=2), factory.run / "report", media_root=factory.run)
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1440, "height": 900})
    for name in ("index.html", "conversations.html"):
        page = context.new_page()
        page.goto(index.with_name(name).as_uri())
        if name == "conversations.html":
            page.wait_for_selector("#play-turn")
            page.keyboard.press("e")
        assert page.evaluate(CONTRAST) == []
        assert page.evaluate(UNNAMED) == []
    context.close()


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const light = ([r, g, b]) => { const f = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const ground = (node) => { const layers = [];
    for (let n = node; n; n = n.parentElement) layers.push(rgba(getComputedStyle(n).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]); };
  const poor = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || !node.checkVisibility({ visibilityProperty: true })) continue;
    if (node.closest(':disabled, .unseen, .skip, svg, noscript')) continue;
    const under = ground(node); const ink = over(rgba(getComputedStyle(node).color), under);
    const [a, b] = [light(ink), light(under)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) poor.add(`${node.tagName}.${node.className} ${contrast.toFixed(2)}`);
  }
  return [...poor];
}"""
UNNAMED = """() => [...document.querySelectorAll('button, select, input, video, a, svg[role=img]')].filter((node) =>
  !(node.textContent.trim() || node.getAttribute('aria-label') || node.labels?.length)).map((node) => node.outerHTML)"""
