"""The ear check of a set, apart by voice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import harness_kit
import pytest

from interbench.asr.base import Transcriber, Utterance
from interbench.asr.given import Given
from interbench.base.errors import UsageError
from interbench.domain.records import Transcript
from interbench.pipeline.hearing import check_voices
from interbench.scenarios.sets import ScenarioSet, load_set


class HardOfHearing(Transcriber):
    """Knows what is said, and hears every other word of one scenario."""

    label = "ear"
    batch_size = 2

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts
        self.running = False

    def identity(self) -> Mapping[str, Any]:
        return {}

    async def start(self) -> None:
        self.running = True

    async def stop(self) -> None:
        self.running = False

    async def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        assert self.running and all(one.samples is not None and one.reported_text is None for one in batch)
        said = [self._texts[one.key].split()[:: 2 if "bad" in one.key else 1] for one in batch]
        return [Transcript(" ".join(words)) for words in said]


@pytest.fixture
def scenarios(tmp_path: Path) -> ScenarioSet:
    folder = harness_kit.write_set(tmp_path / "set", count=2, turns=2)
    (folder / "audio").mkdir()
    lines = [json.loads(line) for line in (folder / "scenarios.jsonl").read_text().splitlines()]
    for name, scenario in zip(("good", "bad"), lines, strict=True):
        scenario["user_voice"] = {"variant": f"en-us+{'f' if name == 'good' else 'm'}1", "description": name}
        for index, turn in enumerate(scenario["turns"]):
            turn["text"] = "one two three four"
            turn["audio"] = f"audio/{name}{index}.ogg"
            (folder / turn["audio"]).write_bytes((harness_kit.write_tone(tmp_path / "t.ogg")).read_bytes())
    del lines[1]["turns"][1]["audio"]
    (folder / "scenarios.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return load_set(folder)


def test_word_errors_by_voice_the_worst_first(scenarios: ScenarioSet) -> None:
    texts = {f"audio/{name}{index}.ogg": "one two three four" for name in ("good", "bad") for index in (0, 1)}
    ear = HardOfHearing(texts)
    lines = asyncio.run(check_voices(scenarios, ear))
    assert lines == [
        "en-us+m1 (bad): 50.0 % word errors on 4 words",
        "en-us+f1 (good): 0.0 % word errors on 8 words",
        "ear: 16.7 % word errors over 2 voices, above 15 % in 1 of them; 1 lines without a recording, not counted",
    ]
    assert not ear.running


def test_a_transcriber_that_does_not_listen_is_refused(scenarios: ScenarioSet) -> None:
    with pytest.raises(UsageError, match="does not listen"):
        asyncio.run(check_voices(scenarios, Given()))
