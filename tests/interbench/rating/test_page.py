"""The rating page in a real Chromium, by keyboard only, as raters use it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium
from page_checks import CONTRAST, NAMELESS
from rating_kit import SYSTEMS, Server, cli

from interbench.domain.ratings import WHOLE, Kind
from interbench.rating.results import read_ratings
from interbench.store.ratings import Ratings

pytestmark = pytest.mark.browser

OPTIONS = ("--items", "12", "--raters", "2", "--dimensions", "MVC,SR", "--silent", "0.1")


def until(page: Any, condition: str) -> None:
    """Waits for a condition in JavaScript. (The browser driver's own wait evaluates text, which the page forbids.)"""
    page.evaluate(
        f"""() => new Promise((resolve, reject) => {{
              const late = setTimeout(() => reject(new Error('still not: ' + {condition!r})), 60000);
              const look = () => ({condition}) ? (clearTimeout(late), resolve()) : setTimeout(look, 10);
              look(); }})"""
    )


def screen(page: Any, name: str) -> None:
    until(page, f"document.body.dataset.screen === {name!r}")


class Rater:
    """Somebody with a keyboard. What the page did and heard is kept, and nothing of it may complain."""

    def __init__(self, browser: Any, link: str, seed: int, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.rng = random.Random(seed)
        self.heard: list[str] = []
        self.complaints: list[str] = []
        self.tolerated = ("Failed to load resource", "net::ERR_ABORTED")
        self.page = self.open(link)

    def open(self, link: str) -> Any:
        page = self.context.new_page()
        page.on("console", lambda m: self.complaints.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("request", lambda r: self.heard.append(f"{r.method} {r.url} {r.headers} {r.post_data}"))
        page.on("response", self._heard)
        page.goto(link)
        return page

    def _heard(self, response: Any) -> None:
        self.heard.append(f"{response.url} {response.headers}")

    def close(self) -> None:
        self.context.close()
        wrong = [c for c in self.complaints if not any(part in c for part in self.tolerated)]
        assert wrong == []

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    @property
    def place(self) -> str:
        return str(self.page.text_content("#place"))

    def play(self) -> None:
        """All turns, one after the other."""
        count = self.page.locator("#turns button").count()
        for turn in range(count):
            self.press(" ")
            after = f"document.querySelector('#turns').children[{turn + 1}].getAttribute('aria-current') === 'true'"
            whole = "[...document.querySelectorAll('#turns .mark')].every((m) => m.textContent)"
            until(self.page, after if turn + 1 < count else whole)

    def values(self) -> list[str]:
        """Keys for each question, as told where there is an instruction."""
        told = str(self.page.text_content("#instruction"))
        asked = self.page.locator(".row").count()
        if told:
            return [told.partition("give it ")[2].partition(" ")[0][-1]] * asked
        return [self.rng.choice("34567890") for _ in range(asked)]

    def rate(self) -> list[str]:
        before = self.place
        self.play()
        values = self.values()
        self.press(*values, "Enter")
        until(
            self.page,
            f"document.getElementById('place').textContent !== {before!r} || document.body.dataset.screen === 'end'",
        )
        return values

    @property
    def ended(self) -> bool:
        return bool(self.page.evaluate("document.body.dataset.screen === 'end'"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def run(played: Path, copied: Callable[[], Path], browser: Any) -> Path:
    return copied()


def test_two_raters_at_once_rate_a_study_by_keyboard(browser: Any, run: Path) -> None:
    """Twelve conversations and what is put between; a reload, a kill of the server and another tab on the way."""
    with Server(run, *OPTIONS) as server:
        links, port = server.links, server.port
        one = Rater(browser, links["r1"], 1, viewport={"width": 1280, "height": 860})
        two = Rater(browser, links["r2"], 2, viewport={"width": 390, "height": 844}, color_scheme="dark")
        for rater in (one, two):
            screen(rater.page, "intro")
            assert rater.page.url.endswith("/"), "the token has left the address"
            assert rater.page.evaluate(CONTRAST) == [] and rater.page.evaluate(NAMELESS) == []
            rater.press("Enter")
            screen(rater.page, "rate")
            assert rater.page.evaluate("document.querySelector('.row').disabled"), "nothing was played yet"
            rater.press("7", "Enter")
            assert "Play the whole conversation first" in str(rater.page.text_content("#error"))
            assert rater.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
        assert one.page.evaluate("document.getElementById('video').muted"), "without sound comes first"
        assert str(one.page.text_content("#said-text")).startswith("The answer is blue")
        first = one.rate()
        assert not one.page.evaluate("document.getElementById('video').muted")
        for rater in (one, two):
            rater.rate()
            assert rater.page.evaluate(CONTRAST) == [] and rater.page.evaluate(NAMELESS) == []

        # Half of the answers are given; a reload goes on there.
        one.play()
        one.press("4")
        until(one.page, "document.getElementById('kept').dataset.state === 'saved'")
        here = one.place
        one.page.reload()
        screen(one.page, "rate")
        assert one.place == here and one.page.locator(".row input:checked").count() == 1
        assert one.page.evaluate("document.querySelector('.row input:checked').value") == "4"

        # Back to the one before, its answers are there, and one is changed.
        one.press("u")
        until(one.page, f"document.getElementById('place').textContent !== {here!r}")
        assert one.page.locator(".row input:checked").count() == one.page.locator(".row").count()
        one.press("ArrowDown", "ArrowUp", "2")
        until(one.page, "document.querySelector('.row input:checked').value === '2'")
        one.press("Enter")
        until(one.page, f"document.getElementById('place').textContent === {here!r}")

        # Another tab is told, takes over, and the first one is told.
        other = one.open(one.page.url)
        screen(other, "trouble")
        assert other.text_content("#trouble-title") == "Open in another tab"
        other.keyboard.press("Enter")
        screen(other, "rate")
        screen(one.page, "trouble")
        one.page.close()
        one.page = other

        # The server is killed in the middle of an answer: the page keeps it and goes on when there is one again.
        one.play()
        server.kill()
        one.press("9")
        until(one.page, "document.getElementById('kept').dataset.state === 'lost'")
        with Server(run, port=port):
            until(one.page, "document.getElementById('kept').dataset.state === 'saved'")
            one.press(*one.values(), "Enter")
            until(one.page, f"document.getElementById('place').textContent !== {here!r}")

            # One is skipped with a reason.
            before = two.place
            two.press("s")
            two.page.wait_for_selector("#why[open]")
            two.press("1")
            until(two.page, f"document.getElementById('place').textContent !== {before!r}")
            while not (one.ended and two.ended):
                for rater in (one, two):
                    if not rater.ended:
                        rater.rate()
            for rater in (one, two):
                rater.press("Tab", "ArrowDown", "Tab")
                rater.page.keyboard.type("the voice")
                rater.press("Tab", "Enter")
                screen(rater.page, "done")
                text = rater.page.content() + "".join(rater.heard)
                assert not [name for name in (*SYSTEMS, "test-00", "merlin") if name in text]
                assert len(rater.heard) > 100
                rater.close()

    said = read_ratings(run)
    assert said.raters == ("r1", "r2") and [closing.recognised for closing in said.closings] == [True, True]
    for number, order in said.assigned.items():
        assert all((number, name) in said.answers for name in order), "everything is closed"
        assert said.diligence[number].checks == 2
        assert any(said.showings[name].kind is Kind.INSTRUCTED for name in order)
        assert "instructed" not in said.diligence[number].failed
    skipped = [key for key, given in said.answers.items() if given[WHOLE].skipped]
    assert [rater for rater, _ in skipped] == ["r2"]
    first_of_one = said.assigned["r1"][0]
    given = said.answers["r1", first_of_one]
    assert [f"{given[key].value:.0f}"[-1] for key in said.showings[first_of_one].dimensions] == first
    with Ratings(run, write=False) as ratings:
        assert any(a.revision > 3 for a in ratings.answers("r1")), "the changed answer is a later revision"
    for verb in ("agree", "table"):
        done = cli(verb, run, *(["--replicates", "40"] if verb == "agree" else ["--humans"]), "-f", "json")
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)


def test_a_pack_is_rated_from_a_folder_and_comes_back(browser: Any, copied: Callable[[], Path], tmp_path: Path) -> None:
    run = copied()
    options = ("--items", "3", "--raters", "1", "--mode", "pairs", "--seed", "1")
    done = cli("rate", run, *options, "--pack", tmp_path)
    assert done.returncode == 0, done.stderr
    link = next(tmp_path.glob("*/rate.html")).as_uri()
    one = Rater(browser, link, 3, viewport={"width": 390, "height": 844})
    screen(one.page, "intro")
    one.press("Enter")
    screen(one.page, "rate")
    assert one.page.evaluate(CONTRAST) == []
    second = one.open(link)
    screen(second, "trouble")
    assert second.text_content("#trouble-title") == "Open in another tab"
    second.close()
    one.page.bring_to_front()
    count = 0
    while not one.ended:
        if count == 1:
            one.page.reload()
            screen(one.page, "rate")
            assert one.place.startswith("2 of"), "what was kept is there again"
        before = one.place
        one.play()
        one.press("abtn"[count % 4], "Enter")
        until(
            one.page,
            f"document.getElementById('place').textContent !== {before!r} || document.body.dataset.screen === 'end'",
        )
        count += 1
    one.press("Tab", " ", "Tab", "Tab", "Enter")
    screen(one.page, "done")
    with one.page.expect_download() as download:
        one.press("Enter")
    saved = tmp_path / "saved.json"
    download.value.save_as(saved)
    assert not [line for line in one.heard if line.startswith("GET http")], "nothing is fetched from anywhere"
    text = saved.read_text() + one.page.content() + "".join(one.heard)
    assert not [name for name in SYSTEMS if name in text]
    one.close()
    imported = cli("rate", run, "--import", saved)
    assert imported.returncode == 0 and f"{2 * count} of them new" in imported.stdout, imported.stderr
    arena = json.loads(cli("arena", run, "--replicates", "40", "-f", "json").stdout)
    groups = list(arena["groups"].values())
    assert groups[-1]["OIE"]["people"]["votes"] == 3
