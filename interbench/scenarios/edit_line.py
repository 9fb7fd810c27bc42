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


def with_audio(line: str, paths: Mapping[int, str]) -> str:
    """``line``, a scenario as JSON, in which the turns numbered by ``paths`` (from 1) name these sound files.

    A member that is there without a value gets one; otherwise it is put behind the turn's text, with the spaces that
    the line has between its members.
    """
    (turns,) = [member for member in _members(line, _after(line, 0)) if member.key == "turns"][-1:]
    for number, at in reversed(list(enumerate(_elements(line, turns.value), start=1))):
        if number in paths:
            line = _named(line, list(_members(line, at)), json.dumps(paths[number]))
    return line


def _named(line: str, members: list[_Member], path: str) -> str:
    for member in members:
        if member.key == "audio":
            return line[: member.value] + path + line[member.end :]
    behind = next(member for member in members if member.key == "text")
    colon = line[behind.key_end : behind.value]
    comma = line[members[0].end : members[1].start] if len(members) > 1 else ", "
    return f'{line[: behind.end]}{comma}"audio"{colon}{path}{line[behind.end :]}'


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
