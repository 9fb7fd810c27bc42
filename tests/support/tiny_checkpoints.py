"""A folder of checkpoints as a test gets it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from livetalk.render.checkpoint import CheckpointFiles
from livetalk.render.config import Size


@dataclass(frozen=True)
class TinyCheckpoints:
    """Published layout, names and formats; tiny dimensions."""

    root: Path
    files: CheckpointFiles
    size: Size
