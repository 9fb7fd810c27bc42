"""Which version of livetalk this is."""

from __future__ import annotations

import importlib.metadata
import tomllib
from contextlib import suppress
from pathlib import Path

_NAME = "interbench"


def version() -> str:
    """Of the distribution that holds this package; of its project file in a source tree that is not installed."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(_NAME)
    with suppress(OSError, ValueError, KeyError):
        project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))["project"]
        if project["name"] == _NAME:
            return str(project["version"])
    return "unknown"
