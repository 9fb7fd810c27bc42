"""Scenario sets: found by name, path or Hub id, read, checked, and narrowed down to what a run plays.

A set is a folder with ``scenarios.jsonl``, ``personas.jsonl`` and the audio and portrait files that these name by
relative paths. The format is described in ``docs/scenarios.md``.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from interbench.base.bundled import data_path
from interbench.base.errors import ScenarioError, UsageError
from interbench.domain.persona import Persona
from interbench.domain.scenario import Scenario
from interbench.scenarios import checks
from interbench.scenarios.catalogue import PERSONAS, SCENARIOS, Place, find_set
from interbench.scenarios.checks import AUDIO_RATE
from interbench.scenarios.files import FileDefect, Record, read_records, resolve_inside
from interbench.scenarios.language import language_warnings

__all__ = ["AUDIO_RATE", "PERSONAS", "SCENARIOS", "ScenarioSet", "load_set", "validate_set"]

_SHOWN = 20
_IMAGES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class ScenarioSet:
    """Scenarios with everything they name, read and checked."""

    source: str
    """As it was asked for: a bundled name, a path or a Hub id."""
    root: Path
    """Folder that audio paths are relative to."""
    scenarios: tuple[Scenario, ...]
    personas: Mapping[str, Persona]
    """By id."""
    persona_roots: Mapping[str, Path]
    """Folder that each persona's portrait path is relative to, by persona id."""
    name: str = ""
    """As results name it, with its version: ``all@2``."""
    version: str = ""
    """As the set gives it; empty if it gives none."""
    private: bool = False
    """Its texts, clips and transcripts are left out of reports."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the scenarios, the personas they use, their audio and their portraits."""
        total = hashlib.sha256()
        for scenario in self.scenarios:
            total.update(scenario.digest().encode())
            for index, turn in enumerate(scenario.turns, start=1):
                for variant in range(len(turn.variants) + 1):
                    total.update(_file_digest(self.audio_path(scenario, index, variant)))
        for name in sorted({scenario.persona for scenario in self.scenarios}):
            total.update(self.personas[name].model_dump_json().encode())
            total.update(_file_digest(self.portrait_path(name)))
        return total.hexdigest()

    def scenario(self, scenario_id: str) -> Scenario:
        """The scenario with this id. Raises :class:`KeyError`."""
        return self._by_id[scenario_id]

    @cached_property
    def _by_id(self) -> dict[str, Scenario]:
        return {scenario.id: scenario for scenario in self.scenarios}

    def audio_path(self, scenario: Scenario, turn: int, variant: int = 0) -> Path | None:
        """The user's speech in turn ``turn`` (1-based), always inside :attr:`root`; None if the line has no audio.

        ``variant``: which of the turn's variants is spoken, 1-based; 0 is its own line.
        """
        audio = scenario.turns[turn - 1].line_audio(variant)
        return None if audio is None else _inside(self.root, audio, f"The audio of turn {turn} of {scenario.id}")

    def portrait_path(self, persona_id: str) -> Path | None:
        """The persona's reference image; None if it has none."""
        persona = self.personas[persona_id]
        if persona.portrait is None:
            return None
        return _inside(self.persona_roots[persona_id], persona.portrait, f"The portrait of {persona_id}")

    def select(
        self, patterns: Iterable[str] = (), *, categories: Iterable[str] = (), limit: int | None = None
    ) -> ScenarioSet:
        """The scenarios whose id matches one of ``patterns`` (ids or globs such as ``memory-*``), in the set's order.

        Args:
            patterns: none means all.
            categories: keep only these; none means all.
            limit: keep only the first so many.

        Raises:
            UsageError: a pattern or category matches nothing, or the limit is below 1.
        """
        chosen = self.scenarios
        if wanted := list(patterns):
            ids = [scenario.id for scenario in chosen]
            for pattern in wanted:
                if not any(fnmatchcase(scenario_id, pattern) for scenario_id in ids):
                    raise UsageError(f"No scenario of {self.source!r} is called {pattern!r}{_nearest(pattern, ids)}.")
            chosen = tuple(s for s in chosen if any(fnmatchcase(s.id, pattern) for pattern in wanted))
        if kept := list(categories):
            known = list(dict.fromkeys(scenario.category for scenario in self.scenarios))
            for category in kept:
                if category not in known:
                    raise UsageError(
                        f"{self.source!r} has no category {category!r}; its categories are {', '.join(known)}."
                    )
            chosen = tuple(scenario for scenario in chosen if scenario.category in kept)
        if limit is not None:
            if limit < 1:
                raise UsageError(f"The limit is {limit}; it must be at least 1.")
            chosen = chosen[:limit]
        if not chosen:
            raise UsageError(f"No scenario of {self.source!r} is left after choosing by id and category.")
        return replace(self, scenarios=chosen)


def load_set(source: str | Path, *, personas: Path | None = None) -> ScenarioSet:
    """Read a scenario set.

    Args:
        source: a bundled set (``starter``, ``all``, ``long``, ``hard``, ``everything``, each of an earlier version as
            ``all@1``), a folder, a ``.jsonl`` file, or the id of a dataset on the Hugging Face Hub (``org/name`` or
            ``org/name@revision``; needs the extra ``hub``). A file or folder without its own ``personas.jsonl`` uses
            the bundled personas.
        personas: a folder that replaces personas: by its ``personas.jsonl``, by images named like persona ids, or both.

    Raises:
        ScenarioError: the set can't be found or has defects; the message lists the first 20.
    """
    found, defects = _read(source, personas)
    if errors := [defect for defect in defects if defect.level == "error"]:
        listed = "".join(f"\n  {defect}" for defect in errors[:_SHOWN])
        more = f"\n  ... and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
        count = "1 defect" if len(errors) == 1 else f"{len(errors)} defects"
        raise ScenarioError(f"The scenario set {str(source)!r} has {count}:{listed}{more}")
    return found


def validate_set(source: str | Path, *, personas: Path | None = None) -> list[FileDefect]:
    """Everything that is wrong with a scenario set, audio and portraits decoded; in the order of the files.

    Args: as for :func:`load_set`.

    Raises:
        ScenarioError: there is no such set to look at.
    """
    _, defects = _read(source, personas, check_media=True)
    return sorted(defects, key=lambda defect: (str(defect.file), defect.line or 0))


def _read(
    source: str | Path, personas: Path | None, *, check_media: bool = False
) -> tuple[ScenarioSet, list[FileDefect]]:
    """The set, as far as it can be read, and its defects; with ``check_media`` also those that take decoding."""
    place = find_set(source)
    records, defects = _read_scenarios(place)
    persona_file = place.root / PERSONAS
    if not persona_file.is_file():
        persona_file = data_path("scenarios") / PERSONAS
    persona_records, persona_defects = read_records(persona_file, Persona)
    defects += persona_defects
    cast = {record.value.id: record for record in persona_records}
    if personas is not None:
        defects += _replace_personas(cast, personas)
    for record in records:
        defects += checks.check_references(record, place.root, cast, complete=not persona_defects)
    for member in cast.values():
        defects += checks.check_portrait(member, decode=check_media)
    if check_media:
        defects += checks.check_audio(records, place.root)
        for record in records:
            defects += _check_texts(record, place, cast)
    return (
        ScenarioSet(
            source=str(source),
            root=place.root,
            scenarios=tuple(record.value for record in records if place.tag is None or place.tag in record.value.tags),
            personas={name: record.value for name, record in cast.items()},
            persona_roots={name: record.file.parent for name, record in cast.items()},
            name=place.name,
            version=place.facts.version,
            private=place.facts.private,
        ),
        defects,
    )


def _read_scenarios(place: Place) -> tuple[list[Record[Scenario]], list[FileDefect]]:
    """The scenarios of all files of a set, whose ids are different across them."""
    records: list[Record[Scenario]] = []
    defects: list[FileDefect] = []
    held: dict[str, Record[Scenario]] = {}
    for file in place.files:
        found, wrong = read_records(file, Scenario)
        defects += wrong
        for record in found:
            if (other := held.get(record.value.id)) is not None:
                defects.append(record.defect("id", f"{record.value.id!r} is already in {other.file.name}"))
                continue
            held[record.value.id] = record
            records.append(record)
    return records, defects


def _check_texts(record: Record[Scenario], place: Place, cast: Mapping[str, Record[Persona]]) -> list[FileDefect]:
    persona = cast.get(record.value.persona)
    return [
        *checks.check_labels(record, place.facts),
        *checks.check_lines(record),
        *checks.check_constraints(record),
        *checks.check_key_points(record),
        *(
            record.defect(field, message, "warning")
            for field, message in language_warnings(record.value, None if persona is None else persona.value)
        ),
    ]


def _replace_personas(cast: dict[str, Record[Persona]], folder: Path) -> list[FileDefect]:
    """Put the personas and images of ``folder`` into ``cast``; what is wrong with them."""
    if not folder.is_dir():
        raise ScenarioError(f"{folder} is not a folder; --personas takes one with personas.jsonl, images, or both.")
    defects: list[FileDefect] = []
    own: list[Record[Persona]] = []
    if (folder / PERSONAS).is_file():
        own, defects = read_records(folder / PERSONAS, Persona)
        cast.update((record.value.id, record) for record in own)
    named = {record.value.portrait for record in own}
    images = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in _IMAGES and file.name not in named]
    seen: dict[str, str] = {}
    for image in images:
        record = cast.get(image.stem)
        if record is None:
            message = f"no persona is called {image.stem!r}; name it after one of {', '.join(sorted(cast))}"
            defects.append(FileDefect(image, None, "", message))
        elif image.stem in seen:
            defects.append(FileDefect(image, None, "", f"{seen[image.stem]} is already the image of {image.stem!r}"))
        else:
            seen[image.stem] = image.name
            persona = record.value.model_copy(update={"portrait": image.name})
            cast[image.stem] = Record(image, None, persona)
    if not own and not images and not defects:
        raise ScenarioError(f"{folder} holds neither {PERSONAS} nor an image ({', '.join(_IMAGES)}).")
    return defects


def _inside(root: Path, relative: str, what: str) -> Path:
    try:
        return resolve_inside(root, relative)
    except ValueError as error:
        raise ScenarioError(f"{what} can't be used: {relative!r} {error}.") from error


def _file_digest(path: Path | None) -> bytes:
    return b"" if path is None else hashlib.sha256(path.read_bytes()).digest()


def _nearest(pattern: str, ids: Sequence[str]) -> str:
    close = difflib.get_close_matches(pattern, ids, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else "; see `interbench list scenarios`"
