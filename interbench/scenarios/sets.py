"""Scenario sets: found by name, path or Hub id, read, checked, and narrowed down to what a run plays.

A set is a folder with ``scenarios.jsonl``, ``personas.jsonl`` and the audio and portrait files that these name by
relative paths. The format is described in ``docs/scenarios.md``.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from interbench.base.bundled import data_path
from interbench.base.errors import MediaError, ScenarioError, UsageError
from interbench.domain.keypoints import covered
from interbench.domain.persona import Persona
from interbench.domain.scenario import Scenario
from interbench.scenarios.files import FileDefect, Record, read_records, resolve_inside
from interbench.scenarios.language import language_warnings

if TYPE_CHECKING:
    from interbench.media.pool import SoundFacts

SCENARIOS = "scenarios.jsonl"
PERSONAS = "personas.jsonl"
BUNDLED = {"starter": "starter", "all": None}
"""Names of the bundled sets, and the tag that their scenarios carry."""
AUDIO_RATE = 16_000

_HUB_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_SHOWN = 20
_IMAGES = (".png", ".jpg", ".jpeg", ".webp")
_SILENT_PEAK = 10 ** (-50 / 20)
_CLIPPING_PEAK = 0.999


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

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the scenarios, the personas they use, their audio and their portraits."""
        total = hashlib.sha256()
        for scenario in self.scenarios:
            total.update(scenario.digest().encode())
            for turn in range(1, len(scenario.turns) + 1):
                total.update(_file_digest(self.audio_path(scenario, turn)))
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
        source: ``"starter"`` or ``"all"`` (bundled), a folder, a ``.jsonl`` file, or the id of a dataset on the Hugging
            Face Hub (``org/name`` or ``org/name@revision``; needs the extra ``hub``). A file or folder without its own
            ``personas.jsonl`` uses the bundled personas.
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
    scenario_file, tag = _find(source)
    root = scenario_file.parent
    records, defects = read_records(scenario_file, Scenario)
    persona_file = root / PERSONAS
    if not persona_file.is_file():
        persona_file = data_path("scenarios") / PERSONAS
    persona_records, persona_defects = read_records(persona_file, Persona)
    defects += persona_defects
    cast = {record.value.id: record for record in persona_records}
    if personas is not None:
        defects += _replace_personas(cast, personas)
    for record in records:
        defects += _check_references(record, root, cast, complete=not persona_defects)
    for member in cast.values():
        defects += _check_portrait(member, decode=check_media)
    if check_media:
        defects += _check_audio(records, root)
        for record in records:
            defects += _check_key_points(record)
            persona = cast.get(record.value.persona)
            for field, message in language_warnings(record.value, None if persona is None else persona.value):
                defects.append(record.defect(field, message, "warning"))
    scenarios = tuple(record.value for record in records if tag is None or tag in record.value.tags)
    return (
        ScenarioSet(
            source=str(source),
            root=root,
            scenarios=scenarios,
            personas={name: record.value for name, record in cast.items()},
            persona_roots={name: record.file.parent for name, record in cast.items()},
        ),
        defects,
    )


def _find(source: str | Path) -> tuple[Path, str | None]:
    """The scenario file that ``source`` means, and the tag its scenarios must carry (None: all)."""
    if isinstance(source, str) and source in BUNDLED:
        return data_path("scenarios") / SCENARIOS, BUNDLED[source]
    path = Path(source)
    if path.is_dir():
        if not (path / SCENARIOS).is_file():
            raise ScenarioError(f"{path} is not a scenario set: it has no {SCENARIOS}. See docs/scenarios.md.")
        return path / SCENARIOS, None
    if path.is_file():
        if path.suffix != ".jsonl":
            raise ScenarioError(f"{path} is not a scenario file: give a .jsonl file or the folder that holds one.")
        return path, None
    if isinstance(source, str) and (match := _HUB_ID.fullmatch(source)) and path.suffix != ".jsonl":
        return _download(match["repo"], match["revision"]) / SCENARIOS, None
    raise ScenarioError(
        f"There is no scenario set {str(source)!r}. Give one of {', '.join(BUNDLED)}, a folder or .jsonl file that "
        f"exists, or the id of a dataset on the Hugging Face Hub (org/name)."
    )


def _download(repo: str, revision: str | None) -> Path:
    """The folder of a dataset repository of the Hugging Face Hub, fetched into the user's cache."""
    try:
        from huggingface_hub import snapshot_download  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ScenarioError(
            f"There is no folder {repo!r} here, and to fetch the dataset of that name from the Hugging Face Hub the "
            f'extra "hub" is needed: pip install "interbench[hub]".'
        ) from None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "interbench" / "scenarios" / f"{repo}@{revision or 'main'}".replace("/", "--")
    try:
        # A local folder rather than the Hub's cache, whose links lead out of the set.
        snapshot_download(repo, repo_type="dataset", revision=revision, local_dir=folder)
    except Exception as error:
        raise ScenarioError(
            f"There is no folder {repo!r} here, and the dataset of that name can't be fetched from the Hugging Face "
            f"Hub: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
        ) from error
    if not (folder / SCENARIOS).is_file():
        raise ScenarioError(
            f"The dataset {repo!r} on the Hugging Face Hub is not a scenario set: it has no {SCENARIOS} at its top."
        )
    return folder


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


def _check_references(
    record: Record[Scenario], root: Path, cast: Mapping[str, Record[Persona]], *, complete: bool
) -> Iterator[FileDefect]:
    """Files and the persona that a scenario names in vain. ``complete``: whether all personas could be read."""
    scenario = record.value
    if scenario.persona not in cast and complete:
        known = ", ".join(sorted(cast))
        yield record.defect("persona", f"there is no persona {scenario.persona!r}; there are {known}")
    for index, turn in enumerate(scenario.turns):
        if turn.audio is None:
            continue
        field = f"turns.{index}.audio"
        try:
            path = resolve_inside(root, turn.audio)
        except ValueError as error:
            yield record.defect(field, f"{turn.audio!r} {error}")
            continue
        if not path.is_file():
            yield record.defect(field, f"there is no file {turn.audio!r}")


def _check_portrait(record: Record[Persona], *, decode: bool) -> Iterator[FileDefect]:
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


def _check_audio(records: Sequence[Record[Scenario]], root: Path) -> Iterator[FileDefect]:
    """Decode the user's speech of every turn; what is missing or outside of ``root`` was complained of before."""
    from interbench.media.pool import probe_audio_files

    spoken: list[tuple[Record[Scenario], int, Path]] = []
    for record in records:
        for index, turn in enumerate(record.value.turns):
            if turn.audio is not None:
                with contextlib.suppress(ValueError):
                    path = resolve_inside(root, turn.audio)
                    if path.is_file():
                        spoken.append((record, index, path))
    found = probe_audio_files([path for _, _, path in spoken])
    for (record, index, _), facts in zip(spoken, found, strict=True):
        turn = record.value.turns[index]
        problems = [f"can't be used: {facts}"] if isinstance(facts, MediaError) else _sound_problems(facts, turn.text)
        for problem in problems:
            yield record.defect(f"turns.{index}.audio", f"{turn.audio!r} {problem}")


def _sound_problems(facts: SoundFacts, text: str) -> Iterator[str]:
    """What is wrong with the recording of ``text``, as clauses."""
    if facts.rate != AUDIO_RATE:
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


def _check_key_points(record: Record[Scenario]) -> Iterator[FileDefect]:
    """Key points that a system could not even earn by speaking the reference reply."""
    for index, turn in enumerate(record.value.turns):
        leans = {lean.turn for lean in turn.leans_on}
        for at, point in enumerate(turn.key_points):
            field = f"turns.{index}.key_points.{at}"
            if not covered(point, turn.reply):
                yield record.defect(field, f"{point.text!r} isn't found in the reference reply", "warning")
            for turn_number in sorted(set(point.needs) - leans):
                message = f"needs turn {turn_number}, which the turn's leans_on doesn't name"
                yield record.defect(f"{field}.needs", message, "warning")


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
