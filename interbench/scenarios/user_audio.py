"""The user's side of a scenario set as sound: ``interbench speak FOLDER``.

Every user turn is spoken in its scenario's ``user_voice``, brought to 16 kHz mono, trimmed, levelled, and written
where the turn's ``audio`` says; a turn without ``audio`` gets ``audio/<scenario>/<turn>.mp3`` and the scenario file is
completed. ``audio/spoken.json`` keeps what each file was made from, so that only what changed is spoken again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from interbench.base import termination
from interbench.base.errors import InterbenchError, ScenarioError
from interbench.base.progress import Progress, make_progress
from interbench.domain.persona import Voice
from interbench.domain.scenario import Scenario
from interbench.media.pool import encode_audio
from interbench.media.speech import Speech, SynthesizerCommand, level, resample, synthesize, trim
from interbench.scenarios.edit_line import with_audio
from interbench.scenarios.files import lines_of_text, read_records, resolve_inside
from interbench.scenarios.sets import AUDIO_RATE, SCENARIOS

RECORD = "audio/spoken.json"
LOUDNESS_DB = -20.0
"""RMS of the spoken parts, re full scale."""
PEAK_DB = -3.0
"""Room for the MP3 encoder, which overshoots its input."""
KEEP_S = 0.05
"""How much of the quiet before and after the speech stays."""
PAD_S = 0.1
"""Silence added at both ends: synthesizers begin at once, which recognizers don't expect."""

Synthesizer = Callable[[str, Voice], Speech]


@dataclass(frozen=True, slots=True)
class Line:
    """One user turn to be spoken."""

    text: str
    voice: Voice
    path: str
    """Relative to the set's folder."""

    def made_from(self, synthesizer: str) -> str:
        """SHA-256 over everything that shapes the sound; ``synthesizer`` names who speaks."""
        parts = [self.text, self.voice.model_dump(mode="json"), synthesizer, LOUDNESS_DB, PEAK_DB, KEEP_S, PAD_S]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def lines_of(scenarios: Sequence[Scenario]) -> list[Line]:
    """Every user turn that names an audio file."""
    return [
        Line(turn.text, scenario.user_voice or Voice(), turn.audio)
        for scenario in scenarios
        for turn in scenario.turns
        if turn.audio is not None
    ]


def name_audio(folder: Path) -> int:
    """Give every turn without ``audio`` the path ``audio/<scenario>/<turn>.mp3`` in the set's scenario file.

    Only these are added, in the way each line is written; everything else stays as it is. Returns how many turns were
    completed.
    """
    file = folder / SCENARIOS
    completed = 0
    data = file.read_bytes()
    rewritten = data
    for _, line in lines_of_text(data):
        scenario = json.loads(line)
        missing = [number for number, turn in enumerate(scenario["turns"], 1) if turn.get("audio") is None]
        completed += len(missing)
        if missing:
            named = {number: f"audio/{scenario['id']}/{number}.mp3" for number in missing}
            rewritten = rewritten.replace(line, with_audio(line.decode(), named).encode(), 1)
    if completed:
        file.write_bytes(rewritten)
    return completed


def speak_line(line: Line, synthesizer: Synthesizer) -> Speech:
    """The line as it is stored: 16 kHz, trimmed, levelled, with a moment of silence around it.

    Raises:
        ScenarioError: the synthesizer made no sound of it.
    """
    speech = level(
        trim(resample(synthesizer(line.text, line.voice), AUDIO_RATE), keep_s=KEEP_S),
        loudness_db=LOUDNESS_DB,
        peak_db=PEAK_DB,
    )
    if not speech.samples.size or not speech.samples.any():
        raise ScenarioError(f"{line.path}: the synthesizer made no sound of {line.text!r}.")
    return replace(speech, samples=np.pad(speech.samples, round(PAD_S * speech.rate)), phonemes=(), words=())


def render(folder: Path, *, command: str | None = None, everything: bool = False, progress: Progress) -> int:
    """Speak what is new or changed in the set at ``folder``, and remove files that no turn names any more.

    Args:
        command: another synthesizer, see :class:`interbench.media.speech.SynthesizerCommand`; None for the built-in.
        everything: speak also what has not changed.

    Returns:
        How many files were written.

    Raises:
        ScenarioError: the scenario file has defects, or a line has no sound.
        SpeechError: the synthesizer fails.
    """
    records, defects = read_records(folder / SCENARIOS, Scenario)
    if defects:
        raise ScenarioError(
            f"{defects[0]}. Run `interbench validate {folder}` to see all defects, and mend them first."
        )
    name_audio(folder)
    records, _ = read_records(folder / SCENARIOS, Scenario)
    lines = lines_of([record.value for record in records])
    synthesizer: Synthesizer = synthesize if command is None else SynthesizerCommand(command)
    wanted = {line.path: line.made_from(command or "espeak-ng") for line in lines}
    made = _read_record(folder)
    due = [
        line
        for line in lines
        if everything or made.get(line.path) != wanted[line.path] or not _target(folder, line.path).is_file()
    ]
    progress.total("speaking", len(due))

    def write_record() -> None:
        record = {path: made[path] for path in sorted(made)}
        (folder / RECORD).parent.mkdir(exist_ok=True)
        (folder / RECORD).write_text(json.dumps(record, indent=0) + "\n", encoding="utf-8")

    settled = termination.at_end(write_record)
    try:
        for line in due:
            target = _target(folder, line.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            speech = speak_line(line, synthesizer)
            made.pop(line.path, None)
            encode_audio(speech.samples, speech.rate, target)
            made[line.path] = wanted[line.path]
            progress.advance("speaking")
        for path in sorted(set(made) - set(wanted)):
            _target(folder, path).unlink(missing_ok=True)
            del made[path]
    finally:
        settled()
        write_record()
    return len(due)


def _target(folder: Path, path: str) -> Path:
    try:
        return resolve_inside(folder, path)
    except ValueError as error:
        raise ScenarioError(f"{path!r} {error}.") from error


def _read_record(folder: Path) -> dict[str, str]:
    try:
        record: Any = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict):
        return {}
    return {str(path): str(digest) for path, digest in record.items()}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m interbench.scenarios.user_audio", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("folder", type=Path, help="folder with scenarios.jsonl")
    parser.add_argument(
        "--command",
        help="another synthesizer: a command line with {text} or {text_file} and {out}, a WAV file to write",
    )
    parser.add_argument("--all", action="store_true", help="speak also what has not changed")
    arguments = parser.parse_args(argv)
    try:
        with make_progress() as progress:
            count = render(arguments.folder, command=arguments.command, everything=arguments.all, progress=progress)
    except (InterbenchError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(f"{count} files spoken.\n")
    return 0


if __name__ == "__main__":
    termination.heed("Interrupted; the same command again goes on from here.")
    sys.exit(main())
