"""A run that was really played and judged, once for all; each test rates a copy of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import rating_kit


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three systems on four scenarios; one conversation of the last system can't be shown."""
    root = tmp_path_factory.mktemp("rated")
    return rating_kit.play(root, breaks={rating_kit.SYSTEMS[-1]: "test-004"})


@pytest.fixture(scope="session")
def copied(played: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes a copy of that run, not rated yet."""

    def copy() -> Path:
        target = tmp_path_factory.mktemp("copy") / "run"
        shutil.copytree(played, target)
        return target

    return copy
