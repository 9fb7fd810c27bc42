"""Reading the JSON Lines files of a scenario set, and naming whatever is wrong with them.

Nothing here raises for a broken file: every function hands back what could be read together with all the defects.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Generic, Literal, TypeVar

from pydantic import ValidationError

from interbench.domain.persona import Look, Persona, Voice
from interbench.domain.scenario import KeyPoint, Lean, Scenario, Turn

Model = TypeVar("Model", Scenario, Persona)

_KEYS = sorted({key for model in (Scenario, Turn, KeyPoint, Lean, Persona, Voice, Look) for key in model.model_fields})
_LONGEST_VALUE = 60


@dataclass(frozen=True, slots=True)
class FileDefect:
    """One thing that is wrong with a scenario set, and where."""

    file: Path
    line: int | None
    """1-based; None if it concerns the whole file."""
    field: str
    """Dotted path inside the line's object with 0-based positions, e.g. ``turns.2.audio``; empty for the whole line."""
    message: str
    level: Literal["error", "warning"] = "error"
    """A set with errors isn't loaded; warnings are for its author."""

    def __str__(self) -> str:
        place = f"{self.file}" if self.line is None else f"{self.file}:{self.line}"
        message = self.message if self.level == "error" else f"{self.level}: {self.message}"
        return ": ".join(part for part in (place, self.field, message) if part)


@dataclass(frozen=True, slots=True)
class Record(Generic[Model]):
    """One object of a JSON Lines file and where it stands."""

    file: Path
    line: int | None
    value: Model

    def defect(self, field: str, message: str, level: Literal["error", "warning"] = "error") -> FileDefect:
        return FileDefect(self.file, self.line, field, message, level)


def read_records(file: Path, model: type[Model]) -> tuple[list[Record[Model]], list[FileDefect]]:
    """The objects in ``file``, one per line, and every defect found; blank lines are skipped.

    A line with a defect gives no record. Ids are checked to be unique.
    """
    kind = model.__name__.lower()
    try:
        data = file.read_bytes()
    except OSError as error:
        return [], [FileDefect(file, None, "", f"can't be read: {error.strerror or error}")]
    defects: list[FileDefect] = []
    if data.startswith(b"\xef\xbb\xbf"):
        defects.append(FileDefect(file, 1, "", "begins with a byte-order mark; save it as UTF-8 without BOM"))
        data = data[3:]
    if not data.strip():
        return [], [*defects, FileDefect(file, None, "", f"is empty; it needs one {kind} per line")]
    records: list[Record[Model]] = []
    first_line: dict[str, int] = {}
    # Not splitlines(): it also splits at characters that JSON allows inside strings.
    for number, raw in enumerate(data.split(b"\n"), start=1):
        if not raw.strip():
            continue
        value, found = _parse(raw, model)
        defects += [FileDefect(file, number, field, message) for field, message in found]
        if value is None:
            continue
        if value.id in first_line:
            defects.append(
                FileDefect(file, number, "id", f"{value.id!r} is already the id of line {first_line[value.id]}")
            )
            continue
        first_line[value.id] = number
        if not found:
            records.append(Record(file, number, value))
    return records, defects


def _parse(raw: bytes, model: type[Model]) -> tuple[Model | None, list[tuple[str, str]]]:
    """The object in one line, and (field, message) of everything wrong with it."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return None, [("", f"is not UTF-8: byte {raw[error.start]:#04x} at position {error.start}")]
    twice: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in items:
            if key in seen:
                twice.append(key)
            seen[key] = value
        return seen

    try:
        plain = json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        return None, [("", f"is not JSON: {error.msg} at column {error.colno}")]
    except RecursionError:
        return None, [("", "is nested too deeply")]
    if not isinstance(plain, dict):
        return None, [("", f"is a JSON {type(plain).__name__}, not an object")]
    found = [(key, "is given twice in the same object") for key in twice]
    value: Model | None = None
    try:
        value = model.model_validate_json(text, strict=True)
    except ValidationError as error:
        # An error at the top (loc == ()) is the model's own check of forward references, repeated below in full.
        found += [_complaint(detail) for detail in error.errors() if detail["loc"]]
    if model is Scenario:
        found += list(_forward_references(plain))
    return value, found


def _complaint(detail: Any) -> tuple[str, str]:
    """(field, message) of one of pydantic's error details, in words that fit a JSON file."""
    last = detail["loc"][-1]
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return field, "is missing"
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(last), _KEYS, n=1)
        return field, "is an unknown key" + (f"; did you mean {close[0]!r}?" if close else "")
    if detail["type"] == "too_short" and last == "turns":
        return field, "has no turns; a scenario needs at least one"
    message = str(detail["msg"]).removeprefix("Value error, ")
    if isinstance(detail["input"], str | int | float | bool | None):
        shown = json.dumps(detail["input"], ensure_ascii=False)
        message += f" (is {shown if len(shown) <= _LONGEST_VALUE else shown[:_LONGEST_VALUE] + '…'})"
    return field, message


def _forward_references(plain: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Leans and needs that don't point to an earlier turn, in an object that may be broken in other ways too."""
    for index, turn in enumerate(_objects(plain.get("turns")), start=1):
        for at, lean in enumerate(_objects(turn.get("leans_on"))):
            target = lean.get("turn")
            if isinstance(target, int) and target >= index:
                yield (
                    f"turns.{index - 1}.leans_on.{at}.turn",
                    f"turn {index} can lean only on earlier turns, not {target}",
                )
        for at, point in enumerate(_objects(turn.get("key_points"))):
            needs = point.get("needs")
            for target in needs if isinstance(needs, list) else []:
                if isinstance(target, int) and not 1 <= target < index:
                    yield (
                        f"turns.{index - 1}.key_points.{at}.needs",
                        f"a key point of turn {index} can need only earlier turns, not {target}",
                    )


def _objects(value: Any) -> Sequence[dict[str, Any]]:
    """The items of ``value`` if it is a list; whatever is not an object becomes an empty one, to keep the positions."""
    return [item if isinstance(item, dict) else {} for item in value] if isinstance(value, list) else []


def resolve_inside(root: Path, relative: str) -> Path:
    """The absolute path of ``relative`` below ``root``.

    Raises:
        ValueError: the path is absolute, contains ``..`` or a backslash, or leads out of ``root`` through a link. The
            message is a clause that continues a sentence about the path.
    """
    if "\\" in relative or "\0" in relative or PureWindowsPath(relative).drive:
        raise ValueError("must be a relative path with forward slashes")
    path = PurePosixPath(relative)
    if path.is_absolute():
        raise ValueError("must be relative to the folder of the set, not absolute")
    if ".." in path.parts:
        raise ValueError("must stay inside the folder of the set, without '..'")
    base = root.resolve()
    target = base / path
    if not target.resolve().is_relative_to(base):
        raise ValueError("is a link that leads out of the folder of the set")
    return target
