"""WebRTC with real tracks over loopback: whole scenarios, clips in step, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import harness_kit
import pytest
import realtime_kit
import talking_pattern

pytest.importorskip("aiortc")

from rtc_peer import Faults, RtcPeer

from interbench.base.errors import SystemLoadError
from interbench.domain.incidents import Incident, IncidentKind
from interbench.domain.persona import Persona
from interbench.domain.records import Exchange, Outcome
from interbench.media.limits import Limits
from interbench.systems.events import BargeIn, Completed, Event, Opening, TurnRequest
from interbench.systems.live.webrtc import WebRtc, WebRtcError


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[int, Exchange], RtcPeer]:
    """A whole conversation of three turns, the second of which interrupts the first answer, from ``interbench run``.
    The harness is killed during the second turn and called again, which plays the conversation from its beginning."""
    folder = tmp_path_factory.mktemp("webrtc")
    scenarios = realtime_kit.write_interrupted_set(folder / "set")
    with RtcPeer(answer_s=2.4) as peer:
        options = {"url": peer.url, "form": "openavatarchat", "end_silence_s": 0.8}
        command: Any = ("webrtc", options, scenarios, folder / "run")
        realtime_kit.kill_once(realtime_kit.command(*command, verb="drive"), lambda: len(peer.heard) >= 2)
        assert set(realtime_kit.exchanges(folder / "run")) <= {1}
        exchanges = realtime_kit.run(*command)
    return folder / "run", exchanges, peer


def test_every_turn_becomes_a_clip_with_sound_in_step(played: Any) -> None:
    run, exchanges, peer = played
    assert [exchanges[turn].outcome for turn in (1, 2, 3)] == [Outcome.COMPLETED] * 3
    for exchange in exchanges.values():
        assert exchange.clip is not None and exchange.facts is not None and exchange.facts.audible
        assert abs(talking_pattern.lag_s(run / exchange.clip)) <= 0.06
    # The user's lines of 0.4 s were heard at their own pace.
    assert len(peer.heard) >= 5 and all(seconds > 0.2 for seconds in peer.heard)


def test_the_wait_counts_from_the_end_of_the_line_to_the_first_sound(played: Any) -> None:
    timings = played[1][3].timings
    assert timings.continuous and timings.first_speech_s is not None
    # The stand-in listens for 0.3 s of quiet and thinks for 0.15 s.
    assert 0.4 < timings.first_speech_s < timings.complete_s
    assert played[1][3].detail["sent"] == "audio"


def test_an_interruption_is_measured(played: Any) -> None:
    cut = played[1][2].barge_in
    assert cut["done"] is True and 0.5 <= cut["after_s"] < cut["after_s"] + cut["time_to_silence_s"]
    first = played[1][1]
    assert first.reply_text == "The answer is blue."
    assert played[1][2].reply_text == "The answer is blue."
    assert [path for path, _ in played[2].calls] == ["/webrtc/offer"] * 2  # the second after the kill


def turn(folder: Path, index: int = 1, barge_in: BargeIn | None = None) -> TurnRequest:
    work = folder / str(index)
    work.mkdir(parents=True)
    return TurnRequest("s", index, "And?", folder.parent / "line.wav", (), None, 1, work, 60.0, barge_in=barge_in)


async def talk(peer: RtcPeer, requests: list[TurnRequest], **options: Any) -> list[list[Event]]:
    """The events of these turns."""
    limits = options.pop("limits", Limits())
    system = WebRtc(peer.url, **{"form": "plain", "end_silence_s": 0.6, "first_sound_s": 30.0, **options})
    system.limits = limits
    await system.start()
    try:
        conversation = await system.open(Persona(**harness_kit.PERSONA))
        try:
            await conversation.prepare(Opening("s", None, 1))
            return [[event async for event in conversation.respond(request)] for request in requests]
        finally:
            await conversation.close()
    finally:
        await system.stop()


def kinds(events: list[Event]) -> set[IncidentKind]:
    return {event.kind for event in events if isinstance(event, Incident)}


_UNIT = talking_pattern.UNIT_S
_LOST = next(number * _UNIT for number in range(2, 9) if talking_pattern.is_on((number + 0.5) * _UNIT))
"""So much of the beginning is lost that the tone is heard where it is heard first."""

FAULTS = {
    "jitter": (
        Faults(jitter_s=0.03, lost_start_s=_LOST, frozen=True),
        {IncidentKind.LOST_FIRST_SOUND, IncidentKind.FROZEN_PICTURE},
    ),
    "lost-and-dead": (
        Faults(lost_at_s=0.6, picture_stops_s=0.5),
        {IncidentKind.LOST_SOUND, IncidentKind.FREEZE},
    ),
    "mute": (Faults(mute=True), {IncidentKind.NO_ANSWER}),
    "cut": (Faults(mute_after_interruption=True), {IncidentKind.SILENCE_AFTER_INTERRUPTION}),
}


FAULTS_OF_SOAK = ("mute", "cut")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.soak if name in FAULTS_OF_SOAK else ()) for name in FAULTS]
)
def test_what_goes_wrong_is_told(tmp_path: Path, name: str) -> None:
    faults, expected = FAULTS[name]
    line = realtime_kit.write_line(tmp_path / "line.wav")
    if name == "cut":
        requests = [turn(tmp_path / "t", 1, BargeIn(0.3, "Wait!", line)), turn(tmp_path / "t", 2)]
    else:
        requests = [turn(tmp_path / "t")]
    with RtcPeer(faults=faults, answer_s=2.4 if name in ("cut", "jitter") else 1.3) as peer:
        # Where nothing is to be heard, it is not waited for long.
        events = asyncio.run(talk(peer, requests, first_sound_s={"mute": 0.5, "cut": 3.0}.get(name, 30.0)))[-1]
    found = kinds(events)
    if name == "jitter" and IncidentKind.LOST_SOUND in found:
        found.add(IncidentKind.LOST_FIRST_SOUND)  # where the rest of the line loses some, too, its beginning moves
    assert expected <= found, events
    assert isinstance(events[-1], Completed) is (name not in ("mute", "cut"))
    # A busy machine has some of its own.
    assert not found - expected - {IncidentKind.LATE_PICTURE, IncidentKind.FREEZE, IncidentKind.LOST_SOUND}


def test_pictures_larger_than_are_taken_end_the_session(tmp_path: Path) -> None:
    """The first of them says so, and the connection is closed, so that no more of them are decoded."""
    with RtcPeer(faults=Faults(size=(640, 480))) as peer, pytest.raises(WebRtcError, match="640x480 pixels came"):
        asyncio.run(talk(peer, [], limits=Limits(pixels=640 * 479)))


@pytest.mark.soak
def test_livetalking_is_sent_text_and_told_of_interruptions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATAR_TOKEN", "a-token-that-must-not-leak")
    realtime_kit.write_line(tmp_path / "line.wav")
    with RtcPeer(listens=False) as peer:
        requests = [turn(tmp_path / "talk", 1, BargeIn(0.3, "Wait!", None)), turn(tmp_path / "talk", 2)]
        options = {"form": "livetalking", "offer": {"avatar": "one"}, "key_env": "AVATAR_TOKEN"}
        first, second = asyncio.run(talk(peer, requests, **options))
        calls = [path for path, _ in peer.calls]
    assert calls == ["/offer", "/human", "/interrupt_talk", "/human"]
    assert peer.calls[0][1]["avatar"] == "one" and peer.calls[1][1]["text"] == "And?"
    assert set(peer.tokens) == {"Bearer a-token-that-must-not-leak"}
    assert isinstance(first[-1], Completed) and isinstance(second[-1], Completed)
    assert "a-token-that-must-not-leak" not in repr([first, second])


def test_a_service_that_refuses_opens_no_conversation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATAR_TOKEN", "a-token-that-must-not-leak")
    with RtcPeer(refuse="max session; a-token-that-must-not-leak") as peer, pytest.raises(Exception) as refused:
        asyncio.run(talk(peer, [], key_env="AVATAR_TOKEN"))
    assert "refuses: max session; [key]" in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "other"}, "none of livetalking"),
        ({"send": "audio"}, "does not listen"),
        ({"form": "plain", "send": "text"}, "no way for text"),
        ({"url": "http://avatar.example.org"}, "not encrypted"),
        ({"url": "https://a:b@example.org"}, "no address"),
        ({"ice_servers": "stun:a"}, "is a list"),
        ({"sessions": 0}, "at least 1"),
        ({"longest_s": 0}, "no useful number"),
    ],
)
def test_wrong_options_are_refused_with_what_to_do(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SystemLoadError, match=message):
        WebRtc(**options)
