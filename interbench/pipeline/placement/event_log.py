"""What happened on a cluster, line by line, for whoever wants to know why a run took so long."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

_MOST = 50 * 2**20


class EventLog:
    """``logs/cluster.jsonl`` of a run folder: a JSON object per line, with ``t``, seconds by the head's clock.

    ``lease`` and ``release`` tell of conversations, ``well``, ``lost`` and ``given_up`` of renderers. Each tells how
    many conversations of the system wait (``waiting``) and are being played by renderers that are well (``live``), how
    many of these there are (``well``) and how many have nothing to do (``idle``).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(exist_ok=True)
        if path.exists() and path.stat().st_size > _MOST:
            path.replace(path.with_name(path.name + ".1"))
        self._file = path.open("a", encoding="utf-8")

    def note(self, what: str, **facts: Any) -> None:
        """Add a line."""
        self._file.write(json.dumps({"t": round(time.monotonic(), 4), "what": what, **facts}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
