"""interbench and livetalk share no code. What both need is there twice, and both give the same answers."""

from __future__ import annotations

import base64
import datetime as dt
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from livetalk.base import addresses
from livetalk.thinkers import foreign as theirs
from livetalk.thinkers.sentences import sentences as live_sentences

from interbench.base import foreign, http, models_list, remote
from interbench.domain.persona import Voice
from interbench.media.speech import synthesize
from interbench.systems.puppet.rewrites import sentences as puppet_sentences

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
WAITS: list[tuple[str | None, float | None]] = [
    ("7", 7.0),
    (" 2.5 ", 2.5),
    ("999999999", http.LONGEST_WAIT_S),
    ("Sat, 21 Nov 2026 12:01:40 GMT", 100.0),
    ("Sat, 21 Nov 2026 13:01:40 +0100", 100.0),
    ("Sat, 21 Nov 2026 12:01:40", 100.0),
    ("Fri, 31 Dec 9999 23:59:59 GMT", http.LONGEST_WAIT_S),
    *((nothing, None) for nothing in (None, "", "0", "0.0", "-5", "soon", "²", "٣", "1e3", "nan", "inf", "9" * 400)),
    *((nothing, None) for nothing in ("Sat, 21 Nov 2026 11:59:00 GMT", "Mon, 01 Jan 0001 00:00:00 GMT", "Sat, 99 Nov")),
]


@pytest.mark.parametrize(("value", "seconds"), WAITS)
def test_how_long_a_server_asks_to_wait(value: str | None, seconds: float | None) -> None:
    assert http.retry_after(value, NOW) == theirs.retry_after(value, NOW) == seconds


OURS = ("localhost", "LocalHost", "localhost.", "127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1")
OTHERS = ("example.org", "localhost.example", "10.0.0.1", "0.0.0.0", "::", "fe80::1", "127.0.0.1.example")
HOSTS = {**dict.fromkeys(OURS, True), **dict.fromkeys(OTHERS, False)}


@pytest.mark.parametrize("host", HOSTS)
def test_which_addresses_are_this_machines_own(host: str) -> None:
    named = f"http://[{host}]:80/v1" if ":" in host else f"http://{host}:80/v1"
    assert remote.is_loopback(named) is addresses.is_loopback(host) is HOSTS[host]


MODELS: list[tuple[Any, list[str] | None]] = [
    ({"object": "list", "data": [{"id": "a"}, {"id": "b"}]}, ["a", "b"]),
    ([{"id": "a"}, {"id": "b", "type": "chat"}], ["a", "b"]),
    ({"models": [{"name": "a:latest"}]}, ["a:latest"]),
    ({"data": ["a", "b"]}, ["a", "b"]),
    ({"data": {"a": {"id": 7}, "b": None}}, ["a", "b"]),
    ({"data": [{"id": 7}, None, {"id": ""}, {"model": "c"}]}, ["c"]),
    ({}, None),
    ([], None),
    (None, None),
    (7, None),
    ("a", None),
    ({"data": None}, None),
    ({"data": 5}, None),
    ({"error": "no"}, None),
    ({"data": []}, None),
    ({"has_more": True, "data": [{"id": "a"}]}, None),
]


@pytest.mark.parametrize(("answer", "names"), MODELS, ids=repr)
def test_which_models_a_list_names(answer: Any, names: list[str] | None) -> None:
    found = [served(answer) for served in (models_list.served_models, theirs.served_models)]
    assert [None if models is None else list(models) for models in found] == [names, names]


TEXTS = {
    "plain": "plain",
    "ä \U0001f600": "ä \U0001f600",
    "half \ud83d": "half \ufffd",
    "other \ude00 half": "other \ufffd half",
    "two \ud83d\ude00 halves": "two \U0001f600 halves",
}


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_what_becomes_of_half_characters(text: str) -> None:
    assert foreign.mended(text) == theirs.mended(text) == TEXTS[text]


def test_every_spelling_of_base64() -> None:
    for data in (b"", b"a", b"ab", b"abc", bytes(range(256)), b"\xfb\xef\xff"):
        plain = base64.b64encode(data).decode()
        for text in (
            plain,
            base64.urlsafe_b64encode(data).decode(),
            plain.rstrip("="),
            re.sub("(.{5})", r"\1\r\n ", plain),
            f"data:video/mp4;base64,{plain}",
        ):
            assert foreign.decoded(text) == theirs.decoded(text) == data, text
    for nothing in ("%%%", "A", "QUJDR", "é", "QUI===", "Q=UI", "data:video/mp4,abcd"):
        for decoded in (foreign.decoded, theirs.decoded):
            with pytest.raises(ValueError):
                decoded(nothing)


TROUBLES = [
    httpx.ConnectError(
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1006)"
    ),
    httpx.ConnectError("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)"),
    httpx.ConnectError("[SSL] record layer failure (_ssl.c:1006)"),
    httpx.RemoteProtocolError("illegal status line: bytearray(b'\\x15\\x03\\x03\\x00\\x02\\x02P')"),
    httpx.ConnectError("All connection attempts failed"),
    httpx.ReadTimeout(""),
]


@pytest.mark.parametrize("error", TROUBLES, ids=str)
def test_trouble_with_a_connection_in_words(error: Exception) -> None:
    assert http.trouble(error) == theirs.trouble(error)


PROSE = [
    "The bridge opens at noon today. Seven boats pass it every day.",
    "Is the old bridge really open? Yes it certainly is today!",
    "The first line of it.\nAnother whole line follows.",
    "No end to this sentence",
    "",
]


@pytest.mark.parametrize("text", PROSE)
def test_where_sentences_end(text: str) -> None:
    assert [piece.strip() for piece in live_sentences(text)] == [piece.strip() for piece in puppet_sentences(text)]


def test_the_same_voice_speaks_alike() -> None:
    """Each in a process of its own: both load the same library, which keeps its state in global variables."""
    text = "The old bridge opens at noon, and seven boats pass."
    program = (
        "from livetalk.thinkers.espeak import RATE, Voice, speak\n"
        f"for written in {[written for written, _ in VOICES]!r}:\n"
        f"    print(len(speak({text!r}, Voice.parse(written)).samples) / RATE)\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert [synthesize(text, voice).duration_s for _, voice in VOICES] == pytest.approx(
        [float(line) for line in told.stdout.split()], abs=1e-6
    )


VOICES = [
    ("en-us", Voice()),
    ("en-us+f3,pitch=80,rate=120", Voice(variant="en-us+f3", pitch=80, rate=120)),
    ("de,rate=220", Voice(variant="de", rate=220)),
]


def test_every_twin_names_the_other() -> None:
    root = Path(__file__).parents[1]
    pairs = {
        "interbench/base/http.py": "livetalk.thinkers.foreign",
        "interbench/base/remote.py": "livetalk.base.addresses",
        "interbench/base/models_list.py": "livetalk.thinkers.foreign",
        "interbench/systems/puppet/rewrites.py": "livetalk.thinkers.sentences",
        "interbench/media/speech.py": "livetalk.thinkers.espeak",
        "runners/livetalk/thinkers/foreign.py": "interbench.base.",
        "runners/livetalk/base/addresses.py": "interbench.base.remote",
        "runners/livetalk/thinkers/sentences.py": "interbench.systems.puppet.rewrites",
        "runners/livetalk/thinkers/espeak.py": "interbench.media.speech",
    }
    assert [path for path, other in pairs.items() if other not in (root / path).read_text("utf-8")] == []
