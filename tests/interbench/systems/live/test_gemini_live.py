"""Gemini's Live API, from a stand-in that slices, idles, marks, leaves and refuses as the real one was seen to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import harness_kit
import pytest
import realtime_kit
import talking_pattern
from gemini_server import KEY, GeminiServer, Manner
from PIL import Image

from interbench.base.errors import SystemLoadError
from interbench.base.foreign import NotJsonError
from interbench.domain.incidents import Incident, IncidentKind
from interbench.domain.persona import Persona
from interbench.domain.records import Exchange, Outcome
from interbench.media.fragments import FragmentError, FragmentReader
from interbench.store.run_folder import Run
from interbench.systems.events import Blocked, Completed, Event, Failed, Opening, ReplyText, TurnRequest
from interbench.systems.live import gemini_wire
from interbench.systems.live.gemini_live import GeminiLiveAvatar, GeminiLiveError


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[int, Exchange], GeminiServer]:
    """A whole conversation from ``interbench run``, the second line spoken into the first answer; the harness is killed
    during the third turn and called again."""
    folder = tmp_path_factory.mktemp("gemini")
    scenarios = realtime_kit.write_interrupted_set(folder / "set")
    manner = Manner(slices=(1, 7, 16_384), answer_s=2.4)
    with pytest.MonkeyPatch.context() as patch, GeminiServer(manner) as server:
        patch.setenv("GOOGLE_API_KEY", KEY)
        options = {"base_url": server.url, "end_silence_s": 1.0}
        argv = realtime_kit.command("gemini-live-avatar", options, scenarios, folder / "run", verb="drive")
        realtime_kit.kill_once(argv, lambda: len(server.lines) == 3)
        before = len(server.setups)
        realtime_kit.run("gemini-live-avatar", options, scenarios, folder / "run", verb="drive")
        exchanges = realtime_kit.run("gemini-live-avatar", options, scenarios, folder / "run", "--retry", "failed")
        assert before == 1
    return folder / "run", exchanges, server


def test_a_stream_without_end_becomes_a_clip_per_turn_in_step(played: Any) -> None:
    run, exchanges, _ = played
    for turn in (1, 2, 3):
        exchange = exchanges[turn]
        assert exchange.outcome is Outcome.COMPLETED and exchange.reply_text == "The answer is blue."
        assert exchange.facts.duration_s < 9.0  # of a stream that ran on
        assert abs(talking_pattern.lag_s(run / exchange.clip)) <= 0.06
    assert exchanges[2].barge_in["done"] is True and exchanges[2].barge_in["remembered"] == "The answer is blue."


def test_the_line_goes_in_at_its_own_pace_and_its_end_is_told(played: Any) -> None:
    server = played[2]
    assert all(sound == pytest.approx(0.4, abs=0.05) and took > 0.35 for sound, took in server.lines)
    setup = server.setups[0]
    assert setup["realtime_input_config"] == {"automatic_activity_detection": {"disabled": True}}
    assert setup["generation_config"]["response_modalities"] == ["VIDEO"]
    assert setup["avatar_config"] == {"avatar_name": "Kira"} and "You are Tess" in json.dumps(setup)


def test_a_killed_run_pays_for_nothing_twice_unasked_and_takes_the_session_up(played: Any) -> None:
    run, exchanges, server = played
    # Once more after the kill: the interrupted turn was not sent again, only --retry failed did that.
    assert len(server.lines) == 4
    assert [setup["session_resumption"] for setup in server.setups[1:]] == [{"handle": "handle-2"}] * (
        len(server.setups) - 1
    )
    with Run(run, write=False) as opened:
        charges = [spend.charge.value for spend in opened.spending()]
    assert charges == ["spent", "spent", "possibly_spent", "spent"]
    assert 0 < exchanges[1].cost_usd < 0.05


def test_the_face_that_was_shown_is_the_identity_to_be_judged(played: Any) -> None:
    run, exchanges, _ = played
    with Image.open(run / exchanges[1].detail.get("shows", exchanges[2].detail.get("shows", ""))) as still:
        assert still.size == (talking_pattern.WIDTH, talking_pattern.HEIGHT)
    manifest = (run / "manifest.json").read_text()
    assert "prebuilt faces" in manifest


def test_the_key_is_nowhere(played: Any) -> None:
    run, _, server = played
    assert not [path for path in run.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert KEY not in json.dumps(server.setups)


def talk(server: GeminiServer, folder: Path, turns: int = 1, **options: Any) -> list[list[Event]]:
    """The events of so many turns."""

    async def play() -> list[list[Event]]:
        system = GeminiLiveAvatar(base_url=server.url, **{"end_silence_s": 0.8, "first_sound_s": 30.0, **options})
        await system.start()
        try:
            conversation = await system.open(Persona(**harness_kit.PERSONA))
            portrait = folder / "face.png"
            Image.new("RGB", (704, 1280), "grey").save(portrait)
            found = []
            try:
                await conversation.prepare(Opening("s", portrait, 1))
                for index in range(1, turns + 1):
                    await conversation.ready()
                    work = folder / str(index)
                    work.mkdir()
                    audio = realtime_kit.write_line(folder / "line.wav") if index < 3 else None
                    request = TurnRequest("s", index, "And?", audio, (), portrait, 1, work, 60.0)
                    found.append([event async for event in conversation.respond(request)])
            finally:
                await conversation.close()
            return found
        finally:
            await system.stop()

    return asyncio.run(play())


@pytest.mark.soak
def test_a_connection_that_ends_is_followed_by_one_with_the_same_memory(tmp_path: Path) -> None:
    with GeminiServer(Manner(leaves_after=1, answer_s=0.8)) as server:
        first, second = talk(server, tmp_path, 2)
    assert isinstance(first[-1], Completed) and isinstance(second[-1], Completed)
    assert [setup["session_resumption"] for setup in server.setups] == [{}, {"handle": "handle-1"}]


@pytest.mark.soak
def test_a_connection_that_breaks_in_an_answer_fails_that_turn_alone(tmp_path: Path) -> None:
    with GeminiServer(Manner(drops_in_answer=2, answer_s=0.8)) as server:
        _, second, third = talk(server, tmp_path, 3)
    assert isinstance(second[-1], Failed) and second[-1].code == "connection_lost"
    assert [event.kind for event in second if isinstance(event, Incident)] == [IncidentKind.CONNECTION_LOST]
    assert isinstance(third[-1], Completed) and server.typed == ["And?"]  # a turn without a recording


@pytest.mark.soak
def test_a_full_service_is_waited_for_and_a_refusal_is_one(tmp_path: Path) -> None:
    with GeminiServer(Manner(full=1, refuses=1)) as server:
        (events,) = talk(server, tmp_path)
    assert len(server.setups) == 2
    assert isinstance(events[-1], Blocked) and events[-1].message == "RESPONSE_REJECTED"
    assert not any(isinstance(event, ReplyText) for event in events)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("manner", "options", "message"),
    [
        (Manner(full=99), {"open_wait_s": 0.0}, "lower `sessions`"),
        (Manner(), {"face": "portrait"}, "not allowlisted.*leave `face` out"),
        (Manner(picture=False), {"connect_s": 1.5}, "no picture came"),
    ],
    ids=["full", "not-allowed", "sound-alone"],
)
def test_a_session_that_cant_be_had_says_why(
    tmp_path: Path, manner: Manner, options: dict[str, Any], message: str
) -> None:
    with GeminiServer(manner) as server, pytest.raises(GeminiLiveError, match=message):
        talk(server, tmp_path, **options)


def test_a_wrong_key_is_refused_without_being_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "another-key")
    with GeminiServer() as server, pytest.raises(GeminiLiveError, match="401") as refused:
        talk(server, tmp_path)
    assert "another-key" not in str(refused.value)


def test_a_cap_stops_before_anything_is_said(tmp_path: Path) -> None:
    scenarios = realtime_kit.write_interrupted_set(tmp_path / "set", turns=1, interrupting=0)
    with GeminiServer() as server:
        options = {"base_url": server.url}
        argv = realtime_kit.command(
            "gemini-live-avatar", options, scenarios, tmp_path / "run", "--max-usd", "0.1", verb="drive"
        )
        status, said = realtime_kit.invoked(argv)
    assert status == 3 and "--max-usd 0.1 is reached" in said and not server.lines


def test_without_the_package_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GeminiLiveAvatar, "module", "no_such_package")
    with pytest.raises(SystemLoadError, match=r"pip install 'interbench\[gemini-live\]'"):
        asyncio.run(GeminiLiveAvatar().start())


def test_slices_cut_at_every_place_give_the_same_fragments(tmp_path: Path) -> None:
    data = harness_kit.write_clip(tmp_path / "a.mp4", seconds=1.5, fragmented=True).read_bytes()
    whole = FragmentReader()
    expected = whole.feed(data)
    assert [fragment.sync for fragment in expected] == [True] * len(expected) and len(expected) == 3
    assert (
        whole.init + b"".join(fragment.data for fragment in expected) == data[: expected[-1].start] + expected[-1].data
    )
    for cut in range(1, len(data), 97):
        reader = FragmentReader()
        assert [*reader.feed(data[:cut]), *reader.feed(data[cut:])] == expected and reader.init == whole.init
    for size in (1, 13):
        reader = FragmentReader()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert [fragment for piece in pieces for fragment in reader.feed(piece)] == expected


def test_what_is_no_fragmented_mp4_is_refused() -> None:
    for data in (b"RIFF....WAVEfmt ....", bytes(16), b"\xff" * 16):
        with pytest.raises(FragmentError):
            FragmentReader().feed(data)


def test_odd_messages_do_no_harm() -> None:
    assert gemini_wire.read('{"goAway": {"timeLeft": "soon"}}').leaving_s == 0.0
    assert gemini_wire.read('{"goAway": {"timeLeft": "49.5s"}}').leaving_s == 49.5
    assert gemini_wire.read('{"serverContent": {"modelTurn": {"parts": [3, {"inlineData": 4}]}}}').slices == []
    assert gemini_wire.read('{"sessionResumptionUpdate": {"newHandle": "a", "resumable": false}}').handle is None
    for odd in (
        "[",
        '{"serverContent": {"modelTurn": {"parts": [{"inlineData": {"mimeType": "video/mp4", "data": "%"}}]}}}',
    ):
        with pytest.raises(NotJsonError):
            gemini_wire.read(odd)
