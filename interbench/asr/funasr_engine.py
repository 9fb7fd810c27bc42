"""Importing FunASR with the classes that three models need, instead of all that it has.

``import funasr`` imports every module of it, for the sake of the registry that each class enters itself in: half a
minute of processor time (FunASR 1.4), most of it for libraries that no transcript needs. Which module enters a class
stands in its source, and which classes a model is made of in its ``config.yaml``.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_ENTERED = re.compile(r"""^@tables\.register\(\s*["']\w+["']\s*,\s*["']([^"']+)["']""", re.MULTILINE)


def import_engine(folders: Iterable[Path]) -> None:
    """Import FunASR and what the models in ``folders`` are made of.

    Raises:
        Exception: whatever its import raises; it is not there, or not in working order.
    """
    with _nothing_walked():
        engine = importlib.import_module("funasr")
    names = {name for folder in folders for name in _texts(_config(folder / "config.yaml"))}
    root = Path(engine.__path__[0])
    for path in sorted(root.rglob("*.py")):
        if names.intersection(_ENTERED.findall(path.read_text(encoding="utf-8", errors="replace"))):
            module = ".".join(("funasr", *path.relative_to(root).with_suffix("").parts))
            # As in FunASR itself: what can't be imported is not entered, and missed by whoever asks for it.
            with contextlib.suppress(Exception):
                importlib.import_module(module)


def import_everything() -> None:
    """Import all of FunASR, as it does itself: for models that name their classes in some other way."""
    engine = importlib.import_module("funasr")
    engine.import_submodules("funasr")


@contextlib.contextmanager
def _nothing_walked() -> Iterator[None]:
    """While this lasts packages seem to have no modules to walk over."""
    walk = pkgutil.walk_packages
    pkgutil.walk_packages = lambda *given, **options: iter(())
    try:
        yield
    finally:
        pkgutil.walk_packages = walk


def _config(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        # Whoever loads the model says what is wrong with it.
        return None


def _texts(value: Any) -> Iterator[str]:
    """All texts in what a YAML file holds."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
