"""Speaking the user's side of a set."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interbench.base.errors import InterbenchError
from interbench.base.progress import PlainProgress
from interbench.media.pool import SoundFacts, probe_audio_files
from interbench.media.speech import Speech
from interbench.scenarios.sets import load_set, validate_set
from interbench.scenarios.user_audio import PAD_S, Line, main, render, speak_line


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
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / "audio").rglob("*.mp3"))}


def test_turns_without_audio_are_spoken_named_and_valid(silent: Any) -> None:
    assert render(silent.folder, progress=PlainProgress()) == 4
    loaded = load_set(silent.folder)
    assert loaded.scenarios[1].turns[1].audio == "audio/two/2.mp3"
    assert validate_set(silent.folder) == []
    one, two = probe_audio_files([silent.folder / "audio/one/1.mp3", silent.folder / "audio/two/1.mp3"])
    assert isinstance(one, SoundFacts) and isinstance(two, SoundFacts)
    assert (one.rate, one.channels, one.codec) == (16_000, 1, two.codec)
    assert 1.0 < one.duration_s < 5.0 and one.duration_s != two.duration_s
    assert 0.02 < one.rms < 0.2 and one.peak < 0.9


def test_only_what_changed_is_spoken_again(silent: Any) -> None:
    render(silent.folder, progress=PlainProgress())
    before = files(silent.folder)
    assert render(silent.folder, progress=PlainProgress()) == 0
    silent.lines = [json.loads(line) for line in silent.file.read_text(encoding="utf-8").splitlines()]
    silent.edit(lambda s: s["turns"][0].update(text="Where might the oldest bridge be?"))
    (silent.folder / "audio/two/2.mp3").unlink()
    assert render(silent.folder, progress=PlainProgress()) == 2
    after = files(silent.folder)
    assert [name for name in before if before[name] != after[name]] == ["audio/one/1.mp3"]


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
    assert sorted(files(silent.folder)) == ["audio/one/1.mp3", "audio/two/1.mp3", "audio/two/2.mp3"]


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
    assert render(silent.folder, command=command, progress=PlainProgress()) == 4
    assert render(silent.folder, command=command, progress=PlainProgress()) == 0
    assert validate_set(silent.folder) == []
    facts = probe_audio_files([silent.folder / "audio/one/1.mp3"])[0]
    assert isinstance(facts, SoundFacts) and facts.duration_s == pytest.approx(8 * 8000 / 22050 + 2 * PAD_S, abs=0.1)


def test_a_synthesizer_that_says_nothing_is_an_error() -> None:
    line = Line("Hello there.", load_set("all").personas["maya"].voice, "audio/x.mp3")
    with pytest.raises(InterbenchError, match="no sound"):
        speak_line(line, lambda text, voice: Speech(np.zeros(1000, np.float32), 16_000))


def test_a_broken_set_is_not_spoken(silent: Any, capsys: pytest.CaptureFixture[str]) -> None:
    silent.edit(lambda s: s.update(extra=1))
    assert main([str(silent.folder)]) == 1
    assert "unknown key" in capsys.readouterr().err
    assert files(silent.folder) == {}


def test_from_the_command_line(silent: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(silent.folder)]) == 0
    assert "4 files spoken" in capsys.readouterr().err
