"""The voices that the server lists and lets one hear."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx
import numpy as np
import pytest
from live_kit import RATE, LiveServer, tone
from livetalk.sound.wav import decode_wav
from livetalk.thinkers.base import (
    SAMPLE_TEXT,
    Delta,
    KnownVoice,
    Question,
    SpeechDelta,
    TextDelta,
    Thinker,
    ThinkerError,
)


def sample(client: httpx.Client, name: str) -> httpx.Response:
    return client.get("/v1/voices/{}/sample".format(name.replace("+", "%2B")))


def test_listed_voices_can_be_named_and_heard(client: httpx.Client, server: LiveServer) -> None:
    listed = client.get("/v1/voices").json()["voices"]
    assert {"name": "en-us+f3", "description": "American, woman 2", "gender": "female"} in listed
    for voice in listed:
        server.thinker.check_voice(voice["name"])
    heard = {}
    for name in ("en-us+f3", "en-gb+m7"):
        response = sample(client, name)
        assert response.headers["content-type"] == "audio/wav"
        samples, _ = decode_wav(response.content)
        assert 1 < len(samples) / 22_050 < 8
        assert float(np.sqrt(np.mean(np.square(samples)))) > 0.01
        assert sample(client, name).content == response.content
        heard[name] = response.content
    assert len(set(heard.values())) == 2
    assert server.open(client, voice="en-gb+m7")


@pytest.mark.parametrize(
    ("name", "code"),
    [("klingon", "unsupported"), ("a<b", "bad_field"), ("x" * 65, "bad_field")],
)
def test_others_are_refused(client: httpx.Client, name: str, code: str) -> None:
    response = sample(client, name)
    assert (response.status_code, response.json()["error"]["code"]) == (422, code)


def test_a_voice_is_heard_as_a_persona_speaks(client: httpx.Client, server: LiveServer) -> None:
    plain, *others = (
        client.get(f"/v1/voices/en-us/sample{query}") for query in ("", "?pitch=90", "?rate=90", "?pitch=90&rate=90")
    )
    lengths = [len(decode_wav(heard.content)[0]) for heard in (plain, *others)]
    assert len({heard.content for heard in (plain, *others)}) == 4
    assert lengths[2] > 1.5 * lengths[0] and lengths[3] > 1.5 * lengths[1], "90 words a minute take longer"
    for query in ("pitch=100", "rate=10", "pitch=high", "speed=2"):
        refused = client.get(f"/v1/voices/en-us/sample?{query}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad_field"), query


class Service(Thinker):
    """A thinker that can only answer: two minutes long where it is not stopped."""

    name = "service"

    def __init__(self) -> None:
        self.asked: list[Question] = []

    def voices(self) -> tuple[KnownVoice, ...]:
        return (KnownVoice("Ada"), KnownVoice("Mute"))

    async def answer(self, question: Question) -> AsyncIterator[Delta]:
        self.asked.append(question)
        yield TextDelta(SAMPLE_TEXT)
        for _ in range(120 if question.voice == "Ada" else 0):
            yield SpeechDelta(tone(1.0), RATE)


async def test_a_thinker_without_a_speaker_of_its_own_is_asked_to_say_a_few_words() -> None:
    thinker = Service()
    samples, rate = await thinker.sample("Ada")
    assert (len(samples), rate) == (8 * RATE, RATE)
    (question,) = thinker.asked
    assert question.voice == "Ada"
    assert SAMPLE_TEXT in (question.text or "")
    with pytest.raises(ThinkerError, match="said nothing in the voice 'Mute'"):
        await thinker.sample("Mute")


def test_a_silent_voice_is_an_error_of_the_protocol(serve: Callable[..., LiveServer]) -> None:
    thinker = Service()
    server = serve(thinker=thinker)
    with server.client() as client:
        response = sample(client, "Mute")
        assert (response.status_code, response.json()["error"]["code"]) == (502, "failed")
        assert sample(client, "Ada").status_code == 200
        assert sample(client, "Ada").status_code == 200
    assert [question.voice for question in thinker.asked] == ["Mute", "Ada"], "what was heard is kept"
