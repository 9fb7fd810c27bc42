"""What a run leaves so that it can go on: written whole or not at all, by all processes, for any number of them.

``RUN/checkpoints/step-00000100/`` holds the tensors as torch's distributed checkpoint and ``progress.json``: step,
cursor, updates made, settings, the monitor's memory. There is no state of a random generator to keep: what is drawn is
told by seed, step and sample.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter

from livetalk.base.errors import LiveTalkError
from livetalk.training.sharding import Processes

CHECKPOINTS, PROGRESS = "checkpoints", "progress.json"
_NAME = re.compile(r"step-(\d{8})")


class RunError(LiveTalkError):
    """A run's folder can't be used, or holds another run."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Which checkpoints stay."""

    last: int = 3
    milestone: int = 0
    """Those of every so many steps stay for ever; 0 for none."""


def checkpoints(run: Path) -> list[tuple[int, Path]]:
    """Steps and folders of a run's complete checkpoints, oldest first."""
    found = []
    for path in sorted((run / CHECKPOINTS).glob("step-*")):
        name = _NAME.fullmatch(path.name)
        if name is not None and (path / PROGRESS).is_file():
            found.append((int(name[1]), path))
    return found


def save(
    run: Path, step: int, tensors: Mapping[str, Tensor], progress: Mapping[str, Any], kept: Kept, on: Processes
) -> Path:
    """Write a checkpoint; every process gives its parts. Killed at any moment, it leaves the one before."""
    folder = run / CHECKPOINTS
    path = folder / f"step-{step:08}"
    partial = folder / f".{path.name}.part"
    if on.first:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    on.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        state_dict_saver.save(
            dict(tensors), storage_writer=FileSystemWriter(partial, sync_files=True), no_dist=on.world == 1
        )
    if on.first:
        text = json.dumps({"step": step, **progress}, indent=1)
        with (partial / PROGRESS).open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        shutil.rmtree(path, ignore_errors=True)  # of an earlier visit to this step
        partial.rename(path)
        _sync(folder)
        _prune(run, kept)
    on.wait()
    return path


def read_progress(path: Path) -> dict[str, Any]:
    """
    Raises:
        RunError: it is damaged.
    """
    try:
        progress = json.loads((path / PROGRESS).read_text("utf-8"))
        int(progress["step"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} is not a whole checkpoint ({error}). Remove it; the run goes on from the one before."
        ) from error
    return dict(progress)


def load(path: Path, tensors: Mapping[str, Tensor], on: Processes | None = None) -> None:
    """Fill tensors, or parts of them, in place.

    Raises:
        RunError: the checkpoint is damaged, or of other networks.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state_dict_loader.load(
                dict(tensors), storage_reader=FileSystemReader(path), no_dist=on is None or on.world == 1
            )
    except (Exception, CheckpointException) as error:  # torch has many for a file that is cut short or lacks a name
        failures = [failure[0] for failure in getattr(error, "failures", {}).values()]
        reason = str(failures[0] if failures else error).strip().splitlines()
        raise RunError(
            f"{path} can't be read ({reason[0][:200] if reason else type(error).__name__}). Remove it to go on from "
            "the checkpoint before."
        ) from error


def names_in(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint's tensors."""
    entries = FileSystemReader(path).read_metadata().state_dict_metadata
    return {name: tuple(entry.size) for name, entry in entries.items() if hasattr(entry, "size")}


def read_network(path: Path, which: str) -> dict[str, Tensor]:
    """One network's whole tensors on the CPU, by the names of its parameters; without any process group.

    Args:
        path: a checkpoint, or a run, whose newest is taken.
        which: "student", "ema" or "critic".

    Raises:
        RunError: there is no checkpoint, or it has no such network.
    """
    path = newest(path)
    wanted = {name: shape for name, shape in names_in(path).items() if name.startswith(f"{which}.")}
    if not wanted:
        raise RunError(
            f"{path} holds no {which!r}. The average begins after a number of steps of distribution matching; before, "
            "there is the student alone."
        )
    tensors = {name: torch.empty(shape) for name, shape in wanted.items()}
    load(path, tensors)
    return {name.removeprefix(f"{which}."): value for name, value in tensors.items()}


def newest(path: Path) -> Path:
    """The checkpoint that a path means: itself, or a run's newest.

    Raises:
        RunError: there is none.
    """
    if (path / PROGRESS).is_file():
        return path
    found = checkpoints(path)
    if not found:
        raise RunError(f"{path} holds no checkpoint. Give a run's folder, or one of its {CHECKPOINTS}/step-… folders.")
    return found[-1][1]


def _prune(run: Path, kept: Kept) -> None:
    found = checkpoints(run)
    for step, path in found[: -kept.last or None]:
        if not (kept.milestone and step % kept.milestone == 0):
            going = path.with_name(f".{path.name}.old")
            path.rename(going)
            shutil.rmtree(going, ignore_errors=True)
    for left in (run / CHECKPOINTS).glob(".step-*"):
        shutil.rmtree(left, ignore_errors=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
