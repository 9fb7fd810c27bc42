"""Where the pages of a report find their media: by relative links into the run folder, or by files of their own."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

MEDIA = "media"
"""Folder inside the report for files that can't be linked where they are."""


@dataclass(frozen=True, slots=True)
class Link:
    """A relative, percent-encoded address, or one sentence saying why there is none."""

    href: str | None
    problem: str = ""


class Links:
    """Makes links for the pages of a report that will lie at ``out`` and is being written in ``staging``."""

    def __init__(self, media_root: Path, out: Path, staging: Path, *, portable: bool) -> None:
        self._root = media_root.absolute()
        self._out = out.absolute()
        self._media = staging / MEDIA
        self._portable = portable
        self._copied: dict[Path, str] = {}

    def clip(self, name: str, stem: str, root: Path | None = None) -> Link:
        """To a system's clip, named relative to ``root`` (None for the media root); ``stem`` is what a copy of it would
        be called.

        The name is not trusted: nothing outside that root is ever linked or copied, symlinks followed.
        """
        root = self._root if root is None else root.absolute()
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or "\0" in name:
            return Link(None, "The recorded path of this clip leaves the run folder, so it is not linked.")
        path = root / parts
        try:
            if not path.resolve(strict=True).is_relative_to(root.resolve()):
                return Link(None, "This clip is a link that leaves the run folder, so it is not shown.")
            if not path.is_file():
                return Link(None, "The recorded path of this clip is not a file.")
        except OSError:
            return Link(None, "The file of this clip is no longer in the run folder.")
        return self._link(path, stem, root)

    def file(self, path: Path, stem: str) -> Link:
        """To a file of the scenario set: the user's speech, a portrait."""
        if not path.is_file():
            return Link(None, f"The file {path.name} is missing from the scenario set.")
        return self._link(path.absolute(), stem, self._root)

    def _link(self, path: Path, stem: str, root: Path) -> Link:
        if not self._portable and path.is_relative_to(root):
            return Link(_address(os.path.relpath(path, self._out)))
        if path not in self._copied:
            suffix = path.suffix.lower() if re.fullmatch(r"\.[a-z0-9]{1,5}", path.suffix.lower()) else ""
            target = self._media / f"{stem}{suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            _hard_link_or_copy(path, target)
            self._copied[path] = f"{MEDIA}/{stem}{suffix}"
        return Link(_address(self._copied[path]))


def anchor(name: str) -> str:
    """A file name that every system takes, near to ``name``; not unique."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48] or "system"


def _address(relative: str) -> str:
    # The leading "./" keeps a folder called "javascript:" from ever being read as a scheme.
    path = PurePosixPath(*Path(relative).parts)
    return quote(str(path) if path.parts[0] == ".." else f"./{path}", errors="surrogateescape")


def _hard_link_or_copy(source: Path, target: Path) -> None:
    real = source.resolve()
    try:
        target.hardlink_to(real)
    except OSError:
        shutil.copyfile(real, target)
