"""Each recipe is driven through a stand-in of its checkout: what it was started with, and what came of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import harness_kit
import pytest
from checkouts import BEYOND, SIX, make_checkout, read_log
from PIL import Image

from interbench.asr.given import Given
from interbench.base.errors import SystemLoadError
from interbench.base.progress import PlainProgress
from interbench.domain.persona import Persona
from interbench.domain.records import Exchange
from interbench.judge.signals.judge import Signals
from interbench.media.speech import Speech, resample, synthesize, write_wav
from interbench.pipeline.config import Settings
from interbench.pipeline.run import execute, make_plan
from interbench.store.run_folder import Run
from interbench.systems.events import Completed, Event, ReplyText, TurnRequest
from interbench.systems.recipes.model import FOLDER, load_recipe
from interbench.systems.recipes.system import RecipeSystem
from interbench.systems.registry import SystemSpec

GOLDEN = Path(__file__).parent / "golden"
"""Commands, environments and files of one turn, as held against each repository's own parser and reader."""
CLIPS = {
    "aniportrait": (512, 512, 30),
    "hallo3": (480, 480, 25),
    "fantasytalking": (512, 512, 23),
    "omniavatar-1.3b": (720, 720, 25),
    "omniavatar-14b": (720, 720, 25),
    "livetalk-published": (512, 512, 16),
    "musetalk-1.5": (64, 64, 25),
    "ditto": (96, 96, 25),
    "echomimicv3-flash": (64, 64, 25),
    "soulx-flashhead": (64, 64, 25),
    "infinitetalk": (64, 64, 25),
    "wan2.2-s2v": (64, 64, 16),
    "stableavatar": (64, 64, 25),
}
ALL = (*SIX, *BEYOND)
# One of each way of keeping weights here, all of them with `make soak`.
EACH = [
    pytest.param(name, marks=() if name in ("ditto", "hallo3", "fantasytalking") else pytest.mark.soak) for name in ALL
]


def write_set(folder: Path, count: int = 1, turns: int = 3) -> Path:
    """A scenario set whose persona has a portrait, and whose replies take two seconds or less."""
    harness_kit.write_set(folder, count=count, turns=turns)
    Image.new("RGB", (64, 64), (200, 160, 140)).save(folder / "tess.png")
    (folder / "personas.jsonl").write_text(json.dumps({**harness_kit.PERSONA, "portrait": "tess.png"}) + "\n")
    return folder


def settings(tmp_path: Path, system: str, count: int = 1, turns: int = 3, **options: Any) -> Settings:
    folder = tmp_path / "set"
    if not folder.exists():
        write_set(folder, count, turns)
    home = tmp_path / "checkout"
    if not home.exists():
        make_checkout(home, system)
    table = {"home": str(home), "env": {"STANDIN_LOG": str(tmp_path / "log")}, **options}
    return Settings(
        out=tmp_path / "run",
        scenarios=str(folder),
        systems=(system,),
        system={system: table},
        words_options={"words": 2},
    )


def drive(chosen: Settings) -> list[Exchange]:
    plan = make_plan(chosen)
    asyncio.run(execute(plan, transcriber=Given(), judge=Signals(), progress=PlainProgress(), stages=("drive",)))
    with Run(chosen.out, write=False) as run:
        return run.exchanges()


@pytest.mark.parametrize("name", EACH)
def test_three_turns(tmp_path: Path, name: str) -> None:
    exchanges = drive(settings(tmp_path, name))
    assert [e.outcome.value for e in exchanges] == ["completed"] * 3, [e.message for e in exchanges]
    width, height, fps = CLIPS[name]
    for exchange in exchanges:
        facts = exchange.facts
        assert facts is not None and facts.audible
        assert (facts.width, facts.height) == (width, height) and facts.fps == pytest.approx(fps, abs=0.1)
        # Padding and silence before the speech are gone again.
        assert facts.duration_s == pytest.approx(exchange.detail["speech"]["seconds"], abs=0.2)
        assert facts.speech_start_s is not None and facts.speech_start_s < 0.2
        assert exchange.reply_text == "The answer"
        assert exchange.parts_s["rendered"] > 0
    log = read_log(tmp_path / "log")
    loads = {entry["pid"] for entry in log}
    assert len(loads) == (1 if load_recipe(name).keep is not None else 3)
    assert not (tmp_path / "checkout" / "output").exists() and not list((tmp_path / "checkout").rglob("*.mp4"))
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())["systems"][name]
    assert any("Licence" in caveat for caveat in manifest["caveats"])


async def respond(system: RecipeSystem, persona: Persona, turn: TurnRequest) -> list[Event]:
    conversation = await system.open(persona)
    try:
        await conversation.ready()
        return [event async for event in conversation.respond(turn)]
    finally:
        await conversation.close()


def golden_turn(tmp_path: Path, golden: dict[str, Any]) -> TurnRequest:
    """The golden turn with a short reply: every length in it that a stand-in films is one second."""
    facts = golden["turn"]
    portrait = tmp_path / "maya.png"
    Image.new("RGB", (64, 64)).save(portrait)
    speech = tmp_path / "speech.wav"
    spoken = resample(synthesize("Oh, lovely!"))
    write_wav(speech, Speech(spoken.samples[:16_000], 16_000))
    workdir = tmp_path / "turn"
    workdir.mkdir()
    return TurnRequest(
        scenario=facts["scenario"],
        index=facts["turn"],
        text="?",
        audio=None,
        history=(),
        portrait=portrait,
        seed=facts["seed"],
        workdir=workdir.resolve(),
        deadline_s=300,
        script="Oh, lovely!",
        speech=speech,
    )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.soak if name == "omniavatar-14b" else ()) for name in ALL]
)
async def test_what_a_checkout_is_started_with_is_the_published_command(tmp_path: Path, name: str) -> None:
    """Read in the process itself: arguments, environment, links and the text of its input file."""
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    home = make_checkout((tmp_path / "checkout").resolve(), name)
    system = RecipeSystem(str(home), keep=False, env={"STANDIN_LOG": str(tmp_path / "log")}, recipe=str(_recipe(name)))
    turn = golden_turn(tmp_path, golden)
    persona = Persona.model_validate({**harness_kit.PERSONA, "appearance": "P", "background": "Q"})
    try:
        await system.start()
        events = await respond(system, persona, turn)
    finally:
        await system.stop()
    assert isinstance(events[-1], Completed) and ReplyText("Oh, lovely!") in events, events

    def named(text: str) -> str:
        prompt = "P Q The person looks into the camera and talks. Static camera."
        found = text.replace(str(turn.workdir), "@turn").replace(str(home), "@system")
        return found.replace(prompt, golden["turn"]["prompt"]).replace("video_duration: 5", "video_duration: 20")

    started, *others = read_log(tmp_path / "log")
    assert named(started["cwd"]) == golden["cwd"]
    # A script's own argv begins with the script; -m makes a path of the module.
    first = golden["argv"].index("-m") + 1 if "-m" in golden["argv"] else golden["argv"].index(load_recipe(name).entry)
    # The clip's length follows from a speech of one second here.
    length = {"--video_length": "25"}
    wanted = golden["argv"][first + 1 :]
    wanted = [length.get(before, argument) for before, argument in zip(["", *wanted], wanted, strict=False)]
    assert [named(argument) for argument in started["argv"][1:]] == wanted
    assert {key: named(value) for key, value in started["env"].items()} == golden["env"]
    own = {"out", "output", ".cache", "demo_out", "tmp.mp4", "reply.mp4", *golden["files"]}
    assert set(started["links"]) == {entry.name for entry in home.iterdir()} - own
    read = [entry.get("config") or entry.get("line") for entry in (started, *others)]
    assert [named(text) for text in read if text] == list(golden["files"].values())


def _recipe(name: str) -> Path:
    return FOLDER / f"{name}.toml"


def test_several_gpus_have_a_process_each(tmp_path: Path) -> None:
    chosen = settings(tmp_path, "hallo3", count=2, turns=2, gpus=[0, 3])
    # What the recipe reckons with holds where it is longer than the run's deadline.
    exchanges = drive(chosen.model_copy(update={"deadline_s": 0.01}))
    assert [e.outcome.value for e in exchanges] == ["completed"] * 4
    loads = [entry for entry in read_log(tmp_path / "log") if entry["op"] == "loaded"]
    assert sorted(entry["gpu"] for entry in loads) == ["0", "3"]
    assert len({entry["pid"] for entry in loads}) == 2


@pytest.mark.soak
@pytest.mark.parametrize("name", ALL)
def test_each_on_two_gpus(tmp_path: Path, name: str) -> None:
    exchanges = drive(settings(tmp_path, name, count=2, turns=1, gpus=[0, 1]))
    assert [e.outcome.value for e in exchanges] == ["completed"] * 2
    assert {entry["gpu"] for entry in read_log(tmp_path / "log")} <= {"0", "1"}


def changed(path: Path, **changes: str) -> None:
    persona = {**json.loads((path / "personas.jsonl").read_text()), **changes}
    (path / "personas.jsonl").write_text(json.dumps(persona) + "\n")


def test_a_turn_that_can_not_be_handed_over_fails_with_the_reason(tmp_path: Path) -> None:
    chosen = settings(tmp_path, "hallo3", turns=1)
    changed(tmp_path / "set", appearance="A woman @@ a desk.")
    (exchange,) = drive(chosen)
    assert (exchange.outcome.value, exchange.code) == ("failed", "unfit_value")
    assert "would break input.txt" in exchange.message


def test_a_process_that_dies_is_started_again_before_the_next_clock(tmp_path: Path) -> None:
    chosen = settings(tmp_path, "hallo3", turns=2)
    changed(tmp_path / "set", appearance="Die: a woman in a green jumper.")
    first, second = drive(chosen)
    assert [e.code for e in (first, second)] == ["worker_died"] * 2
    assert "CUDA out of memory" in first.message
    assert [entry["op"] for entry in read_log(tmp_path / "log")] == ["loaded", "turn"] * 2


async def test_a_slow_turn_costs_no_reload(tmp_path: Path) -> None:
    home = make_checkout(tmp_path / "checkout", "hallo3")
    env = {"STANDIN_LOG": str(tmp_path / "log"), "STANDIN_HANG_S": "0.5"}
    system = RecipeSystem(str(home), env=env, recipe=str(_recipe("hallo3")))
    slow = Persona.model_validate({**harness_kit.PERSONA, "appearance": "Hang on."})
    fast = Persona.model_validate(harness_kit.PERSONA)
    facts = {"turn": {"scenario": "slow", "turn": 1, "seed": 7}}
    turn = golden_turn(tmp_path, facts)
    try:
        await system.start()
        conversation = await system.open(slow)
        await conversation.ready()
        events = conversation.respond(turn)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await anext(events)
        await events.aclose()  # type: ignore[attr-defined]
        await conversation.close()
        (tmp_path / "again").mkdir()
        found = await respond(system, fast, golden_turn(tmp_path / "again", {"turn": {**facts["turn"], "turn": 2}}))
        assert isinstance(found[-1], Completed), found
        assert found[-1].detail["recipe"]["turns_before"] == 1  # type: ignore[index,call-overload]
    finally:
        await system.stop()
    assert [entry["op"] for entry in read_log(tmp_path / "log")] == ["loaded", "turn", "turn"]


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (
            lambda home: (home / "pretrained_models/hallo3/weights.bin").unlink(),
            "is an empty folder; download the weights",
        ),
        (lambda home: (home / "hallo3/sample_video.py").unlink(), "has no hallo3/sample_video.py"),
        (lambda home: (home / ".venv/bin/python").unlink(), "can't be started"),
    ],
)
async def test_a_checkout_that_is_not_ready_is_refused_before_the_run(
    tmp_path: Path, break_it: Any, words: str
) -> None:
    from interbench.base.errors import SystemLoadError

    home = make_checkout(tmp_path / "checkout", "hallo3")
    break_it(home)
    system = SystemSpec.parse("hallo3", {"hallo3": {"home": str(home)}}).factory()()
    with pytest.raises(SystemLoadError, match=words):
        await system.start()
    await system.stop()


def test_a_system_without_its_checkout_says_where_to_get_it() -> None:
    system = SystemSpec.parse("omniavatar-14b").factory()()
    with pytest.raises(SystemLoadError, match=r"github.com/Omni-Avatar/OmniAvatar at 1536bf31 and say so"):
        asyncio.run(system.start())
