"""What judges are shown beside clips and transcripts: when speech is heard, and parts of the picture in detail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from interbench.domain.records import Outcome, PlayedConversation, PlayedTurn, Speaking, Transcript, Verdict, Word
from interbench.domain.scenario import Scenario, Turn
from interbench.judge.base import Judge
from interbench.judge.evidence import DETAIL_FRAMES, Evidence, by_words, detail_parts
from interbench.judge.stage import JudgingStage
from interbench.media.activity import heard
from interbench.media.film import AUDIO_RATE, write_film
from interbench.media.pool import MediaPool
from interbench.store.run_folder import Run

FPS, SECONDS = 10, 6
PAUSES = ((2.5, 3.3), (4.6, 5.1))
SPOKEN = ((0.4, 2.5), (3.3, 4.6), (5.1, 5.6))


def tone(rate: int = AUDIO_RATE, hum: float = 0.0) -> np.ndarray:
    """Loud where something is spoken, and a hum throughout."""
    time = np.arange(SECONDS * rate) / rate
    loud = np.zeros(len(time), bool)
    for start, end in SPOKEN:
        loud |= (time >= start) & (time < end)
    samples = np.where(loud, 0.3 * np.sin(2 * np.pi * 300 * time), 0.0) + hum * np.sin(2 * np.pi * 50 * time)
    return samples.astype(np.float32)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds with two pauses; its picture is as bright as the clock says."""
    path = tmp_path_factory.mktemp("clip") / "talk.mp4"
    pictures = (Image.new("RGB", (64, 64), (20 + 3 * n,) * 3) for n in range(SECONDS * FPS))
    write_film(path, pictures, tone(), fps=FPS)
    return path


@pytest.fixture
async def media() -> AsyncIterator[MediaPool]:
    async with MediaPool() as pool:
        yield pool


async def conversation(clip: Path, media: MediaPool, transcript: Transcript | None = None) -> PlayedConversation:
    scenario = Scenario(
        id="s", category="c", title="t", persona="p", turns=(Turn(text="Hello?", mood="calm", reply="Hello."),)
    )
    turn = PlayedTurn(
        1, "Hello?", "calm", Outcome.COMPLETED, "", clip, await media.inspect(clip), transcript or Transcript("Hi. So.")
    )
    return PlayedConversation("it", scenario, (turn,), "given")


def near(spans: tuple[tuple[float, float], ...]) -> list[Any]:
    return [pytest.approx(span, abs=0.08) for span in spans]


@pytest.mark.parametrize("hum", [0.0, 0.004])
def test_speech_and_pauses_are_read_off_the_level(hum: float) -> None:
    found = heard(tone(16_000, hum), 16_000, 0.3)
    assert found is not None
    start, end, pauses = found
    assert [start, end] == pytest.approx([0.4, 5.6], abs=0.03)
    assert list(pauses) == near(PAUSES)
    assert heard(tone(16_000, hum), 16_000, 0.6) == (start, end, pauses[:1])


def test_nothing_is_heard_in_silence_and_in_less_than_a_window() -> None:
    assert heard(np.zeros(16_000, np.float32), 16_000, 0.3) is None
    assert heard(np.ones(10, np.float32), 16_000, 0.3) is None


def test_word_times_come_before_the_level() -> None:
    words = (Word("one", 0.5, 0.8), Word("three", 1.9, 2.2), Word("two", 0.9, 1.4))
    assert by_words(Transcript("one two three", words)) == Speaking(0.5, 2.2, ((1.4, 1.9),), by="words")
    assert by_words(Transcript("as the system reports it")) is None


async def test_what_a_judge_asks_for_is_measured_and_nothing_else(clip: Path, media: MediaPool, tmp_path: Path) -> None:
    with Run(tmp_path / "run", write=True) as run:
        evidence = Evidence(run, media)
        plain = await conversation(clip, media)
        assert await evidence.given(plain, {"timings"}) is plain
        (turn,) = (await evidence.given(plain, {"speaking"})).turns
        assert turn.speaking is not None and turn.speaking.by == "level" and turn.details == ()
        assert list(turn.speaking.pauses) == near(PAUSES)
        words = Transcript("one two", (Word("one", 0.5, 0.8), Word("two", 1.9, 2.2)))
        (told,) = (await evidence.given(await conversation(clip, media, words), {"speaking"})).turns
        assert told.speaking == Speaking(0.5, 2.2, ((0.8, 1.9),), by="words")
        assert not (run.path / "copies").exists()


async def test_details_are_stills_of_the_beginning_and_the_pauses(clip: Path, media: MediaPool, tmp_path: Path) -> None:
    with Run(tmp_path / "run", write=True) as run:
        plain = await conversation(clip, media)
        (turn,) = (await Evidence(run, media).given(plain, {"speaking", "details"})).turns
        (detail,) = turn.details
        assert list(detail.parts) == near(((0.0, 2.0), (2.4, 3.4), (4.35, 5.35)))
        assert (detail.facts.frames, detail.facts.fps) == (32, 8.0)
        with av.open(str(detail.path)) as container:
            shades = [frame.to_ndarray(format="gray").mean() for frame in container.decode(video=0)]
        times = [start + k / 8 for start, end in detail.parts for k in range(round((end - start) * 8))]
        expected = [20 + 3 * int(time * FPS + 1e-6) for time in times]
        assert shades == pytest.approx(expected, abs=4), "the pictures on screen at these times"
        made = detail.path.stat().st_mtime_ns
        (again,) = (await Evidence(run, media).given(plain, {"details"})).turns
        assert again.details == (detail,) and detail.path.stat().st_mtime_ns == made, "made once"
        detail.path.write_bytes(b"changed")
        (mended,) = (await Evidence(run, media).given(plain, {"details"})).turns
        assert mended.details == (detail,) and detail.path.stat().st_size > 100


def test_of_many_pauses_the_longest_are_shown_and_no_detail_has_more_stills_than_a_judge_takes(tmp_path: Path) -> None:
    from judge_kit import clip_facts

    path = tmp_path / "x"
    path.write_bytes(b"x")
    facts = clip_facts(path, 750, 25, 64, 64)
    pauses = tuple((float(3 * n), 3 * n + 0.4 + 0.01 * n) for n in range(1, 10))
    groups = detail_parts(facts, Speaking(0.1, 29.9, pauses))
    parts = [part for group in groups for part in group]
    assert parts[0] == (0.0, 2.0) and [round(start) for start, _ in parts[1:]] == [18, 21, 24, 27]
    assert [sum(round((end - start) * 8) for start, end in group) for group in groups] == [32, 16]
    assert all(sum(round((end - start) * 8) for start, end in group) <= DETAIL_FRAMES for group in groups)
    short = clip_facts(path, 12, 25, 64, 64)
    assert detail_parts(short, None) == [((0.0, 0.48),)]


class Looks(Judge):
    """Asks for everything, and keeps what it got."""

    label = "looks"
    shown = frozenset({"timings", "speaking", "details"})
    dimensions = ("EA", "look")

    def __init__(self) -> None:
        self.got: list[PlayedConversation] = []

    def identity(self) -> dict[str, Any]:
        return {"judge": "looks"}

    async def judge(self, conversation: PlayedConversation, tasks: Any) -> AsyncIterator[Verdict]:
        self.got.append(conversation)
        for task in tasks:
            yield Verdict(conversation.system, conversation.scenario.id, task.dimension, task.sample, score=5.0)


async def test_the_stage_gives_a_judge_what_it_asks_for_and_asks_it_what_it_judges(
    clip: Path, media: MediaPool, tmp_path: Path
) -> None:
    plain = await conversation(clip, media)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(clip.read_bytes()[:2000])
    with Run(tmp_path / "run", write=True) as run:
        async with JudgingStage(Looks(), run, 1, media) as stage:
            verdicts = await stage.give(plain)
            assert [(v.dimension, v.score) for v in verdicts] == [("EA", 5.0), ("look", 5.0)]
            assert stage.pending(plain) == [] and await stage.give(plain) == []
            (seen,) = stage.judge.got  # type: ignore[attr-defined]
            assert seen.turns[0].speaking is not None and len(seen.turns[0].details) == 1
            ((_, (_, identity)),) = run.identities("judge").items()
            assert identity["dimensions"] == ["EA", "look"] and identity["shown"] == ["details", "speaking", "timings"]
            facts = replace(await media.inspect(clip), sha256=_sha(broken), bytes=broken.stat().st_size)
            bad = replace(plain, system="bad", turns=(replace(plain.turns[0], clip=broken, facts=facts),))
            lost = await stage.give(bad)
        assert {v.missing for v in lost} == {"clip_unreadable"} and all(v.retryable for v in lost)


def _sha(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()
