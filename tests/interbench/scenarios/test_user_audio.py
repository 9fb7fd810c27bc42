"""Speaking the user's side of a set."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interbench.base.errors import InterbenchError, ScenarioError
from interbench.base.progress import PlainProgress
from interbench.domain.persona import Voice
from interbench.media.pool import MediaPool, SoundFacts, encode_audio, probe_audio_files
from interbench.media.speech import Speech, SynthesizerCommand
from interbench.scenarios.delivery import LOUDNESS_DB, delivery_of, spoken_db
from interbench.scenarios.sets import load_set, validate_set
from interbench.scenarios.user_audio import PAD_S, Line, built_in, render, speak_line


@pytest.fixture
def silent(workshop: Any) -> Any:
    """A set whose turns have no audio yet, the second scenario with a voice of its own."""
    for scenario in workshop.lines:
        for turn in scenario["turns"]:
            (workshop.folder / turn.pop("audio")).unlink()
    workshop.lines[1]["user_voice"] = {"variant": "en-gb+f2", "pitch": 60, "rate": 150}
    workshop.save()
    return workshop


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / "audio").rglob("*.ogg"))}


def test_turns_without_audio_are_spoken_named_and_valid(silent: Any) -> None:
    assert render(silent.folder, progress=PlainProgress()) == 4
    loaded = load_set(silent.folder)
    assert loaded.scenarios[1].turns[1].audio == "audio/two/2.ogg"
    assert validate_set(silent.folder) == []
    one, two = probe_audio_files([silent.folder / "audio/one/1.ogg", silent.folder / "audio/two/1.ogg"])
    assert isinstance(one, SoundFacts) and isinstance(two, SoundFacts)
    assert (one.channels, one.codec) == (1, two.codec) == (1, "opus")
    assert 1.0 < one.duration_s < 5.0 and one.duration_s != two.duration_s
    assert 0.02 < one.rms < 0.2 and one.peak < 0.9


def test_only_what_changed_is_spoken_again(silent: Any) -> None:
    render(silent.folder, progress=PlainProgress())
    before = files(silent.folder)
    assert render(silent.folder, progress=PlainProgress()) == 0
    silent.lines = [json.loads(line) for line in silent.file.read_text(encoding="utf-8").splitlines()]
    silent.edit(lambda s: s["turns"][0].update(text="Where might the oldest bridge be?"))
    (silent.folder / "audio/two/2.ogg").unlink()
    assert render(silent.folder, progress=PlainProgress()) == 2
    after = files(silent.folder)
    assert [name for name in before if before[name] != after[name]] == ["audio/one/1.ogg"]


def test_speaking_everything_again_gives_the_same_bytes(silent: Any) -> None:
    render(silent.folder, progress=PlainProgress())
    before = files(silent.folder)
    assert render(silent.folder, everything=True, progress=PlainProgress()) == 4
    assert files(silent.folder) == before


def test_files_that_no_turn_names_are_removed(silent: Any) -> None:
    render(silent.folder, progress=PlainProgress())
    silent.lines = [json.loads(line) for line in silent.file.read_text(encoding="utf-8").splitlines()]
    silent.edit(lambda s: s["turns"].pop())
    render(silent.folder, progress=PlainProgress())
    assert sorted(files(silent.folder)) == ["audio/one/1.ogg", "audio/two/1.ogg", "audio/two/2.ogg"]


@pytest.mark.parametrize("everything", [False, True])
def test_a_recording_of_ones_own_is_kept_and_told_of(
    silent: Any, everything: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also under the name that a spoken line would get; removing the file gives the line back to the synthesizer."""
    own = silent.folder / "audio/one/1.ogg"
    own.parent.mkdir(parents=True, exist_ok=True)
    encode_audio(np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32), 16_000, own)
    recorded = own.read_bytes()
    assert render(silent.folder, everything=everything, progress=PlainProgress()) == 3
    assert own.read_bytes() == recorded and load_set(silent.folder).scenarios[0].turns[0].audio == "audio/one/1.ogg"
    told = "".join(capsys.readouterr())
    assert "audio/one/1.ogg: 1 recording is kept as of somebody's own" in told and "remove its file" in told
    own.unlink()
    assert render(silent.folder, progress=PlainProgress()) == 1
    assert own.read_bytes() != recorded and "kept" not in "".join(capsys.readouterr())


def test_a_recording_in_the_place_of_a_spoken_file_is_not_lost(silent: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither when its line changes, nor when all is spoken, nor when its line goes; unless that is asked for."""
    render(silent.folder, progress=PlainProgress())
    own = silent.folder / "audio/one/1.ogg"
    encode_audio(np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32), 16_000, own)
    recorded = own.read_bytes()
    assert render(silent.folder, progress=PlainProgress()) == 0 and "kept" not in "".join(capsys.readouterr())
    assert render(silent.folder, everything=True, progress=PlainProgress()) == 3
    silent.lines = [json.loads(line) for line in silent.file.read_text(encoding="utf-8").splitlines()]
    silent.edit(lambda s: s["turns"][0].update(text="Where might the oldest bridge be?"))
    for _ in range(2):  # it is told of until it is decided
        assert render(silent.folder, progress=PlainProgress()) == 0
        told = "".join(capsys.readouterr())
        assert (
            "audio/one/1.ogg: 1 recording is not what was spoken there, and kept. Where" in told
            and "--overwrite" in told
        )
    assert own.read_bytes() == recorded
    silent.edit(lambda s: s["turns"][0].update(audio="audio/one/other.ogg"))
    assert render(silent.folder, progress=PlainProgress()) == 1 and own.read_bytes() == recorded
    assert "audio/one/1.ogg: 1 recording is not what was spoken there, and kept although" in "".join(
        capsys.readouterr()
    )
    silent.edit(lambda s: s["turns"][0].update(audio="audio/one/1.ogg"))
    assert render(silent.folder, overwrite=True, progress=PlainProgress()) == 1 and own.read_bytes() != recorded


def test_a_record_without_digests_gives_no_leave_to_overwrite(silent: Any) -> None:
    """It is of before they were kept: nobody knows whether the file is still what was spoken."""
    render(silent.folder, progress=PlainProgress())
    record = silent.folder / "audio/spoken.json"
    told = json.loads(record.read_text())
    assert set(told.pop("sha256")) == set(told)
    record.write_text(json.dumps(told))
    before = files(silent.folder)
    assert render(silent.folder, everything=True, progress=PlainProgress()) == 0 and files(silent.folder) == before
    assert render(silent.folder, everything=True, overwrite=True, progress=PlainProgress()) == 4
    assert files(silent.folder) == before and set(json.loads(record.read_text())["sha256"]) == set(told)


def test_another_synthesizer_can_speak(silent: Any, tmp_path: Path) -> None:
    script = tmp_path / "beep.py"
    script.write_text(
        "import sys, wave, array, math\n"
        "out, text = sys.argv[1:]\n"
        "n = 2000 * len(text.split()) * 4\n"
        "w = wave.open(out, 'wb'); w.setnchannels(1); w.setsampwidth(2); w.setframerate(22050)\n"
        "w.writeframes(array.array('h', (int(9000 * math.sin(i / 9)) for i in range(n))).tobytes()); w.close()\n",
        encoding="utf-8",
    )
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(script))} {{out}} {{text}}"
    assert render(silent.folder, progress=PlainProgress()) == 4
    other: Any = {"synthesizer": SynthesizerCommand(command), "label": command}
    assert render(silent.folder, **other, progress=PlainProgress()) == 4
    assert render(silent.folder, **other, progress=PlainProgress()) == 0
    assert validate_set(silent.folder) == []
    facts = probe_audio_files([silent.folder / "audio/one/1.ogg"])[0]
    assert isinstance(facts, SoundFacts) and facts.duration_s == pytest.approx(8 * 8000 / 22050 + 2 * PAD_S, abs=0.1)


def test_a_synthesizer_that_says_nothing_is_an_error() -> None:
    line = Line("Hello there.", Voice(), "calm", "x", 1, path="audio/x.ogg")
    with pytest.raises(InterbenchError, match="no sound"):
        speak_line(line, lambda text, voice, mood: Speech(np.zeros(1000, np.float32), 16_000))


def test_a_broken_set_is_not_spoken(silent: Any) -> None:
    silent.edit(lambda s: s.update(extra=1))
    with pytest.raises(ScenarioError, match="unknown key"):
        render(silent.folder, progress=PlainProgress())
    assert files(silent.folder) == {}


def test_a_published_version_is_not_spoken_anew(silent: Any) -> None:
    (silent.folder / "set.json").write_text('{"version": "1", "frozen": true}')
    with pytest.raises(ScenarioError, match="published version"):
        render(silent.folder, progress=PlainProgress())
    assert files(silent.folder) == {}


def test_variants_are_spoken_and_lines_that_sound_the_same_share_a_file(silent: Any) -> None:
    """Also once their texts part again: then each has a file of its own."""
    (silent.folder / "set.json").write_text(json.dumps({"version": "7", "canary": "a text found nowhere else"}))
    variants = [
        {"when": {"asks": True}, "text": "Why do you ask?", "mood": "angry"},
        {"when": {"says": ["mill"]}, "text": "Why do you ask?", "mood": "angry"},
        {"when": {"refuses": True}, "text": "Why do you ask?", "mood": "tired"},
    ]
    silent.edit(lambda s: s["turns"][1].update(variants=variants))
    assert render(silent.folder, progress=PlainProgress()) == 6
    turn = load_set(silent.folder).scenarios[0].turns[1]
    paths = [variant.audio for variant in turn.variants]
    assert paths == ["audio/one/2.1.ogg", "audio/one/2.1.ogg", "audio/one/2.3.ogg"]
    assert turn.audio == "audio/one/2.ogg"
    assert [d for d in validate_set(silent.folder) if d.level == "error"] == []
    assert {s.canary for s in load_set(silent.folder).scenarios} == {"a text found nowhere else"}
    assert json.loads((silent.folder / "audio/spoken.json").read_text())["canary"] == "a text found nowhere else"
    silent.lines = [json.loads(line) for line in silent.file.read_text(encoding="utf-8").splitlines()]
    silent.edit(lambda s: s["turns"][1]["variants"][1].update(text="And why is that?"))
    assert render(silent.folder, progress=PlainProgress()) == 1
    again = [variant.audio for variant in load_set(silent.folder).scenarios[0].turns[1].variants]
    assert again == ["audio/one/2.1.ogg", "audio/one/2.2.ogg", "audio/one/2.3.ogg"]


def test_a_mood_is_heard_as_far_as_the_synthesizer_goes(silent: Any) -> None:
    """Grief is slower, lower and quieter than panic, and each is as loud as is said of it."""
    text = "I went down to the river this morning and the old bridge was gone."
    spoken = {
        mood: speak_line(Line(text, Voice(), mood, "x", 1), built_in) for mood in ("tearful", "panicky", "whispering")
    }
    assert spoken["tearful"].duration_s > 1.3 * spoken["panicky"].duration_s
    for mood, speech in spoken.items():
        assert spoken_db(speech.samples, speech.rate) == pytest.approx(
            LOUDNESS_DB + delivery_of(mood).level_db, abs=0.5
        )
    assert spoken_db(spoken["whispering"].samples, 16_000) < spoken_db(spoken["tearful"].samples, 16_000) - 3


def test_dots_are_a_pause() -> None:
    plain = built_in("Well then I told her everything.", Voice(), "calm")
    hesitant = built_in("Well... then I told her everything.", Voice(), "calm")
    quiet = np.abs(hesitant.samples) < 1e-4
    longest = max(map(len, "".join("q" if value else " " for value in quiet).split()))
    assert longest / hesitant.rate >= 0.5
    assert hesitant.duration_s > plain.duration_s + 0.4


def test_the_bundled_recordings_keep_their_sibilants(silent: Any) -> None:
    """Energy up to 7.5 kHz survives the codec: what is written holds within 12 dB what was spoken there."""
    line = Line("Six sisters saw seven ships sailing south.", Voice(), "calm", "x", 1)
    speech = speak_line(line, built_in)
    encode_audio(speech.samples, speech.rate, silent.folder / "s.ogg")
    coded = decoded(silent.folder / "s.ogg")
    assert band_db(coded, 7000, 7500) > band_db(speech.samples, 7000, 7500) - 12
    assert band_db(coded, 7000, 7500) > band_db(coded, 500, 4000) - 45


def decoded(path: Path) -> np.ndarray:
    async def decode() -> Any:
        async with MediaPool(size=1) as media:
            return await media.audio(path)

    return asyncio.run(decode())


def band_db(samples: np.ndarray, low: float, high: float) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    frequency = np.fft.rfftfreq(len(samples), 1 / 16_000)
    return 10 * float(np.log10(power[(frequency >= low) & (frequency < high)].mean()))
