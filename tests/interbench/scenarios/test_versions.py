"""What ships as version 1 and version 2: names, digests, recordings, canaries, the datasheet, a user who reacts."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interbench.base.bundled import data_path
from interbench.base.errors import MediaError, ScenarioError
from interbench.domain.scenario import Scenario
from interbench.media.pool import SoundFacts, probe_audio_files
from interbench.scenarios.catalogue import BUNDLED, LATEST, TIERS, bundled_names, find_set
from interbench.scenarios.datasheet import generated
from interbench.scenarios.delivery import LOUDNESS_DB
from interbench.scenarios.plan import plan_scenarios
from interbench.scenarios.rehearsal import SCRIPTED, rehearse
from interbench.scenarios.rotation import rotated_personas
from interbench.scenarios.sets import ScenarioSet, load_set, validate_set
from interbench.scenarios.user_audio import BUILT_IN, DIGESTS, RECORD, lines_of, placed

Sounds = dict[Path, SoundFacts | MediaError]
SCENARIOS = data_path("scenarios")
MOST_BYTES = 40 * 2**20
FIRST = "a4b8343fffb4faeb2c6968ff053b8ca439cc79c940171333461cdf948954d532"
"""Digest of version 1 since it was published: texts, recordings, personas and portraits."""


def test_version_one_is_what_it_was() -> None:
    first = load_set("all@1")
    assert (first.name, first.version, first.digest) == ("all@1", "1", FIRST)
    assert len(load_set("starter@1").scenarios) == 6
    assert all(scenario.tier is None for scenario in first.scenarios)


def test_every_name_is_found_and_says_its_version() -> None:
    names = [name for name in bundled_names() if _complete(name)]
    assert {"all", "starter", "all@1", "starter@1"} <= set(names)
    for name in names:
        found = load_set(name)
        assert found.name == (name if "@" in name else f"{name}@{LATEST}")
        assert found.scenarios
    with pytest.raises(ScenarioError, match="no set long@1; there is long@2"):
        load_set("long@1")
    with pytest.raises(ScenarioError, match=r"It holds sets: .*v1.*v2"):
        load_set(SCENARIOS)


def _complete(name: str) -> bool:
    """Whether the files of a name are listed in its version's ``set.json``."""
    bare, _, version = name.partition("@")
    place = find_set(SCENARIOS / f"v{version or LATEST}")
    held = {file.name for file in place.files}
    return set(BUNDLED[version or LATEST][bare].files) <= held


def test_tiers_have_the_lengths_and_sizes_they_are_said_to_have(everything: ScenarioSet) -> None:
    lengths: dict[int | None, list[int]] = {}
    for scenario in everything.scenarios:
        lengths.setdefault(scenario.tier, []).append(len(scenario.turns))
    sizes = {1: (100, 2, 6), 2: (20, 8, 12), 3: (20, 2, 12)}
    files = {file.name for file in find_set(everything.root).files}
    assert set(lengths) == {tier for name, tier in TIERS.items() if name in files}
    for tier, turns in lengths.items():
        assert tier is not None
        count, least, most = sizes[tier]
        assert (len(turns), min(turns) >= least, max(turns) <= most) == (count, True, True), tier


def test_validation_finds_no_error(everything: ScenarioSet, sounds: Sounds, tmp_path: Path) -> None:
    """The set as it is, with those recordings that are decoded here."""
    for path in everything.root.iterdir():
        if path.suffix == ".jsonl":
            lines = [_muted(json.loads(line), everything.root, sounds) for line in path.read_text().splitlines()]
            (tmp_path / path.name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        elif path.is_file():
            shutil.copy(path, tmp_path)
    for path in sounds:
        target = tmp_path / path.relative_to(everything.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    assert [str(defect) for defect in validate_set(tmp_path) if defect.level == "error"] == []


def _muted(scenario: dict[str, Any], root: Path, kept: Sounds) -> dict[str, Any]:
    for turn in scenario["turns"]:
        for line in (turn, *turn.get("variants", ())):
            if root / line["audio"] not in kept:
                del line["audio"]
    return scenario


@pytest.mark.soak
def test_every_recording_fits_its_words_and_validation_finds_no_error(
    everything: ScenarioSet, all_recordings: list[Path]
) -> None:
    _assert_speech_fits(everything, dict(zip(all_recordings, probe_audio_files(all_recordings), strict=True)))
    assert [str(defect) for defect in validate_set(everything.root) if defect.level == "error"] == []


def test_no_line_presumes_what_was_not_said(everything: ScenarioSet) -> None:
    """Three scripted systems, one right, one asking back, one wrong, are led through every conversation."""
    presumed = [
        (name, spoken.scenario, spoken.turn, spoken.text, spoken.presumes)
        for name, answer in SCRIPTED.items()
        for scenario in everything.scenarios
        for spoken in rehearse(scenario, answer)
        if spoken.presumes
    ]
    assert presumed == []


def test_the_user_reacts_where_there_are_variants(everything: ScenarioSet) -> None:
    """Every variant can be reached, and the fallback too: no guard holds of everything or contradicts itself."""
    dead = []
    for scenario in everything.scenarios:
        said = {name: {spoken.turn: spoken.variant for spoken in rehearse(scenario, answer)}
                for name, answer in SCRIPTED.items()}  # fmt: skip
        for index, turn in enumerate(scenario.turns, start=1):
            if turn.variants and not any(variants[index] for variants in said.values()):
                dead.append((scenario.id, index))
    assert dead == [], "none of the three scripted systems ever hears a variant of these turns"


def test_user_speech_fits_its_words(everything: ScenarioSet, sounds: Sounds) -> None:
    assert len(sounds) > 60
    _assert_speech_fits(everything, sounds)


def _assert_speech_fits(everything: ScenarioSet, sounds: Sounds) -> None:
    for line in lines_of(everything.scenarios):
        assert line.path is not None, line
        facts = sounds.get(everything.root / line.path)
        if facts is None:
            continue
        assert isinstance(facts, SoundFacts), facts
        assert (facts.codec, facts.channels) == ("opus", 1)
        seconds = facts.duration_s / len(line.text.split())
        assert 0.18 <= seconds <= 1.4, (line.path, facts.duration_s)
        assert facts.peak < 0.98, line.path
        # Pauses count here, so that the level of the whole file lies below that of its speech.
        assert -9 <= 20 * np.log10(facts.rms) - (LOUDNESS_DB + line.delivery.level_db) <= 0.5, line.path


def test_everything_that_ships_is_small_enough_and_nothing_lies_about(
    everything: ScenarioSet, all_recordings: list[Path]
) -> None:
    audio = everything.root / "audio"
    files = {path.resolve() for path in audio.rglob("*") if path.is_file()}
    assert files == {path.resolve() for path in all_recordings} | {(everything.root / RECORD).resolve()}
    assert sum(path.stat().st_size for path in SCENARIOS.rglob("*") if path.is_file()) <= MOST_BYTES


def test_user_speech_was_made_from_the_present_texts(everything: ScenarioSet) -> None:
    record = json.loads((everything.root / RECORD).read_text(encoding="utf-8"))
    lines = placed(lines_of(everything.scenarios), BUILT_IN)
    assert {line.path for line in lines} == {line.path for line in lines_of(everything.scenarios)}
    made = {line.path: line.made_from(BUILT_IN) for line in lines}
    digests = {path: hashlib.sha256((everything.root / path).read_bytes()).hexdigest() for path in made if path}
    assert record == {"canary": record["canary"], **made, DIGESTS: digests}


def test_voices_differ_from_the_persona_spoken_to(everything: ScenarioSet) -> None:
    voices = [scenario.user_voice for scenario in everything.scenarios]
    assert None not in voices
    assert len({(voice.variant, voice.pitch, voice.rate) for voice in voices if voice}) >= 0.9 * len(voices)
    assert all(voice.description for voice in voices if voice)
    same = [
        scenario.id
        for scenario in everything.scenarios
        if scenario.user_voice
        and scenario.user_voice.variant == everything.personas[scenario.persona].voice.variant
        and abs(scenario.user_voice.pitch - everything.personas[scenario.persona].voice.pitch) < 5
    ]
    assert same == []


def test_a_canary_stands_in_every_file_of_the_latest_version(everything: ScenarioSet) -> None:
    canary = find_set(everything.root).facts.canary
    assert canary is not None and re.search(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", canary)
    texts = [path for path in everything.root.rglob("*") if path.suffix in (".jsonl", ".json", ".md", ".svg")]
    texts += [SCENARIOS / "README.md", SCENARIOS / "figures.svg"]
    assert [path.name for path in texts if canary not in path.read_text(encoding="utf-8")] == []
    for file in find_set(everything.root).files:
        assert all(canary in line for line in file.read_text(encoding="utf-8").splitlines())


def test_the_datasheet_is_up_to_date() -> None:
    for name, text in generated(SCENARIOS).items():
        assert (SCENARIOS / name).read_text(encoding="utf-8") == text, name


def test_stresses_are_few_enough_to_mean_something(everything: ScenarioSet) -> None:
    stressed = Counter(key for scenario in everything.scenarios for key in scenario.stresses)
    assert all(len(set(s.stresses)) == len(s.stresses) <= 4 for s in everything.scenarios)
    assert max(stressed.values()) <= 0.7 * len(everything.scenarios)


def test_personas_are_rotated_by_seed_within_their_category(everything: ScenarioSet) -> None:
    one, again, other = (rotated_personas(everything, seed) for seed in (1, 1, 2))
    assert one == again != other
    assert set(one) == {scenario.id for scenario in everything.scenarios}
    moved = sum(one[scenario.id] != scenario.persona for scenario in everything.scenarios)
    assert moved >= 0.7 * len(everything.scenarios)
    for scenario in everything.scenarios:
        assert not scenario.suits or one[scenario.id] in scenario.suits or one[scenario.id] == scenario.persona
        name = everything.personas[one[scenario.id]].name
        assert one[scenario.id] == scenario.persona or not _names(scenario, name), scenario.id


def test_a_run_with_rotated_personas_plays_other_scenarios(everything: ScenarioSet) -> None:
    """They have other digests: no folder mixes two pairings. What is chosen does not change who plays it."""
    own = plan_scenarios(everything, everything)
    first, second = (plan_scenarios(everything, everything, rotation=seed) for seed in (1, 2))
    assert [planned.persona.id for planned in own] == [scenario.persona for scenario in everything.scenarios]
    assert all(planned.persona.id == planned.scenario.persona for planned in (*first, *second))
    moved = [one.scenario.id for one, other in zip(own, first, strict=True) if one.persona != other.persona]
    changed = [
        one.scenario.id
        for one, other in zip(own, first, strict=True)
        if one.scenario.digest() != other.scenario.digest()
    ]
    assert moved == changed and moved
    alone = plan_scenarios(everything.select(moved[:1]), everything, rotation=1)
    assert alone[0].persona.id == next(planned.persona.id for planned in first if planned.scenario.id == moved[0])


def _names(scenario: Scenario, name: str) -> bool:
    texts = [turn.line(v) for turn in scenario.turns for v in range(len(turn.variants) + 1)]
    return any(re.search(rf"\b{name}\b", text) for text in (*texts, *(turn.reply for turn in scenario.turns)))
