"""What clients may not do: each is refused with a clear error, early, and the server goes on as before."""

from __future__ import annotations

import gzip
import io
import json
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from live_kit import NO_TLS, Clip, LiveServer, raw_request, tone, until, wav
from livetalk.server.limits import MIB, Limits
from PIL import Image

PORTRAIT = Path(__file__).parents[3] / "runners" / "livetalk" / "server" / "page" / "portrait-maya.jpg"
SMALL = Limits(body_bytes=2 * MIB, picture_bytes=MIB, turn_audio_s=5.0, connections=12)
HURRIED = replace(SMALL, body_s=1.0, head_s=1.0)


@pytest.fixture(scope="module")
def server(models: Any) -> Iterator[LiveServer]:
    """One with small limits."""
    server = LiveServer(models, limits=SMALL)
    try:
        yield server.wait_until_ready()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def hurried(models: Any) -> Iterator[LiveServer]:
    """One that waits a second for a request; those of all other tests may take as long as the machine does."""
    server = LiveServer(models, limits=HURRIED)
    try:
        yield server.wait_until_ready()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def turns(server: LiveServer) -> str:
    """The address of the turns of a conversation that all tests share: nearly nothing is ever said in it."""
    with server.client() as client:
        return f"/v1/conversations/{server.open(client)}/turns"


def error(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def png(width: int, height: int) -> bytes:
    """A black picture of any size, without the memory for it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def long_wav(seconds: int, rate: int = 16_000) -> Iterator[bytes]:
    """Silence, as it is sent: nobody ever holds it as a whole."""
    size = 2 * seconds * rate
    yield struct.pack(
        "<4sI8sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVEfmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", size
    )
    second = bytes(2 * rate)
    for _ in range(seconds):
        yield second


def flac(seconds: float) -> bytes:
    """Silence in few bytes."""
    import av
    import numpy as np

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, round(seconds * 16_000)), np.int16), "s16", "mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_a_decompression_bomb(client: httpx.Client) -> None:
    bomb = png(20_000, 20_000)
    assert len(bomb) < MIB
    response = client.post("/v1/conversations", files={"image": ("a.png", bomb, "image/png")})
    assert error(response) == (413, "picture_too_large") and "50 megapixels" in response.text


@pytest.mark.parametrize(
    "content",
    [
        b"This is no picture.",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%true) (r) file\n",
        PORTRAIT.read_bytes()[:5_000],
        b"GIF89a" + bytes(30),
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        png(64, 64)[:33] + bytes(5_000),
    ],
    ids=["text", "postscript", "cut", "empty gif", "svg", "garbage"],
)
def test_what_is_no_picture(client: httpx.Client, content: bytes) -> None:
    response = client.post("/v1/conversations", files={"image": ("portrait.png", content, "image/png")})
    assert error(response) == (422, "bad_picture")


def test_an_animation_with_transparency_and_orientation_is_a_picture(server: LiveServer, client: httpx.Client) -> None:
    frames = [Image.new("RGBA", (48, 64), (200, 40 * n, 90, 120)) for n in range(3)]
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], exif=exif)
    response = client.post("/v1/conversations", files={"image": ("", buffer.getvalue(), "image/webp")})
    assert response.status_code == 201


def test_a_picture_of_too_many_bytes(client: httpx.Client) -> None:
    response = client.post("/v1/conversations", files={"image": ("a.png", bytes(MIB + 1), "image/png")})
    assert error(response) == (413, "body_too_large") and "`image` is larger than 1 MiB" in response.text


# -- sound -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", ["told", "chunked"])
def test_three_hours_of_sound(server: LiveServer, client: httpx.Client, turns: str, length: str) -> None:
    seconds = 3 * 3_600
    headers = {"Content-Type": "audio/wav"}
    if length == "told":
        headers["Content-Length"] = str(44 + 2 * 16_000 * seconds)
    sent = 0

    def counted() -> Iterator[bytes]:
        nonlocal sent
        for piece in long_wav(seconds):
            sent += len(piece)
            yield piece

    try:
        response = client.post(turns, content=counted(), headers=headers)
    except httpx.TransportError:
        # The server stopped listening; whether its answer is still read depends on the client.
        pass
    else:
        assert error(response) == (413, "body_too_large") and "5 seconds" in response.text
    assert sent < 100 * MIB, "it was read to its end"
    assert server.metric("livetalk_requests_refused_total", code="body_too_large") >= 1
    assert client.get("/health").json()["status"] == "ready"


@pytest.mark.parametrize("how", ["file", "body", "samples", "compressed"])
def test_sound_that_is_a_little_too_long(client: httpx.Client, turns: str, how: str) -> None:
    content = wav(tone(5.5, rate=16_000))
    if how == "file":
        response = client.post(turns, files={"audio": ("a.wav", content, "audio/wav")})
    elif how == "body":
        response = client.post(turns, content=content, headers={"Content-Type": "audio/wav"})
    elif how == "samples":
        response = client.post(turns, content=bytes(176_000), headers={"Content-Type": "audio/L16; rate=16000"})
    else:
        compressed = flac(600.0)
        assert len(compressed) < MIB // 4
        response = client.post(turns, content=compressed, headers={"Content-Type": "audio/flac"})
    assert error(response) == (413, "audio_too_long") and "5 seconds" in response.text


@pytest.mark.parametrize(
    ("content", "kind", "expected"),
    [
        (b"RIFF" + bytes(400), "audio/wav", (422, "bad_audio")),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n", "audio/mpegurl", (422, "bad_audio")),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "audio/wav", (422, "bad_audio")),
        (wav(tone(0.0)), "audio/wav", (422, "bad_audio")),
        (b"abc", "audio/L16;rate=16000", (422, "bad_audio")),
        (b"", "audio/wav", (422, "empty_turn")),
        (bytes(32), "audio/L16", (415, "unsupported_media_type")),
        (bytes(32), "audio/L16;rate=99999999999999999999999", (415, "unsupported_media_type")),
        (bytes(32), "audio/L16;rate=16000;channels=99", (415, "unsupported_media_type")),
    ],
)
def test_what_is_no_sound(
    client: httpx.Client, turns: str, content: bytes, kind: str, expected: tuple[int, str]
) -> None:
    assert error(client.post(turns, content=content, headers={"Content-Type": kind})) == expected


# -- text and fields ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["data", "json", "files"])
def test_a_megabyte_of_text(client: httpx.Client, turns: str, form: str) -> None:
    text = "a" * (MIB - 100)
    fields: Any = {"text": (None, text)} if form == "files" else {"text": text}
    assert error(client.post(turns, **{form: fields})) == (413, "text_too_long")


@pytest.mark.parametrize(
    ("field", "most"), [("prompt", 2_000), ("persona", 8_000), ("voice", 64)], ids=["prompt", "persona", "voice"]
)
def test_other_texts_have_limits_too(client: httpx.Client, field: str, most: int) -> None:
    response = client.post("/v1/conversations", data={field: "ü" * (most + 1)})
    assert error(response) == (413, "text_too_long") and f"`{field}` is longer than {most} characters" in response.text


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"url": "http://127.0.0.1:1/portrait.png"}, "url"),
        ({"image": "/etc/passwd"}, "file"),
        ({"seed": "-1"}, "seed"),
        ({"seed": "9" * 20}, "seed"),
        ({"seed": "1e3"}, "seed"),
        ({"voice": "../../../etc/passwd"}, "voice"),
        ({"persona": "a\0b"}, "control"),
    ],
)
def test_fields_that_cannot_be(client: httpx.Client, fields: dict[str, Any], word: str) -> None:
    response = client.post("/v1/conversations", data=fields)
    assert error(response) == (422, "bad_field") and word in response.text


def test_what_is_not_utf_8(client: httpx.Client) -> None:
    as_form = client.post("/v1/conversations", files={"persona": (None, b"\xff\xfe")})
    assert error(as_form) == (422, "bad_field") and "UTF-8" in as_form.text
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert error(client.post("/v1/conversations", content="persona=%FF", headers=headers)) == (400, "malformed")


def test_an_unknown_voice(client: httpx.Client) -> None:
    assert error(client.post("/v1/conversations", data={"voice": "klingon"})) == (422, "unsupported")


@pytest.mark.parametrize("played", ["nan", "inf", "-1", "1e9", "later"])
def test_impossible_times(client: httpx.Client, turns: str, played: str) -> None:
    assert error(client.post(turns, data={"text": "Hi.", "played_s": played})) == (422, "bad_field")
    interrupt = turns.replace("turns", "interrupt")
    assert error(client.post(interrupt, data={"played_s": played})) == (422, "bad_field")
    headers = {"Content-Type": "audio/L16;rate=16000"}
    assert error(client.post(turns, params={"played_s": played}, content=bytes(320), headers=headers)) == (
        422,
        "bad_field",
    )


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": " \n "}, {"played_s": "1"}])
def test_an_empty_turn(client: httpx.Client, turns: str, body: dict[str, str]) -> None:
    assert error(client.post(turns, data=body)) == (422, "empty_turn")
    assert error(client.post(turns, files={"audio": ("a.wav", b"", "audio/wav")})) == (422, "empty_turn")


def test_a_field_twice(client: httpx.Client, turns: str) -> None:
    twice = [("text", (None, "one")), ("text", (None, "two"))]
    assert error(client.post(turns, files=twice)) == (422, "bad_field")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert error(client.post(turns, content="text=one&text=two", headers=headers)) == (422, "bad_field")
    headers = {"Content-Type": "audio/L16;rate=16000"}
    response = client.post(f"{turns}?played_s=1&played_s=2", content=bytes(320), headers=headers)
    assert error(response) == (422, "bad_field")


def test_queries_where_there_are_none(client: httpx.Client, turns: str) -> None:
    assert error(client.post(turns, params={"text": "Hi."}, data={"text": "Hi."})) == (422, "bad_field")
    assert error(client.post("/v1/conversations", params={"token": "x"})) == (422, "bad_field")


def test_many_parts(client: httpx.Client, turns: str) -> None:
    parts = [(f"field{n}", (None, "x")) for n in range(5_000)]
    assert error(client.post(turns, files=parts)) == (422, "bad_field")


# -- types and forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "video/mp4", "image/png", "multipart/mixed", "///", ""]
)
def test_bodies_of_other_types(client: httpx.Client, turns: str, kind: str) -> None:
    response = client.post(turns, content=b"text=Hi.", headers={"Content-Type": kind})
    assert error(response) == (415, "unsupported_media_type")
    assert error(client.post("/v1/conversations", content=b"x", headers={"Content-Type": kind})) == (
        415,
        "unsupported_media_type",
    )


def test_a_compressed_body(client: httpx.Client, turns: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    response = client.post(turns, content=gzip.compress(b'{"text": "Hi."}'), headers=headers)
    assert error(response) == (415, "unsupported_media_type") and "compressed" in response.text


@pytest.mark.parametrize(
    ("field", "kind"),
    [("image", "text/html"), ("image", "image/svg+xml"), ("image", "audio/wav"), ("persona", "image/png")],
)
def test_parts_of_other_types(client: httpx.Client, field: str, kind: str) -> None:
    response = client.post("/v1/conversations", files={field: ("a", png(64, 64), kind)})
    assert error(response) == (415, "unsupported_media_type")


def test_names_of_files_mean_nothing(server: LiveServer, client: httpx.Client, turns: str) -> None:
    for name in ("../../../../etc/passwd", "C:\\boot.ini", "/dev/zero", "a\0.wav", "x" * 2_000, "'; rm -rf /"):
        response = client.post(turns, files={"audio": (name, wav(tone(0.3, rate=16_000)), "audio/wav")})
        assert response.status_code == 200 and Clip(response.content).frames > 0, name


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b\r\n",
        b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\nHello',
        b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\nHello\r\n--b',
        b"--b\r\nContent-Disposition: form-data\r\n\r\nHello\r\n--b--\r\n",
        b"--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n--b--\r\n",
        b'--c\r\nContent-Disposition: form-data; name="text"\r\n\r\nHello\r\n--c--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="text"; x="' + b"y" * 10_000 + b'"\r\n\r\nHello\r\n--b--\r\n',
        b"--b\r\n" + b"X-Header: y\r\n" * 100 + b"\r\nHello\r\n--b--\r\n",
    ],
)
def test_forms_that_are_none(client: httpx.Client, turns: str, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert error(client.post(turns, content=body, headers=headers)) == (400, "malformed")


@pytest.mark.parametrize("kind", ["multipart/form-data", f"multipart/form-data; boundary={'b' * 300}"])
def test_boundaries_that_are_none(client: httpx.Client, turns: str, kind: str) -> None:
    assert error(client.post(turns, content=b"--b--\r\n", headers={"Content-Type": kind})) == (400, "malformed")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[" * 500_000, "malformed"),
        (b'{"text":' * 100_000 + b"1" + b"}" * 100_000, "malformed"),
        (b"[]", "malformed"),
        (b"{", "malformed"),
        (b'"text"', "malformed"),
        (b'{"text": "\\ud800"}', "malformed"),
        (b'{"text": {"a": 1}}', "bad_field"),
        (b'{"text": true}', "bad_field"),
        (b'{"a": "b"}', "bad_field"),
        (b'{"played_s": ' + b"9" * 100_000 + b', "text": "Hi."}', "malformed"),
        (b'{"audio": "AAAA"}', "bad_field"),
        (b'{"text": "One.", "text": "Two."}', "bad_field"),
        (b'[["text", "One."]]', "malformed"),
    ],
    ids=range(13),
)
def test_json_that_is_none(client: httpx.Client, turns: str, body: bytes, code: str) -> None:
    response = client.post(turns, content=body, headers={"Content-Type": "application/json"})
    assert error(response)[1] == code


# -- HTTP itself -------------------------------------------------------------------------------------------------------


def head(path: str, *lines: str) -> str:
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""))


def status_and_code(answer: bytes) -> tuple[int, str]:
    first, _, body = answer.partition(b"\r\n\r\n")
    body, _ = json.JSONDecoder().raw_decode(body.decode())
    return int(first.split()[1]), body["error"]["code"]


def test_an_endless_body(server: LiveServer, turns: str) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(10_000):
            yield b"10000\r\n" + bytes(65_536) + b"\r\n"

    answer = raw_request(server.port, head(turns, "Content-Type: audio/wav", "Transfer-Encoding: chunked"), chunks())
    assert answer == b"" or status_and_code(answer) == (413, "body_too_large")
    assert server.metric("livetalk_requests_refused_total", code="body_too_large") >= 1


def test_a_body_that_is_announced_too_long_is_not_awaited(server: LiveServer, turns: str) -> None:
    answer = raw_request(
        server.port, head(turns, "Content-Type: audio/wav", f"Content-Length: {10**12}", "Connection: close")
    )
    assert status_and_code(answer) == (413, "body_too_large")


def test_a_body_shorter_than_announced(hurried: LiveServer) -> None:
    lines = ("Content-Type: application/x-www-form-urlencoded", "Content-Length: 1000")
    with hurried.client() as client:
        turns = f"/v1/conversations/{hurried.open(client)}/turns"
        answer = raw_request(hurried.port, head(turns, *lines), (b"text=Hello",))
    assert status_and_code(answer) == (408, "request_timeout")


def test_a_body_longer_than_announced(server: LiveServer, turns: str) -> None:
    lines = ("Content-Type: application/x-www-form-urlencoded", "Content-Length: 5")
    answer = raw_request(server.port, head(turns, *lines), (b"text=Hello\r\n\r\n",))
    first, second = answer.split(b"HTTP/1.1 4")[1:]
    assert status_and_code(b"HTTP/1.1 4" + first) == (422, "empty_turn")
    assert status_and_code(b"HTTP/1.1 4" + second) == (400, "malformed")


@pytest.mark.parametrize("start", ["", "GET /health HTTP/1.1\r\nHost: 127.0"])
def test_a_request_that_never_comes(hurried: LiveServer, start: str) -> None:
    assert status_and_code(raw_request(hurried.port, start)) == (408, "request_timeout")


def test_a_second_request_that_never_comes(hurried: LiveServer) -> None:
    once = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    answers = raw_request(hurried.port, once + "GET /health HTTP/1.1\r\nHost: 127.0").split(b"HTTP/1.1 ")[1:]
    assert answers[0].startswith(b"200") and status_and_code(b"HTTP/1.1 " + answers[1]) == (408, "request_timeout")


@pytest.mark.parametrize(
    "request_head",
    [
        "\x16\x03\x01\x02\x00\x01\x00",
        "GET / HTTP/1.1\r\nHost x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX: " + "y" * 1_000_000 + "\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ],
    ids=range(7),
)
def test_what_is_no_http(server: LiveServer, request_head: str) -> None:
    assert status_and_code(raw_request(server.port, request_head)) == (400, "malformed")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pitch", "100"),
        ("pitch", "-1"),
        ("pitch", "high"),
        ("rate", "79"),
        ("rate", "451"),
        ("rate", "1e2"),
        ("rate", "٣"),
    ],
)
def test_manners_that_no_voice_has(client: httpx.Client, field: str, value: str) -> None:
    response = client.post("/v1/conversations", data={field: value})
    assert error(response) == (422, "bad_field") and f"`{field}`" in response.text


def test_too_many_connections(server: LiveServer, client: httpx.Client) -> None:
    held = [httpx.Client(base_url=server.url, trust_env=False, verify=NO_TLS) for _ in range(SMALL.connections + 3)]
    try:
        answers = [entry.get("/health") for entry in held]
        assert answers[0].status_code == 200
        assert error(answers[-1]) == (503, "busy") and "retry-after" in answers[-1].headers
    finally:
        for entry in held:
            entry.close()


def test_too_many_turns_of_one_conversation(server: LiveServer, client: httpx.Client, turns: str) -> None:
    lines = ("Content-Type: audio/wav", "Content-Length: 1000")
    held = []
    try:
        for _ in range(8):
            held.append(socket.create_connection(("127.0.0.1", server.port)))
            held[-1].sendall(head(turns, *lines).encode())
        assert until(lambda: client.post(turns, data={"played_s": "1"}).status_code == 503)
    finally:
        for connection in held:
            connection.close()
    assert until(lambda: client.post(turns, data={"played_s": "1"}).status_code == 422)


@pytest.mark.parametrize("name", ["unknown", "..%2f..%2fetc", "a" * 5_000, "%00", "%F0%9F%8E%AD", "{conversation}"])
def test_names_of_no_conversation(client: httpx.Client, name: str) -> None:
    assert client.get(f"/v1/conversations/{name}").status_code == 404
    assert error(client.post(f"/v1/conversations/{name}/turns", data={"text": "Hi."}))[0] == 404


@pytest.mark.parametrize("index", ["0", "1000", "-1", "one", "1e1", "9" * 4_400, "١"])
def test_numbers_of_no_turn(client: httpx.Client, turns: str, index: str) -> None:
    assert error(client.get(f"{turns}/{index}")) == (404, "unknown_turn")


@pytest.mark.parametrize(
    "path", ["/page/..%2fcli.py", "/page/__init__.py", "/page/none.js", "/page/", "/docs", "/v1", "/x/"]
)
def test_addresses_of_nothing(client: httpx.Client, path: str) -> None:
    assert error(client.get(path)) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/health", "GET, HEAD"),
        ("/v1/conversations", "POST"),
        ("/v1/conversations/x", "DELETE, GET, HEAD"),
        ("/v1/conversations/x/turns", "POST"),
    ],
)
def test_other_methods(client: httpx.Client, path: str, methods: str) -> None:
    for method in ("PUT", "OPTIONS", "FOO"):
        response = client.request(method, path)
        assert error(response) == (405, "method_not_allowed") and response.headers["allow"] == methods


def test_head_is_get_without_the_body(server: LiveServer) -> None:
    with httpx.Client(base_url=server.url, trust_env=False) as plain:
        for path in ("/health", "/", "/v1/conversations/none"):
            head, get = plain.head(path), plain.get(path)
            assert (head.status_code, head.content) == (get.status_code, b"") and get.content
            assert head.headers["content-type"] == get.headers["content-type"]
        assert plain.head("/v1/conversations").status_code == 405


def test_after_all_that_a_conversation_goes_on(server: LiveServer, client: httpx.Client, turns: str) -> None:
    response = client.post(turns, data={"text": "How are you?"})
    assert response.status_code == 200 and Clip(response.content).loudness > 0.02
    assert client.get("/health").json()["sessions"] == 1, "the others were refused completely"


def test_the_decoding_process_is_replaced(serve: Callable[..., LiveServer]) -> None:
    """A sound that takes too long to decode costs the process, and nobody else's."""
    server = serve(limits=Limits(decode_s=0.001))
    with server.client() as client:
        turns = f"/v1/conversations/{server.open(client)}/turns"
        sound = server.service.media._sounds
        content = {"audio": ("a.wav", wav(tone(0.3, rate=16_000)), "audio/wav")}
        assert client.post(turns, files=content).status_code == 200
        process = sound._workers[-1]._process or sound._workers[0]._process
        assert process is not None
        process.kill()
        assert error(client.post(turns, files=content)) == (422, "bad_audio")
        assert client.post(turns, files=content).status_code == 200
