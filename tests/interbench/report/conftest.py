"""Runs to report on: real clips, real statistics, made-up opinions. And a real browser."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import wave
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from chromium import chromium

from interbench.domain.dimensions import DIMENSION_KEYS, DIMENSIONS, MEASURE_KEYS, MEASURES
from interbench.domain.persona import Persona
from interbench.domain.records import ClipFacts, Exchange, Missing, Outcome, Timings, Transcript, Verdict
from interbench.domain.scenario import KeyPoint, Lean, Scenario, Turn
from interbench.report.breakdown import break_down
from interbench.report.model import (
    JudgeFacts,
    PlayedScenario,
    ReportData,
    ShownConversation,
    SystemFacts,
    TranscriberFacts,
)
from interbench.report.rows import Speed
from interbench.report.tables import build_table
from interbench.stats import Expected, JudgeLabel, Scores, compare

OLD = Path(__file__).parent / "run_of_0_1"
FPS, SIZE, FRAMES = 25, 192, 30
TINTS = ((70, 110, 160), (170, 100, 60), (60, 130, 100), (140, 80, 130), (150, 120, 50))
TOPICS = (
    ("The Eiffel Tower", "travel", "Tell me about the Eiffel Tower.", "And where is the avenue you mentioned?"),
    ("A sourdough that will not rise", "cooking", "My sourdough never rises. Why?", "How long should I wait, then?"),
    ("Bad news from the clinic", "health", "My doctor wants to see me again.", "What would you ask her first?"),
    ("Learning to juggle", "hobbies", "Can anybody learn to juggle?", "Which of these should I start with?"),
)
REPLY = (
    "It was built for the World's Fair of 1889, stands 330 metres tall, and seven million people climb it every year. "
    "From the top you look straight along the Champs-Élysées."
)
REASONS = (
    "The avatar names the year and the height and then answers what was asked. Its second answer takes up the avenue "
    "from the first one without being told again.\n\nThe face stays the same throughout, but the light changes."
)


def write_clip(path: Path, tint: tuple[int, int, int], frames: int = FRAMES) -> ClipFacts:
    """An H.264 and AAC clip of a head whose mouth moves with a tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE - 0.5
    head = (x / 0.24) ** 2 + ((y + 0.02) / 0.32) ** 2 < 1
    eyes = (np.abs(np.abs(x) - 0.09) < 0.025) & (np.abs(y + 0.08) < 0.018)
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        video = container.add_stream("h264", rate=FPS, options={"preset": "ultrafast"})
        video.width = video.height = SIZE
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        for number in range(frames):
            picture = np.full((SIZE, SIZE, 3), tint, np.uint8)
            picture[y > 0.3] = np.array(tint) // 2
            picture[head] = (226, 182, 150)
            picture[eyes] = (40, 40, 50)
            mouth = 0.01 + 0.03 * abs(np.sin(number * 0.9))
            picture[(x / 0.07) ** 2 + ((y - 0.14) / mouth) ** 2 < 1] = (150, 60, 60)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        samples = (0.2 * np.sin(2 * np.pi * 220 * np.arange(frames * 16_000 // FPS) / 16_000)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 16_000, Fraction(1, 16_000), 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    seconds = frames / FPS
    size = path.stat().st_size
    return ClipFacts("ab" * 32, size, seconds, frames, float(FPS), SIZE, SIZE, "h264", True, True, seconds, 0.0, size)


def write_voice(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = (4000 * np.sin(2 * np.pi * 330 * np.arange(8_000) / 16_000)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())


class Factory:
    """Makes runs below ``root``: the media root is ``root / "run"``, the scenario set ``root / "set"``."""

    def __init__(self, root: Path, clips: list[tuple[Path, ClipFacts]]) -> None:
        self.root = root
        self.clips = clips
        self.run = root / "run"

    def __call__(
        self,
        systems: tuple[str, ...] = ("puppet", "puppet:amnesiac", "puppet:drift"),
        *,
        scenarios: int = 3,
        turns: int = 2,
        repeats: int = 1,
        trouble: bool = True,
        offline: bool = True,
        hostile: str | None = None,
        seed: int = 0,
    ) -> ReportData:
        """With ``trouble`` some turns and verdicts are lost; ``hostile`` takes the place of every text that can be."""
        rng = np.random.default_rng(seed)

        def text(honest: str) -> str:
            return honest if hostile is None else hostile

        def unicode(honest: str) -> str:
            """Scenario files refuse lone surrogates; systems don't."""
            return text(honest).replace("\ud800", "")

        (self.run / "media").mkdir(parents=True, exist_ok=True)
        facts = []
        for n in range(len(systems)):
            clip, of_clip = self.clips[n]
            shutil.copyfile(clip, self.run / "media" / f"{n} räk#?%smörgås.mp4")
            facts.append(of_clip)
        write_voice(self.root / "set" / "audio" / "user.wav")
        played = tuple(
            PlayedScenario(
                self._scenario(n, turns, unicode),
                self._persona(unicode),
                (self.root / "set" / "audio" / "user.wav",) * turns,
            )
            for n in range(scenarios)
        )
        conversations = tuple(
            self._conversation(
                rng, system, place, n, entry.scenario, facts[place], text, repeats, trouble=trouble, offline=offline
            )
            for n, entry in enumerate(played)
            for place, system in enumerate(systems)
        )
        verdicts = [verdict for conversation in conversations for verdict in conversation.verdicts]
        scores = Scores.from_records(verdicts)
        label = JudgeLabel(name=unicode("signals") if offline else "Qwen3-VL-30B-A3B-Instruct", comparable=not offline)
        keys = MEASURE_KEYS if offline else DIMENSION_KEYS
        expected = Expected.product(systems, [entry.scenario.id for entry in played], keys)
        table = build_table(
            scores,
            expected=expected,
            speeds={
                system: Speed(
                    0.4 + 9.7 * place, None if place else 24.8, scenarios * turns, first_speech_s=0.5 + 9.7 * place
                )
                for place, system in enumerate(systems)
            },
            judge=label,
            replicates=200,
        )
        kinds: dict[str, list[str]] = {}
        for entry in played:
            kinds.setdefault(entry.scenario.category, []).append(entry.scenario.id)
        return ReportData(
            title=text("starter-set"),
            created="2026-01-31T14:05:00+00:00",
            finished="2026-01-31T14:09:12+00:00",
            versions={"interbench": "0.1.0", "python": "3.11.9", "git": text("4f1c09aa12be+")},
            host={"system": "Linux", "processor": text("A processor"), "cpus": 2},
            scenario_set=text("starter"),
            scenario_digest="0f" * 32,
            judge=JudgeFacts(
                label.name,
                label.comparable,
                {"formulas": text("2"), "settings": {"frames": 32, "note": text("x"), "__proto__": {"polluted": 1}}},
                {"prompt tokens computed": 120_400, "prompt tokens reused": 998_200},
            ),
            transcriber=TranscriberFacts("given", {"word error rate": 0.034}),
            systems=tuple(
                SystemFacts(
                    system,
                    "0.1.0",
                    text("A drawn avatar." if place == 0 else "The puppet, spoiled on purpose."),
                    {"state": "history", "inputs": ["text"], "note": text("x")},
                    systems[0] if place else None,
                    ("CU", "kp-memory") if place == 1 else ("MVC", "look") if place else (),
                )
                for place, system in enumerate(systems)
            ),
            scenarios=played,
            conversations=conversations,
            table=table,
            comparisons=tuple(
                compare(scores, a, b, judge=label, replicates=200)
                for place, a in enumerate(systems)
                for b in systems[place + 1 :]
            ),
            settings={"concurrency": 2, "system": {"puppet": {"note": text("x")}}},
            usage={"video seconds": 312.5},
            breakdowns=(break_down("category", kinds, table, scores, expected, {}),),
            notes=(text("The run is not finished: 1 turn of the plan has not been played."),) if trouble else (),
        )

    def _scenario(self, number: int, turns: int, text: Callable[[str], str]) -> Scenario:
        title, category, first, then = TOPICS[number % len(TOPICS)]
        made = tuple(
            Turn(
                text=text(first if n == 0 else then)[:4000],
                audio="audio/user.wav",
                mood=text("curious")[:300],
                reply=REPLY,
                key_points=(KeyPoint(text=text("built for the World's Fair of 1889")[:300], needs=(1,) if n else ()),),
                leans_on=(Lean(turn=n, carry=text("the avenue named before")[:4000]),) if n else (),
            )
            for n in range(turns)
        )
        return Scenario(
            id=f"{category}-{number + 1:03d}",
            category=category,
            title=text(title if number < len(TOPICS) else f"{title}, {number // len(TOPICS) + 1}")[:4000],
            persona="ada",
            stresses=("CU",),
            turns=made,
        )

    def _persona(self, text: Callable[[str], str]) -> Persona:
        return Persona(
            id="ada", name=text("Ada Moreau")[:4000], age=41, gender="female", appearance="Dark bob, green coat.",
            background="A book shop.",
        )  # fmt: skip

    def _conversation(
        self,
        rng: np.random.Generator,
        system: str,
        place: int,
        number: int,
        scenario: Scenario,
        facts: ClipFacts,
        text: Callable[[str], str],
        repeats: int,
        *,
        trouble: bool,
        offline: bool,
    ) -> ShownConversation:
        exchanges = []
        for turn in range(1, len(scenario.turns) + 1):
            first = float(rng.lognormal(np.log(0.5 + 4 * place), 0.4))
            exchanges.append(
                Exchange(
                    system,
                    scenario.id,
                    turn,
                    Outcome.COMPLETED,
                    clip=f"media/{place} räk#?%smörgås.mp4",
                    facts=replace(facts, sha256=f"{number:02x}{turn:02x}" * 16),
                    timings=Timings(
                        first + 0.2, first, resolution_s=1.5 if place == 2 else 0.0, first_speech_s=first + 0.1
                    ),
                    reply_text=text(REPLY),
                    cost_usd=0.12 if place == 2 else None,
                    detail={"seed": 7, "rendered prompt": text("A woman in a green coat.")},
                    events=((0.0, "submitted", text("job")), (first, "completed", "")),
                )
            )
        lost = trouble and number == 1 and place == 1
        if lost:
            exchanges[-1] = Exchange(
                system, scenario.id, len(exchanges), Outcome.BLOCKED, "content_policy", text("Refused by the provider.")
            )
        transcripts = {
            e.turn: Transcript(text(REPLY), flags=("reported", text("odd_flag"))) for e in exchanges if e.completed
        }
        verdicts = []
        for at, dimension in enumerate(MEASURES if offline else DIMENSIONS):
            for sample in range(repeats):
                missing: Missing | None = None
                if lost:
                    missing = Missing.INCOMPLETE
                worse = (1, "CU"), (1, "kp-memory"), (2, "MVC"), (2, "look")
                spoiled = 3.0 if (place, dimension.key) in worse else 0.0
                score = float(np.clip(round(7.5 - spoiled - 0.3 * place + rng.normal(0, 1.2)), 1, 10))
                verdicts.append(
                    Verdict(
                        system,
                        scenario.id,
                        dimension.key,
                        sample,
                        None if missing else score,
                        missing,
                        text(REASONS if missing is None else "This cannot be had."),
                        {"frames": [32] * len(exchanges), "prompt": f"{at:064x}", "words": text("x"), "share": 0.75},
                        None if missing or offline else score - 0.2,
                    )
                )
        return ShownConversation(system, scenario.id, tuple(exchanges), transcripts, tuple(verdicts))


def write_clips(folder: Path) -> list[tuple[Path, ClipFacts]]:
    """One clip for each of the systems a run can have."""
    return [(path := folder / f"{n}.mp4", write_clip(path, tint)) for n, tint in enumerate(TINTS)]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, ClipFacts]]:
    return write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def factory_at(clips: list[tuple[Path, ClipFacts]]) -> Callable[[Path], Factory]:
    """Makes a factory of runs below a folder."""
    return lambda root: Factory(root, clips)


@pytest.fixture
def factory(tmp_path: Path, clips: list[tuple[Path, ClipFacts]]) -> Factory:
    return Factory(tmp_path, clips)


@pytest.fixture(scope="session")
def old_run() -> Callable[[Path], Path]:
    """Makes the run folder that ``test_run_of_0_1`` tells of."""

    def make(folder: Path) -> Path:
        folder.mkdir(parents=True)
        shutil.copyfile(OLD / "manifest.json", folder / "manifest.json")
        with contextlib.closing(sqlite3.connect(folder / "ledger.sqlite")) as ledger, ledger:
            ledger.executescript((OLD / "ledger.sql").read_text(encoding="utf-8"))
        return folder

    return make


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser
