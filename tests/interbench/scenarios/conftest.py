"""The bundled set and a workshop for broken ones."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interbench.base.bundled import data_path
from interbench.base.errors import MediaError
from interbench.media.pool import SoundFacts, encode_audio, probe_audio_files
from interbench.scenarios.catalogue import LATEST
from interbench.scenarios.sets import ScenarioSet, load_set
from interbench.scenarios.user_audio import RECORD, lines_of

DECODED_WHOLE = "ce3fad009815c7bbd16e4d8f9a0d75d2773461137d8d25e37883467e8e7b733d"
"""Digest of the record of all recordings as it was when the soak test last passed; put the new one here when it has."""
Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="session")
def bundled() -> ScenarioSet:
    return load_set("all")


@pytest.fixture(scope="session")
def everything() -> ScenarioSet:
    """All tiers of the latest version."""
    return load_set(data_path("scenarios") / f"v{LATEST}")


@pytest.fixture(scope="session")
def sounds(everything: ScenarioSet) -> dict[Path, SoundFacts | MediaError]:
    """What users say, decoded once for all tests: a twelfth of what has been decoded whole before, all of what has not.

    ``make soak`` decodes all. Which recordings there are is told by their digests, which a test compares with files.
    """
    known = hashlib.sha256((everything.root / RECORD).read_bytes()).hexdigest() == DECODED_WHOLE
    paths = recordings(everything)[:: 12 if known else 1]
    return dict(zip(paths, probe_audio_files(paths), strict=True))


def recordings(everything: ScenarioSet) -> list[Path]:
    return [everything.root / path for path in sorted({line.path or "" for line in lines_of(everything.scenarios)})]


def tone(path: Path, *, rate: int = 16_000, seconds: float = 3.0, amplitude: float = 0.3) -> None:
    samples = amplitude * np.sin(2 * np.pi * 220 * np.arange(round(rate * seconds)) / rate)
    encode_audio(samples.astype(np.float32), rate, path)


@pytest.fixture(scope="session")
def all_recordings(everything: ScenarioSet) -> list[Path]:
    return recordings(everything)


@pytest.fixture
def make_tone() -> Callable[..., None]:
    return tone


class Workshop:
    """A small valid set in a folder of its own, to be damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "scenarios.jsonl"
        (folder / "audio").mkdir(parents=True)
        (folder / "portraits").mkdir()
        shutil.copy(data_path("scenarios") / "portraits" / "maya.png", folder / "portraits" / "ana.png")
        persona = {"id": "ana", "name": "Ana", "age": 30, "gender": "female", "appearance": "A woman in a red coat."}
        persona |= {"background": "A street.", "portrait": "portraits/ana.png"}
        (folder / "personas.jsonl").write_text(json.dumps(persona) + "\n", encoding="utf-8")
        self.lines = [self.scenario("one"), self.scenario("two")]
        for scenario in self.lines:
            for turn in scenario["turns"]:
                tone(folder / turn["audio"])
        self.save()

    def scenario(self, name: str) -> dict[str, Any]:
        turns = [
            {
                "text": "Where is the oldest bridge of the city?",
                "audio": f"audio/{name}-1.wav",
                "mood": "curious",
                "reply": "The oldest bridge is the stone one by the mill.",
                "key_points": [{"text": "It is the stone bridge by the mill.", "accept": ["by the mill"]}],
            },
            {
                "text": "And how do I get to it from here?",
                "audio": f"audio/{name}-2.wav",
                "mood": "eager",
                "reply": "Walk down to the mill, and the bridge is in front of you.",
                "key_points": [{"text": "The bridge is at the mill.", "accept": ["mill"], "needs": [1]}],
                "leans_on": [{"turn": 1, "carry": '"It" is the stone bridge.'}],
            },
        ]
        return {"id": name, "category": "places", "title": name.title(), "persona": "ana", "turns": turns}

    def save(self) -> None:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self.lines)
        self.file.write_text(text, encoding="utf-8")

    def mute(self) -> None:
        """Take the recordings out, so that nothing has to be decoded."""
        for scenario in self.lines:
            for turn in scenario["turns"]:
                del turn["audio"]
        self.save()

    def edit(self, change: Edit, line: int = 0) -> None:
        change(self.lines[line])
        self.save()


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "set")
