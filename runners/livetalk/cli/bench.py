"""``livetalk bench``, of the pipeline alone and of the whole live system."""

from __future__ import annotations

from typing import Annotated

import typer

from livetalk.base.errors import OptionError
from livetalk.base.flags import Flag
from livetalk.cli.parameters import AsJson
from livetalk.cli.thinker import ThinkerOptions
from livetalk.render.options import PUBLISHED, ModelOptions, Position, SpeedOptions, StreamOptions
from livetalk.tools.options import LiveLoad, SheetOptions


def bench(
    model: ModelOptions,
    stream: StreamOptions,
    speed: SpeedOptions,
    load: LiveLoad,
    thinker: ThinkerOptions,
    whole: SheetOptions,
    blocks: Annotated[int, Flag("Blocks measured, after the window has filled.", minimum=1)] = 10,
    position: Position = "bounded",
    live: Annotated[
        bool,
        Flag(
            "The whole live system instead: time to first frame and its parts, throughput, conversations at once, "
            "memory."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure milliseconds per block, frames per second, time to first frame and memory.

    The weights are random, which is the same arithmetic, unless --checkpoints says where the published ones are.
    """
    choice = model.choose(random_by_default=True)
    if choice.size.name == PUBLISHED and model.device == "auto" and choice.device == "cpu":
        raise OptionError(
            f"torch sees no CUDA device here, and size {PUBLISHED} is too large to be timed on a CPU: it takes some "
            "20 GB and minutes per block. Choose --size mid or tiny, or say --device cpu if you mean it."
        )
    if whole.sheet is not None:
        from livetalk.tools import sheet

        named = None if thinker == ThinkerOptions() else thinker.thinker
        if named is not None:
            thinker.make()  # so that what is wrong with its options is said at once
        job = sheet.Job(model, stream, speed, whole.minutes, whole.fixtures, named, thinker.settings)
        filled = sheet.fill(job, whole.sheet, progress=lambda text: typer.echo(text, err=True))
        typer.echo(filled.to_json() if as_json else (whole.sheet / "sheet.md").read_text("utf-8"))
        if filled.failed:
            raise typer.Exit(1)
        return
    if live:
        from livetalk.tools import live_bench

        # Unless something else is asked for, the answers are long, so that blocks and not turns are measured.
        speaker = None if thinker == ThinkerOptions() else thinker.make()
        settings = stream.apply(choice.size.stream, "bounded")
        report = live_bench.measure(
            choice, settings, speed, load, speaker, progress=lambda text: typer.echo(text, err=True)
        )
        typer.echo(report.to_json() if as_json else report.to_text())
        return
    from livetalk.tools.bench import measure

    stages = measure(choice, stream.apply(choice.size.stream, position), speed, blocks)
    typer.echo(stages.to_json() if as_json else stages.to_text())
