"""Everything a stranger's card can tell, in one go and a given time: steps one after the other, each with a limit.

Every step runs in a process of its own, so that one which hangs, breaks or fills the device takes nothing from those
after it. What a step finds is written down while it runs: a step that is cut off leaves what it had.
"""

from __future__ import annotations

import datetime
import json
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from livetalk.base.errors import LiveTalkError, OptionError, OutputError
from livetalk.render.options import ModelOptions, SpeedOptions, StreamOptions

FORMAT = 1
SHORTEST_S = 1.0
"""A step that has less than this is not begun."""
_STEPS = "livetalk.tools.sheet_steps"
_GRACE = 0.1
"""Of its limit, beyond it: for a step that ends by itself to come to the end of what it is at."""

_PROBE_S = 300.0
"""Importing, and one number on the device."""

Outcome = Literal["done", "left out", "failed", "cut off"]


class LeftOutError(LiveTalkError):
    """A step has nothing to do here; the message says why."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all steps are about. Travels to their processes."""

    model: ModelOptions
    stream: StreamOptions
    speed: SpeedOptions
    minutes: float
    fixtures: Path
    thinker: str | None = None
    """A thinker to talk with at the end, with its options; None for none."""
    thinker_settings: tuple[str, ...] = ()

    @property
    def blocks(self) -> int:
        """Blocks that a bench measures."""
        return min(max(round(2.5 * self.minutes), 1), 40)

    @property
    def turns(self) -> int:
        """Turns of the live bench."""
        return min(max(round(self.minutes), 3), 30)

    @property
    def seconds(self) -> float:
        """How long so many conversations at once are tried."""
        return float(min(max(self.minutes, 1.0), 30.0))


Say = Callable[[Any], None]
"""Writes a row down: a dataclass, or a mapping that JSON can hold."""
Work = Callable[[Job, Say, "Deadline"], None]


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a step is cut off."""

    at: float
    """Of ``time.monotonic``, which all processes of a machine share."""

    def allows(self, seconds: float = 0.0) -> bool:
        """Whether there is that much time left."""
        return time.monotonic() + seconds < self.at


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the sheet."""

    name: str
    title: str
    share: float
    """Of the time, against the other steps'."""
    work: Work
    unless: Callable[[Job], str | None] = lambda job: None
    """Why there is nothing to do; None if there is. Asked before any process is begun."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of a step."""

    name: str
    title: str
    outcome: Outcome
    reason: str | None
    limit_s: float
    seconds: float
    rows: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Sheet:
    """All that was found."""

    date: str
    size: str
    device: str
    minutes: float
    steps: list[StepResult]

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1)

    @property
    def failed(self) -> list[str]:
        """Titles of the steps that found something wrong, or broke."""
        return [step.title for step in self.steps if step.outcome == "failed"]

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Those of a step."""
        return [row for step in self.steps if step.name == name for row in step.rows]


def limit(left_s: float, share: float, shares: float) -> float:
    """Seconds for a step that has this share of all those still to come, itself included.

    What a step leaves over is so shared out among those after it.
    """
    return max(0.0, left_s) * share / shares


def fill(job: Job, out: Path, *, progress: Callable[[str], None] = lambda _: None) -> Sheet:
    """Take every step and write ``sheet.json``, ``sheet.md`` and a folder of logs to ``out``.

    Raises:
        OptionError: there is no such size or device here, or no time.
        OutputError: the folder can't be written to.
    """
    if not 0 < job.minutes <= 24 * 60:
        raise OptionError(f"A sheet of {job.minutes:g} minutes can't be filled; give --minutes above 0, e.g. 8.")
    choice = job.model.choose(random_by_default=True)
    logs = out / "steps"
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{logs} can't be made: {error.strerror}. Name another folder for the sheet.") from error
    processes = processes_for(choice.device)
    # The time begins with the work, not with what is imported for it.
    end = time.monotonic() + 60 * job.minutes
    reasons = {step.name: step.unless(job) for step in _steps()}
    waiting = [step for step in _steps() if reasons[step.name] is None]
    results: list[StepResult] = []
    sheet = Sheet(_today(), choice.size.name, choice.device, job.minutes, results)
    for step in _steps():
        reason = reasons[step.name]
        if reason is not None:
            results.append(StepResult(step.name, step.title, "left out", reason, 0.0, 0.0, []))
        else:
            seconds = limit(end - time.monotonic(), step.share, sum(one.share for one in waiting))
            waiting.remove(step)
            progress(f"{step.title}, at most {seconds:.0f} s")
            results.append(_take(processes, step, job, logs, seconds))
        _write(out, sheet)  # after every step: whatever comes, this stays
    return sheet


def processes_for(device: str) -> Any:
    """How steps' processes begin: forked from one that has imported everything and touched no device, which saves
    seconds for each; or anew, where the device can't be used from there."""
    # Else merely asking whether there is a GPU keeps forked processes from it.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    forked = multiprocessing.get_context("forkserver")
    forked.set_forkserver_preload([_STEPS])
    probe = forked.Process(target=_touch, args=(device,), name="sheet-probe")
    probe.start()
    probe.join(_PROBE_S)
    if probe.exitcode == 0:
        return forked
    if probe.is_alive():
        probe.kill()
    return multiprocessing.get_context("spawn")


def _touch(device: str) -> None:
    import torch

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # whatever it says, the other way will be tried
    torch.ones(1, device=device).item()


def _steps() -> tuple[Step, ...]:
    from livetalk.tools.sheet_steps import STEPS

    return STEPS


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _write(out: Path, sheet: Sheet) -> None:
    from livetalk.tools.sheet_table import to_markdown

    try:
        # What was measured first: a table can be made of it later.
        (out / "sheet.json").write_text(sheet.to_json() + "\n", "utf-8")
        (out / "sheet.md").write_text(to_markdown(sheet), "utf-8")
    except OSError as error:
        raise OutputError(f"The sheet can't be written to {out}: {error.strerror}.") from error


def _take(processes: Any, step: Step, job: Job, logs: Path, limit_s: float) -> StepResult:
    if limit_s < SHORTEST_S:
        reason = f"{limit_s:.1f} s were left for it; give more --minutes"
        return StepResult(step.name, step.title, "left out", reason, limit_s, 0.0, [])
    rows = logs / f"{step.name}.jsonl"
    rows.unlink(missing_ok=True)
    began = time.monotonic()
    held, ours = processes.Pipe(duplex=False)
    process = processes.Process(
        target=_in_process, args=(step.name, job, logs, Deadline(began + limit_s), held), name=f"sheet-{step.name}"
    )
    try:
        process.start()
        held.close()
        process.join((1 + _GRACE) * limit_s)
        over = process.is_alive()
        if over:
            _kill(process)
    finally:
        ours.close()  # by which the process ends if this one is stopped
        process.join()
    return read_result(step, rows, limit_s, time.monotonic() - began, over=over, status=process.exitcode)


def read_result(
    step: Step, rows: Path, limit_s: float, seconds: float, *, over: bool, status: int | None
) -> StepResult:
    """What a step wrote down, and how it ended."""
    found: list[dict[str, Any]] = []
    ending: Mapping[str, Any] | None = None
    for line in rows.read_text("utf-8").splitlines() if rows.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            break  # cut off while it was written
        if "row" in entry:
            found.append(entry["row"])
        else:
            ending = entry
    outcome: Outcome
    if ending is not None:
        outcome, reason = ending["outcome"], ending["reason"]
    elif over:
        outcome, reason = "cut off", f"it was not done after {limit_s:.0f} s"
    else:
        outcome, reason = "failed", f"its process ended with status {status}; steps/{step.name}.log may say why"
    return StepResult(step.name, step.title, outcome, reason, limit_s, seconds, found)


def _kill(process: Any) -> None:
    """With what it has begun; compilers work in processes of their own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # it had no time to make a group of its own
        process.kill()


def _in_process(name: str, job: Job, logs: Path, deadline: Deadline, held: Connection) -> None:
    """A step's process."""
    os.setsid()
    threading.Thread(target=_end_with, args=(held,), daemon=True).start()
    log = os.open(logs / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    step = next(step for step in _steps() if step.name == name)
    with (logs / f"{name}.jsonl").open("w", encoding="utf-8") as file:

        def write(entry: Mapping[str, Any]) -> None:
            file.write(json.dumps(entry) + "\n")
            file.flush()

        def say(row: Any) -> None:
            write({"row": plain(asdict(row) if is_dataclass(row) and not isinstance(row, type) else row)})

        outcome, reason = "done", None
        try:
            step.work(job, say, deadline)
        except LeftOutError as error:
            outcome, reason = "left out", str(error)
        except TimeoutError as error:
            outcome, reason = "cut off", str(error)
        except BaseException as error:
            traceback.print_exc()
            outcome, reason = "failed", f"{type(error).__name__}: {error}"[:500]
        write({"outcome": outcome, "reason": reason})
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # whatever threads a step that was broken off has left


def plain(value: Any) -> Any:
    """As JSON can hold it, which has no word for what is not a number: null then."""
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _end_with(held: Connection) -> None:
    """End this process and all that it has begun when the one that began it is gone."""
    try:
        held.recv_bytes()
    except (EOFError, OSError):
        os.killpg(os.getpgid(0), signal.SIGKILL)
