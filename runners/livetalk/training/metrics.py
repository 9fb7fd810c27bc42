"""What is written of a run while it goes: ``metrics.jsonl``, tensorboard's events, a progress line."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from livetalk.training.sharding import Processes

FILE_NAME = "metrics.jsonl"


class Tally:
    """Means over a step's samples, wherever they were computed."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(self, values: Mapping[str, float]) -> None:
        """Values of one sample."""
        for name, value in values.items():
            entry = self._sums[name]
            entry[0] += value
            entry[1] += 1

    def means(self, on: Processes) -> dict[str, float]:
        """Over all processes; a name that few samples have is the mean of these."""
        whole: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for part in on.gathered(dict(self._sums)):
            for name, (total, count) in part.items():
                whole[name][0] += total
                whole[name][1] += count
        return {name: total / count for name, (total, count) in sorted(whole.items())}


class Log:
    """The files of one run; only the first process writes.

    Args:
        step: where the run goes on: what was written after it is written again, and is dropped.
        events: write tensorboard's events where it is installed.
    """

    def __init__(self, run: Path, step: int, *, events: bool = True) -> None:
        self.path = run / FILE_NAME
        self._keep_until(step)
        self._file = self.path.open("a", encoding="utf-8")
        self._events: Any = None
        if events:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:  # the extra interbench[train] brings it
                pass
            else:
                # Events of this step and of later ones, which an earlier process left, are no longer shown.
                self._events = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    @property
    def has_events(self) -> bool:
        """Whether tensorboard's events are written."""
        return self._events is not None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line for one step, which is counted from 1. JSON has no word for NaN: null."""
        plain = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, **plain}) + "\n")
        self._file.flush()
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()

    def _keep_until(self, step: int) -> None:
        """Drop lines of steps after ``step``, and a last line that a kill has cut."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text("utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line)
            except (ValueError, KeyError, TypeError):
                continue
        partial = self.path.with_name(f".{FILE_NAME}.part")
        partial.write_text("".join(f"{line}\n" for line in kept), "utf-8")
        partial.replace(self.path)
