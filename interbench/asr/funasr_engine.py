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
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_ENTERED = re.compile(r"""^@tables\.register\(\s*["']\w+["']\s*,\s*["']([^"']+)["']""", re.MULTILINE)

_DIARISATION = "funasr.models.campplus.cluster_backend"
"""Who spoke when: the one thing that FunASR needs scikit-learn for, and does without where it is not there."""


def import_engine(folders: Iterable[Path]) -> None:
    """Import FunASR and what the models in ``folders`` are made of.

    Raises:
        Exception: whatever its import raises; it is not there, or not in working order.
    """
    import_classes(name for folder in folders for name in _texts(_config(folder / "config.yaml")))


def import_classes(names: Iterable[str]) -> None:
    """Import FunASR and the classes of these names, as they stand in its registry; raises as :func:`import_engine`."""
    with _nothing_walked(), _left_out(_DIARISATION):
        engine = importlib.import_module("funasr")
        importlib.import_module("funasr.auto.auto_model")
    wanted, root = set(names), Path(engine.__path__[0])
    for path in sorted(root.rglob("*.py")):
        if wanted.intersection(_ENTERED.findall(path.read_text(encoding="utf-8", errors="replace"))):
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


@contextlib.contextmanager
def _left_out(module: str) -> Iterator[None]:
    """While this lasts ``module`` can't be imported."""
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


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
