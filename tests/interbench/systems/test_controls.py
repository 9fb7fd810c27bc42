"""The controls: what they show, what they say, and that the offline judge gives them nothing for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from interbench.domain.records import Missing, Outcome, PlayedConversation, PlayedTurn, Transcript
from interbench.judge.base import JudgeTask
from interbench.judge.signals.judge import Signals
from interbench.media.pool import MediaPool
from interbench.scenarios.plan import PlannedScenario, plan_scenarios
from interbench.scenarios.sets import load_set
from interbench.systems import controls
from interbench.systems.events import Completed, ReplyText, TurnRequest
from interbench.systems.registry import SystemSpec

NAMES = ("still", "text-only", "echo", "boilerplate")


@pytest.fixture(scope="module")
def planned() -> PlannedScenario:
    whole = load_set("all@1")
    return plan_scenarios(whole.select(limit=1), whole)[0]


def request(planned: PlannedScenario, turn: int, workdir: Path, portrait: Path | None) -> TurnRequest:
    workdir.mkdir(parents=True)
    line = planned.scenario.turns[turn - 1].text
    reference = planned.references[turn - 1]
    return TurnRequest(planned.scenario.id, turn, line, None, (), portrait, 0, workdir, 60.0, reference)


async def play(name: str, planned: PlannedScenario, folder: Path, media: MediaPool) -> PlayedConversation:
    """The first two turns."""
    system = SystemSpec.parse(name).factory()()
    conversation = await system.open(planned.persona)
    turns = []
    for number in (1, 2):
        asked = request(planned, number, folder / name / str(number), planned.portrait)
        events = [event async for event in conversation.respond(asked)]
        said, done = events
        assert isinstance(said, ReplyText) and isinstance(done, Completed) and done.path is not None
        facts = await media.inspect(done.path)
        turns.append(
            PlayedTurn(
                number,
                asked.text,
                "",
                Outcome.COMPLETED,
                "",
                done.path,
                facts,
                Transcript(said.text, flags=("reported",)),
            )
        )
    scenario = planned.scenario.model_copy(update={"turns": planned.scenario.turns[:2]})
    return PlayedConversation(name, scenario, tuple(turns), "given")


@pytest.fixture(scope="module")
def expected(planned: PlannedScenario) -> dict[str, list[str]]:
    references = [turn.reply for turn in planned.scenario.turns[:2]]
    lines = [turn.text for turn in planned.scenario.turns[:2]]
    return {"still": references, "text-only": references, "echo": lines, "boilerplate": [controls.BOILERPLATE] * 2}


@pytest.mark.parametrize("name", NAMES)
async def test_one_picture_and_one_voice(
    name: str, planned: PlannedScenario, expected: dict[str, list[str]], tmp_path: Path
) -> None:
    async with MediaPool() as media:
        played = await play(name, planned, tmp_path, media)
        assert [turn.transcript.text for turn in played.turns if turn.transcript] == expected[name]
        for turn in played.turns:
            assert turn.clip is not None and turn.facts is not None
            assert (turn.facts.width, turn.facts.height, turn.facts.fps) == (512, 512, 2.0)
            assert turn.facts.audible and turn.facts.duration_s > len(turn.transcript.text.split()) / 5  # type: ignore[union-attr]
            frames = (await media.frames(turn.clip, 4, (32, 32))).astype(int)
            assert abs(frames - frames[0]).max() <= 6, "nothing moves"
            assert bool(frames[0].std() > 20) == (name != "text-only"), "a portrait, or nothing"
        judge = Signals(media, faces=False)
        verdicts = {
            v.dimension: v
            async for v in judge.judge(played, [JudgeTask("look"), JudgeTask("kp-recall"), JudgeTask("lexical")])
        }
    look = verdicts["look"].missing
    assert look is (Missing.NO_PICTURE if name == "text-only" else Missing.FROZEN)
    recall = verdicts["kp-recall"].score
    assert recall == 10.0 if name in ("still", "text-only") else recall is not None and recall < 3
    if name == "echo":
        assert verdicts["lexical"].score == 1.0


async def test_a_persona_without_a_portrait_is_a_failed_turn(planned: PlannedScenario, tmp_path: Path) -> None:
    system = controls.Still()
    conversation = await system.open(planned.persona)
    with pytest.raises(ValueError, match="the persona has none"):
        [event async for event in conversation.respond(request(planned, 1, tmp_path / "1", None))]
    blank = await controls.TextOnly().open(planned.persona)
    assert len([event async for event in blank.respond(request(planned, 1, tmp_path / "2", None))]) == 2


def test_the_boilerplate_is_as_long_as_it_says() -> None:
    assert len(controls.BOILERPLATE.split()) == 60


async def test_a_picture_is_cut_to_shape_not_squeezed(tmp_path: Path) -> None:
    from PIL import Image

    wide = Image.new("RGB", (300, 100), (255, 0, 0))
    wide.paste((0, 0, 255), (100, 0, 200, 100))
    wide.save(tmp_path / "wide.png")
    async with MediaPool() as media:
        pixels = await media.picture(tmp_path / "wide.png", (64, 64))
    assert pixels.shape == (64, 64, 3) and pixels.mean(axis=(0, 1)) == pytest.approx([0, 0, 255], abs=8)
