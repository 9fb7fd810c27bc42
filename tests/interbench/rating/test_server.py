"""The server of a study as browsers and others meet it: who is let in, what is taken, and that nothing is lost."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rating_kit import SYSTEMS, Server, cli

from interbench.domain.ratings import WHOLE
from interbench.store.ratings import Ratings

OPTIONS = ("--items", "6", "--raters", "2", "--dimensions", "MVC,SR", "--mode", "both")


class Rater:
    """A client that does what the page does."""

    def __init__(self, link: str, tab: str = "tab", client: httpx.Client | None = None) -> None:
        self.base, _, self.token = link.partition("#")
        self.tab = tab
        self.client = client or httpx.Client(base_url=self.base, timeout=60)

    def post(self, what: str, **data: Any) -> httpx.Response:
        return self.client.post(f"api/{what}", json={"tab": self.tab, **data})

    def enter(self, **more: Any) -> httpx.Response:
        return self.post("enter", token=self.token, **more)

    def at(self, position: int | None = None) -> dict[str, Any]:
        query = {} if position is None else {"position": position}
        told: dict[str, Any] = self.client.get("api/at", params=query).json()
        return told

    def answer(self, showing: str, dimension: str, revision: int = 1, **more: Any) -> httpx.Response:
        told = {"showing": showing, "dimension": dimension, "revision": revision, "played": 1, "seconds": 2, **more}
        return self.post("answer", **told)

    def finish(self) -> None:
        """Answers the showing that it is at."""
        showing = self.at()["showing"]
        for key in showing["dimensions"]:
            value = {"choice": "tie"} if showing["pair"] else {"value": 6}
            assert self.answer(showing["id"], key, **value).status_code == 200
        assert self.answer(showing["id"], WHOLE, 2).status_code == 200


@pytest.fixture(scope="module")
def run(copied: Callable[[], Path]) -> Path:
    return copied()


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[Server]:
    with Server(run, *OPTIONS) as serving:
        yield serving


@pytest.fixture
def clients() -> Iterator[list[httpx.Client]]:
    opened: list[httpx.Client] = []
    yield opened
    for client in opened:
        client.close()


JSON = {"Content-Type": "application/json"}


def rater(server: Server, name: str, clients: list[httpx.Client], tab: str = "tab") -> Rater:
    one = Rater(server.links[name], tab)
    clients.append(one.client)
    return one


def test_only_whoever_has_the_link_is_let_in(server: Server, clients: list[httpx.Client]) -> None:
    one, two = rater(server, "r1", clients), rater(server, "r2", clients)
    assert one.client.get("").status_code == 200, "the page itself tells nothing"
    for refused in (
        one.client.get("api/at"),
        one.client.get("api/hold?tab=x"),
        one.client.get("clips/x.mp4"),
        one.answer("x", "MVC", value=5),
        one.post("enter"),
        one.post("enter", token="0" * 32),
        one.post("enter", token=two.token),
        one.post("enter", token=["x"]),
        one.client.post("api/enter", content='{"tab": "tab", "token": "\\ud800"}', headers=JSON),
    ):
        assert refused.status_code == 403, refused.url
    entered = one.enter()
    assert entered.status_code == 200
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/r/r1/" in cookie
    assert one.client.get("api/at").status_code == 200
    assert one.client.get(server.links["r2"].partition("#")[0] + "api/at").status_code == 403, "of r1 alone"
    assert one.client.get(server.links["r1"].replace("/r1/", "/r9/").partition("#")[0]).status_code == 404


def test_other_names_other_sites_and_bodies_that_are_none_are_refused(
    server: Server, clients: list[httpx.Client]
) -> None:
    one = rater(server, "r1", clients)
    assert one.enter().status_code == 200
    assert one.client.get("api/at", headers={"Host": "evil.example"}).status_code == 421
    assert one.client.get("api/at", headers={"Origin": "http://evil.example"}).status_code == 403
    at = f"{one.base}api/answer"
    headers = JSON
    two_megabytes = json.dumps({"tab": "tab", "note": "x" * 2_000_000})
    for content, kind, status in (
        (two_megabytes, headers, 413),
        ("{", headers, 400),
        ("[" * 60_000, headers, 400),
        ("[1]", headers, 400),
        ("{}", headers, 400),
        ("{}", {"Content-Type": "text/plain"}, 415),
    ):
        assert one.client.post(at, content=content, headers=kind).status_code == status, content[:20]
    for path in ("../../../etc/passwd", "%2e%2e/ratings.sqlite", "rate.html", "x.py", "clips/..%2f..%2fratings.sqlite"):
        assert one.client.get(f"{one.base}{path}").status_code == 404, path
    answer = one.client.get("api/at")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cross-origin-resource-policy"] == "same-origin" and "server" not in answer.headers


def test_answers_that_can_not_be_are_refused_with_the_reason(
    server: Server, run: Path, clients: list[httpx.Client]
) -> None:
    one = rater(server, "r1", clients)
    one.enter()
    while one.at()["showing"]["pair"] or len(one.at()["showing"]["dimensions"]) < 2:
        one.finish()
    showing = one.at()["showing"]
    name = showing["id"]
    with Ratings(run, write=False) as ratings:
        later = ratings.order("r1")[-1]
        others = next(s for s in ratings.order("r2") if s not in ratings.order("r1"))
    for data, said in (
        ({"value": 11}, "from 1 to 10"),
        ({"value": True}, "no answer"),
        ({"value": "7"}, "no answer"),
        ({}, "from 1 to 10"),
        ({"choice": "left"}, "from 1 to 10"),
        ({"value": 7, "played": 0.5}, "50 % of it was played"),
        ({"value": 7, "played": 2}, "no answer"),
        ({"value": 7, "revision": 0}, "no answer"),
        ({"value": 7, "dimension": "CU"}, "not asked"),
        ({"value": 7, "showing": others}, "Nothing called"),
        ({"choice": "tie", "dimension": "OIE", "showing": later}, "comes later"),
        ({"dimension": WHOLE, "skipped": "<script>"}, "no reason to skip"),
        ({"dimension": WHOLE}, "Not yet answered: MVC, SR"),
    ):
        told = {"showing": name, "dimension": "MVC", **data}
        refused = one.answer(**told)
        assert refused.status_code == 422 and said in refused.json()["error"], (data, refused.text)
    assert one.at()["answers"]["given"] == {}
    assert one.client.get("api/at", params={"position": 9999}).status_code == 422
    assert one.client.get("api/at", params={"position": "-1"}).status_code == 400


def test_the_same_answer_again_changes_nothing_and_a_later_one_counts(
    server: Server, run: Path, clients: list[httpx.Client]
) -> None:
    one = rater(server, "r2", clients)
    one.enter()
    name = one.at()["showing"]["id"]
    for revision, value in ((1, 4), (1, 4), (3, 8), (2, 2)):
        assert one.answer(name, "MVC", revision, value=value).status_code == 200
    assert one.at()["answers"]["given"] == {"MVC": 8}
    with Ratings(run, write=False) as ratings:
        assert len(ratings.answers("r2", latest=False)) == 3


def test_one_tab_holds_the_study_and_the_other_is_told(server: Server, clients: list[httpx.Client]) -> None:
    first = rater(server, "r2", clients, "first")
    second = Rater(server.links["r2"], "second", first.client)
    assert first.enter().status_code in (200, 409)
    assert first.enter(take=True).status_code == 200
    with first.client.stream("GET", "api/hold", params={"tab": "first"}) as stream:
        lines = stream.iter_lines()
        assert next(lines) == ": here"
        refused = second.enter()
        assert refused.status_code == 409 and refused.json()["error"] == "elsewhere"
        assert second.answer("x", "MVC", value=5).status_code == 409
        assert first.enter().status_code == 200, "a reload is the same tab"
        assert second.enter(take=True).status_code == 200
        assert "event: taken" in list(lines)
        name = second.at()["showing"]["id"]
        assert first.answer(name, "MVC", 9, value=5).status_code == 409
        assert first.client.get("api/hold", params={"tab": "first"}).status_code == 409


def test_clips_come_in_parts_and_under_names_that_tell_nothing(server: Server, clients: list[httpx.Client]) -> None:
    one = rater(server, "r1", clients)
    one.enter()
    text = one.client.get("api/at").text
    assert not [name for name in SYSTEMS if name in text]
    clip = json.loads(text)["showing"]["sides"][0][0]["clip"]
    part = one.client.get(f"clips/{clip}", headers={"Range": "bytes=0-99"})
    assert part.status_code == 206 and len(part.content) == 100 and part.headers["content-type"] == "video/mp4"
    assert not [name for name in SYSTEMS if name in str(part.headers)]


def test_no_answer_is_lost_when_the_server_is_killed_and_a_name_finds_its_place(copied: Callable[[], Path]) -> None:
    """Killed after every answer, at once; and the name is nowhere kept."""
    run = copied()
    for said in range(3):
        options: tuple[str, ...] = (
            "--items", "3", "--raters", "1", "--dimensions", "MVC,SR", "--silent", "0",
            "--host", "0.0.0.0",
        ) if not said else ()  # fmt: skip
        with Server(run, "--as", "Ada Lovelace", *options) as server:
            assert set(server.links) == {"r1"}
            link = server.links["r1"].replace(socket.gethostname(), "127.0.0.1")
            assert ("#" in link) == (not said), "a token is needed, but on loopback"
            one = Rater(link)
            with one.client:
                assert one.client.get("api/at").status_code == (200 if said else 403)
                root = one.client.get(link.partition("r/r1")[0], follow_redirects=True)
                assert str(root.url) == link if said else "Open the link" in root.text
                assert one.enter().status_code == 200
                told = one.at()
                showing = told["showing"]
                assert told["answers"]["given"] == dict.fromkeys(showing["dimensions"][:said], 7)
                if said < len(showing["dimensions"]):
                    answer = one.answer(showing["id"], showing["dimensions"][said], value=7)
                else:
                    answer = one.answer(showing["id"], WHOLE, 2)
                server.kill()
                assert answer.status_code == 200
    with Ratings(run, write=False) as ratings:
        assert len(ratings.answers("r1")) == 3 and len(ratings.done("r1")) == 1
    for path in run.glob("ratings*"):
        assert path.is_dir() or b"Lovelace" not in path.read_bytes()
    refused = cli("rate", run, "--as", "linus")
    assert refused.returncode == 2 and "All 1 places of the study are taken" in refused.stderr


def test_a_server_that_is_told_to_end_ends_well_with_tabs_open(server: Server, clients: list[httpx.Client]) -> None:
    """The last test of this file: afterwards there is no server."""
    one = rater(server, "r1", clients, "last")
    assert one.enter(take=True).status_code == 200
    with one.client.stream("GET", "api/hold", params={"tab": "last"}) as stream:
        lines = stream.iter_lines()
        assert next(lines) == ": here"
        assert server.stop() == 0
        assert "event: end" in list(lines)
