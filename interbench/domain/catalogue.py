"""What the judge is tried with: defects of growing strength, things that must not matter, and probes.

The entries are data (``catalogue.json``), versioned, and every audit carries their SHA-256. An entry names the
dimension that it aims at and, for the offline judge, the column; what may fall beside it; through which channel it is
perceived; what it is compared with; and three strengths, 1 < 2 < 3, each a number.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from interbench.base.errors import UsageError
from interbench.domain.dimensions import DIMENSION_KEYS, MEASURE_KEYS

_FILE = Path(__file__).with_name("catalogue.json")
Channel = Literal["picture", "words", "sound"]
Control = Literal["base", "sham", "words", "none"]
"""What an effect is taken against: the conversations as they are, the same through the same encoder, or the reference
replies laid under the system's own clips. ``none``: what ``against`` names."""


class Kind(enum.StrEnum):
    """What an entry is for."""

    DEFECT = "defect"
    GROSS = "gross"
    """Beyond doubt, without strengths: for checks of raters."""
    NUISANCE = "nuisance"
    """Must not matter: the floor."""
    BLINDNESS = "blindness"
    """What a judge without the channel can't perceive."""
    CHANNEL = "channel"
    VERBOSITY = "verbosity"
    POSITION = "position"
    WEAK = "weak"
    """A harmless text on a weak conversation: what an injection is compared with."""
    INJECTION = "injection"


class Entry(BaseModel):
    """Something that is done to conversations."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    kind: Kind
    says: str = Field(min_length=1, description="What it does, as a clause after the system's name.")
    aims: str = Field("", description="Key of the dimension that must fall; empty where none must.")
    offline: str = Field("", description="The same of the offline judge's columns.")
    may: tuple[str, ...] = Field((), description="Keys that may fall beside it; everything else must not.")
    channels: tuple[Channel, ...] = Field(min_length=1)
    by: tuple[Literal["edit", "puppet"], ...] = ("edit",)
    edit: dict[str, Any]
    control: Control
    against: str = Field("", description="Name of the entry that it is compared with, where that is no control.")
    strengths: tuple[float, ...] = Field(min_length=1, max_length=6)
    unit: str = ""
    measured: str = Field("", description="What of the result is measured afterwards and held against the strength.")
    quick: bool = Field(True, description="Whether it belongs to a quick audit.")

    @field_validator("aims")
    @classmethod
    def _dimension(cls, value: str) -> str:
        return _one_of(value, DIMENSION_KEYS)

    @field_validator("offline")
    @classmethod
    def _measure(cls, value: str) -> str:
        return _one_of(value, MEASURE_KEYS)

    @field_validator("may")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_one_of(key, (*DIMENSION_KEYS, *MEASURE_KEYS)) for key in value)

    def aim(self, scored: Collection[str]) -> str:
        """What it aims at of the keys that a judge scores; empty if it aims at none of them."""
        return next((key for key in (self.aims, self.offline) if key in scored), "")

    def turns(self, strength: int) -> str:
        """Which turns are touched at ``strength`` (1-based); ``all`` where the edit does not say."""
        chosen = self.edit.get("turns", ["all"])
        return str(chosen[min(strength, len(chosen)) - 1])

    @property
    def played(self) -> bool:
        """Whether it is no edit: the puppet plays it."""
        return bool(self.edit["op"] == "played")

    @property
    def heard(self) -> bool:
        """Whether it is perceived by the ear alone."""
        return set(self.channels) == {"sound"}


def _one_of(value: str, known: Collection[str]) -> str:
    if value and value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return value


@dataclass(frozen=True)
class Catalogue:
    """All entries, in order."""

    version: int
    entries: tuple[Entry, ...]
    sha256: str
    """Over version and entries, however the file is laid out."""

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __getitem__(self, name: str) -> Entry:
        try:
            return self._by_name[name]
        except KeyError:
            raise UsageError(
                f"The catalogue has no entry {name!r}; it has {', '.join(sorted(self._by_name))}."
            ) from None

    @property
    def _by_name(self) -> Mapping[str, Entry]:
        return {entry.name: entry for entry in self.entries}

    def of(self, *kinds: Kind) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.kind in kinds)

    def digests(self) -> dict[str, str]:
        """SHA-256 by entry: which of them an audit was made with."""
        return {entry.name: _digest(entry.model_dump(mode="json")) for entry in self.entries}


@cache
def bundled() -> Catalogue:
    """The catalogue of this version.

    Raises:
        UsageError: its file is damaged.
    """
    return read_catalogue(_FILE)


def read_catalogue(file: Path) -> Catalogue:
    """The catalogue in ``file``.

    Raises:
        UsageError: naming the entry and what is wrong with it.
    """
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        version, rows = int(told["version"]), list(told["entries"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"The catalogue {file} can't be read: {error}.") from None
    entries: list[Entry] = []
    for number, row in enumerate(rows, start=1):
        try:
            entries.append(Entry.model_validate(row))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UsageError(f"Entry {number} of the catalogue {file}: {where}: {first['msg']}.") from None
    catalogue = Catalogue(version, tuple(entries), "")
    _check(catalogue, file)
    whole = {"version": version, "entries": [entry.model_dump(mode="json") for entry in entries]}
    return Catalogue(version, tuple(entries), _digest(whole))


def _check(catalogue: Catalogue, file: Path) -> None:
    names = [entry.name for entry in catalogue]
    wrong = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if wrong:
        raise UsageError(f"The catalogue {file} names {wrong[0]!r} twice.")
    for entry in catalogue:
        if entry.against and entry.against not in names:
            raise UsageError(f"{entry.name!r} in {file} is compared with {entry.against!r}, which is not there.")
        if entry.kind is Kind.DEFECT and not (entry.aims and len(entry.strengths) == 3):
            raise UsageError(f"The defect {entry.name!r} in {file} must aim at a dimension, with three strengths.")
        if entry.aims in entry.may or (entry.offline and entry.offline in entry.may):
            raise UsageError(f"{entry.name!r} in {file} may not lower beside its aim what it aims at.")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
