"""A private view of a checkout: its entries linked into a folder of the turn's own.

What a script writes beside itself stays apart from what others write, and is found there.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from interbench.base.errors import InterbenchError
from interbench.systems.recipes.model import Recipe

_MARK = ".started"


class NoClipError(InterbenchError):
    """A command has ended without exactly one clip; ``code`` is kept in the record."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def link_checkout(recipe: Recipe, home: Path, folder: Path, own: Collection[str] = ()) -> None:
    """Link every top-level entry of ``home`` into ``folder``, except what the recipe writes and what is there already.

    Args:
        own: further names that stay free.
    """
    kept_free = {*recipe.writes, *(name.split("/")[0] for name in recipe.files), *own, _MARK}
    for name in (entry.name for entry in home.iterdir()):
        target = folder / name
        if name not in kept_free and not os.path.lexists(target):
            target.symlink_to(home / name)


@dataclass(frozen=True, slots=True)
class Started:
    """The moment at which a turn was begun, on the clock of the file system that its clip will be on."""

    at_ns: int

    @classmethod
    def now(cls, folder: Path) -> Started:
        mark = folder / _MARK
        mark.unlink(missing_ok=True)
        mark.touch()
        return cls(mark.stat().st_mtime_ns)


def find_clip(folder: Path, glob: str, without: str, started: Started) -> Path:
    """The one file of ``folder`` that matches and is no older than ``started``.

    Raises:
        NoClipError: there is none, or there are several.
    """
    fresh = list(_matching(folder, glob, without, started))
    if len(fresh) == 1:
        return fresh[0]
    if fresh:
        listed = ", ".join(path.relative_to(folder).as_posix() for path in fresh[:4])
        raise NoClipError("several_clips", f"{len(fresh)} files match {glob!r}, and one was expected: {listed}")
    older = sum(1 for _ in _matching(folder, glob, without, Started(0)))
    more = f"; {older} older than the turn match, and are not its" if older else ""
    raise NoClipError("no_clip", f"the command left no file that matches {glob!r}{more}")


def _matching(folder: Path, glob: str, without: str, started: Started) -> Iterator[Path]:
    real = folder.resolve()
    for path in sorted(folder.glob(glob)):
        if without and fnmatchcase(path.name, without):
            continue
        # A link, or a folder that is one, could lead anywhere.
        if path.is_symlink() or not path.is_file() or not path.resolve().is_relative_to(real):
            continue
        if path.stat().st_mtime_ns >= started.at_ns:
            yield path


def is_whole_mp4(path: Path) -> bool:
    """Whether every outermost box of an MP4 is there, with index and media data: nobody is writing it any more.

    ISO/IEC 14496-12, section 4.2. While ffmpeg writes, the index is missing; while a file is copied, its last box is
    cut.
    """
    try:
        with path.open("rb") as file:
            size, position, seen = os.fstat(file.fileno()).st_size, 0, set()
            while position + 8 <= size:
                file.seek(position)
                head = file.read(16)
                length, name = int.from_bytes(head[:4], "big"), head[4:8]
                if length == 1:
                    length = int.from_bytes(head[8:16], "big")
                elif length == 0:
                    length = size - position
                if length < 8 or position + length > size:
                    return False
                seen.add(name)
                position += length
            return position == size and {b"moov", b"mdat"} <= seen
    except OSError:
        return False
