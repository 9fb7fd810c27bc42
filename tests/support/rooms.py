"""Which room of the house may import which, read off the syntax trees."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class House:
    """A package and its order: a room imports only rooms that stand in a later row, and none beside it in its own."""

    package: str
    rows: tuple[tuple[str, ...], ...]
    """From the top floor down; rooms of one row never import one another."""
    apart: tuple[tuple[str, ...], ...] = ()
    """Groups of parts of rooms (``judge.vlm``) that never import one another."""
    top: frozenset[str] = frozenset({"__init__.py", "__main__.py", "py.typed"})
    """What may lie beside the rooms."""


INTERBENCH = House(
    "interbench",
    (
        ("cli",),
        ("report",),
        ("audit", "rating", "single"),
        ("pipeline",),
        ("drive", "asr", "judge"),
        ("store",),
        ("scenarios",),
        ("systems",),
        ("media",),
        ("stats",),
        ("domain",),
        ("base",),
    ),
    (
        ("judge.vlm", "judge.signals"),
        ("systems.puppet", "systems.recipes", "systems.services", "systems.live"),
    ),
)
LIVETALK = House(
    "livetalk",
    (
        ("cli",),
        ("server", "tools", "training"),
        ("live",),
        ("thinkers",),
        ("render",),
        ("video", "sound"),
        ("base",),
    ),
)


def modules(root: Path, package: str) -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every module of the package whose folder is ``root``."""
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        yield ".".join([package, *(part for part in parts if part != "__init__")]), path


@functools.cache
def imports(path: Path, name: str) -> tuple[tuple[int, str], ...]:
    """Line and dotted name of everything that the module ``name`` imports, wherever in it the import stands.

    A file is read once: several tests ask for the same hundreds.
    """
    return tuple(_imports(path, name))


def _imports(path: Path, name: str) -> Iterator[tuple[int, str]]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def _within(name: str, part: str) -> bool:
    return name == part or name.startswith(part + ".")


def faults(house: House, root: Path, strangers: tuple[str, ...]) -> list[str]:
    """What breaks the order, a line each. ``strangers`` are packages that nothing of this one imports."""
    floor = {room: row for row, rooms in enumerate(house.rows) for room in rooms}
    found = [
        f"{entry.name}: not a room; give it a place"
        for entry in sorted(root.iterdir())
        if entry.name not in {*floor, *house.top, "__pycache__", "_data"}
    ]
    for name, path in modules(root, house.package):
        parts = name.split(".")
        for line, target in imports(path, name):
            where = f"{path.relative_to(root)}:{line}"
            if target.split(".")[0] in strangers:
                found.append(f"{where}: {house.package} imports {target}")
            if not _within(target, house.package) or len(parts) < 2:
                continue
            room, other = parts[1], ([*target.split("."), ""])[1]
            if room in floor and other in floor and room != other and floor[other] <= floor[room]:
                found.append(f"{where}: {room} imports {target}, which is not below it")
            for group in house.apart:
                mine = [part for part in group if _within(name, f"{house.package}.{part}")]
                found += [
                    f"{where}: {mine[0]} imports {target}; these two stay apart"
                    for part in group
                    if mine and part != mine[0] and _within(target, f"{house.package}.{part}")
                ]
    return found
