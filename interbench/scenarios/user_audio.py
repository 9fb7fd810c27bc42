"""The user's side of a scenario set as sound: ``interbench speak FOLDER``.

Every line of the user, of turns and of their variants, is spoken in its scenario's ``user_voice`` and its mood, brought
to 16 kHz mono, trimmed, levelled, and written where its ``audio`` says. A line without one gets
``audio/<scenario>/<turn>.ogg``, or ``audio/<scenario>/<turn>.<variant>.ogg``, and the scenario file is completed; lines
that sound the same share a file. ``audio/spoken.json`` keeps what each file was made from, so that only what changed is
spoken again, and the digest of what was written, so that a recording which somebody has put in its place is noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from interbench.base import termination
from interbench.base.errors import ScenarioError
from interbench.base.progress import Progress
from interbench.domain.persona import Voice
from interbench.domain.scenario import Scenario
from interbench.media.pool import encode_audio
from interbench.media.speech import Speech, resample, trim
from interbench.scenarios.catalogue import Place, find_set
from interbench.scenarios.delivery import LOUDNESS_DB, PEAK_DB, Delivery, at_level, deliver, delivery_of
from interbench.scenarios.edit_line import with_audio, with_canary
from interbench.scenarios.files import lines_of_text, read_records, resolve_inside
from interbench.scenarios.sets import AUDIO_RATE

RECORD = "audio/spoken.json"
DIGESTS = "sha256"
"""In that file: the digest of each file as it was written."""
KEEP_S = 0.05
"""How much of the quiet before and after the speech stays."""
PAD_S = 0.1
"""Silence added at both ends: synthesizers begin at once, which recognizers don't expect."""
MP3_BITS = 48_000
CODED = "Opus 32 kbit/s, or MP3 48 kbit/s"
"""What :func:`interbench.media.pool.encode_audio` makes of it."""
BUILT_IN = "espeak-ng"

Synthesizer = Callable[[str, Voice, str], Speech]
"""Text, voice and mood in, speech out."""


def built_in(text: str, voice: Voice, mood: str) -> Speech:
    """The core's synthesizer, which is told the mood in numbers."""
    return deliver(text, voice, delivery_of(mood))


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the user to be spoken."""

    text: str
    voice: Voice
    mood: str
    scenario: str
    turn: int
    variant: int = 0
    path: str | None = None
    """Relative to the set's folder; None before it has one."""

    @property
    def delivery(self) -> Delivery:
        return delivery_of(self.mood)

    @property
    def own_path(self) -> str:
        """The path of a line that shares its sound with no other."""
        return f"audio/{self.scenario}/{self.turn}" + (f".{self.variant}" if self.variant else "") + ".ogg"

    def made_from(self, synthesizer: str) -> str:
        """SHA-256 over everything that shapes the sound; ``synthesizer`` names who speaks."""
        mood = asdict(self.delivery) if synthesizer == BUILT_IN else self.mood
        parts = [self.text, self.voice.model_dump(mode="json"), mood, self.delivery.level_db, synthesizer]
        parts += [LOUDNESS_DB, PEAK_DB, KEEP_S, PAD_S, CODED]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def lines_of(scenarios: Sequence[Scenario]) -> list[Line]:
    """Every line that a user might say, in the order of the set."""
    return [
        Line(
            text=turn.line(variant),
            voice=scenario.user_voice or Voice(),
            mood=turn.line_mood(variant),
            scenario=scenario.id,
            turn=index,
            variant=variant,
            path=turn.line_audio(variant),
        )
        for scenario in scenarios
        for index, turn in enumerate(scenario.turns, start=1)
        for variant in range(len(turn.variants) + 1)
    ]


def placed(lines: Sequence[Line], synthesizer: str) -> list[Line]:
    """``lines`` with a path each: those that sound the same share one, those that don't never do."""
    owners: dict[str, str] = {}
    sounding: dict[str, str] = {}
    result = []
    for line in lines:
        digest = line.made_from(synthesizer)
        path = line.path
        if path is None or owners.get(path, digest) != digest:
            path = sounding.get(digest) or line.own_path
        if owners.get(path, digest) != digest:
            path = f"{line.own_path.removesuffix('.ogg')}-{digest[:12]}.ogg"
        owners[path] = digest
        if path.endswith(".ogg"):  # others may be recordings of somebody's own
            sounding.setdefault(digest, path)
        result.append(replace(line, path=path))
    return result


def name_audio(place: Place, lines: Sequence[Line]) -> int:
    """Write the paths of ``lines``, and the set's canary, into its scenario files where they are not there yet.

    Only these are written, in the way each line is; everything else stays as it is. Returns how many of the user's
    lines got another path.
    """
    wanted: dict[str, dict[tuple[int, int], str]] = {}
    for line in lines:
        assert line.path is not None
        wanted.setdefault(line.scenario, {})[line.turn, line.variant] = line.path
    completed = 0
    for file in place.files:
        data = file.read_bytes()
        rewritten = data
        for _, raw in lines_of_text(data):
            scenario = json.loads(raw)
            paths = {
                at: path for at, path in wanted.get(scenario["id"], {}).items() if _audio_of(scenario, *at) != path
            }
            completed += len(paths)
            text = with_audio(raw.decode(), paths) if paths else raw.decode()
            if place.facts.canary is not None and scenario.get("canary") != place.facts.canary:
                text = with_canary(text, place.facts.canary)
            rewritten = rewritten.replace(raw, text.encode(), 1)
        if rewritten != data:
            file.write_bytes(rewritten)
    return completed


def _audio_of(scenario: dict[str, Any], turn: int, variant: int) -> Any:
    found = scenario["turns"][turn - 1]
    return (found["variants"][variant - 1] if variant else found).get("audio")


def speak_line(line: Line, synthesizer: Synthesizer) -> Speech:
    """The line as it is stored: 16 kHz, trimmed, at the level of its mood, with a moment of silence around it.

    Raises:
        ScenarioError: the synthesizer made no sound of it.
    """
    said = trim(resample(synthesizer(line.text, line.voice, line.mood), AUDIO_RATE), keep_s=KEEP_S)
    speech = at_level(said, LOUDNESS_DB + line.delivery.level_db)
    if not speech.samples.size or not speech.samples.any():
        raise ScenarioError(f"{line.path}: the synthesizer made no sound of {line.text!r}.")
    return replace(speech, samples=np.pad(speech.samples, round(PAD_S * speech.rate)), phonemes=(), words=())


def render(
    folder: Path,
    *,
    synthesizer: Synthesizer = built_in,
    label: str = BUILT_IN,
    everything: bool = False,
    overwrite: bool = False,
    progress: Progress,
) -> int:
    """Speak what is new or changed in the set at ``folder``, and remove files that no line names any more.

    A file that this has not made, or that is no longer what this made, is a recording of somebody's own: it stays as it
    is, and is told of.

    Args:
        folder: of a set; not a bundled name, because its files are written.
        synthesizer: who speaks.
        label: names the synthesizer with everything that shapes its voice.
        everything: speak also what has not changed.
        overwrite: speak also lines of which there is a recording of somebody's own. One that no line names any more
            stays all the same.
        progress: is told how far it is.

    Returns:
        How many files were written.

    Raises:
        ScenarioError: the scenario files have defects, the set is frozen, or a line has no sound.
        SpeechError: the synthesizer fails.
    """
    place = find_set(folder)
    if place.facts.frozen:
        raise ScenarioError(
            f"{folder} is a published version, whose recordings stay as they are. Copy it to change it."
        )
    lines = placed(lines_of(_scenarios(place)), label)
    name_audio(place, lines)
    distinct = {line.path: line for line in lines if line.path is not None}
    wanted = {path: line.made_from(label) for path, line in distinct.items()}
    made, digests = _read_record(folder)
    due = [
        line
        for path, line in distinct.items()
        if everything or made.get(path) != wanted[path] or not _target(folder, path).is_file()
    ]
    # Whose line is as it was spoken is not due, and nobody has to look at its file.
    own = [line.path for line in due if line.path is not None and _is_own(folder, line.path, digests)]
    if not overwrite:
        due = [line for line in due if line.path not in own]
        _tell_kept(progress, [path for path in own if path not in made], [path for path in own if path in made])
    progress.total("speaking", len(due))

    def write_record() -> None:
        record: dict[str, Any] = {path: made[path] for path in sorted(made)}
        record[DIGESTS] = {path: digests[path] for path in sorted(digests)}
        if place.facts.canary is not None:
            record = {"canary": place.facts.canary, **record}
        (folder / RECORD).parent.mkdir(exist_ok=True)
        (folder / RECORD).write_text(json.dumps(record, indent=0) + "\n", encoding="utf-8")

    settled = termination.at_end(write_record)
    try:
        for line in due:
            assert line.path is not None
            target = _target(folder, line.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            speech = speak_line(line, synthesizer)
            made.pop(line.path, None)
            encode_audio(speech.samples, speech.rate, target, bits=MP3_BITS if target.suffix == ".mp3" else None)
            made[line.path], digests[line.path] = wanted[line.path], _digest(target)
            progress.advance("speaking")
        left = sorted(set(made) - set(wanted))
        spared = [path for path in left if _is_own(folder, path, digests)]
        for path in left:
            if path not in spared:
                _target(folder, path).unlink(missing_ok=True)
            del made[path]
            digests.pop(path, None)
        if spared:
            progress.say(
                f"{_counted(spared)} not what was spoken there, and kept although no line asks for it any more. Remove "
                f"what nobody needs."
            )
    finally:
        settled()
        write_record()
    return len(due)


def _tell_kept(progress: Progress, own: Sequence[str], changed: Sequence[str]) -> None:
    """Name recordings of somebody's own: those of which nothing else is known, and those that took the place of a
    spoken file, whose line may not be what it was."""
    how = "To have a line spoken instead, remove its file, or give --overwrite."
    if own:
        progress.say(f"{_counted(own)} kept as of somebody's own. {how}")
    if changed:
        progress.say(
            f"{_counted(changed)} not what was spoken there, and kept. Where the line has another text now, record it "
            f"again. {how}"
        )


def _counted(paths: Sequence[str]) -> str:
    counted = "1 recording is" if len(paths) == 1 else f"{len(paths)} recordings are"
    return f"{', '.join(paths[:3])}{', …' if len(paths) > 3 else ''}: {counted}"


def _is_own(folder: Path, path: str, digests: Mapping[str, str]) -> bool:
    """Whether there is a file that was not spoken, or is no longer what was."""
    target = _target(folder, path)
    return target.is_file() and digests.get(path) != _digest(target)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _scenarios(place: Place) -> list[Scenario]:
    scenarios = []
    for file in place.files:
        records, defects = read_records(file, Scenario)
        if defects:
            raise ScenarioError(
                f"{defects[0]}. Run `interbench validate {place.root}` to see all defects, and mend them first."
            )
        scenarios += [record.value for record in records]
    return scenarios


def _target(folder: Path, path: str) -> Path:
    try:
        return resolve_inside(folder, path)
    except ValueError as error:
        raise ScenarioError(f"{path!r} {error}.") from error


def _read_record(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """What each file was made from, and the digests of those that are known."""
    try:
        record: Any = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}, {}
    if not isinstance(record, dict):
        return {}, {}
    digests = record.get(DIGESTS)
    made = {str(path): str(digest) for path, digest in record.items() if path not in ("canary", DIGESTS)}
    kept = digests if isinstance(digests, dict) else {}
    return made, {str(path): str(digest) for path, digest in kept.items() if path in made}
