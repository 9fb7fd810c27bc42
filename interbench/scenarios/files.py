"""Reading the JSON Lines files of a scenario set, and naming whatever is wrong with them.

Nothing here raises for a broken file: every function hands back what could be read together with all the defects.
"""

from __future__ import annotations

import codecs
import difflib
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Generic, Literal, TypeVar

from pydantic import ValidationError

from interbench.domain.guards import Choice, Guard, Variant
from interbench.domain.persona import Look, Persona, Voice
from interbench.domain.scenario import KeyPoint, Lean, Scenario, Turn, VisibleAct

Model = TypeVar("Model", Scenario, Persona)

_MODELS = (Scenario, Turn, Variant, Guard, Choice, KeyPoint, Lean, VisibleAct, Persona, Voice, Look)
_KEYS = sorted({key for model in _MODELS for key in model.model_fields})
_LONGEST_VALUE = 60
_LONGEST_NUMBER = 18
"""Digits of a whole number; no field takes one as long."""
_HALF = re.compile("[\ud800-\udfff]")


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

    Every other line gives a record or a defect. Ids are checked to be unique.
    """
    kind = model.__name__.lower()
    try:
        data = file.read_bytes()
    except OSError as error:
        return [], [FileDefect(file, None, "", f"can't be read: {error.strerror or error}")]
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data.strip(b"\0 \r\n")[:64]:
        return [], [FileDefect(file, None, "", "is UTF-16 or UTF-32 text; save it as UTF-8")]
    if not data.removeprefix(codecs.BOM_UTF8).strip():
        return [], [FileDefect(file, None, "", f"is empty; it needs one {kind} per line")]
    defects: list[FileDefect] = []
    records: list[Record[Model]] = []
    first_line: dict[str, int] = {}
    lines = lines_of_text(data)
    for number, raw in lines:
        value, found = _parse(raw, model)
        if value is None and not found:
            found = [("", "can't be read")]
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
    told = {record.line for record in records} | {defect.line for defect in defects}
    defects += [FileDefect(file, number, "", "was passed over") for number, _ in lines if number not in told]
    return records, defects


def lines_of_text(data: bytes) -> list[tuple[int, bytes]]:
    """The lines of a JSON Lines file that are not blank, with their 1-based numbers.

    Any of the three ways to end a line is taken, and a byte-order mark at the beginning of one is dropped. Not
    ``splitlines``: it also splits at characters that JSON allows inside strings.
    """
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    bare = ((number, line.removeprefix(codecs.BOM_UTF8)) for number, line in enumerate(lines, start=1))
    return [(number, line) for number, line in bare if line.strip()]


def _parse(raw: bytes, model: type[Model]) -> tuple[Model | None, list[tuple[str, str]]]:
    """The object in one line, and (field, message) of everything wrong with it."""
    if b"\0" in raw:
        return None, [("", "holds zero bytes, as a file has that was not written to its end")]
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
        plain = json.loads(text, object_pairs_hook=pairs, parse_int=_whole)
        if not isinstance(plain, dict):
            return None, [("", f"is a JSON {type(plain).__name__}, not an object")]
        tidied = _Tidied()
        value = tidied.value(plain, ())
    except json.JSONDecodeError as error:
        return None, [("", f"is not JSON: {error.msg} at column {error.colno}")]
    except RecursionError:
        return None, [("", "is nested too deeply")]
    found = [(_shown(key), "is given twice in the same object") for key in twice]
    found += [(".".join(map(_shown, where)), message) for where, message in tidied.faults]
    read: Model | None = None
    try:
        read = model.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        for detail in error.errors():
            # An error of value at the top is the model's own check of forward references, repeated below in full.
            if not detail["loc"] and detail["type"] != "value_error":
                found.append(("", str(detail["msg"])))
            elif detail["loc"] and not (tidied.covers(detail["loc"]) or _follows(detail)):
                found.append(_complaint(detail))
    if model is Scenario:
        found += list(_forward_references(value))
    return read, found


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else math.inf


class _Tidied:
    """A line's object in the form that the models take, and what of it no model could take.

    A key without a value is a key that is not there: writers of tables give every line all keys. For the same reason
    whole numbers may come as 28.0.
    """

    def __init__(self) -> None:
        self.faults: list[tuple[tuple[object, ...], str]] = []

    def covers(self, where: tuple[object, ...]) -> bool:
        """Whether something at ``where``, or around it, has been complained of already."""
        return any(where[: len(fault)] == fault for fault, _ in self.faults)

    def value(self, given: Any, where: tuple[object, ...]) -> Any:
        if isinstance(given, dict):
            return {
                key: self.value(inner, (*where, key))
                for key, inner in given.items()
                if inner is not None and self._check_text(key, (*where, key), "its name ")
            }
        if isinstance(given, list):
            return [self.value(inner, (*where, index)) for index, inner in enumerate(given)]
        if isinstance(given, str):
            return given if self._check_text(given, where, "") else ""
        if isinstance(given, float):
            if not math.isfinite(given):
                self.faults.append((where, "is not a number that can be used (NaN, infinite or far too large)"))
                return 0
            return int(given) if given.is_integer() else given
        return given

    def _check_text(self, text: str, where: tuple[object, ...], whose: str) -> bool:
        half = _HALF.search(text)
        if half:
            message = f"holds half a character (\\u{ord(half[0]):04x}); the other half of an emoji was cut off"
        elif "\0" in text:
            message = "holds a zero character (\\u0000)"
        else:
            return True
        self.faults.append((where, whose + message))
        return False


def _follows(detail: Any) -> bool:
    """Whether pydantic's complaint only repeats another: a list is too short because items of it are wrong."""
    return detail["type"] == "too_short" and bool(detail["input"])


def _shown(part: object) -> str:
    """One part of a path, in characters that every terminal shows."""
    return str(part) if not isinstance(part, str) or part.isprintable() else part.encode("unicode_escape").decode()


_EXAMPLES = {
    "category": ", with one word in small letters such as travel",
    "mood": ", with a word or two such as curious",
    "carry": ", with what of the earlier turn this one leans on",
}
"""What belongs into a field, for whoever has it empty."""


def _complaint(detail: Any) -> tuple[str, str]:
    """(field, message) of one of pydantic's error details, in words that fit a JSON file."""
    last = detail["loc"][-1]
    field = ".".join(map(_shown, detail["loc"]))
    if detail["type"] == "missing":
        return field, "is missing"
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(last), _KEYS, n=1)
        return field, "is an unknown key" + (f"; did you mean {close[0]!r}?" if close else "")
    if detail["type"] == "too_short" and last == "turns":
        return field, "has no turns; a scenario needs at least one"
    if detail["input"] == "" and detail["type"] in ("string_too_short", "string_pattern_mismatch"):
        return field, "is empty: fill it in" + _EXAMPLES.get(str(last), "")
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
