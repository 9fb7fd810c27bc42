"""The driver against systems good and bad: one outcome per turn, nothing lost, the clock read at the right moments."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import harness_kit
import pytest

from interbench.asr.given import Given
from interbench.base.progress import PlainProgress
from interbench.domain.records import ClipFacts, Exchange, NoSpeech, Outcome, Timings
from interbench.drive.driver import Driver, DriveSettings
from interbench.judge.base import Judge
from interbench.media.pool import MediaPool
from interbench.pipeline.config import Settings
from interbench.pipeline.run import Summary, execute, make_plan
from interbench.scenarios.plan import plan_scenarios
from interbench.scenarios.sets import load_set
from interbench.store.run_folder import Run
from interbench.systems.events import Completed, Event, FirstFrame, Media, TurnRequest
from interbench.systems.host import Host, RestartedError

Play = Callable[..., dict[tuple[str, int], Exchange]]


class NoJudge(Judge):
    """Stands where a judge is asked for and none is used."""

    label = "none"

    def identity(self) -> dict[str, Any]:
        return {}

    def judge(self, conversation: Any, tasks: Any) -> Any:
        raise AssertionError("the drive stage judged something")


def settings(tmp_path: Path, systems: Iterable[str], **more: Any) -> Settings:
    folder = tmp_path / "set"
    if not folder.exists():
        harness_kit.write_set(folder)
    return Settings(out=tmp_path / "run", scenarios=str(folder), systems=tuple(systems), **more)


def drive(chosen: Settings) -> Summary:
    return asyncio.run(
        execute(make_plan(chosen), transcriber=Given(), judge=NoJudge(), progress=PlainProgress(), stages=("drive",))
    )


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Drive one system of the kit over one scenario; gives its exchanges by (scenario, turn)."""

    def run(name: str, **more: Any) -> dict[tuple[str, int], Exchange]:
        drive(settings(tmp_path, [f"it=harness_kit:{name}"], **{"limit": 1, "deadline_s": 120.0, **more}))
        with Run(tmp_path / "run", write=False) as ledger:
            return {(exchange.scenario, exchange.turn): exchange for exchange in ledger.exchanges()}

    return run


def outcomes(exchanges: dict[tuple[str, int], Exchange]) -> list[tuple[str, str]]:
    return [(exchange.outcome.value, exchange.code) for exchange in exchanges.values()]


def test_a_good_system_completes_every_turn(play: Play, tmp_path: Path) -> None:
    exchanges = play("Good")
    assert [exchange.outcome for exchange in exchanges.values()] == [Outcome.COMPLETED] * 3
    for (_, turn), exchange in exchanges.items():
        facts, timings = exchange.facts, exchange.timings
        assert facts is not None and timings is not None and exchange.clip is not None
        assert (facts.width, facts.height, facts.frames, facts.fps) == (96, 64, 6, 10.0)
        assert facts.audible and facts.duration_s == pytest.approx(0.6, abs=0.15)
        assert 0 < timings.first_frame_s == timings.complete_s
        assert timings.real_time_factor(facts) == pytest.approx(timings.complete_s / facts.duration_s)
        assert timings.throughput_fps(facts) == pytest.approx(6 / timings.complete_s)
        assert exchange.reply_text == f"The answer is blue number {turn} and the river 1 runs north."
        assert (tmp_path / "run" / exchange.clip).is_file()
    assert not list((tmp_path / "run" / "work").rglob("*.mp4"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Raises", [("completed", ""), ("failed", "exception"), ("completed", "")]),
        ("Silent", [("failed", "no_final_event")] * 3),
        ("WritesNothing", [("failed", "media_missing")] * 3),
        ("WritesHalf", [("failed", "media_truncated")] * 3),
        ("Outside", [("failed", "media_outside")] * 3),
        ("Links", [("failed", "media_symlink")] * 3),
        ("LinkedFolder", [("failed", "media_outside")] * 3),
        ("NotAnEvent", [("failed", "not_an_event")] * 3),
        ("Refuses", [("completed", ""), ("blocked", "moderation_blocked"), ("completed", "")]),
        ("Gone", [("completed", ""), ("retired", "retired"), ("not_played", "not_played")]),
        ("CantOpen", [("failed", "not_opened"), ("not_played", "not_played"), ("not_played", "not_played")]),
        ("Fails", [("failed", "processing_error")] * 3),
    ],
)
def test_every_turn_ends_in_one_outcome(play: Play, name: str, expected: list[tuple[str, str]]) -> None:
    exchanges = play(name)
    assert outcomes(exchanges) == expected
    for exchange in exchanges.values():
        assert (exchange.clip is None) == (exchange.outcome is not Outcome.COMPLETED)
        assert exchange.message or exchange.completed


def test_a_turn_that_never_ends_times_out_and_later_turns_are_played(play: Play) -> None:
    exchanges = play("Hangs", deadline_s=0.3)
    assert outcomes(exchanges) == [("timed_out", "timed_out")] * 3
    assert all(e.timings is not None and e.timings.complete_s == pytest.approx(0.3) for e in exchanges.values())


def test_what_came_of_a_stream_that_did_not_end_is_removed(play: Play, tmp_path: Path) -> None:
    exchanges = play("StreamsAndHangs", deadline_s=1.0)
    assert outcomes(exchanges)[0] == ("timed_out", "timed_out")
    left = [file.name for file in (tmp_path / "run" / "work").rglob("*") if file.is_file()]
    assert left == ["notes.txt"] * len(exchanges), "what the system wrote itself stays"


def test_a_blocked_event_loop_stops_neither_the_harness_nor_later_conversations(play: Play) -> None:
    exchanges = play("Blocks", limit=2, deadline_s=2.0, concurrency=1)
    assert outcomes(exchanges)[:3] == [
        ("timed_out", "timed_out"),
        ("not_played", "not_played"),
        ("not_played", "not_played"),
    ]
    assert [exchange.outcome for exchange in list(exchanges.values())[3:]] == [Outcome.COMPLETED] * 3


async def test_who_is_being_asked_is_told_that_the_system_was_restarted() -> None:
    host = Host(harness_kit.Good)
    await host.start()
    asked = asyncio.create_task(host.call(lambda: asyncio.Event().wait()))
    await asyncio.sleep(0)
    await host.restart()
    with pytest.raises(RestartedError, match="stopped reacting and was restarted"):
        await asked
    assert await host.call(lambda: asyncio.sleep(0, "well")) == "well"

    async def given_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="own work was cancelled"):
        await host.call(given_up)
    await host.stop()
    with pytest.raises(RestartedError):
        await host.call(lambda: asyncio.sleep(0))


def test_later_turns_are_marked_not_played_if_the_rule_says_so(play: Play) -> None:
    exchanges = play("Refuses", after_failure="stop")
    assert [outcome for outcome, _ in outcomes(exchanges)] == ["completed", "blocked", "not_played"]
    assert "turn 2" in exchanges["test-001", 3].message


def test_first_frame_of_a_stream_is_read_off_the_media(play: Play) -> None:
    exchange = play("Streams")["test-001", 1]
    facts, timings = exchange.facts, exchange.timings
    assert facts is not None and timings is not None
    assert facts.first_frame_bytes is not None and facts.first_frame_bytes < facts.bytes
    assert 0 < timings.first_frame_s < timings.complete_s
    assert exchange.reply_text == "It streams well."
    assert exchange.detail["server"] == {"queue_s": 0.25}


# -- first speech, by a clock that ticks once a reading: the hand-over reads 1, each event one more -------------------


class Delivers(harness_kit.Scripted):
    """Sends a clip of one second as a list of events says, its sound beginning after ``quiet_s``."""

    def __init__(self, how: Callable[[Path], Iterable[Event]], **clip: Any) -> None:
        self._how = how
        self._clip = clip

    async def answer(self, turn: TurnRequest) -> AsyncIterator[Event]:
        path = harness_kit.write_clip(turn.workdir / "source.mp4", **{"seconds": 1.0, "quiet_s": 0.7, **self._clip})
        for event in self._how(path):
            yield event


def in_fragments(path: Path) -> Iterable[Event]:
    """The header, the fragment of the first half second, that of the second half, the rest."""
    data = path.read_bytes()
    first, second, rest = data.index(b"moof") - 4, data.rindex(b"moof") - 4, data.index(b"mfra") - 4
    for begin, end in itertools.pairwise([0, first, second, rest, len(data)]):
        yield Media(data[begin:end])
    yield Completed()


async def deliver(
    tmp_path: Path, system: harness_kit.Scripted, *, step: float = 1.0, media: type[MediaPool] = MediaPool
) -> list[Exchange]:
    whole = load_set(str(harness_kit.write_set(tmp_path / "set", count=1, turns=1)))
    (planned,) = plan_scenarios(whole, whole)
    ticks = itertools.count(1)

    def clock() -> float:
        return next(ticks) * step

    host = Host(lambda: system, clock=clock)
    await host.start()
    try:
        with Run(tmp_path / "out", write=True) as run:
            async with media() as pool:
                driver = Driver("it", host, run, pool, DriveSettings(deadline_s=20.0), clock=clock)
                return [exchange async for exchange in driver.play(planned)]
    finally:
        await host.stop()


def times(exchange: Exchange) -> Timings:
    assert exchange.timings is not None
    return exchange.timings


async def test_speech_in_a_file_is_first_heard_as_far_into_it_as_it_lies_there(tmp_path: Path) -> None:
    (exchange,) = await deliver(tmp_path, Delivers(lambda path: [Completed(path)]))
    assert exchange.facts is not None and exchange.facts.speech_start_s is not None
    assert exchange.facts.speech_start_s == pytest.approx(0.7, abs=0.09)
    assert times(exchange).complete_s == 1.0
    assert times(exchange).first_speech_s == 1.0 + exchange.facts.speech_start_s


async def test_speech_in_a_file_that_a_player_showed_earlier_counts_from_its_first_frame(tmp_path: Path) -> None:
    (exchange,) = await deliver(tmp_path, Delivers(lambda path: [FirstFrame(), Completed(path)]))
    assert exchange.facts is not None and exchange.facts.speech_start_s is not None
    assert (times(exchange).first_frame_s, times(exchange).complete_s) == (1.0, 2.0)
    assert times(exchange).first_speech_s == 1.0 + exchange.facts.speech_start_s


async def test_speech_in_a_stream_waits_for_the_piece_that_holds_it(tmp_path: Path) -> None:
    (exchange,) = await deliver(tmp_path, Delivers(in_fragments, fragmented=True))
    assert times(exchange).first_frame_s == 2.0, "the header arrives at 1, the first fragment at 2"
    assert times(exchange).first_speech_s == 3.0, "played at 2.7, but not there before 3"


async def test_speech_in_a_stream_that_is_ahead_waits_for_its_place(tmp_path: Path) -> None:
    (exchange,) = await deliver(tmp_path, Delivers(in_fragments, fragmented=True), step=0.125)
    assert exchange.facts is not None and exchange.facts.speech_start_s is not None
    assert times(exchange).first_frame_s == 0.25
    assert times(exchange).first_speech_s == 0.25 + exchange.facts.speech_start_s > 0.375


@pytest.mark.parametrize(
    ("clip", "why"), [({"audio": False}, NoSpeech.NO_SOUND_TRACK), ({"loud": False}, NoSpeech.SILENT)]
)
async def test_a_clip_in_which_nothing_is_heard_has_no_time_to_speech_but_a_reason(
    tmp_path: Path, clip: dict[str, bool], why: NoSpeech
) -> None:
    (exchange,) = await deliver(tmp_path, Delivers(lambda path: [Completed(path)], **clip))
    assert exchange.completed
    assert (times(exchange).first_speech_s, times(exchange).no_speech) == (None, why)


class Killed(MediaPool):
    """Dies where a clip that its system has finished is to be checked."""

    async def inspect(self, path: Path) -> ClipFacts:
        raise KeyboardInterrupt


@pytest.mark.parametrize(("how", "fragmented", "lost"), [(in_fragments, True, True), (None, False, False)])
async def test_a_stream_taken_up_after_a_kill_has_no_latencies(
    tmp_path: Path, how: Any, fragmented: bool, lost: bool
) -> None:
    """When its pieces arrived was known to the killed process alone; a file has been there since it was complete."""
    system = Delivers(how or (lambda path: [Completed(path)]), fragmented=fragmented)
    with pytest.raises(KeyboardInterrupt):
        await deliver(tmp_path, system, media=Killed)
    shutil.rmtree(tmp_path / "set")
    (exchange,) = await deliver(tmp_path, system)
    assert exchange.completed and times(exchange).resumed is lost


def test_seeds_and_history_reach_the_system(tmp_path: Path) -> None:
    log = tmp_path / "renders.log"
    drive(settings(tmp_path, ["it=harness_kit:Good"], system={"it": {"log": str(log)}}, limit=1))
    lines = [line.split("/") for line in log.read_text().splitlines()]
    assert [(turn, history) for _, turn, _, history in lines] == [("1", "0"), ("2", "1"), ("3", "2")]
    seeds = [int(seed) for _, _, seed, _ in lines]
    assert len(set(seeds)) == 3 and all(0 <= seed < 2**31 for seed in seeds)


def test_a_finished_run_plays_nothing_again(tmp_path: Path) -> None:
    log = tmp_path / "renders.log"
    chosen = settings(tmp_path, ["it=harness_kit:Good"], system={"it": {"log": str(log)}})
    assert drive(chosen).outcomes == {"completed": 6}
    assert drive(chosen).outcomes == {}
    assert len(log.read_text().splitlines()) == 6


def test_retry_plays_failed_turns_and_what_came_after_again(tmp_path: Path) -> None:
    healed, log = tmp_path / "healed", tmp_path / "renders.log"
    options = {"it": {"healed": str(healed), "log": str(log)}}
    chosen = settings(tmp_path, ["it=harness_kit:Flaky"], system=options, limit=1)
    assert drive(chosen).outcomes == {"completed": 2, "failed": 1}
    assert drive(chosen).outcomes == {}
    healed.touch()
    again = settings(tmp_path, ["it=harness_kit:Flaky"], system=options, limit=1, retry=("failed",))
    assert drive(again).outcomes == {"completed": 2}
    assert [line.split("/")[1] for line in log.read_text().splitlines()] == ["1", "3", "2", "3"]
    with Run(tmp_path / "run", write=False) as ledger:
        assert [exchange.outcome.value for exchange in ledger.exchanges()] == ["completed"] * 3
