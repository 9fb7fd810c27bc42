"""A data folder with random samples, small enough to train on in a test, and stages over it."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from livetalk.render.config import DiTConfig
from livetalk.render.model import random_state
from livetalk.training.draws import normal
from livetalk.training.loop import Habits, opened, train
from livetalk.training.network import TrainingDiT
from livetalk.training.records import (
    CACHE,
    TRAJECTORIES,
    CacheSettings,
    ConditionRecord,
    TrajectorySettings,
    write_condition,
    write_negative,
    write_settings,
    write_trajectories,
)
from livetalk.training.samples import Samples
from livetalk.training.settings import MatchingSettings, OdeSettings, Offload
from livetalk.training.sharding import Processes, parameters, processes, sharded
from livetalk.training.stages import MatchingStage, OdeStage, Stage

SMALL = DiTConfig(
    dim=16, num_heads=2, num_layers=4, ffn_dim=24, text_dim=6, freq_dim=8, audio_hidden=4, audio_feat_dim=5
)
FRAMES, HEIGHT, WIDTH = 6, 4, 4
CACHED = CacheSettings(FRAMES, HEIGHT, WIDTH, 5, SMALL.text_dim, SMALL.audio_feat_dim, 16, False, "ugly", "seed 0")
SAMPLED = TrajectorySettings(
    teacher="random",
    teacher_fingerprint="0",
    steps=48,
    shift=5.0,
    text_scale=4.5,
    audio_scale=4.5,
    negative_hash=CACHED.negative_hash,
    seed=0,
    dtype="float32",
    compute_dtype="float32",
    timesteps=(1000.0,),
    kept=(0, 12, 24, 36, 48),
    sigmas=(1.0, 0.9375, 0.8333333, 0.625, 0.0),
    shard=64,
)
ODE = OdeSettings(steps=6, batch=4)
MATCHING = replace(MatchingSettings(), steps=6, batch=4, warm_up=1, every=2, ema_start=3)


def write_samples(folder: Path, count: int = 5, config: DiTConfig = SMALL) -> Path:
    """A data folder of random conditions and straight trajectories."""
    write_settings(folder / CACHE, replace(CACHED, text_width=config.text_dim, audio_width=config.audio_feat_dim))
    write_settings(folder / TRAJECTORIES, SAMPLED)
    write_negative(folder, normal((2, config.text_dim), 0, "negative"))
    states, digests = {}, {}
    for index in range(count):
        name = f"clip/{index}"
        reference = normal((1, 16, HEIGHT, WIDTH), index, "reference")
        text = normal((3, config.text_dim), index, "text")
        audio = normal((4 * FRAMES - 3, config.audio_feat_dim), index, "audio")
        write_condition(folder, ConditionRecord(name, f"digest {index}", text, audio, reference))
        noise, clean = (normal((FRAMES, 16, HEIGHT, WIDTH), index, role) for role in ("noise", "clean"))
        path = torch.stack([sigma * noise + (1 - sigma) * clean for sigma in SAMPLED.sigmas])
        states[name] = torch.cat((reference.expand(5, 1, -1, -1, -1), path[:, 1:]), dim=1).contiguous()
        digests[name] = f"digest {index}"
    write_trajectories(folder / TRAJECTORIES / "shard-00000.safetensors", states, digests, SAMPLED)
    return folder


def network(seed: int, on: Processes, *, trained: bool = True, checkpointing: bool = True) -> TrainingDiT:
    """Of size SMALL, with random weights."""
    state = random_state(SMALL, seed=seed)
    return sharded(SMALL, state, on, compute=torch.float32, trained=trained, checkpointing=trained and checkpointing)


def stage(name: str, folder: Path, on: Processes, *, offload: Offload | None = None, **settings: Any) -> Stage:
    """ "ode" or "dmd" over a data folder."""
    if name == "ode":
        chosen = replace(ODE, **settings)
        samples = Samples(folder, SMALL, trajectories=True, guidance=chosen.guidance)
        return OdeStage(network(0, on), samples, chosen, 7, on, offload=offload)
    samples = Samples(folder, SMALL, trajectories=False)
    networks = network(0, on), network(1, on), network(2, on, trained=False)
    return MatchingStage(*networks, samples, replace(MATCHING, **settings), 7, on, offload=offload)


@contextmanager
def alone() -> Iterator[Processes]:
    """One process."""
    with processes("cpu") as on:
        yield on


def distance(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> float:
    """Norm of the difference, relative to the norm."""
    assert found.keys() == expected.keys()
    difference = sum(float((found[name].double() - value.double()).square().sum()) for name, value in expected.items())
    size = sum(float(value.double().square().sum()) for value in expected.values())
    return float((difference / size) ** 0.5)


def main(folder: Path) -> None:
    """One of several processes: both stages over ``folder/data``, two steps each, into ``folder/NAME``."""
    with processes("cpu") as on:
        for name in ("ode", "dmd"):
            settings: dict[str, Any] = {"warm_up": 0, "ema_start": 1} if name == "dmd" else {}
            one = stage(name, folder / "data", on, **settings)
            parts = [value for value in parameters(one.student).values() if value.ndim == 2]
            # Sharded for real: no process holds a whole matrix between passes.
            assert all(part.to_local().numel() < part.numel() for part in parts)  # type: ignore[attr-defined]
            with opened(folder / name, {"stage": name}, on):
                train(one, folder / name, 2, Habits(events=False))


FORKS: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
"""Processes of their own, each forked from one that has imported torch and the trainer: that takes longer than what
the tests let them do."""
if sys.platform == "linux":
    FORKS.set_forkserver_preload(["livetalk.training.assembly"])


def rank(folder: Path, environment: Mapping[str, str]) -> BaseProcess:
    """Start ``main`` as a process of several."""
    return _started(_rank, folder, dict(environment))


def program(arguments: Sequence[str], output: Path) -> BaseProcess:
    """Start ``livetalk`` with these arguments; what it prints goes to a file."""
    return _started(_program, list(arguments), output)


def _started(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    process: BaseProcess = FORKS.Process(target=target, args=arguments)
    process.start()
    return process


def _rank(folder: Path, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    main(folder)


def _program(arguments: list[str], output: Path) -> None:
    from livetalk.__main__ import main as livetalk

    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
    sys.argv = ["livetalk", *arguments]
    livetalk()
