"""Adds to a line of a scenario file without writing the rest of it anew."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class _Member:
    """One key of an object and where it stands in the text."""

    key: str
    start: int
    key_end: int
    value: int
    end: int


def with_audio(line: str, paths: Mapping[tuple[int, int], str]) -> str:
    """``line``, a scenario as JSON, in which these lines of the user name these sound files.

    Args:
        line: one line of a scenario file that has been read before.
        paths: by (turn, variant): the turn from 1, the variant from 1, or 0 for the turn's own line.

    A member that is there gets another value; otherwise it is put behind the text, with the spaces that the line has
    between its members.
    """
    turns = _member(line, _after(line, 0), "turns")
    assert turns is not None
    for number, at in reversed(list(enumerate(_elements(line, turns.value), start=1))):
        # From the end, so that what lies before stays where it is.
        edits = [(at, paths[number, 0])] if (number, 0) in paths else []
        variants = _member(line, at, "variants")
        if variants is not None and line[variants.value] == "[":
            for variant, begin in enumerate(_elements(line, variants.value), start=1):
                if (number, variant) in paths:
                    edits.append((begin, paths[number, variant]))
        places = [(_place(line, begin), begin, path) for begin, path in edits]
        for _, begin, path in sorted(places, reverse=True):
            line = _named(line, begin, "audio", path, behind="text")
    return line


def with_canary(line: str, canary: str) -> str:
    """``line``, a scenario as JSON, with this canary."""
    return _named(line, _after(line, 0), "canary", canary, behind="id")


def _place(line: str, begin: int) -> int:
    """Where in the text the object that begins at ``begin`` will be changed."""
    found = _member(line, begin, "audio") or _member(line, begin, "text")
    assert found is not None
    return found.end


def _named(line: str, begin: int, key: str, value: str, *, behind: str) -> str:
    members = list(_members(line, begin))
    text = json.dumps(value, ensure_ascii=False)
    for member in members:
        if member.key == key:
            return line[: member.value] + text + line[member.end :]
    place = next(member for member in members if member.key == behind)
    colon = line[place.key_end : place.value]
    comma = line[members[0].end : members[1].start] if len(members) > 1 else ", "
    return f"{line[: place.end]}{comma}{json.dumps(key)}{colon}{text}{line[place.end :]}"


def _member(text: str, start: int, key: str) -> _Member | None:
    return next(iter([member for member in _members(text, start) if member.key == key][-1:]), None)


def _members(text: str, start: int) -> Iterator[_Member]:
    """Of the object that begins at ``start``; the text is JSON that has been read before."""
    at = _after(text, start + 1)
    while text[at] != "}":
        begins = at
        key, key_end = _DECODER.raw_decode(text, at)
        value = _after(text, _after(text, key_end) + 1)
        _, end = _DECODER.raw_decode(text, value)
        yield _Member(key, begins, key_end, value, end)
        at = _after(text, end)
        if text[at] == ",":
            at = _after(text, at + 1)


def _elements(text: str, start: int) -> Iterator[int]:
    """Where each element of the list that begins at ``start`` begins."""
    at = _after(text, start + 1)
    while text[at] != "]":
        yield at
        _, end = _DECODER.raw_decode(text, at)
        at = _after(text, end)
        if text[at] == ",":
            at = _after(text, at + 1)


def _after(text: str, at: int) -> int:
    """The first place from ``at`` on that is no space."""
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()
