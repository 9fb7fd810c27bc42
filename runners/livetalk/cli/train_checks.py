"""``livetalk train plan``, ``bench`` and ``parity``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from livetalk.base.flags import Flag
from livetalk.cli.parameters import AsJson
from livetalk.cli.train_runs import PRESET, OffloadAverage, OffloadOptimiser, OffloadTeacher, PresetName
from livetalk.render.config import SIZES
from livetalk.render.options import PUBLISHED, find_device

_TEACHERS = ("omniavatar-14b", "omniavatar-1.3b", "student")


def plan(
    gpus: Annotated[int, Flag("GPUs in all.", minimum=1)],
    memory: Annotated[float, Flag("GB of each.", minimum=1)],
    preset: PresetName = PRESET,
    stage: Annotated[Literal["both", "ode", "dmd"], Flag("Which stage.")] = "both",
    batch: Annotated[int | None, Flag("Samples of one update.", minimum=1, default="the preset's")] = None,
    tflops: Annotated[
        float, Flag("Sustained TFLOP/s of one GPU; a guess until `livetalk train bench` says.", minimum=1)
    ] = 400,
    offload_teacher: OffloadTeacher = False,
    offload_average: OffloadAverage = False,
    offload_optimiser: OffloadOptimiser = False,
    conditions: Annotated[int, Flag("Trajectories to be sampled before.", minimum=0)] = 4000,
    as_json: AsJson = False,
) -> None:
    """Memory and time of a run by arithmetic; exit status 1 where it does not fit. Nothing is loaded or timed."""
    from dataclasses import replace

    from livetalk.render.omniavatar.files import OMNIAVATAR
    from livetalk.training.planning import Assumptions, as_text, plan_matching, plan_ode, trajectory_gpu_hours
    from livetalk.training.settings import PRESETS, Offload

    offload = Offload(offload_teacher, offload_average, offload_optimiser)
    chosen, assume = PRESETS[preset], Assumptions(tflops=tflops)
    student, teacher = SIZES[PUBLISHED].dit, OMNIAVATAR["omniavatar-14b"]
    plans = []
    if stage != "dmd":
        ode = replace(chosen.ode, batch=batch or chosen.ode.batch)
        plans.append(plan_ode(student, ode, gpus=gpus, memory_gb=memory, offload=offload, assume=assume))
    if stage != "ode":
        settings = replace(chosen.matching, batch=batch or chosen.matching.batch)
        plans.append(
            plan_matching(
                student,
                student,
                teacher,
                settings,
                gpus=gpus,
                memory_gb=memory,
                offload=offload,
                assume=assume,
            )
        )
    hours = trajectory_gpu_hours(student, conditions, assume=assume)
    if as_json:
        found = [
            {
                **asdict(one),
                "total_gb": one.total_gb,
                "host_gb": one.host_gb,
                "fits": one.fits,
                "hours": one.hours,
            }
            for one in plans
        ]
        typer.echo(json.dumps({"plans": found, "trajectory_gpu_hours": hours}, indent=1))
    else:
        notes = (
            f"{conditions} trajectories before: {hours:.0f} GPU hours, {hours / gpus:.1f} h on all.",
            f"By arithmetic at {tflops:g} TFLOP/s and GPU; nothing was timed.",
        )
        typer.echo(as_text(plans, notes))
    if not all(one.fits for one in plans):
        raise typer.Exit(1)


def bench(
    stage: Annotated[Literal["ode", "dmd"], Flag("Which stage.")] = "dmd",
    size: Annotated[str, Flag("Of student and critic.", choices=tuple(SIZES))] = PUBLISHED,
    teacher: Annotated[
        str, Flag("Dimensions of the teacher; student is those of --size.", choices=_TEACHERS)
    ] = "omniavatar-14b",
    preset: PresetName = PRESET,
    frames: Annotated[int, Flag("Latent frames of a sample, in blocks of 3.", minimum=3)] = 21,
    rounds: Annotated[int, Flag("Timed, after one that is not.", minimum=1)] = 2,
    device: Annotated[str, Flag("cuda or cpu; auto is a GPU if there is one.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Time one update of each kind at the size's own shapes with random weights; torchrun for several GPUs."""
    from livetalk.render.config import size as named_size
    from livetalk.render.omniavatar.files import OMNIAVATAR
    from livetalk.training import bench as benchmark
    from livetalk.training.planning import Shape
    from livetalk.training.settings import PRESETS
    from livetalk.training.sharding import processes

    chosen = named_size(size)
    shape = Shape(frames, chosen.stream.latent_height, chosen.stream.latent_width, chosen.text.text_len)
    with processes(find_device(device, size)) as on:
        timings = benchmark.measure(
            stage,
            chosen.dit,
            OMNIAVATAR.get(teacher, chosen.dit),
            PRESETS[preset],
            shape,
            on,
            rounds=rounds,
            progress=lambda text: typer.echo(text, err=True),
        )
        if on.first:
            typer.echo(benchmark.as_json(timings) if as_json else benchmark.as_text(timings))


def parity(
    folder: Annotated[Path, typer.Argument(help="Folder of training fixtures, with manifest.json, weights and cases.")],
    device: Annotated[str, Flag("cpu or a CUDA device; on a GPU, TF32 is turned off.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Compare the recipe with results of the published code, case by case, gradients included."""
    from livetalk.base.fixtures import as_text
    from livetalk.training.parity import run

    results = run(folder, find_device(device))
    if as_json:
        typer.echo(json.dumps([result.as_dict() for result in results], indent=1))
    else:
        typer.echo(as_text(results))
    if not all(result.passed for result in results):
        raise typer.Exit(1)
