"""livetalk as a system under test: a client of the conversation protocol, against a server of it without a model."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import conversation_server
import harness_kit
import pytest
from conversation_server import Act, Answer, ConversationServer, Cut, Garbage, Hang, Refuse
from PIL import Image

from interbench.asr.given import Given
from interbench.base.errors import IncomparableError, InterbenchError, SystemLoadError
from interbench.base.progress import PlainProgress
from interbench.cli.commands import carry_out
from interbench.domain.names import meant
from interbench.domain.records import Exchange, Outcome
from interbench.drive.driver import Driver, DriveSettings, turn_seed
from interbench.judge.registry import make_judge
from interbench.media.pool import MediaPool
from interbench.pipeline.config import Settings
from interbench.pipeline.conformance import check_system
from interbench.pipeline.run import Stage, Summary, execute, make_plan
from interbench.pipeline.setting_texts import DEFAULT_SYSTEMS
from interbench.report.collect import collect_report, collect_table, read_records
from interbench.report.html import write_report
from interbench.report.tables import to_json
from interbench.scenarios.plan import PlannedScenario, plan_scenarios
from interbench.scenarios.sets import load_set
from interbench.store.run_folder import Run
from interbench.systems.events import (
    Blocked,
    Completed,
    Event,
    Failed,
    Media,
    Opening,
    ReplyText,
    TimedOut,
    TurnRequest,
)
from interbench.systems.host import Host
from interbench.systems.live import livetalk
from interbench.systems.live import own_server as livetalk_server
from interbench.systems.live.livetalk import LiveTalk
from interbench.systems.live.own_server import default_size
from interbench.systems.registry import SystemSpec

STUB = [sys.executable, conversation_server.__file__]
TOKEN = "a-token-of-sixteen-and-more"


@pytest.fixture(autouse=True)
def _no_token_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIVETALK_TOKEN", raising=False)


@pytest.fixture(autouse=True)
def _logs_of_failed_servers_go_with_the_test(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))


@pytest.fixture
def server() -> Iterator[ConversationServer]:
    with conversation_server.running() as running:
        yield running
    assert running.violations == []


@pytest.fixture
def scenarios(tmp_path: Path) -> Path:
    """Two scenarios of three turns, without recordings; their persona has a portrait."""
    folder = harness_kit.write_set(tmp_path / "set")
    Image.radial_gradient("L").resize((64, 64)).convert("RGB").save(folder / "tess.png")
    personas = folder / "personas.jsonl"
    personas.write_text(personas.read_text().replace('"id"', '"portrait": "tess.png", "id"', 1))
    return folder


@pytest.fixture
def planned_scenarios(scenarios: Path) -> tuple[PlannedScenario, ...]:
    whole = load_set(str(scenarios))
    return plan_scenarios(whole, whole)


Play = Callable[..., Awaitable[list[Exchange]]]


@pytest.fixture
def play(
    tmp_path: Path, server: ConversationServer, planned_scenarios: tuple[PlannedScenario, ...], media: MediaPool
) -> Play:
    """Play the first scenario through the real driver; gives the exchanges."""

    async def play(
        *acts: Act, planned: PlannedScenario | None = None, deadline_s: float = 120.0, clock: Any = None, **options: Any
    ) -> list[Exchange]:
        server.plan(*acts)
        ticking = {} if clock is None else {"clock": clock}
        host = Host(SystemSpec("it", "livetalk", {"url": server.url, **options}).factory(), **ticking)
        await host.start()
        try:
            with Run(tmp_path / "out", write=True) as run:
                driver = Driver("it", host, run, media, DriveSettings(deadline_s=deadline_s), **ticking)
                return [exchange async for exchange in driver.play(planned or planned_scenarios[0])]
        finally:
            await host.stop()

    return play


def settings(tmp_path: Path, scenarios: Path, **more: Any) -> Settings:
    return Settings(**{"out": tmp_path / "run", "scenarios": str(scenarios), "systems": ("livetalk",), **more})


def run(chosen: Settings, stages: tuple[Stage, ...] = ("drive",)) -> Summary:
    judge = make_judge("signals", {}, 1)
    return asyncio.run(
        execute(make_plan(chosen), transcriber=Given(), judge=judge, progress=PlainProgress(), stages=stages)
    )


def exchanges_of(folder: Path) -> list[tuple[str, int, str, str]]:
    with Run(folder, write=False) as ledger:
        return [(e.scenario, e.turn, e.outcome.value, e.code) for e in ledger.exchanges()]


# -- a conversation ---------------------------------------------------------------------------------------------------


async def test_a_conversation_opens_with_the_persona_and_is_closed(
    play: Play, server: ConversationServer, planned_scenarios: tuple[PlannedScenario, ...]
) -> None:
    exchanges = await play()
    assert [exchange.outcome for exchange in exchanges] == [Outcome.COMPLETED] * 3
    (opened,) = server.opened
    assert planned_scenarios[0].portrait is not None and opened["image"] == planned_scenarios[0].portrait.read_bytes()
    assert "You are Tess, 30 years old" in opened["persona"] and "spoken aloud" in opened["persona"]
    assert "A woman with short brown hair in a green jumper. A plain wall." in opened["prompt"]
    assert opened["seed"] == str(turn_seed(0, "test-001", 0))
    assert opened["voice"] == planned_scenarios[0].persona.voice.variant
    assert len({turn["conversation"] for turn in server.turns}) == 1
    assert [turn["text"] for turn in server.turns] == [turn.text for turn in planned_scenarios[0].scenario.turns]
    assert server.closed == [server.turns[0]["conversation"]] and server.open_now == 0


async def test_the_answer_and_what_the_server_says_of_it_are_kept(play: Play) -> None:
    first, *_ = await play(Answer("It is blue.", underruns=2))
    assert first.facts is not None and first.timings is not None
    assert (first.facts.width, first.facts.fps, first.facts.frames) == (64, 16.0, 36)
    assert first.facts.audible
    assert first.reply_text == "It is blue."
    assert first.parts_s == {
        "thinker_first_text": 0.01, "thinker_first_sound": 0.02, "first_window": 0.03, "first_block": 0.05,
        "first_fragment": 0.06, "finished": 0.5,
    }  # fmt: skip
    assert list(first.parts_s)[-1] == "finished"
    kept = {name: first.detail[name] for name in ("sent", "server_frames", "underruns", "underrun_s", "server_turn")}
    assert kept == {"sent": "text", "server_frames": 36, "underruns": 2, "underrun_s": 0.5, "server_turn": 1}
    assert first.detail["server_real_time_factor"] == 0.4


async def test_the_first_frame_is_not_the_initialisation_segment(play: Play) -> None:
    """By a clock that ticks once a reading: hand-over 1, initialisation segment 2, fragments 3 to 5, text 6, end 7."""
    ticks = iter(range(1, 1000))
    first, *_ = await play(clock=lambda: float(next(ticks)))
    assert first.timings is not None and first.facts is not None and first.facts.first_frame_bytes is not None
    init, fragment, *_ = conversation_server.clip(3, 80)
    assert len(init) < first.facts.first_frame_bytes <= len(init) + len(fragment)
    assert first.timings.first_frame_s == 2.0
    assert first.facts.speech_start_s == 0.0 and first.timings.first_speech_s == 2.0, "heard at once"
    assert first.timings.complete_s == 6.0


async def test_bytes_are_handed_on_as_they_arrive(
    server: ConversationServer, planned_scenarios: tuple[PlannedScenario, ...], tmp_path: Path
) -> None:
    gate = threading.Event()
    server.plan(Answer(gate=gate))
    system = LiveTalk(server.url)
    await system.start()
    conversation = await system.open(planned_scenarios[0].persona)
    await conversation.prepare(Opening("test-001", None, 1))
    events = aiter(conversation.respond(request(planned_scenarios[0], tmp_path)))
    first = await anext(events)
    assert first == Media(conversation_server.clip(3, 80)[0]), "the rest has not been sent yet"
    gate.set()
    rest: list[Event] = [event async for event in events]
    assert isinstance(rest[-1], Completed)
    assert b"".join(e.data for e in rest if isinstance(e, Media)) == b"".join(conversation_server.clip(3, 80)[1:])
    await conversation.close()
    await system.stop()


async def test_a_caller_that_prepares_nothing_is_served_too(
    server: ConversationServer, planned_scenarios: tuple[PlannedScenario, ...], tmp_path: Path
) -> None:
    system = LiveTalk(server.url)
    await system.start()
    conversation = await system.open(planned_scenarios[0].persona)
    events = [event async for event in conversation.respond(request(planned_scenarios[0], tmp_path))]
    assert isinstance(events[-1], Completed)
    assert (
        planned_scenarios[0].portrait is not None
        and server.opened[0]["image"] == planned_scenarios[0].portrait.read_bytes()
    )
    await conversation.close()
    await system.stop()


def request(planned: PlannedScenario, folder: Path) -> TurnRequest:
    turn = planned.scenario.turns[0]
    return TurnRequest(planned.scenario.id, 1, turn.text, planned.audio[0], (), planned.portrait, 1, folder, 30.0)


@pytest.mark.parametrize("send", ["audio", "text", "both"])
async def test_the_user_speaks_unless_told_otherwise(play: Play, server: ConversationServer, send: str) -> None:
    starter = load_set("starter@1").select(limit=1)  # whose recordings are MP3, which is handed over as it is
    (planned,) = plan_scenarios(starter, starter)
    options = {} if send == "audio" else {"send": send}
    exchanges = await play(planned=planned, **options)
    assert all(exchange.completed for exchange in exchanges)
    for turn, path, sent, exchange in zip(planned.scenario.turns, planned.audio, server.turns, exchanges, strict=True):
        assert path is not None
        expected = {"audio": path.read_bytes(), "text": turn.text, "conversation": sent["conversation"]}
        left_out = {"audio": "text", "text": "audio"}.get(send)
        expected.pop(left_out or "", None)
        assert sent == expected
        assert exchange.detail["sent"] == send


@pytest.mark.parametrize(
    ("thinker", "voice", "expected"),
    [
        ("script", None, "en-us"),
        ("vllm-omni Qwen/Qwen3-Omni-30B-A3B-Instruct", None, "Chelsie"),
        ("chat some-model", None, None),
        ("chat some-model", "alloy", "alloy"),
        ("chat some-model", {"female": "nova", "default": "echo"}, "nova"),
        ("chat some-model", {"tess": "fable", "female": "nova"}, "fable"),
        ("chat some-model", {"male": "onyx"}, None),
    ],
)
async def test_every_persona_gets_a_voice(
    play: Play, server: ConversationServer, thinker: str, voice: Any, expected: str | None
) -> None:
    server.health["thinker"] = thinker
    await play(voice=voice)
    assert server.opened[0].get("voice") == expected


# -- turns that go wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "kind", "code", "words"),
    [
        (Refuse(422, "refused", "Not about that."), Blocked, "refused", "Not about that."),
        (Refuse(504, "timed_out", "It thought too long."), TimedOut, "", "It thought too long."),
        (Refuse(413, "audio_too_long"), Failed, "audio_too_long", "This is why."),
        (Refuse(415, "unsupported_media_type"), Failed, "unsupported_media_type", "This is why."),
        (Refuse(422, "unsupported", "No ears."), Failed, "unsupported", 'send = "text"'),
        (Refuse(429, "busy"), Failed, "busy", "This is why."),
        (Refuse(401, "token_required"), Failed, "token_required", "LIVETALK_TOKEN"),
        (Refuse(502, "unreachable", "Nobody thinks."), Failed, "unreachable", "Nobody thinks."),
        (Refuse(503, "overloaded"), Failed, "overloaded", "This is why."),
        (Answer(outcome="failed", error=("broken", "Half a word.")), Failed, "broken", "Half a word."),
        (Answer(outcome="failed", error=("refused", "No more.")), Blocked, "refused", "No more."),
        (Answer(outcome="timed_out", error=("too_long", "It went on.")), TimedOut, "", "It went on."),
        (Answer(outcome="interrupted"), Failed, "interrupted", "interrupted"),
        (Answer(outcome="daydreaming"), Failed, "not_the_protocol", "'daydreaming'"),
        (Answer(outcome="running"), Failed, "unfinished", "still runs"),
        (Answer(tells={"index": "one"}), Failed, "no_record", "GET the turn does not answer as the conversation"),
        (Answer(headers={"Livetalk-Turn": "two"}), Failed, "not_the_protocol", "Livetalk-Turn"),
        (Answer(headers={"Content-Type": "text/html"}), Failed, "not_the_protocol", "text/html"),
        (Cut(0), Failed, "connection_lost", "no answer"),
        (Cut(2, outcome="disconnected"), Failed, "connection_lost", "in the middle of the answer"),
        (Cut(2, outcome="completed"), Failed, "connection_lost", "in the middle of the answer"),
    ],
)
async def test_a_turn_that_goes_wrong_has_one_outcome_and_the_conversation_goes_on(
    server: ConversationServer,
    planned_scenarios: tuple[PlannedScenario, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    act: Act,
    kind: type[Blocked | Failed | TimedOut],
    code: str,
    words: str,
) -> None:
    monkeypatch.setattr(livetalk, "_SETTLE_S", 0.0)
    server.plan(act, Answer())
    system = LiveTalk(server.url)
    await system.start()
    conversation = await system.open(planned_scenarios[0].persona)
    await conversation.prepare(Opening("test-001", None, 1))
    turn = request(planned_scenarios[0], tmp_path)
    *_, final = [event async for event in conversation.respond(turn)]
    *_, after = [event async for event in conversation.respond(turn)]
    assert isinstance(final, (Blocked, Failed, TimedOut)) and type(final) is kind
    assert getattr(final, "code", "") == code and words in final.message
    assert isinstance(after, Completed)
    await conversation.close()
    await system.stop()


async def test_what_is_no_clip_is_a_failed_turn(play: Play) -> None:
    first, second, third = await play(Garbage(), Answer())
    assert (first.outcome, first.code[:6]) == (Outcome.FAILED, "media_")
    assert second.completed and third.completed


async def test_what_arrived_of_a_failed_answer_stays_for_whoever_looks_into_it(play: Play, tmp_path: Path) -> None:
    first, *_ = await play(
        Answer("Half of it and", blocks=1, outcome="failed", error=("broken", "Cut off."), heard="Half")
    )
    assert first.outcome is Outcome.FAILED and first.reply_text == "Half of it and"
    assert first.detail["heard"] == "Half" and first.detail["server_outcome"] == "failed"
    kept = tmp_path / "out" / "work" / "it" / "test-001" / "1" / "stream.mp4"
    assert kept.read_bytes() == b"".join(conversation_server.clip(1, 80))


async def test_at_the_deadline_the_answer_is_given_up_and_the_server_is_free(
    play: Play, server: ConversationServer
) -> None:
    first, second, _ = await play(Hang(1), deadline_s=2.0)
    assert first.outcome is Outcome.TIMED_OUT
    assert server.disconnected.wait(120)
    assert second.completed and second.detail["server_turn"] == 2, "in the same conversation"


async def test_a_silent_server_is_given_up_too(play: Play, server: ConversationServer) -> None:
    first, second, _ = await play(Hang(0), deadline_s=2.0)
    assert first.outcome is Outcome.TIMED_OUT and second.completed
    assert server.disconnected.wait(120)


def test_an_expired_conversation_is_played_again_from_its_first_turn(
    tmp_path: Path, scenarios: Path, server: ConversationServer
) -> None:
    server.plan(Answer(), Refuse(404, "expired", "Nothing was said for too long."))
    chosen = settings(tmp_path, scenarios, limit=1, system={"livetalk": {"url": server.url}})
    assert run(chosen).outcomes == {"completed": 1, "failed": 2}
    assert [(turn, code) for _, turn, _, code in exchanges_of(tmp_path / "run")] == [
        (1, ""), (2, "expired"), (3, "conversation_lost"),
    ]  # fmt: skip
    assert run(chosen.model_copy(update={"retry": ("failed",)})).outcomes == {"completed": 3}
    assert [turn["text"][:10] for turn in server.turns[-3:]] == ["Question 1", "Question 2", "Question 3"]


# -- places, tokens, identity -----------------------------------------------------------------------------------------


def test_no_more_conversations_are_held_than_the_server_has_places_for(tmp_path: Path, scenarios: Path) -> None:
    with conversation_server.running(ConversationServer(capacity=1)) as server:
        chosen = settings(tmp_path, scenarios, concurrency=4, system={"livetalk": {"url": server.url}})
        assert run(chosen).outcomes == {"completed": 6}
    assert server.most_open == 1 and len(server.opened) == 2 and server.violations == []


async def test_waiting_for_a_place_is_no_latency(play: Play, server: ConversationServer) -> None:
    """By a clock that ticks once per reading, whatever was waited for: the first turn looks like any other."""
    server.busy = 2
    ticks = iter(range(1, 1000))
    first, second, _ = await play(clock=lambda: float(next(ticks)))
    assert first.timings is not None and second.timings is not None
    assert first.timings.first_frame_s == second.timings.first_frame_s == 2.0
    assert len(server.opened) == 1


async def test_a_server_that_stays_full_is_named(play: Play, server: ConversationServer) -> None:
    server.busy = 1000
    first, second, _ = await play(open_wait_s=0.05)
    assert (first.outcome, first.code) == (Outcome.FAILED, "not_opened")
    assert "had no place within 0.05 s" in first.message and second.outcome is Outcome.NOT_PLAYED


async def test_a_token_is_needed_and_shown_to_nobody_else(
    monkeypatch: pytest.MonkeyPatch, planned_scenarios: tuple[PlannedScenario, ...], tmp_path: Path
) -> None:
    with conversation_server.running(ConversationServer(token=TOKEN)) as server:
        with pytest.raises(SystemLoadError, match="does not let us in") as caught:
            await LiveTalk(server.url).start()
        assert "LIVETALK_TOKEN" in str(caught.value)
        monkeypatch.setenv("MY_TOKEN", TOKEN)
        system = LiveTalk(server.url, token_env="MY_TOKEN")
        await system.start()
        conversation = await system.open(planned_scenarios[0].persona)
        events = [event async for event in conversation.respond(request(planned_scenarios[0], tmp_path))]
        assert isinstance(events[-1], Completed)
        assert TOKEN not in repr(events) and TOKEN not in json.dumps(system.settings())
        await conversation.close()
        await system.stop()
    assert server.violations == []
    monkeypatch.setenv("LIVETALK_TOKEN", TOKEN)
    with pytest.raises(SystemLoadError, match="in the clear"):
        LiveTalk("http://gpu.example.com:8010")


def test_a_run_is_never_continued_with_another_model(
    tmp_path: Path, scenarios: Path, server: ConversationServer
) -> None:
    chosen = settings(tmp_path, scenarios, limit=1, system={"livetalk": {"url": server.url}})
    run(chosen)
    facts = json.loads((tmp_path / "run" / "manifest.json").read_text())["systems"]["livetalk"]
    assert facts["version"] == "0.1.0" and facts["capabilities"]["max_concurrency"] == 2
    for name in ("size", "weights", "random_weights", "thinker", "device", "settings", "video"):
        assert facts["settings"][name] == server.health[name]
    assert server.url not in json.dumps(facts), "where it runs does not matter"
    server.health["weights"] = "LiveTalk-1.3B"
    with pytest.raises(IncomparableError, match=r"LiveTalk-1\.3B"):
        run(chosen.model_copy(update={"limit": 2}))


async def test_a_server_that_becomes_another_one_in_mid_run_is_noticed(
    server: ConversationServer, planned_scenarios: tuple[PlannedScenario, ...]
) -> None:
    system = LiveTalk(server.url)
    await system.start()
    server.health["device"] = "cuda:0"
    conversation = await system.open(planned_scenarios[0].persona)
    with pytest.raises(InterbenchError, match=r"device was 'cpu' and is 'cuda:0'"):
        await conversation.prepare(Opening("test-001", None, 1))
    await system.stop()


@pytest.mark.parametrize(
    ("health", "words"),
    [
        ({"protocol": 2}, "speaks version 2"),
        ({"status": "failed"}, "its status is 'failed'"),
        ({"capacity": 0}, "capacity for no conversation"),
        ({"video": None}, "is ready, with no `video`"),
        ({"capacity": -1}, "does not answer as the conversation protocol says: capacity"),
        ({"status": "busy"}, "status"),
    ],
)
async def test_a_server_that_cannot_be_used_is_named(server: ConversationServer, health: Any, words: str) -> None:
    server.health.update(health)
    with pytest.raises(SystemLoadError, match=words):
        await LiveTalk(server.url).start()


async def test_a_server_that_redirects_is_not_followed_but_told_of() -> None:
    class Moved(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(301)
            self.send_header("Location", "https://avatar.example/live/health")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Moved) as moved:
        threading.Thread(target=moved.serve_forever, daemon=True).start()
        with pytest.raises(SystemLoadError, match=r"redirects to https://avatar\.example/live/health"):
            await LiveTalk(f"http://127.0.0.1:{moved.server_port}").start()
        moved.shutdown()


async def test_a_stranger_may_say_little_and_nothing_is_made_up(server: ConversationServer, play: Play) -> None:
    for name in ("version", "size", "weights", "random_weights", "thinker", "device", "settings"):
        server.health[name] = None
    unsaid = ("timings", "heard_text", "frames", "video_s", "underruns", "underrun_s", "real_time_factor", "text")
    first, *_ = await play(Answer(tells=dict.fromkeys(unsaid)))
    assert first.completed and first.reply_text is None and first.parts_s == {}
    assert first.detail == {"sent": "text", "server_turn": 1, "server_outcome": "completed"}


async def test_an_address_where_nobody_is_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(SystemLoadError, match=rf"127.0.0.1:{port} can't be reached"):
        await LiveTalk(f"http://127.0.0.1:{port}").start()


def test_options_that_contradict_each_other_are_refused() -> None:
    for options, words in (
        ({"url": "http://127.0.0.1:1", "size": "tiny"}, "one or the other"),
        ({"url": "http://127.0.0.1:1", "serve": ["--thinker", "script"]}, "one or the other"),
        ({"send": "thoughts"}, "'thoughts'"),
        ({"serve": "--thinker script"}, "are lists"),
        ({"url": "ftp://host"}, "looks like"),
        ({"url": "http://127.0.0.1:1", "token_env": "NOWHERE_SET"}, "NOWHERE_SET"),
    ):
        with pytest.raises(SystemLoadError, match=words):
            LiveTalk(**options)


# -- a server of our own ----------------------------------------------------------------------------------------------


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def written(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def own(tmp_path: Path, *options: str, **more: Any) -> dict[str, Any]:
    serve = ["--state", str(tmp_path / "starts"), *options]
    return {"size": "tiny", "command": STUB, "serve": serve, **more}


async def test_a_server_is_started_told_of_and_ended(tmp_path: Path) -> None:
    system = LiveTalk(**own(tmp_path, "--loading", "2"))
    lines: list[str] = []
    system.tell = lines.append
    await system.start()
    assert lines[0].startswith("starting `livetalk serve --size tiny") and lines[-1].startswith("ready after")
    assert system.caveats and "RANDOM" in system.caveats[0]
    (process,) = map(int, (tmp_path / "starts").read_text().split())
    log = Path(lines[0].rpartition(" ")[2])
    assert alive(process) and f"process {process}" in written(log)
    await system.stop()
    assert not alive(process) and written(log) == ""


async def test_a_server_that_does_not_start_is_shown_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(SystemLoadError, match="ended with status 1") as caught:
        await LiveTalk(**own(tmp_path, "--fail")).start()
    assert "The thinker can't be reached at http://127.0.0.1:9." in str(caught.value)
    log = Path(str(caught.value).rpartition("is in ")[2].removesuffix("."))
    assert written(log).startswith("the stub of a server"), "the log stays"


async def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(SystemLoadError, match="/no/such/livetalk can't be started: No such file"):
        await LiveTalk(size="tiny", command=["/no/such/livetalk"]).start()


def test_a_server_that_dies_is_started_again_for_the_next_conversation(tmp_path: Path, scenarios: Path) -> None:
    chosen = settings(tmp_path, scenarios, concurrency=1, system={"livetalk": own(tmp_path, "--die-in-turn", "2")})
    assert run(chosen).outcomes == {"completed": 4, "failed": 2}
    ledger = exchanges_of(tmp_path / "run")
    assert [code for *_, code in ledger] == ["", "server_died", "conversation_lost", "", "", ""]
    with Run(tmp_path / "run", write=False) as held:
        message = next(e.message for e in held.exchanges() if e.code == "server_died")
    assert "status 3" in message and "the stub of a server" in message and "--retry failed" in message
    processes = [int(line) for line in (tmp_path / "starts").read_text().split()]
    assert len(processes) == 2 and not any(map(alive, processes))
    assert run(chosen.model_copy(update={"retry": ("failed",)})).outcomes == {"completed": 3}
    assert [outcome for _, _, outcome, _ in exchanges_of(tmp_path / "run")] == ["completed"] * 6


def test_the_server_ends_with_a_harness_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import asyncio, sys\n"
        "from interbench.systems.live.own_server import OwnServer\n"
        f"server = OwnServer({STUB!r}, 'tiny', [])\n"
        "print(asyncio.run(server.start(60)), flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as harness:  # fmt: skip
        assert harness.stdout is not None
        address = urlsplit(harness.stdout.readline().strip())
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=60) as connection:
            harness.send_signal(signal.SIGKILL)
            # The server's end of the connection is closed by its end; reset, if it had not taken it up yet.
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
    # Its folder goes when the next server is set up.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert list(tmp_path.glob("interbench-livetalk-*"))
    asyncio.run(livetalk_server.OwnServer(STUB, "tiny", []).stop())
    assert not list(tmp_path.glob("interbench-livetalk-*"))


async def test_the_published_size_is_not_started_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemLoadError, match=r"or take --set livetalk[.]size=mini"):
        await LiveTalk(size="1.3B", command=STUB).start()


@pytest.mark.parametrize(
    ("gpus", "checkpoints", "options", "size"),
    [
        (0, "", (), "mini"),
        (1, "", (), "mini"),
        (0, "variable", (), "mini"),
        (1, "variable", (), "1.3B"),
        (1, "folder", (), "1.3B"),
        (0, "", ("--checkpoints", "somewhere"), "1.3B"),
        (0, "folder", ("--device", "cpu"), "1.3B"),
    ],
)
def test_without_a_size_the_server_is_the_one_that_can_run_here(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gpus: int,
    checkpoints: str,
    options: tuple[str, ...],
    size: str,
) -> None:
    if gpus:
        program = tmp_path / "nvidia-smi"
        program.write_text("#!/bin/sh\necho '0, NVIDIA H200, 143771'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("LIVETALK_CHECKPOINTS", raising=False)
    monkeypatch.chdir(tmp_path)
    if checkpoints == "variable":
        monkeypatch.setenv("LIVETALK_CHECKPOINTS", "/somewhere")
    if checkpoints == "folder":
        (tmp_path / "pretrained_checkpoints").mkdir()
    assert default_size(options) == size
    spec = SystemSpec("livetalk", "livetalk", {"serve": list(options)} if options else {})
    chosen = spec.with_model()
    assert chosen.label == ("livetalk (mini)" if size == "mini" else "livetalk")
    assert chosen.options["size"] == size, "the other machines of a run are told, whatever they have"


def test_the_small_model_is_named_wherever_the_system_is() -> None:
    def label(text: str, **options: Any) -> str:
        return SystemSpec.parse(text, {text.partition("=")[0]: options}).with_model().label

    assert label("livetalk", size="mini") == "livetalk (mini)"
    assert label("mine=livetalk", size="mini") == "mine", "the user's own label stays"
    assert label("livetalk", size="tiny") == label("livetalk", size="1.3B") == "livetalk"
    assert label("livetalk", url="http://127.0.0.1:1") == "livetalk", "what is behind an address tells later"
    assert label("puppet:drift") == "puppet:drift"
    names = ("puppet", "livetalk (mini)")
    assert meant("livetalk", names) == "livetalk (mini)" and meant("puppet", names) == "puppet"
    assert meant("livetalk", ("livetalk", "livetalk (mini)")) == "livetalk"
    assert meant("other", names) == "other" and meant("livetalk", ("livetalk (a)", "livetalk (b)")) == "livetalk"


async def test_results_of_the_small_model_say_so(server: ConversationServer) -> None:
    server.health.update(size="mini", random_weights=False, weights="mini, bundled with livetalk, sha256 0123456789ab")
    system = LiveTalk(server.url)
    await system.start()
    (caveat,) = system.caveats
    await system.stop()
    assert "small model" in caveat and "sha256 0123456789ab" in caveat and "nothing of the published 1.3B" in caveat


def test_nobody_is_refused_for_what_was_not_asked_for(
    tmp_path: Path, scenarios: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    plan = make_plan(Settings(out=tmp_path / "run", scenarios=str(scenarios)))
    (line,) = plan.left_out
    assert line == "livetalk is left out: it needs torch (pip install 'interbench[livetalk]')"
    assert len(plan.systems) == len(DEFAULT_SYSTEMS) - 1 and "livetalk" not in " ".join(plan.labels)
    assert "livetalk" not in plan.settings.systems, "the manifest says what was played"
    carry_out(plan, (), quiet=True)
    assert line in capsys.readouterr().err, "nothing is left out silently, by no door and however quiet"
    asked = make_plan(Settings(out=tmp_path / "run", scenarios=str(scenarios), systems=("livetalk",)))
    assert asked.left_out == () and len(asked.systems) == 1, "what was named is refused when it is started"


async def test_a_missing_installation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(SystemLoadError, match=r"torch is not installed: pip install 'interbench\[livetalk\]'"):
        await LiveTalk(size="tiny").start()


# -- runs, reports, the command line ----------------------------------------------------------------------------------


def test_tables_and_reports_show_the_steps_and_the_random_weights(
    tmp_path: Path, scenarios: Path, server: ConversationServer
) -> None:
    server.plan(*[Answer(timings={"first_fragment_s": 0.1 * n, "first_block_s": None}) for n in range(1, 4)])
    run(
        settings(tmp_path, scenarios, limit=1, system={"livetalk": {"url": server.url}}),
        ("drive", "transcribe", "judge"),
    )
    records = read_records(tmp_path / "run")
    table = collect_table([records], intervals=False)
    shown = to_json(table)
    (row,) = shown["systems"]
    assert row["turns"] == 3 and row["latency_s"] > 0
    assert row["parts_s"] == {"first_fragment": {"median": 0.2, "p95": pytest.approx(0.29), "turns": 3}}
    assert any("RANDOM" in note for note in shown["notes"])
    report = collect_report(records, table)
    assert any(note.startswith("livetalk: the weights of this model (size tiny) are RANDOM") for note in report.notes)
    page = write_report(report, tmp_path / "report", media_root=tmp_path / "run").read_text()
    assert "first fragment" in page and "0.200" in page and "are RANDOM" in page


def test_only_finite_seconds_are_taken_for_steps() -> None:
    said = {"good": 0.5, "nan": float("nan"), "inf": float("inf"), "early": -1.0, "yes": True, "word": "1", "whole": 2}
    detail = {"parts_s": said | {f"more {n}": 1.0 for n in range(100)}}
    parts = Exchange("it", "test-001", 1, Outcome.COMPLETED, detail=detail).parts_s
    assert parts["good"] == 0.5 and parts["whole"] == 2.0 and len(parts) == 32 - 5
    assert not parts.keys() & {"nan", "inf", "early", "yes", "word"}
    assert Exchange("it", "test-001", 1, Outcome.COMPLETED, detail={"parts_s": [1.0]}).parts_s == {}


def test_conformance_has_nothing_to_mend(tmp_path: Path, server: ConversationServer) -> None:
    spec = SystemSpec("livetalk", "livetalk", {"url": server.url})
    findings = asyncio.run(check_system(spec, deadline_s=120.0, keep=tmp_path / "clips"))
    assert [finding.text for finding in findings if finding.level == "wrong"] == []
    said = "\n".join(map(str, findings))
    assert "two conversations at the same time" in said and "given up at its deadline" in said
    assert "played again from its first turn" in said
    assert server.open_now == 0


def cli(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {"INTERBENCH_TRANSCRIBER": "given", **environment}
    return subprocess.run(
        [sys.executable, "-m", "interbench", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=300, env={**os.environ, **given},
    )  # fmt: skip


def test_the_command_line_runs_it_beside_the_puppet(
    tmp_path: Path,
    server: ConversationServer,
    monkeypatch: pytest.MonkeyPatch,
    verb: Callable[..., tuple[int, str, str]],
) -> None:
    scenarios = harness_kit.write_set(tmp_path / "short", count=1, turns=1)
    done = cli(
        "run", "--systems", "puppet,livetalk", "--set", f"livetalk.url={server.url}", "--scenarios", str(scenarios),
        "--limit", "1", "--quiet", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "livetalk: ready after" in done.stderr and "RANDOM" in done.stdout
    assert [outcome for _, _, outcome, _ in exchanges_of(tmp_path / "runs" / "default")] == ["completed"] * 2
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INTERBENCH_TRANSCRIBER", "given")
    status, printed, errors = verb("check-system", "livetalk", "--set", f"livetalk.url={server.url}")
    assert status == 0, printed + errors
    assert "ready to be benchmarked" in printed
    _, printed, _ = verb("list", "systems", "--json")
    listed = json.loads(printed)
    (row,) = [row for row in listed if row["name"] == "livetalk"]
    assert row["capabilities"]["state"] == "kv_cache" and row["capabilities"]["inputs"] == ["audio", "image", "text"]


def test_every_option_is_documented() -> None:
    page = (Path(__file__).resolve().parents[4] / "docs" / "systems.md").read_text(encoding="utf-8")
    for option in inspect.signature(LiveTalk).parameters:
        assert f"`{option}`" in page, option


def test_the_command_line_says_when_the_address_is_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, errors = verb("drive", "--systems", "puppet", "--set", "livetalk.url=http://127.0.0.1:8010")
    assert status == 2 and "--systems livetalk" in errors


# -- what services say that nobody expects ----------------------------------------------------------------------------


HALF = "Half \ud83d, then \0 nothing."
MENDED = "Half \ufffd, then \ufffd nothing."


async def test_half_a_character_in_an_answer_harms_nobody(play: Play, tmp_path: Path) -> None:
    first, *others = await play(Answer(text=HALF, heard="\ude00", timings={"half_\ud83d_s": 0.5, "finished_s": 1.0}))
    assert first.completed and first.reply_text == MENDED
    assert first.parts_s == {"half_\ufffd": 0.5, "finished": 1.0}
    assert [exchange.completed for exchange in others] == [True, True]
    with Run(tmp_path / "out", write=False) as ledger:
        assert next(iter(ledger.exchanges())).reply_text == MENDED


def test_half_a_character_in_what_a_server_says_of_itself_harms_nobody(
    server: ConversationServer, tmp_path: Path, scenarios: Path
) -> None:
    server.health.update(version="1.0 \ud83d", thinker="x" * 5_000, weights=7, settings={"a\ude00": "\ud83d"})
    table = {"livetalk": {"url": server.url}}
    summary = run(settings(tmp_path, scenarios, system=table))
    assert summary.outcomes == {"completed": 6}
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text("utf-8"))
    assert manifest["systems"]["livetalk"]["version"] == "1.0 \ufffd"
    told = manifest["systems"]["livetalk"]["settings"]
    assert told["settings"] == {"a\ufffd": "\ufffd"} and len(told["thinker"]) == 300 and told["weights"] == "7"


async def test_a_system_is_checked_in_spite_of_half_a_character(server: ConversationServer) -> None:
    server.health["version"] = "1.0 \ud83d"
    server.plan(*[Answer(text=HALF)] * 12)
    findings = await check_system(SystemSpec("it", "livetalk", {"url": server.url}), deadline_s=20.0)
    "\n".join(map(str, findings)).encode()
    assert not [finding for finding in findings if "exception" in str(finding).lower()]


@pytest.mark.parametrize(
    "tells",
    [
        {"timings": "soon"},
        {"timings": {"first_block_s": "late", "finished_s": None, "extra": {"a": 1}, "x": -1, "y": 1e999}},
        {"frames": 36.5, "underruns": "many", "underrun_s": [], "video_s": "two", "real_time_factor": -1},
        {"text": 5, "heard_text": {"a": 1}, "error": "plain words", "extra": [1]},
        {"error": [], "frames": "36", "video_s": 10**400},
    ],
    ids=range(5),
)
async def test_a_value_of_no_importance_costs_no_turn(
    tells: Any, server: ConversationServer, planned_scenarios: tuple[PlannedScenario, ...], tmp_path: Path
) -> None:
    final, events = await one_turn(server, planned_scenarios[0], tmp_path, Answer(tells=tells))
    assert isinstance(final, Completed), final
    text = "".join(event.text for event in events if isinstance(event, ReplyText))
    assert text == ("5" if "text" in tells else f"You said: {planned_scenarios[0].scenario.turns[0].text}")


async def one_turn(
    server: ConversationServer, planned: PlannedScenario, folder: Path, *acts: Act, **options: Any
) -> tuple[Event, list[Event]]:
    """The last event of a turn, and those before it."""
    server.plan(*acts)
    system = LiveTalk(server.url, **options)
    await system.start()
    try:
        conversation = await system.open(planned.persona)
        await conversation.prepare(Opening("test-001", None, 1))
        *events, final = [event async for event in conversation.respond(request(planned, folder))]
        await conversation.close()
        return final, events
    finally:
        await system.stop()


async def test_odd_things_that_a_server_says_of_itself_are_left_out(server: ConversationServer) -> None:
    server.health.update(settings={"a": [1, 2], "b": None, "c": 1e999, "d": True}, random_weights="perhaps")
    server.health.update(voice_fields="pitch", device=None, extra={"a": 1}, sessions=-3)
    server.health["video"] = {**server.health["video"], "mime": 7, "sound_rate": "high"}
    system = LiveTalk(server.url)
    await system.start()
    assert system.settings()["settings"] == {"a": "[1, 2]", "c": "Infinity", "d": True}
    await system.stop()


async def test_far_fewer_frames_than_the_server_sent_are_no_answer(play: Play) -> None:
    short, near, liar = await play(
        Answer(blocks=1, tells={"frames": 36, "video_s": 2.25}),
        Answer(blocks=3, tells={"frames": 38, "video_s": 2.375}),
        Answer(blocks=1, tells={"frames": 10**9, "video_s": 0.75}),
    )
    assert (short.outcome, short.code) == (Outcome.FAILED, "media_cut_short")
    assert "36 frames" in short.message and "12 arrived" in short.message
    assert near.completed and liar.completed, "a count that contradicts itself is none"


@pytest.mark.parametrize("kind", ["gzip", "br"])
async def test_an_answer_that_is_compressed_wrongly_is_named_as_such(
    kind: str, server: ConversationServer, planned_scenarios: tuple[PlannedScenario, ...], tmp_path: Path
) -> None:
    final, _ = await one_turn(server, planned_scenarios[0], tmp_path, Answer(headers={"Content-Encoding": kind}))
    assert isinstance(final, Failed) and final.code == "not_the_protocol"
    assert "compress" in final.message and "cut" not in final.message


async def test_the_record_of_a_turn_is_asked_for_again(
    server: ConversationServer, planned_scenarios: tuple[PlannedScenario, ...], tmp_path: Path
) -> None:
    server.records.extend(
        [
            Refuse(404, "unknown_conversation"),  # whether the token is good is asked first
            Refuse(500, "internal"),
            Refuse(503, "busy", retry_after="0"),
            b"<html>Bad gateway</html>",
            Cut(0),
            Refuse(429, "busy", retry_after="soon"),
        ]
    )
    final, _ = await one_turn(server, planned_scenarios[0], tmp_path, Answer())
    assert isinstance(final, Completed) and not server.records


async def test_the_token_check_takes_every_answer_but_a_refusal_of_access(server: ConversationServer) -> None:
    answers: list[Refuse | bytes] = [*(Refuse(status, "x") for status in (404, 405, 400, 422)), b"{}", b"?"]
    for answer in answers:
        server.records.append(answer)
        system = LiveTalk(server.url)
        await system.start()
        await system.stop()
    server.records.append(Refuse(403, "forbidden"))
    with pytest.raises(SystemLoadError, match="does not let us in"):
        await LiveTalk(server.url).start()


async def test_a_server_that_says_so_is_told_how_a_persona_speaks(
    server: ConversationServer, planned_scenarios: tuple[PlannedScenario, ...], tmp_path: Path
) -> None:
    await one_turn(server, planned_scenarios[0], tmp_path)
    server.health["voice_fields"] = ["pitch", "rate", "accent"]
    await one_turn(server, planned_scenarios[0], tmp_path)
    await one_turn(server, planned_scenarios[0], tmp_path, voice="en-gb")
    told = [{name: fields.get(name) for name in ("pitch", "rate")} for fields in server.opened]
    assert told == [{"pitch": None, "rate": None}, {"pitch": "50", "rate": "165"}, {"pitch": None, "rate": None}]
