"""A run: its folder, steps one after another, checkpoints, what is watched, and how it ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from livetalk.base import termination
from livetalk.training import checkpoints
from livetalk.training.checkpoints import Kept, RunError
from livetalk.training.metrics import Log
from livetalk.training.monitors import Limits, Monitor
from livetalk.training.sharding import Processes
from livetalk.training.stages import CollapseError, Stage

CONFIG = "config.json"
MAY_CHANGE = frozenset({"steps"})
"""What a run may go on with otherwise than it began."""
PATIENCE_S = 1800.0
"""How long the step in work and its checkpoint may take once the run is told to end."""


@dataclass(frozen=True, slots=True)
class Habits:
    """What a run does beside training; none of it changes what is trained."""

    save_every: int = 100
    kept: Kept = field(default_factory=Kept)
    validate_every: int = 0
    """Steps between validation clips; 0 for none."""
    stop_on_collapse: bool = True
    limits: Limits = field(default_factory=Limits)
    events: bool = True
    compiled: bool = False
    """Of the stages below the recipe: let torch.compile make the network's passes faster."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a run has come."""

    step: int
    steps: int
    told_to_end: bool
    measured: Mapping[str, float]
    """Of the last step done here."""

    @property
    def complete(self) -> bool:
        return self.step >= self.steps


@contextlib.contextmanager
def opened(run: Path, config: Mapping[str, Any], on: Processes) -> Iterator[None]:
    """The run's folder, made or found to be of the same run, and nobody else's meanwhile.

    Raises:
        RunError: another process trains there, or the folder is of another run; the message names what differs.
    """
    problem: str | None = None
    with contextlib.ExitStack() as stack:
        if on.first:
            try:
                run.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context((run / ".lock").open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                problem = _state(run / CONFIG, config)
            except BlockingIOError:
                problem = f"{run} is being trained by another process."
            except OSError as error:
                problem = f"{run} can't be used: {error.strerror}. Choose another --out."
        # All hear of it, so that none waits for one that has left.
        problem = on.gathered(problem)[0]
        if problem is not None:
            raise RunError(problem)
        if len({json.dumps(one, sort_keys=True) for one in on.gathered(dict(config))}) > 1:
            raise RunError("The processes were started with different options or see different data.")
        yield


def _state(path: Path, config: Mapping[str, Any]) -> str | None:
    if path.exists():
        try:
            found = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            return f"{path} is damaged: {error}."
        differing = [
            f"{name} is {_short(found.get(name))} there, {_short(config.get(name))} here"
            for name in sorted({*found, *config} - MAY_CHANGE)
            if found.get(name) != config.get(name)
        ]
        if differing:
            return (
                f"{path.parent} holds another run: {'; '.join(differing)}. Choose another --out, or that run's options."
            )
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(dict(config), indent=1) + "\n", "utf-8")
    partial.replace(path)
    return None


def train(
    stage: Stage,
    run: Path,
    steps: int,
    habits: Habits,
    *,
    validate: Callable[[int], None] | None = None,
    progress: Callable[[int, Mapping[str, float]], None] | None = None,
) -> Outcome:
    """Go on from the newest checkpoint to step ``steps``, or until the program is told to end.

    Args:
        validate: makes validation clips after a step; called on every process.
        progress: told of every step done; called on the first process.

    Raises:
        CollapseError: what is made is of no use any more.
        RunError: the checkpoint can't be used.
    """
    on = stage.on
    monitor = Monitor(habits.limits)
    step = _resume(stage, run, monitor)
    log = Log(run, step, events=habits.events) if on.first else None
    told: list[bool] = []
    measured: dict[str, float] = {}

    def save() -> None:
        kept = {**stage.progress(), "monitor": monitor.state(), "stage": stage.name}
        checkpoints.save(run, step, stage.tensors(), kept, habits.kept, on)

    try:
        with termination.handed_over(lambda: told.append(True), PATIENCE_S):
            ending = on.any(bool(told))
            while step < steps and not ending:
                began = time.perf_counter()
                measured = stage.step(step)
                step += 1
                measured["seconds"] = time.perf_counter() - began
                if on.device.type == "cuda":
                    measured["memory_gb"] = torch.cuda.max_memory_allocated(on.device) / 1e9
                if log is not None:
                    log.write(step, measured)
                    if progress is not None:
                        progress(step, measured)
                collapsed = _collapsed(monitor, measured)
                ending = on.any(bool(told))
                stop = collapsed is not None and habits.stop_on_collapse
                if step % habits.save_every == 0 or step == steps or ending or stop:
                    save()
                if stop:
                    raise CollapseError(
                        f"What the run makes is {collapsed} at step {step}; a checkpoint was written. Quality peaks "
                        "and then falls: look at earlier checkpoints and validation clips, lower the learning rate "
                        "or the guidance, or go on all the same with --no-stop."
                    )
                if validate is not None and habits.validate_every and step % habits.validate_every == 0 and not ending:
                    validate(step)
    finally:
        if log is not None:
            log.close()
    return Outcome(step, steps, ending and step < steps, measured)


def _collapsed(monitor: Monitor, measured: Mapping[str, float]) -> str | None:
    made = {name.removeprefix("generator/"): value for name, value in measured.items() if name.startswith("generator/")}
    return monitor.look(made) if "spread" in made else None


def _resume(stage: Stage, run: Path, monitor: Monitor) -> int:
    found = checkpoints.checkpoints(run)
    # As the first process sees them: a shared disk may show others later.
    path = stage.on.gathered(str(found[-1][1]) if found else None)[0]
    if path is None:
        return 0
    progress = checkpoints.read_progress(Path(path))
    stage.prepare(progress)
    checkpoints.load(Path(path), stage.tensors(), stage.on)
    monitor.restore(progress["monitor"])
    return int(progress["step"])


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
