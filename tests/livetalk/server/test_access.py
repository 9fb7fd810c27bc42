"""Who may use the server: the token, host names, pages of other sites; and what every response carries."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from live_kit import LiveServer, until
from livetalk.base.addresses import is_loopback
from livetalk.server.guard import allowed_hosts, host_name
from livetalk.server.limits import Limits
from livetalk.server.token import TokenError, find_token

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def guarded(serve: Callable[..., LiveServer]) -> LiveServer:
    return serve(token=TOKEN)


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def server_log(caplog: pytest.LogCaptureFixture) -> str:
    """All that was logged, by whomever, except by the client."""
    records = (record for record in caplog.records if not record.name.startswith(("httpx", "httpcore")))
    return "\n".join(f"{record.name} {record.getMessage()}" for record in records)


def test_the_token_is_asked_for(guarded: LiveServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with guarded.client(headers={}) as client:
        for method, path in (
            ("POST", "/v1/conversations"),
            ("GET", "/v1/conversations/x"),
            ("DELETE", "/v1/conversations/x"),
            ("POST", "/v1/conversations/x/turns"),
            ("POST", "/v1/conversations/x/interrupt"),
            ("GET", "/v1/conversations/x/turns/1"),
            ("GET", "/metrics"),
            ("GET", "/openapi.json"),
        ):
            bare = client.request(method, path)
            assert code(bare) == (401, "token_required"), path
            assert bare.headers["www-authenticate"] == 'Bearer realm="livetalk"'
            for wrong in (TOKEN + "x", TOKEN[:-1], "x", TOKEN.upper(), "é"):
                refused = client.request(method, path, headers={b"Authorization": f"Bearer {wrong}".encode()})
                assert code(refused) == (401, "token_refused"), path
                assert "invalid_token" in refused.headers["www-authenticate"]
            for other in (f"Basic {TOKEN}", TOKEN, "Bearer", ""):
                assert code(client.request(method, path, headers={"Authorization": other}))[0] == 401
        assert code(client.get("/nothing")) == (401, "token_required")
        assert code(client.get("/v1/conversations/x", params={"token": TOKEN})) == (401, "token_required")
        for path in ("/", "/page/app.js", "/health"):
            assert client.get(path).status_code == 200, path
    with guarded.client() as client:
        name = guarded.open(client)
        assert client.post(f"/v1/conversations/{name}/turns", data={"text": "Hello."}).status_code == 200
        assert client.get("/metrics", headers={"Authorization": f"bearer  {TOKEN}"}).status_code == 200
        assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
        assert guarded.metric("livetalk_requests_refused_total", code="token_refused") == 40
    assert TOKEN not in server_log(caplog) and TOKEN not in repr(guarded.service.settings)


def test_a_refusal_does_not_wait_for_the_body(guarded: LiveServer) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 10**9:
            sent += 65_536
            yield bytes(65_536)

    with guarded.client(headers={}) as client, contextlib.suppress(httpx.TransportError):
        assert client.post("/v1/conversations", content=endless()).status_code == 401
    assert sent < 10**9


def test_texts_are_in_no_log(server: LiveServer, client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    name = server.open(client)
    response = client.post(
        f"/v1/conversations/{name}/turns",
        params={"text": "My secret is 4711."},
        content=bytes(3_200),
        headers={"Content-Type": "audio/L16;rate=16000"},
    )
    assert response.status_code == 200
    assert until(lambda: "POST /v1/conversations/{conversation}/turns 200" in server_log(caplog))
    log = server_log(caplog)
    assert "4711" not in log and name not in log


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "127.0.0.1:80@evil.example",
        "10.0.0.1",
        "",
    ],
)
def test_other_names_are_not_answered(server: LiveServer, host: str) -> None:
    with server.client() as client:
        assert code(client.get("/health", headers={"Host": host})) == (421, "wrong_host")
        assert code(client.get("/", headers={"Host": host})) == (421, "wrong_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1", "127.0.0.1:80"])
def test_names_of_this_machine_are(server: LiveServer, host: str) -> None:
    with server.client() as client:
        assert client.get("/health", headers={"Host": host}).status_code == 200


def test_pages_of_other_sites_may_not_post(server: LiveServer, client: httpx.Client) -> None:
    refused = [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": server.url},
    ]
    accepted = [{}, {"Origin": server.url}, {"Sec-Fetch-Site": "same-origin", "Origin": "https://proxy.example"}]
    for headers in refused:
        assert code(client.post("/v1/conversations", headers=headers)) == (403, "cross_origin"), headers
        assert code(client.delete("/v1/conversations/x", headers=headers)) == (403, "cross_origin"), headers
    for headers in accepted:
        assert client.delete("/v1/conversations/x", headers=headers).status_code == 404, headers
    answer = client.get("/health", headers={"Origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert client.options("/v1/conversations", headers=preflight).status_code == 403


def test_what_every_response_carries(server: LiveServer, client: httpx.Client) -> None:
    for response in (client.get("/"), client.get("/health"), client.get("/none"), client.get("/page/app.js")):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["referrer-policy"] == "no-referrer"
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert "server" not in response.headers
    assert client.get("/").headers["content-type"] == "text/html; charset=utf-8"
    assert client.get("/page/app.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/health").headers["cache-control"] == "no-store"


def test_the_page_takes_nothing_from_elsewhere(client: httpx.Client) -> None:
    index = client.get("/").text
    assert "http://" not in index.replace("http://www.w3.org/", "") and "https://" not in index


# -- where the token is from -------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_token_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIVETALK_TOKEN", raising=False)


def test_other_machines_need_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_token("127.0.0.1", None, waived=False) is None
    assert find_token("::1", None, waived=False) is None
    for host in ("0.0.0.0", "::", "192.168.1.5", "avatar.example"):
        with pytest.raises(TokenError, match="needs a token"):
            find_token(host, None, waived=False)
        assert find_token(host, None, waived=True) is None
    monkeypatch.setenv("LIVETALK_TOKEN", TOKEN)
    assert find_token("0.0.0.0", None, waived=False) == TOKEN
    assert find_token("127.0.0.1", None, waived=False) == TOKEN


def test_a_file_holds_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVETALK_TOKEN", "something-else-entirely")
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert find_token("0.0.0.0", file, waived=False) == TOKEN
    for content in (
        "",
        "short",
        "with a space in the middle",
        "späte-ungewöhnliche-zeichen",
        "two\nlines-of-some-length",
    ):
        file.write_text(content)
        with pytest.raises(TokenError) as caught:
            find_token("127.0.0.1", file, waived=False)
        assert not content or content not in str(caught.value)
    with pytest.raises(TokenError, match="can't be read"):
        find_token("127.0.0.1", tmp_path / "none", waived=False)
    with pytest.raises(TokenError, match="contradict"):
        find_token("127.0.0.1", file, waived=True)


def test_loopback_and_host_names() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost.example", "")))
    assert [host_name(header) for header in ("A.b:80", "[::1]:80", "[::1]", "::1", "", "x")] == [
        *("a.b", "::1", "::1", "::1", "", "x")
    ]
    assert allowed_hosts("0.0.0.0") == frozenset()
    assert allowed_hosts("0.0.0.0", ["Avatar.example"]) == {"avatar.example"}
    assert allowed_hosts("127.0.0.2", ["avatar.example"]) == {
        *("localhost", "127.0.0.1", "::1", "127.0.0.2", "avatar.example")
    }


def test_strangers_lock_nobody_out_who_has_the_token(serve: Callable[..., LiveServer]) -> None:
    server = serve(token=TOKEN, limits=Limits(connections=4, strangers=12, head_s=60.0))
    half = b"GET /v1/conversations/none HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
    whole = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    held: list[socket.socket] = []
    try:
        with server.client(headers={"Authorization": f"Bearer {TOKEN}"}) as friend:
            for number in range(60):
                held.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
                held[-1].sendall((half, b"", whole)[number % 3])
                if number % 3 == 2:
                    assert held[-1].recv(12) == b"HTTP/1.1 200"
                # Over the connection that it keeps, and over one that is opened in the middle of the crowd.
                assert friend.get("/v1/conversations/none").status_code == 404
                if number % 6 == 5:
                    with server.client(headers={"Authorization": f"Bearer {TOKEN}"}) as newcomer:
                        assert newcomer.get("/v1/conversations/none").status_code == 404
        # Those that came first have made way, and the latest are still there.
        for stranger in held[:40]:
            with contextlib.suppress(ConnectionError):
                while stranger.recv(65_536):
                    pass
        held[-3].settimeout(0.2)
        with pytest.raises(TimeoutError):
            held[-3].recv(1)
    finally:
        for stranger in held:
            stranger.close()


def test_of_several_addresses_the_one_that_holds_the_most_makes_way(serve: Callable[..., LiveServer]) -> None:
    server = serve(token=TOKEN, limits=Limits(connections=4, strangers=6, head_s=60.0))
    alone = socket.create_connection(("127.0.0.1", server.port), timeout=10, source_address=("127.0.0.2", 0))
    crowd = []
    try:
        for _ in range(30):
            crowd.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            crowd[-1].sendall(b"GET / HTT")
        with contextlib.suppress(ConnectionError):
            assert crowd[0].recv(1) == b"", "cut, although it came after the one that is alone"
        alone.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert alone.recv(12) == b"HTTP/1.1 200"
    finally:
        for connection in (alone, *crowd):
            connection.close()
