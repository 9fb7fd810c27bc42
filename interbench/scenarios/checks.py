"""What `interbench validate` looks for in a set that can be read: files, phrases, guards, constraints, levels.

Errors keep a set from being played. Warnings are for its author.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from interbench.base.errors import MediaError
from interbench.domain.constraints import constraint_problems
from interbench.domain.keypoints import covered, says
from interbench.domain.persona import Persona
from interbench.domain.phrases import affirms
from interbench.domain.scenario import KeyPoint, Scenario, Turn
from interbench.domain.words import content_words
from interbench.scenarios.catalogue import FACTS, TIERS, SetFacts
from interbench.scenarios.files import FileDefect, Record, resolve_inside

if TYPE_CHECKING:
    from interbench.media.pool import SoundFacts

AUDIO_RATE = 16_000
FEWEST_PHRASINGS = 3
_TWICE_CODED = frozenset({"opus"})
"""Codecs whose decoders give another rate than was coded."""
_SILENT_PEAK = 10 ** (-50 / 20)
_CLIPPING_PEAK = 0.999
_FILLER = frozenset(
    "yes yeah yep no ha haha ok okay fine sure great good right love room try well hello hi thanks sorry".split()  # noqa: SIM905
)
"""Words that stand in many answers to anything: alone they show nothing."""
_ARTEFACT = re.compile(r"\b(?:\d*[02-9]?1th|\d*[02-9]?2th|\d*[02-9]?3th)\b")
"""What the normaliser makes of ordinals; people write "second" or "2nd"."""


def check_references(
    record: Record[Scenario], root: Path, cast: Mapping[str, Record[Persona]], *, complete: bool
) -> Iterator[FileDefect]:
    """Files and the persona that a scenario names in vain. ``complete``: whether all personas could be read."""
    scenario = record.value
    if scenario.persona not in cast and complete:
        known = ", ".join(sorted(cast))
        yield record.defect("persona", f"there is no persona {scenario.persona!r}; there are {known}")
    for field, _, audio in spoken_lines(scenario):
        try:
            path = resolve_inside(root, audio)
        except ValueError as error:
            yield record.defect(field, f"{audio!r} {error}")
            continue
        if not path.is_file():
            yield record.defect(field, f"there is no file {audio!r}")


def spoken_lines(scenario: Scenario) -> Iterator[tuple[str, str, str]]:
    """(field, text, audio path) of every line of the user that has a recording."""
    for index, turn in enumerate(scenario.turns):
        for variant in range(len(turn.variants) + 1):
            audio = turn.line_audio(variant)
            if audio is not None:
                part = f"variants.{variant - 1}." if variant else ""
                yield f"turns.{index}.{part}audio", turn.line(variant), audio


def check_portrait(record: Record[Persona], *, decode: bool) -> Iterator[FileDefect]:
    """A portrait that is missing or, if ``decode``, can't be used."""
    from interbench.media.still import portrait_problem

    portrait = record.value.portrait
    if portrait is None:
        return
    try:
        path = resolve_inside(record.file.parent, portrait)
    except ValueError as error:
        yield record.defect("portrait", f"{portrait!r} {error}")
        return
    if not path.is_file():
        yield record.defect("portrait", f"there is no file {portrait!r}")
    elif decode and (problem := portrait_problem(path, path.stat().st_size)):
        yield record.defect("portrait", f"{portrait!r} {problem}")


def check_audio(records: Sequence[Record[Scenario]], root: Path) -> Iterator[FileDefect]:
    """Decode the user's speech of every line; what is missing or outside of ``root`` was complained of before."""
    from interbench.media.pool import probe_audio_files

    spoken: list[tuple[Record[Scenario], str, str, str, Path]] = []
    for record in records:
        for field, text, audio in spoken_lines(record.value):
            with contextlib.suppress(ValueError):
                path = resolve_inside(root, audio)
                if path.is_file():
                    spoken.append((record, field, text, audio, path))
    paths = list(dict.fromkeys(path for *_, path in spoken))
    found = dict(zip(paths, probe_audio_files(paths), strict=True))
    for record, field, text, audio, path in spoken:
        facts = found[path]
        problems = [f"can't be used: {facts}"] if isinstance(facts, MediaError) else _sound_problems(facts, text)
        for problem in problems:
            yield record.defect(field, f"{audio!r} {problem}")


def _sound_problems(facts: SoundFacts, text: str) -> Iterator[str]:
    """What is wrong with the recording of ``text``, as clauses."""
    if facts.rate != AUDIO_RATE and facts.codec not in _TWICE_CODED:
        yield f"has {facts.rate} samples per second; it must have {AUDIO_RATE}"
    if facts.channels != 1:
        yield f"has {facts.channels} channels; it must be mono"
    if facts.peak < _SILENT_PEAK:
        yield "is silent"
    elif facts.peak >= _CLIPPING_PEAK:
        yield "clips: its samples reach full scale; lower the level"
    count = len(text.split())
    longest, shortest = 30 + 1.5 * count, 0.08 * count
    if facts.duration_s > longest:
        yield f"lasts {facts.duration_s:.0f} s, absurdly long for {count} words; at most {longest:.0f} s"
    elif facts.duration_s < shortest:
        yield f"lasts {facts.duration_s:.2f} s, too short for {count} words; at least {shortest:.2f} s"


def check_labels(record: Record[Scenario], facts: SetFacts) -> Iterator[FileDefect]:
    """A tier that does not fit the file, and a canary that is not the set's."""
    scenario = record.value
    tier = TIERS.get(record.file.name) if len(facts.files) > 1 else None
    if tier is not None and scenario.tier != tier:
        yield record.defect("tier", f"is {scenario.tier}; every scenario of {record.file.name} is of tier {tier}")
    if facts.canary is not None and scenario.canary != facts.canary:
        yield record.defect(
            "canary", f"is not the text that {FACTS} gives; `interbench speak {record.file.parent}` puts it in"
        )


def check_lines(record: Record[Scenario]) -> Iterator[FileDefect]:
    """Variants that can't be told apart, and lines that take for granted what may not have been said."""
    for index, turn in enumerate(record.value.turns):
        if turn.presumes is not None:
            yield record.defect(
                f"turns.{index}.presumes",
                f"the turn's own line is spoken after any answer, and takes for granted that it "
                f"{turn.presumes.in_words()}; write one that stands alone, and make this one a variant",
            )
        guards = [variant.when for variant in turn.variants]
        for at, guard in enumerate(guards):
            if guard in guards[:at]:
                earlier = guards.index(guard)
                yield record.defect(
                    f"turns.{index}.variants.{at}.when", f"is that of variant {earlier}, which is spoken instead"
                )


def check_constraints(record: Record[Scenario]) -> Iterator[FileDefect]:
    """Seatings, sums, dates and times that come out otherwise, or that the reference reply does not keep."""
    for index, turn in enumerate(record.value.turns):
        for at, constraint in enumerate(turn.constraints):
            for problem in constraint_problems(constraint, turn.reply):
                yield record.defect(f"turns.{index}.constraints.{at}", problem)


def check_key_points(record: Record[Scenario]) -> Iterator[FileDefect]:
    """Key points that the reference reply itself does not meet, or that show little where they are met."""
    strict = record.value.tier is not None
    for index, turn in enumerate(record.value.turns):
        leans = {lean.turn for lean in turn.leans_on}
        for at, point in enumerate(turn.key_points):
            field = f"turns.{index}.key_points.{at}"
            yield from (record.defect(field, problem) for problem in _point_errors(point, turn.reply))
            yield from (
                record.defect(field, problem, "error" if strict else "warning") for problem in _artefacts(point)
            )
            if not point.must_not and not covered(point, turn.reply):
                yield record.defect(field, f"{point.text!r} isn't found in the reference reply", "warning")
            for turn_number in sorted(set(point.needs) - leans):
                message = f"needs turn {turn_number}, which the turn's leans_on doesn't name"
                yield record.defect(f"{field}.needs", message, "warning")
            if strict:
                yield from (record.defect(field, why, "warning") for why in _weaknesses(point, turn))


def _point_errors(point: KeyPoint, reply: str) -> Iterator[str]:
    if point.must_not and (said := [phrase for phrase in point.accept if affirms(phrase, reply)]):
        yield f"the reference reply says {said[0]!r}, which a good answer must not"


def _artefacts(point: KeyPoint) -> Iterator[str]:
    for phrase in point.accept:
        if artefact := _ARTEFACT.search(phrase):
            yield f"{phrase!r}: nobody writes {artefact[0]!r}; write it as people do"


def _weaknesses(point: KeyPoint, turn: Turn) -> Iterator[str]:
    """Why meeting ``point`` shows less than it seems to; of scenarios that have a tier."""
    if len(point.accept) < FEWEST_PHRASINGS:
        yield f"{point.text!r} has {len(point.accept)} phrasings; at least {FEWEST_PHRASINGS}"
    trivial = [phrase for phrase in point.accept if not content_words(phrase) or phrase.casefold() in _FILLER]
    if trivial and not point.must_not:
        yield f"{trivial[0]!r} is in many answers to anything"
    lines = [turn.line(variant) for variant in range(len(turn.variants) + 1)]
    echoed = [phrase for phrase in point.accept if any(says(phrase, line) for line in lines)]
    if echoed and not point.must_not:
        yield f"{echoed[0]!r} is earned by repeating the user's line"
    if point.source is not None and point.verified_on is None:
        yield "has a source, and no day on which somebody last judged it true (verified_on)"
    if not (point.source or point.act or point.needs or point.must_not):
        yield f"{point.text!r} is a fact without a source; say where it is from, or that it is an `act`"
