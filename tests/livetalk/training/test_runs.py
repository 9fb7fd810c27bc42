"""Runs: the same over any number of processes, after any end, and refused where they would be another."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
import training_kit
from livetalk.cli.main import app
from livetalk.render.config import SIZES
from livetalk.training.checkpoints import Kept, RunError, checkpoints, newest, read_network, read_progress
from livetalk.training.loop import Habits, opened, train
from livetalk.training.metrics import FILE_NAME, Log
from livetalk.training.monitors import Limits
from livetalk.training.records import (
    RecordError,
    TrajectoryReader,
    write_condition,
    write_settings,
    write_trajectories,
)
from livetalk.training.samples import Samples
from livetalk.training.settings import Offload
from livetalk.training.sharding import Processes, parameters
from livetalk.training.stages import CollapseError, MatchingStage
from torch import Tensor
from training_kit import SMALL, distance, stage, write_samples
from typer.testing import CliRunner

PATIENCE_S = 600.0
QUIET = Habits(events=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_samples(tmp_path_factory.mktemp("samples") / "data")


@pytest.fixture
def on() -> Any:
    with training_kit.alone() as processes:
        yield processes


def copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.full_tensor().clone() for name, value in tensors.items()}  # type: ignore[attr-defined]


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def lines(run: Path) -> list[dict[str, Any]]:
    """Whole lines: the last of a run that goes on may be half there."""
    return [json.loads(line) for line in (run / FILE_NAME).read_text().splitlines(keepends=True) if line.endswith("\n")]


def events(run: Path) -> dict[str, list[tuple[int, Any]]]:
    """What tensorboard shows of a run: by tag, steps and values."""
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    reader = EventMultiplexer().AddRunsFromDirectory(str(run)).Reload()
    ((name, tags),) = reader.Runs().items()
    return {tag: [(one.step, one.value) for one in reader.Scalars(name, tag)] for tag in tags["scalars"]}


def test_two_processes_are_one(data: Path, tmp_path: Path, on: Processes) -> None:
    (tmp_path / "data").symlink_to(data)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    started = [training_kit.rank(tmp_path, {**common, "RANK": str(rank)}) for rank in range(2)]
    try:
        # 1 × 4 here, 2 × 2 there: the same global batch.
        alone = {
            "ode": stage("ode", data, on),
            "dmd": stage("dmd", data, on, warm_up=0, ema_start=1),
        }
        for name, one in alone.items():
            with opened(tmp_path / f"{name} alone", {"stage": name}, on):
                train(one, tmp_path / f"{name} alone", 2, QUIET)
        for process in started:
            process.join(PATIENCE_S)
        assert [process.exitcode for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
            process.join()
    for name, networks in (("ode", ["student"]), ("dmd", ["student", "critic", "ema"])):
        for network in networks:
            pair = [read_network(tmp_path / run, network) for run in (name, f"{name} alone")]
            assert distance(*pair) < 1e-6
            before = {key: value.full_tensor() for key, value in parameters(training_kit.network(0, on)).items()}  # type: ignore[attr-defined]
            if network == "student":
                assert distance(pair[0], before) > 1e-6
        together, single = lines(tmp_path / name), lines(tmp_path / f"{name} alone")
        for ours, theirs in zip(together, single, strict=True):
            assert ours.keys() == theirs.keys()
            assert all(ours[key] == pytest.approx(theirs[key], rel=1e-6) for key in ours if key != "seconds")


def test_a_resumed_run_is_bitwise_the_uninterrupted_one(data: Path, tmp_path: Path, on: Processes) -> None:
    whole, first = (stage("dmd", data, on, batch=2, ema_start=1) for _ in range(2))
    # What lies with the host is the same run: nothing that is computed changes.
    second = stage("dmd", data, on, batch=2, ema_start=1, offload=Offload(average=True, optimiser=True))
    for step in range(4):
        whole.step(step)
    run = tmp_path / "run"
    with opened(run, {"a": 1, "steps": 2}, on):
        assert train(first, run, 2, Habits()).complete
        # What a killed run wrote after its last checkpoint, the last line not to its end.
        stale = Log(run, 2)
        stale.write(3, {"critic/loss": -1.0})
        stale.close()
        with (run / FILE_NAME).open("a") as file:
            file.write('{"step": 4, "of a killed run')
        outcome = train(second, run, 4, Habits(save_every=1, kept=Kept(1, 3)))
    assert outcome.complete
    assert same(copies(second.tensors()), copies(whole.tensors()))
    assert second.progress() == whole.progress()
    assert [step for step, _ in checkpoints(run)] == [3, 4]
    assert [line["step"] for line in lines(run)] == [1, 2, 3, 4]
    assert events(run) == {
        tag: [(line["step"], pytest.approx(line[tag], rel=1e-6)) for line in lines(run) if tag in line]
        for tag in {name for line in lines(run) for name in line} - {"step"}
    }
    assert {name.partition(".")[0] for name in whole.tensors()} == {
        "student",
        "critic",
        "ema",
        "student_adam",
        "critic_adam",
    }
    assert all(same(read_network(run, name), named(whole, name)) for name in ("student", "critic", "ema"))
    with opened(run, {"a": 1, "steps": 9}, on):  # another length is the same run
        pass
    with pytest.raises(RunError, match="a is 1 there, 2 here"), opened(run, {"a": 2, "steps": 4}, on):
        pass


def named(one: Any, network: str) -> dict[str, Tensor]:
    prefix = f"{network}."
    return {k.removeprefix(prefix): v for k, v in copies(one.tensors()).items() if k.startswith(prefix)}


def test_a_damaged_checkpoint_is_named(data: Path, tmp_path: Path, on: Processes) -> None:
    run = tmp_path / "run"
    with opened(run, {}, on):
        train(stage("ode", data, on, batch=1), run, 1, QUIET)
    (run / "checkpoints" / ".step-00000002.part").mkdir()
    (run / "checkpoints" / "step-00000002").mkdir()
    assert newest(run).name == "step-00000001"
    for file in newest(run).glob("*.distcp"):
        file.write_bytes(b"cut")
    with pytest.raises(RunError, match=r"step-00000001 can't be read.*Remove it"):
        train(stage("ode", data, on, batch=1), run, 2, QUIET)
    with pytest.raises(RunError, match="holds no checkpoint"):
        newest(tmp_path)


def test_a_run_in_use_is_refused(tmp_path: Path, on: Processes) -> None:
    again = opened(tmp_path / "run", {}, on)
    with opened(tmp_path / "run", {}, on), pytest.raises(RunError, match="by another process"):
        again.__enter__()


# -- collapse ----------------------------------------------------------------------------------------------------------


def test_a_collapsed_run_saves_and_stops(data: Path, tmp_path: Path, on: Processes) -> None:
    one = stage("dmd", data, on, batch=1, warm_up=0, every=1)
    assert isinstance(one, MatchingStage)
    one.brightness = lambda sample, reference: 0.01
    habits = replace(QUIET, limits=Limits(patience=2))
    with opened(tmp_path / "run", {}, on), pytest.raises(CollapseError, match="is black at step 2"):
        train(one, tmp_path / "run", 9, habits)
    assert read_progress(newest(tmp_path / "run"))["step"] == 2


def test_nothing_is_learned_from_what_is_no_number(data: Path, tmp_path: Path, on: Processes) -> None:
    one = stage("ode", data, on, batch=1)
    with torch.no_grad():
        parameters(one.student)["head.bias"].to_local().fill_(float("inf"))  # type: ignore[attr-defined]
    before = copies({k: v for k, v in one.tensors().items() if "head.weight" in k})
    with opened(tmp_path / "run", {}, on), pytest.raises(CollapseError, match="gradient is nan at step 1"):
        train(one, tmp_path / "run", 2, QUIET)
    assert same(copies({k: v for k, v in one.tensors().items() if "head.weight" in k}), before)
    assert checkpoints(tmp_path / "run") == []


# -- the verbs ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_samples(tmp_path_factory.mktemp("tiny") / "data", 3, SIZES["tiny"].dit)


def ode_arguments(data: Path, run: Path, *more: str) -> list[str]:
    fixed = ["--size", "tiny", "--init", "random:0", "--device", "cpu", "--batch", "1", "--save-every", "2"]
    return ["train", "ode", "--data", str(data), "--out", str(run), *fixed, *more]


def wait_for(found: Callable[[], bool], process: BaseProcess) -> None:
    end = time.monotonic() + PATIENCE_S
    while not found():
        assert process.is_alive(), "it ended by itself"
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def running(output: Path, *arguments: str) -> Iterator[BaseProcess]:
    """The program, which is gone afterwards."""
    process = training_kit.program(arguments, output)
    try:
        yield process
    finally:
        process.kill()
        process.join()


def test_a_run_that_is_killed_and_told_to_end_goes_on_bitwise(tiny_data: Path, tmp_path: Path) -> None:
    run, output = tmp_path / "run", tmp_path / "output"
    endless = ode_arguments(tiny_data, run, "--steps", "100000")
    with running(output, *endless) as killed:
        wait_for(lambda: len(checkpoints(run)) > 0, killed)
        killed.kill()
    assert killed.exitcode == -signal.SIGKILL
    reached = checkpoints(run)[-1][0]
    with running(output, *endless) as told:
        wait_for(lambda: lines(run)[-1]["step"] > reached, told)
        told.terminate()
        told.join(PATIENCE_S)
    assert told.exitcode == 0
    assert "told to end" in output.read_text()
    step = checkpoints(run)[-1][0]
    assert step == lines(run)[-1]["step"] > reached
    straight = tmp_path / "straight"
    last = ("--steps", str(step), "--validate-every", str(step))
    done = CliRunner().invoke(app, ode_arguments(tiny_data, straight, *last))
    assert done.exit_code == 0, done.output
    assert same(read_network(run, "student"), read_network(straight, "student"))
    clip = straight / "validation" / f"step-{step:08}-00.mp4"
    assert clip.stat().st_size > 1000
    other = CliRunner().invoke(app, ode_arguments(tiny_data, run, "--learning-rate", "1"))
    assert isinstance(other.exception, RunError)
    assert "adam.learning_rate is 4e-05 there, 1.0 here" in str(other.exception)
    away = CliRunner().invoke(app, ode_arguments(tiny_data, run, "--offload-optimiser"))
    assert away.exit_code == 2
    assert "--offload-optimiser: for a GPU alone" in " ".join(away.output.replace("│", "").split())


def test_samples_of_another_kind_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="text_width 6 instead of 48"):
        Samples(data, SIZES["tiny"].dit, trajectories=False)
    with pytest.raises(RecordError, match=r"sampled with scales 4\.5 and 4\.5, the run asks for 6"):
        Samples(data, SMALL, trajectories=True, guidance=6.0)
    other = write_samples(tmp_path / "other", 2)
    settings = replace(training_kit.SAMPLED, sigmas=(1.0, 0.9, 0.8, 0.7, 0.0))
    write_settings(tmp_path / "levels" / "trajectories", settings)
    with pytest.raises(RecordError, match=r"noise levels 1, 0\.9, 0\.8, 0\.7, 0; the student's are 1, 0\.9375"):
        shutil.copytree(other / "cache", tmp_path / "levels" / "cache")
        states = TrajectoryReader(other)
        held = {name: states.states(name) for name in states.ids()}
        digests = {name: str(states.digest(name)) for name in states.ids()}
        shard = tmp_path / "levels" / "trajectories" / "shard-00000.safetensors"
        write_trajectories(shard, held, digests, settings)
        Samples(tmp_path / "levels", SMALL, trajectories=True)
    record = Samples(other, SMALL, trajectories=True).conditions.read("clip/0")
    write_condition(other, replace(record, digest="changed"))
    with pytest.raises(RecordError, match=r"1 trajectories .* 'clip/0'"):
        Samples(other, SMALL, trajectories=True)
