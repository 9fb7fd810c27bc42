"""Names that people choose and others read: which look the same, and which a spreadsheet would take for a formula."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of a cell that spreadsheets calculate instead of showing it."""
_UNPRINTED = frozenset({"Cc", "Cs", "Zl", "Zp"})


def look(name: str) -> str:
    """What is left of a name to the eye: one form of every character, no case, no invisible ones, single spaces."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    seen = "".join(c for c in folded if c.isspace() or unicodedata.category(c) not in _UNPRINTED | {"Cf"})
    return " ".join(unicodedata.normalize("NFKC", seen).split())


def alike(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two different names that nobody can tell apart; None if there are none."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(look(name), name)
        if other != name:
            return other, name
    return None


def meant(name: str, names: Iterable[str]) -> str:
    """Which of ``names`` is meant: the same one, or the only one that adds a model in brackets, as `livetalk` means
    `livetalk (mini)`; else ``name``, which is none of them."""
    known = list(names)
    longer = [one for one in known if one.startswith(f"{name} (") and one.endswith(")")]
    return longer[0] if name not in known and len(longer) == 1 else name


def unprinted(name: str) -> bool:
    """Whether a name holds control characters, line ends or halves of characters."""
    return any(unicodedata.category(c) in _UNPRINTED for c in name)


def sheltered(text: str) -> str:
    """``text`` as a cell that no spreadsheet calculates: with an apostrophe before what looks like a formula."""
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text


def unsheltered(cell: str) -> str:
    """What :func:`sheltered` was given."""
    return cell[1:] if cell[:1] == "'" and cell.lstrip("'").startswith(_FORMULA) else cell
