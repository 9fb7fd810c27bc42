"""What the judging stage shows a judge: only clips that are those recorded, and copies of those not everyone reads."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import pytest_asyncio
from judge_kit import conversation
from judge_stub import Reply, StubJudge
from odd_clips import encoded, flag, remux

from interbench.domain.records import COPY_RECIPE, Missing, PlayedConversation, Verdict
from interbench.judge.base import Judge, JudgeTask
from interbench.judge.signals import judge as signals
from interbench.judge.stage import JudgingStage
from interbench.judge.vlm.judge import VLMJudge
from interbench.media.pool import MediaPool
from interbench.store.run_folder import Run

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def media() -> AsyncIterator[MediaPool]:
    async with MediaPool() as pool:
        yield pool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A turned clip and one that is as it looks."""
    clips = tmp_path / "run" / "media" / "sys" / "one"
    clips.mkdir(parents=True)
    upright = encoded(clips / "2.mp4", frames=20)
    remux(upright, clips / "1.mp4", setup=lambda streams: streams[0].set_display_rotation(-90))
    return tmp_path / "run"


async def played(folder: Path, media: MediaPool) -> PlayedConversation:
    clips = [folder / "media/sys/one" / f"{turn}.mp4" for turn in (1, 2)]
    return conversation([(clip, await media.inspect(clip)) for clip in clips])


async def judged(run: Run, media: MediaPool, judge: Judge, talk: PlayedConversation, repeats: int = 1) -> list[Verdict]:
    async with JudgingStage(judge, run, repeats, media) as stage:
        return await stage.give(talk)


def paths(request: dict[str, Any]) -> list[Path]:
    urls = [part["video_url"]["url"] for part in request["messages"][1]["content"] if part["type"] == "video_url"]
    return [Path(unquote(urlsplit(url).path)) for url in urls]


async def test_a_judge_of_files_gets_a_plain_copy_once(folder: Path, media: MediaPool, tmp_path: Path) -> None:
    shutil.move(folder / "media", tmp_path / "media")
    async with StubJudge(lambda request, number: Reply()) as stub:
        with Run(folder, write=True) as run:
            shutil.copytree(tmp_path / "media", folder / "media", dirs_exist_ok=True)
            talk = await played(folder, media)
            verdicts = await judged(run, media, VLMJudge([stub.url]), talk)
            made = (folder / "copies").stat().st_mtime_ns, run.copies(COPY_RECIPE)
            again = await judged(run, media, VLMJudge([stub.url]), talk, repeats=2)
            assert ((folder / "copies").stat().st_mtime_ns, run.copies(COPY_RECIPE)) == made
    assert all(verdict.score is not None for verdict in (*verdicts, *again))
    first, second = talk.turns
    assert first.facts is not None and second.facts is not None and second.clip is not None
    copy, original = paths(stub.requests[0])
    assert copy == (folder / "copies" / f"{first.facts.sha256}.mp4").resolve() and original == second.clip
    turned, plain = verdicts[0].evidence["videos"]
    assert turned["copy_of"] == first.facts.sha256 != turned["sha256"]
    assert "turned by 90 degrees" in turned["copied_because"] and "copy_of" not in plain
    (about,) = made[1].values()
    assert (about.width, about.height) == (first.facts.width, first.facts.height) == (64, 96)


async def test_a_copy_that_was_tampered_with_is_made_again(folder: Path, media: MediaPool, tmp_path: Path) -> None:
    shutil.move(folder / "media", tmp_path / "media")
    async with StubJudge(lambda request, number: Reply()) as stub:
        with Run(folder, write=True) as run:
            shutil.copytree(tmp_path / "media", folder / "media", dirs_exist_ok=True)
            talk = await played(folder, media)
            await judged(run, media, VLMJudge([stub.url]), talk)
            (copy,) = (folder / "copies").iterdir()
            good = copy.read_bytes()
            copy.write_bytes(b"something else")
            verdicts = await judged(run, media, VLMJudge([stub.url]), talk, repeats=2)
            assert copy.read_bytes() == good and verdicts[0].score is not None


async def test_clips_of_an_earlier_version_are_looked_at_again(folder: Path, media: MediaPool, tmp_path: Path) -> None:
    """Its facts speak of the stored picture and do not say whether every loader shows it."""
    shutil.move(folder / "media", tmp_path / "media")
    async with StubJudge(lambda request, number: Reply()) as stub:
        with Run(folder, write=True) as run:
            shutil.copytree(tmp_path / "media", folder / "media", dirs_exist_ok=True)
            talk = await played(folder, media)
            facts = talk.turns[0].facts
            assert facts is not None
            old = dataclasses.replace(facts, width=96, height=64, rotation=0, not_plain=None)
            turns = (dataclasses.replace(talk.turns[0], facts=old), talk.turns[1])
            verdicts = await judged(run, media, VLMJudge([stub.url]), dataclasses.replace(talk, turns=turns))
    assert verdicts[0].score is not None and paths(stub.requests[0])[0].parent.name == "copies"


@pytest.mark.parametrize(("damage", "missing"), [("changed", Missing.CLIP_CHANGED), ("gone", Missing.CLIP_MISSING)])
async def test_a_clip_that_is_not_the_one_recorded_is_not_judged(
    folder: Path, media: MediaPool, tmp_path: Path, damage: str, missing: Missing
) -> None:
    shutil.move(folder / "media", tmp_path / "media")
    with Run(folder, write=True) as run:
        shutil.copytree(tmp_path / "media", folder / "media", dirs_exist_ok=True)
        talk = await played(folder, media)
        clip = talk.turns[1].clip
        assert clip is not None
        before = await judged(run, media, signals.Signals(media, faces=False), talk)
        good = clip.read_bytes()
        if damage == "changed":
            shutil.copy(folder / "media/sys/one/1.mp4", clip)
        else:
            clip.unlink()
        verdicts = await judged(run, media, signals.Signals(media, faces=False), talk, repeats=2)
        assert {verdict.sample for verdict in verdicts} == {1}, "those given on the right clip stand"
        assert {verdict.missing for verdict in verdicts} == {missing}
        assert "Turn 2: The clip sys/one/2.mp4" in verdicts[0].reasons
        clip.write_bytes(good)
        again = await judged(run, media, signals.Signals(media, faces=False), talk, repeats=2)
    scores = {verdict.dimension: verdict.score for verdict in before}
    assert {verdict.dimension: verdict.score for verdict in again} == scores
    assert any(score is not None for score in scores.values())


async def test_the_offline_judge_sees_a_phone_s_film_upright(media: MediaPool, tmp_path: Path) -> None:
    """A turned clip is as coherent with its upright twin as the twin with itself."""
    sharp = {"crf": "5"}

    def waved(index: int) -> np.ndarray:
        picture = flag(192, 256).copy()
        picture[120:136, 8 * index : 8 * index + 16] = 128  # a still picture would not be compared
        return picture

    upright = encoded(tmp_path / "1.mp4", size=(192, 256), frames=10, picture=waved, options=sharp)
    stored = encoded(
        tmp_path / "s.mp4", size=(256, 192), frames=10, picture=lambda n: np.rot90(waved(n), 1), options=sharp
    )
    turned = remux(stored, tmp_path / "2.mp4", setup=lambda streams: streams[0].set_display_rotation(-90))
    judge, scores = signals.Signals(media, faces=False), []
    for other in (turned, stored):
        talk = conversation([(clip, await media.inspect(clip)) for clip in (upright, other)])
        (verdict,) = [verdict async for verdict in judge.judge(talk, [JudgeTask("look")])]
        scores.append(verdict.score)
    assert scores[0] == pytest.approx(10.0, abs=0.5) and scores[1] is not None and scores[1] < 5
