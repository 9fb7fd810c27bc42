"""Avatars of vendors in a LiveKit room, with a stand-in at the client library's seam."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import harness_kit
import numpy as np
import pytest
import realtime_kit
import room_library
import talking_pattern
from PIL import Image
from room_kit import StandInRoom

from interbench.base.errors import SystemLoadError
from interbench.domain.incidents import Incident, IncidentKind
from interbench.domain.persona import Persona
from interbench.domain.records import Exchange, Outcome
from interbench.media.pool import encode_audio
from interbench.systems.events import BargeIn, Completed, Event, Failed, Opening, Shows, TimedOut, TurnRequest
from interbench.systems.live.livekit_room import LiveKitRoom
from interbench.systems.live.troubles import missing_head

KEYS = {
    "LEMONSLICE_API_KEY": "lemon-key-that-must-not-leak",
    "TAVUS_API_KEY": "tavus-key-that-must-not-leak",
    "LIVEAVATAR_API_KEY": "live-key-that-must-not-leak",
    "LIVEKIT_API_KEY": "APIkey",
    "LIVEKIT_API_SECRET": "secret-that-must-not-leak",
}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    room_library.faults = room_library.Faults()
    room_library.rooms.clear()
    yield
    room_library.faults = room_library.Faults()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[int, Exchange], list[Any]]:
    """A whole conversation from ``interbench run``, told the scenario's replies; turn 2 interrupts the first answer.
    The harness is killed during the third turn and called again."""
    folder = tmp_path_factory.mktemp("livekit")
    scenarios = realtime_kit.write_interrupted_set(folder / "set")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        options = {"vendor": "tavus", "log": str(folder / "log"), "price_usd_per_s": 0.01}
        command: Any = ("room_kit:StandInRoom", options, scenarios, folder / "run", "--words", "script")
        realtime_kit.kill_once(
            realtime_kit.command(*command, verb="drive"), lambda: told_of(folder / "log").count("speech") == 3
        )
        before = realtime_kit.exchanges(folder / "run")
        unasked = realtime_kit.run(*command, verb="drive")
        assert unasked[3].code == "unknown_submission"  # it may have been charged, and is not played again unasked
        exchanges = realtime_kit.run(*command, "--retry", "failed")
        assert sorted(before) == [1, 2] and all(exchanges[turn] == before[turn] for turn in before)
    asked = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    return folder / "run", exchanges, asked


def told_of(log: Path) -> list[str]:
    return [json.loads(line)[0] for line in log.read_text().splitlines()] if log.exists() else []


def test_every_reply_becomes_a_clip_with_sound_in_step(played: Any) -> None:
    run, exchanges, asked = played
    for turn in (1, 2, 3):
        exchange = exchanges[turn]
        assert exchange.outcome is Outcome.COMPLETED, exchange
        # Pictures that a busy machine brings late are incidents that took place; nothing else may have.
        told = {incident.kind for incident in exchange.incidents}
        assert told <= {IncidentKind.FREEZE, IncidentKind.LATE_PICTURE}, exchange
        if turn > 1:  # the first was cut short, and too little of it is left to measure by
            assert abs(talking_pattern.mouth_lag_s(run / exchange.clip)) <= 0.08
    assert exchanges[3].reply_text.startswith("The answer is blue number 3")
    # After the kill an avatar joins anew, and is told the third reply once that is asked for, and no other.
    end = "/conversations/tavus-1/end"
    calls = ["/conversations", *["speech"] * 3, "/conversations", end, "/conversations", "speech", end]
    assert [path for path, _ in asked] == calls
    assert exchanges[3].timings.continuous and exchanges[3].timings.first_speech_s > 0.1


def test_an_interruption_clears_the_buffer_and_what_was_played_is_remembered(played: Any) -> None:
    _, exchanges, _ = played
    cut = exchanges[2].barge_in
    assert cut["done"] is True and cut["time_to_silence_s"] >= 0
    whole = "The answer is blue number 1 and the river 1 runs north."
    assert cut["remembered"] == exchanges[1].reply_text
    assert whole.startswith(cut["remembered"]) and 0 < len(cut["remembered"]) < len(whole)


def test_the_session_is_paid_for_between_answers_too(played: Any) -> None:
    _, exchanges, _ = played
    third = exchanges[3]
    assert third.cost_usd is not None and third.cost_usd > 0.01 * third.facts.duration_s


def test_keys_are_nowhere(played: Any) -> None:
    run, _, asked = played
    written = [path.read_bytes() for path in run.rglob("*") if path.is_file()]
    secrets = [value.encode() for name, value in KEYS.items() if name != "LIVEKIT_API_KEY"]
    assert not [secret for secret in secrets if any(secret in data for data in written)]
    assert "must-not-leak" not in json.dumps(asked)


def test_the_avatars_token_is_one_of_livekits() -> None:
    system = StandInRoom()
    token = system.token("avatar", "room", behalf="interbench")
    signed, _, signature = token.rpartition(".")
    digest = hmac.new(KEYS["LIVEKIT_API_SECRET"].encode(), signed.encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == signature
    told = room_library.claims(token)
    assert told["iss"] == "APIkey" and told["sub"] == "avatar" and told["kind"] == "agent"
    assert told["video"]["roomJoin"] is True and told["video"]["room"] == "room" and told["exp"] > told["nbf"]


def talk(folder: Path, turns: int = 1, barge_in: float | None = None, **options: Any) -> tuple[Any, list[list[Event]]]:
    """The system and the events of so many turns."""
    rate = 16_000
    syllables = np.repeat(np.random.default_rng(2).integers(0, 2, 14), rate // 8)
    syllables[:2000] = 1
    sound = (0.3 * np.sin(np.arange(len(syllables)) / 6) * syllables).astype(np.float32)
    speech = folder / "speech.wav"
    encode_audio(sound, rate, speech)
    line = realtime_kit.write_line(folder / "line.wav")
    portrait = folder / "face.png"
    Image.new("RGB", (512, 512), "grey").save(portrait)

    async def play() -> tuple[Any, list[list[Event]]]:
        system = StandInRoom(**{"first_sound_s": 30.0, "end_silence_s": 0.8, "connect_s": 60.0, **options})
        await system.start()
        try:
            conversation = await system.open(Persona(**harness_kit.PERSONA))
            found = []
            try:
                await conversation.prepare(Opening("s", portrait, 1))
                for index in range(1, turns + 1):
                    work = folder / str(index)
                    work.mkdir()
                    cut = BargeIn(barge_in, "Wait!", line) if barge_in is not None and index == 1 else None
                    request = TurnRequest(
                        "s", index, "And?", line, (), portrait, 1, work, 60.0,
                        script="one two three four", speech=speech, barge_in=cut,
                    )  # fmt: skip
                    found.append([event async for event in conversation.respond(request)])
            finally:
                await conversation.close()
            return system, found
        finally:
            await system.stop()

    return asyncio.run(play())


def kinds(events: list[Event]) -> list[IncidentKind]:
    return [event.kind for event in events if isinstance(event, Incident)]


def test_lemonslice_is_given_the_portrait_and_a_lost_beginning_is_told(tmp_path: Path) -> None:
    room_library.faults.lost_start_s = 0.5
    system, (events,) = talk(tmp_path)
    lost = [event for event in events if isinstance(event, Incident)]
    assert IncidentKind.LOST_FIRST_SOUND in [event.kind for event in lost]
    assert lost[0].seconds == pytest.approx(0.5, abs=0.3)
    ((path, key, body),) = system.vendors.asked
    assert (path, key, body["image"]) == ("/sessions", KEYS["LEMONSLICE_API_KEY"], True)
    assert body["transport_type"] == "livekit" and "agent_id" not in body
    assert isinstance(events[-1], Completed) and not any(isinstance(event, Shows) for event in events)
    assert system.caveats == ()


@pytest.mark.soak
def test_liveavatar_is_told_by_its_own_socket(tmp_path: Path) -> None:
    system, (first, second) = talk(tmp_path, 2, 0.4, vendor="liveavatar", avatar="face-7", call={"is_sandbox": True})
    assert [path for path, _, _ in system.vendors.asked] == ["/token", "/start", "/stop"]
    assert system.vendors.asked[0][2]["is_sandbox"] is True and system.vendors.asked[0][2]["avatar_id"] == "face-7"
    assert system.vendors.asked[1][1] == "Bearer session-secret"
    assert isinstance(first[-1], Completed) and isinstance(second[-1], Completed)
    told = second[-1].detail["barge_in"]
    assert isinstance(told, Mapping) and told["time_to_silence_s"] is not None


@pytest.mark.soak
def test_an_avatar_that_plays_nothing_has_timed_out(tmp_path: Path) -> None:
    room_library.faults.deaf = True
    _, (events,) = talk(tmp_path, first_sound_s=0.5)
    assert isinstance(events[-1], TimedOut) and kinds(events) == [IncidentKind.NO_ANSWER]


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (room_library.Faults(size=(4098, 4096)), "a picture of 4098x4096 pixels came"),
        (room_library.Faults(floods="pictures"), "more than 2,400 pictures came within 10 s"),
        pytest.param(room_library.Faults(floods="sound"), "s of sound came within", marks=pytest.mark.soak),
    ],
    ids=["huge", "many", "endless"],
)
def test_more_than_is_taken_ends_the_session(tmp_path: Path, faults: room_library.Faults, message: str) -> None:
    """It is said why, and nothing is received any more, so that nothing piles up."""
    room_library.faults = faults
    with pytest.raises(Exception, match=message):
        _, (events,) = talk(tmp_path)
        raise AssertionError(events[-1])  # what is told where it comes after the first picture
    assert not room_library.rooms[-1].connected


@pytest.mark.soak
def test_an_avatar_that_leaves_ends_the_conversation_as_lost(tmp_path: Path) -> None:
    room_library.faults.leaves_after = 1
    _, (first, second) = talk(tmp_path, 2)
    assert isinstance(first[-1], Completed)
    assert isinstance(second[-1], Failed) and second[-1].code == "connection_lost"


@pytest.mark.parametrize(
    ("faults", "options", "message"),
    [
        (room_library.Faults(never_joins=True), {"connect_s": 0.5}, "No picture of lemonslice's avatar"),
        (room_library.Faults(), {"refuses": 402}, r"answered 402.*no credit for \[key\]"),
        (room_library.Faults(), {"vendor": "liveavatar"}, "set avatar"),
    ],
    ids=["never-joins", "no-credit", "no-face"],
)
def test_an_avatar_that_cant_be_had_says_why(
    tmp_path: Path, faults: room_library.Faults, options: dict[str, Any], message: str
) -> None:
    room_library.faults = faults
    with pytest.raises(Exception, match=message) as said:
        talk(tmp_path, **options)
    assert "must-not-leak" not in str(said.value)


@pytest.mark.soak
def test_without_a_known_price_a_cap_stops_before_anything_is_said(tmp_path: Path) -> None:
    scenarios = realtime_kit.write_interrupted_set(tmp_path / "set", turns=1, interrupting=0)
    argv = realtime_kit.command(
        "room_kit:StandInRoom", {"vendor": "tavus"}, scenarios, tmp_path / "run", "--max-usd", "1", "--words", "script"
    )
    status, said = realtime_kit.invoked(argv)
    assert status == 3 and "price_usd_per_s" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [({"vendor": "nobody"}, "none of lemonslice"), ({"url": "ws://example.org"}, "not encrypted")],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SystemLoadError, match=message):
        LiveKitRoom(**options)


def test_a_server_and_keys_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIVEKIT_URL", raising=False)
    with pytest.raises(SystemLoadError, match="LIVEKIT_URL"):
        asyncio.run(LiveKitRoom().start())
    monkeypatch.delenv("LIVEKIT_API_SECRET")
    with pytest.raises(SystemLoadError, match="LIVEKIT_API_SECRET"):
        asyncio.run(LiveKitRoom(url="wss://room.example.org").start())


def test_a_missing_head_is_found_by_the_rest() -> None:
    given = np.where(np.random.default_rng(1).integers(0, 2, 40).repeat(6), -15.0, -60.0)
    assert missing_head(given, given) == 0.0
    assert missing_head(given, given[30:]) == pytest.approx(0.6)
    assert missing_head(given, np.where(np.arange(240) % 2, -15.0, -60.0)) is None
