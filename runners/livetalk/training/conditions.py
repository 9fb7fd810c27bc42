"""Conditions: what a sample is made from - a picture, speech and a text. The list that curation writes and all stages
after it read.

``conditions.jsonl`` holds one condition a line::

    {"id": "hdtf/RD_Radio10_000", "image": "images/0.png", "audio": "audio/0.wav", "start": 3.5, "text": "A woman ..."}

Paths are relative to the file's folder. ``start`` (seconds into the audio) may be left out; further entries (source,
split, metrics, provenance) are kept for whoever wrote them. Instead of such a file, a folder of pictures will do, each
with a sound and a ``.txt`` of the same name beside it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from livetalk.base.errors import LiveTalkError

LIST_NAME = "conditions.jsonl"

_IMAGES = (".png", ".jpg", ".jpeg", ".webp")
_SOUNDS = (".wav", ".flac", ".mp3", ".m4a", ".ogg")


class ConditionError(LiveTalkError):
    """A list of conditions can't be used, or names what is not there."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. ``id`` is any text; what is stored of a condition lies under ``key``, which is safe as a name."""

    id: str
    image: Path
    audio: Path
    text: str
    start: float = 0.0
    """Seconds into the audio."""
    further: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return condition_key(self.id)

    def digest(self) -> str:
        """Of all that a sample is made from, by content: a stored sample whose digest differs was made from something
        else.

        Raises:
            ConditionError: a file can't be read.
        """
        parts = [_file_digest(self.image), _file_digest(self.audio), repr(float(self.start)), self.text]
        return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()

    def as_line(self, folder: Path) -> str:
        """The line of ``conditions.jsonl`` in ``folder``, without its end."""
        entry = {
            **self.further,
            "id": self.id,
            "image": _relative(self.image, folder),
            "audio": _relative(self.audio, folder),
            "start": self.start,
            "text": self.text,
        }
        return json.dumps(entry, ensure_ascii=False)


def condition_key(identity: str) -> str:
    """Name under which things of a condition are stored: 20 hexadecimal digits. Two pictures of one name in two folders
    have two."""
    return hashlib.sha256(identity.encode()).hexdigest()[:20]


def read_conditions(source: Path) -> list[Condition]:
    """The conditions of a list, of a folder with a list in it, or of a folder of pictures, sounds and texts.

    Every file that is named must be there; none is opened.

    Raises:
        ConditionError: nothing is there, a line is not understood, or an id comes twice.
    """
    if source.is_dir():
        path = source / LIST_NAME
        found = list(_listed(path)) if path.exists() else list(_found(source))
    elif source.exists():
        found = list(_listed(source))
    else:
        raise ConditionError(f"{source} does not exist. Give a folder of conditions, or a list such as {LIST_NAME}.")
    if not found:
        raise ConditionError(
            f"{source} holds no conditions: neither a {LIST_NAME} with lines in it, nor a picture with a sound and a "
            ".txt of the same name."
        )
    seen: set[str] = set()
    for condition in found:
        if condition.key in seen:
            raise ConditionError(
                f"The id {condition.id!r} comes twice in {source}; give every condition one of its own."
            )
        seen.add(condition.key)
    if missing := [path for one in found for path in (one.image, one.audio) if not path.is_file()]:
        more = f", nor are {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ConditionError(f"{missing[0]}, which {source} names, is not there{more}.")
    return found


def write_conditions(path: Path, conditions: Sequence[Condition]) -> None:
    """Write a list; paths below its folder become relative to it."""
    path.write_text("".join(f"{condition.as_line(path.parent)}\n" for condition in conditions), "utf-8")


def _listed(path: Path) -> Iterator[Condition]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConditionError(f"{path} can't be read: {error}.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"Line {number} of {path}"
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise ConditionError(f"{where} is not JSON: {error}.") from error
        if not isinstance(entry, dict):
            raise ConditionError(f"{where} is not an object with id, image, audio and text.")
        for name in ("id", "image", "audio", "text"):
            if not isinstance(entry.get(name), str) or not entry[name].strip():
                raise ConditionError(f"{where} has no text under {name!r}.")
        start = entry.get("start", 0.0)
        if isinstance(start, bool) or not isinstance(start, int | float) or not 0 <= start < math.inf:
            raise ConditionError(f"{where} has no number of seconds under 'start': {start!r}.")
        known = ("id", "image", "audio", "text", "start")
        yield Condition(
            entry["id"],
            path.parent / entry["image"],
            path.parent / entry["audio"],
            entry["text"],
            float(start),
            {name: value for name, value in entry.items() if name not in known},
        )


def _found(folder: Path) -> Iterator[Condition]:
    for image in sorted(path for path in folder.rglob("*") if path.suffix.lower() in _IMAGES):
        identity = image.relative_to(folder).with_suffix("").as_posix()
        sounds = [path for path in map(image.with_suffix, _SOUNDS) if path.is_file()]
        text = image.with_suffix(".txt")
        if len(sounds) != 1:
            there = "no sound" if not sounds else f"{len(sounds)} sounds"
            raise ConditionError(f"{image} has {there} of its name beside it ({', '.join(_SOUNDS)}); one is needed.")
        try:
            words = text.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConditionError(
                f"{text} can't be read ({error}); it holds what the video of {image} shows."
            ) from error
        if not words:
            raise ConditionError(f"{text} is empty; it says what {image}'s video shows.")
        yield Condition(identity, image, sounds[0], words)


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConditionError(f"{path} can't be read: {error.strerror}.") from error


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path.absolute())
