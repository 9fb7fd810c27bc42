"""Conversations through the real server: turns, several at once, interruptions, clients that go away or do not read."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from live_kit import PATIENCE_S, SHORT_ANSWER, Clip, LiveServer, ObedientThinker, tone, until, wav
from livetalk.server.limits import Limits
from livetalk.thinkers.base import Manner

PORTRAITS = Path(__file__).parents[3] / "runners" / "livetalk" / "server" / "page"


def say(client: httpx.Client, conversation: str, **fields: object) -> tuple[Clip, int]:
    """The whole answer, and the turn's number."""
    response = client.post(f"/v1/conversations/{conversation}/turns", data=fields)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "video/mp4"
    return Clip(response.content), int(response.headers["livetalk-turn"])


def turn(client: httpx.Client, conversation: str, index: int) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/conversations/{conversation}/turns/{index}").json()
    return found


class Listener:
    """A client in the middle of an answer: the first fragments have been read."""

    def __init__(self, client: httpx.Client, conversation: str, text: str, **query: str) -> None:
        self._context = client.stream("POST", f"/v1/conversations/{conversation}/turns", data={"text": text, **query})
        self.response = self._context.__enter__()
        assert self.response.status_code == 200, self.response.read()
        self.index = int(self.response.headers["livetalk-turn"])
        self._pieces = self.response.iter_raw()
        self.content = b""
        while b"moof" not in self.content:
            self.content += next(self._pieces)

    def read_on(self) -> Clip:
        for piece in self._pieces:
            self.content += piece
        self._context.__exit__(None, None, None)
        return Clip(self.content)

    def leave(self) -> None:
        self._context.__exit__(None, None, None)


def test_a_conversation_of_three_turns(server: LiveServer, client: httpx.Client) -> None:
    thinker = server.thinker
    assert isinstance(thinker, ObedientThinker)
    picture = (PORTRAITS / "portrait-maya.jpg").read_bytes()
    opened = client.post(
        "/v1/conversations",
        files={"image": ("../../etc/passwd", picture, "image/jpeg")},
        data={
            "persona": "You are Maya.",
            "prompt": "A woman in a park.",
            "seed": "7",
            "voice": "en-us+f3",
            "pitch": "70",
            "rate": "120",
        },
    )
    assert opened.status_code == 201
    found = opened.json()
    health = client.get("/health").json()
    assert found["video"] == health["video"] and found["video"]["mime"].startswith("video/mp4; codecs=")
    assert (found["expires_s"], found["max_turn_audio_s"], found["max_text_chars"]) == (300, 120, 4000)

    first, one = say(client, found["id"], text="Do you like parks?")
    second, two = say(client, found["id"], text="Why?")
    spoken = client.post(
        f"/v1/conversations/{found['id']}/turns",
        files={"audio": ("hello.wav", wav(tone(1.0, rate=16_000)), "audio/wav")},
    )
    third = Clip(spoken.content)
    assert (one, two, spoken.headers["livetalk-turn"]) == (1, 2, "3")
    for clip in (first, second, third):
        assert 0.5 < clip.seconds < 3.0
        assert clip.loudness > 0.02
        assert "weights are random" in clip.note and health["settings"].items() <= json.loads(clip.note).items()
    # Whole blocks; the very first one of a conversation is 3 frames shorter.
    assert first.frames % 12 == 9 and second.frames % 12 == 0

    question = thinker.questions[-1]
    assert question.persona == "You are Maya." and question.voice == "en-us+f3"
    assert question.manner == Manner(pitch=70, rate=120)
    assert question.text is None and question.audio is not None and len(question.audio) == 16_000
    assert [message.text for message in question.history] == [
        *("Do you like parks?", SHORT_ANSWER),
        *("Why?", SHORT_ANSWER),
    ]
    shown = client.get(f"/v1/conversations/{found['id']}").json()
    assert [entry["outcome"] for entry in shown["turns"]] == ["completed"] * 3
    assert shown["turns"][1] == turn(client, found["id"], 2)
    assert shown["turns"][1]["text"] == shown["turns"][1]["heard_text"] == SHORT_ANSWER
    assert shown["turns"][1]["frames"] == second.frames and shown["turns"][2]["user_text"] is None
    timings = shown["turns"][0]["timings"]
    assert 0 <= timings["first_window_s"] <= timings["first_block_s"] <= timings["first_fragment_s"]
    assert timings["first_fragment_s"] <= timings["finished_s"]
    assert 290 < shown["expires_in_s"] <= 300


def test_two_conversations_at_once(server: LiveServer, client: httpx.Client) -> None:
    names = [server.open(client), server.open(client)]
    with ThreadPoolExecutor(2) as pool:
        clips = [clip for clip, _ in pool.map(lambda name: say(client, name, text=f"I am {name}."), names)]
    assert all(clip.frames > 12 and clip.loudness > 0.02 for clip in clips)
    for name in names:
        assert [entry["user_text"] for entry in client.get(f"/v1/conversations/{name}").json()["turns"]] == [
            f"I am {name}."
        ]


def test_the_answer_comes_while_it_is_made(server: LiveServer, client: httpx.Client) -> None:
    name = server.open(client)
    listener = Listener(client, name, "hold on")
    running = turn(client, name, listener.index)
    assert running["outcome"] == "running" and running["text"] == "One two three four. "
    assert running["timings"]["first_fragment_s"] is not None and running["timings"]["finished_s"] is None
    ended = client.post(f"/v1/conversations/{name}/interrupt", json={"played_s": 0.5}).json()
    clip = listener.read_on()
    assert clip.frames >= 9 and clip.loudness > 0.02
    assert ended["outcome"] == "interrupted" and ended["index"] == 1
    # The words are spread over more than a second.
    assert 0 < len(ended["heard_text"]) < len(ended["text"])
    assert turn(client, name, 1)["frames"] == clip.frames


def test_a_new_turn_interrupts_the_running_answer(server: LiveServer, client: httpx.Client) -> None:
    thinker = server.thinker
    assert isinstance(thinker, ObedientThinker)
    name = server.open(client)
    listener = Listener(client, name, "hold forth")
    answer, index = say(client, name, text="Stop, please.", played_s="0.6")
    first = listener.read_on()
    assert thinker.cancelled.acquire(timeout=PATIENCE_S)
    assert index == 2 and answer.loudness > 0.02
    interrupted = turn(client, name, 1)
    assert interrupted["outcome"] == "interrupted" and interrupted["frames"] == first.frames
    heard = interrupted["heard_text"]
    assert [message.text for message in thinker.questions[-1].history] == ["hold forth", heard]
    assert (
        isinstance(heard, str) and heard and "One two three four.".startswith(heard) and heard != "One two three four."
    )


def test_interrupting_nothing(server: LiveServer, client: httpx.Client) -> None:
    name = server.open(client)
    nothing = client.post(f"/v1/conversations/{name}/interrupt")
    assert nothing.status_code == 409 and nothing.json()["error"]["code"] == "no_turn"
    say(client, name, text="Hello.")
    again = client.post(f"/v1/conversations/{name}/interrupt", data={"played_s": "1000"})
    assert again.status_code == 200 and again.json()["outcome"] == "completed"


@pytest.mark.parametrize("length", ["known", "streamed"])
def test_sound_as_the_body(server: LiveServer, client: httpx.Client, length: str) -> None:
    thinker = server.thinker
    assert isinstance(thinker, ObedientThinker)
    name = server.open(client)
    samples = tone(1.25, rate=16_000)
    pcm = (samples * 32_767).astype(">i2").tobytes()
    content = pcm if length == "known" else (pcm[start : start + 3_200] for start in range(0, len(pcm), 3_200))
    response = client.post(
        f"/v1/conversations/{name}/turns",
        params={"text": "What is this?"},
        content=content,
        headers={"Content-Type": "audio/L16;rate=16000"},
    )
    assert response.status_code == 200 and Clip(response.content).frames > 0
    question = thinker.questions[-1]
    assert question.text == "What is this?" and question.audio is not None
    assert np.allclose(question.audio, samples, atol=2e-4)


@pytest.mark.parametrize("kind", ["audio/wav", "audio/L16;rate=48000;channels=2"])
def test_sound_of_other_rates_reaches_the_thinker_at_16_khz(
    server: LiveServer, client: httpx.Client, kind: str
) -> None:
    thinker = server.thinker
    assert isinstance(thinker, ObedientThinker)
    samples = tone(0.5, rate=48_000)
    stereo = np.stack([samples, samples], axis=1)
    content = wav(samples, 48_000) if kind == "audio/wav" else (stereo * 32_767).astype(">i2").tobytes()
    response = client.post(
        f"/v1/conversations/{server.open(client)}/turns", content=content, headers={"Content-Type": kind}
    )
    assert response.status_code == 200
    heard = thinker.questions[-1].audio
    assert heard is not None and len(heard) == 8_000
    assert np.allclose(heard, tone(0.5, rate=16_000), atol=0.02)


def test_a_client_that_leaves_frees_everything(server: LiveServer, client: httpx.Client) -> None:
    thinker = server.thinker
    assert isinstance(thinker, ObedientThinker)
    name = server.open(client)
    before = server.metric("livetalk_turns_total", outcome="disconnected")
    with server.client() as leaving:
        listener = Listener(leaving, name, "long talk")
        assert server.metric("livetalk_turns_running") == 1
        listener.leave()
    assert thinker.cancelled.acquire(timeout=PATIENCE_S)
    assert until(lambda: server.metric("livetalk_turns_running") == 0)
    assert server.metric("livetalk_turns_total", outcome="disconnected") == before + 1
    assert turn(client, name, 1)["outcome"] == "disconnected"
    clip, index = say(client, name, text="Are you still there?")
    assert index == 2 and clip.loudness > 0.02


def test_a_client_that_leaves_before_the_first_fragment(server: LiveServer, client: httpx.Client) -> None:
    thinker = server.thinker
    assert isinstance(thinker, ObedientThinker)
    name = server.open(client)
    asked = len(thinker.questions)
    body = b"text=hold+without+reading"
    head = (
        f"POST /v1/conversations/{name}/turns HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + body)
        assert until(lambda: len(thinker.questions) > asked)
    assert thinker.cancelled.acquire(timeout=PATIENCE_S)
    assert until(lambda: turn(client, name, 1)["outcome"] == "disconnected")


def test_closing_ends_the_answer_cleanly(server: LiveServer, client: httpx.Client) -> None:
    name = server.open(client)
    listener = Listener(client, name, "hold this")
    assert client.delete(f"/v1/conversations/{name}").status_code == 204
    assert listener.read_on().frames >= 9
    gone = client.get(f"/v1/conversations/{name}")
    assert gone.status_code == 404 and gone.json()["error"]["code"] == "unknown_conversation"
    assert client.get("/health").json()["sessions"] == 0


def test_a_client_that_does_not_read_is_cut_off(serve: Callable[..., LiveServer]) -> None:
    limits = Limits(stall_s=1.5, send_buffer_bytes=4_096)
    server = serve(limits=limits, live={"capacity": 1, "queue_blocks": 2})
    with server.client() as client, socket.socket() as lazy:
        name = server.open(client)
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        lazy.connect(("127.0.0.1", server.port))
        body = b"text=long+talk"
        lazy.sendall(
            f"POST /v1/conversations/{name}/turns HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n\r\n".encode()
            + body
        )
        assert until(lambda: server.metric("livetalk_turns_total", outcome="disconnected") == 1)
        ended = turn(client, name, 1)
        assert ended["outcome"] == "disconnected"
        assert isinstance(ended["error"], dict) and ended["error"]["code"] == "stalled"
        # It was held back, not rendered for nobody: no more than what fits into buffers.
        assert isinstance(ended["frames"], int) and ended["frames"] < 10 * 12
        clip, _ = say(client, name, text="Hello again.")
        assert clip.frames > 0
        lazy.settimeout(PATIENCE_S)
        received = b"".join(iter(lambda: lazy.recv(65_536), b""))
        assert received.startswith(b"HTTP/1.1 200") and not received.endswith(b"0\r\n\r\n"), "it looks complete"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *(("unreachable", 502), ("unauthorized", 502), ("broken", 502), ("failed", 502), ("something_new", 502)),
        *(("refused", 422), ("unsupported", 422), ("overloaded", 503), ("timed_out", 504)),
    ],
)
def test_failures_before_the_first_byte_have_a_status(
    server: LiveServer, client: httpx.Client, code: str, status: int
) -> None:
    name = server.open(client)
    response = client.post(f"/v1/conversations/{name}/turns", data={"text": f"fail {code}"})
    assert response.status_code == status and response.headers["livetalk-turn"] == "1"
    assert response.json()["error"]["message"] == "It was told to fail."
    assert turn(client, name, 1)["error"] == {"code": code, "message": "It was told to fail."}
    assert ("retry-after" in response.headers) == (code == "overloaded")


@pytest.mark.parametrize(("order", "code"), [("mute", "no_speech"), ("silent", "no_answer")])
def test_an_answer_without_a_sound_is_an_error(server: LiveServer, client: httpx.Client, order: str, code: str) -> None:
    response = client.post(f"/v1/conversations/{server.open(client)}/turns", data={"text": order})
    assert response.status_code == 502 and response.json()["error"]["code"] == code


def test_a_failure_in_mid_answer_ends_the_clip_cleanly(server: LiveServer, client: httpx.Client) -> None:
    name = server.open(client)
    clip, index = say(client, name, text="break broken")
    assert 1.2 < clip.seconds < 2.5
    failed = turn(client, name, index)
    assert failed["outcome"] == "failed" and failed["error"] == {
        "code": "broken",
        "message": "It was told to break off.",
    }
    assert say(client, name, text="Go on.")[1] == 2


def test_many_turns_at_the_same_instant_leave_one_answer(server: LiveServer, client: httpx.Client) -> None:
    name = server.open(client)
    barrier = threading.Barrier(4)

    def ask(number: int) -> httpx.Response:
        barrier.wait()
        return client.post(f"/v1/conversations/{name}/turns", data={"text": f"Question {number}."})

    with ThreadPoolExecutor(4) as pool:
        responses = list(pool.map(ask, range(4)))
    turns = client.get(f"/v1/conversations/{name}").json()["turns"]
    assert [entry["index"] for entry in turns] == [1, 2, 3, 4]
    assert turns[-1]["outcome"] == "completed"
    for response in responses:
        if response.status_code == 200:
            assert Clip(response.content).frames > 0
        else:
            assert response.status_code == 409 and response.json()["error"]["code"] == "interrupted"
