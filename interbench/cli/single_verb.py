"""The verb ``single``: single-round metrics of clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interbench.cli.options import Format, PrintedAs, Quiet, WithPublished, listed

single = typer.Typer(
    name="single",
    help="Measure clips of one round: FID, FVD, Sync-C, Sync-D, IQA, ASE, speed (docs/single.md).",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder for what was measured; the same again goes on where it was."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME.OPTION=VALUE",
        help="Set an option of a metric or of a system: fid.resize=clean-fid; may be repeated. `interbench list "
        "metrics --options` shows what there is.",
    ),
]


@single.callback()
def measure(
    context: typer.Context,
    clips: Annotated[
        Path | None, typer.Option(help="Folder of clips, or with one folder of clips for each system.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="A run folder: sync and lips over its conversations; for its report, too.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of real videos, or with a clips.jsonl: conditions are drawn from it.")
    ] = None,
    systems: Annotated[
        str | None,
        typer.Option("--systems", "-s", help="With --data: who is given the conditions, comma-separated."),
    ] = None,
    count: Annotated[int, typer.Option(min=2, help="With --data: conditions.")] = 100,
    duration: Annotated[float, typer.Option(min=0.2, help="With --data: seconds of a condition.")] = 5.0,
    size: Annotated[int, typer.Option(min=32, help="With --data: pixels along each side.")] = 512,
    warm_ups: Annotated[int, typer.Option("--warm-ups", help="With the metric speed: runs that don't count.")] = 2,
    runs: Annotated[int, typer.Option(help="With the metric speed: runs that count.")] = 5,
    deadline_s: Annotated[float, typer.Option("--deadline", help="With --data: seconds a system may take.")] = 600.0,
    concurrency: Annotated[int, typer.Option(help="With --data: conditions at a time.")] = 1,
    reference: Annotated[
        Path | None,
        typer.Option(help="Folder of real clips to compare with; those of the same names belong together."),
    ] = None,
    metrics: Annotated[str | None, typer.Option(help="Which, comma-separated. [default: fid,fvd,sync,iqa,ase]")] = None,
    out: Out = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Fetch the published weights of the metrics, and stop.")
    ] = False,
    options: Set = None,
    format_: PrintedAs = Format.terminal,
    with_published: WithPublished = False,
    seed: Annotated[int, typer.Option(help="Of what is drawn: clips, halves, the bootstrap.")] = 0,
    quiet: Quiet = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from interbench.cli import single_results

    asked = single_results.Asked(
        metrics=listed(metrics),
        options=tuple(options or ()),
        form=format_.value,
        published=with_published,
        seed=seed,
        out=out,
        quiet=quiet,
    )
    if fetch:
        raise typer.Exit(single_results.fetch_weights(asked))
    if sum(one is not None for one in (clips, data, run)) != 1:
        raise typer.BadParameter("Say what is to be measured: --clips DIR, --data DIR with --systems, or --run RUN.")
    if run is not None:
        single_results.measure_conversations(asked, run)
        return
    if clips is not None:
        single_results.measure_clips(asked, clips, reference)
        return
    assert data is not None
    single_results.measure_systems(
        asked,
        data,
        listed(systems) or [],
        count=count,
        duration=duration,
        size=size,
        warm_ups=warm_ups,
        runs=runs,
        deadline_s=deadline_s,
        concurrency=concurrency,
    )


@single.command()
def planted(
    out: Out = None,
    metrics: Annotated[str | None, typer.Option(help="Which, comma-separated. [default: all]")] = None,
    count: Annotated[int, typer.Option(min=3, help="Clips of each kind.")] = 5,
    duration: Annotated[float, typer.Option(min=1, help="About how many seconds each has.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Put the metrics on trial: drawn clips with known defects. Exit status 1 if a metric misses one."""
    from interbench.cli.single_results import print_trial

    names = listed(metrics)
    raise typer.Exit(print_trial(out, names, count, duration, seed, quiet=quiet))


@single.command()
def parity(
    folder: Annotated[Path, typer.Argument(help="Folder of numbers, with its manifest.json.")],
) -> None:
    """Check the metrics' arithmetic and networks against a folder of numbers; exit status 1 if any differs."""
    from interbench.cli.single_results import print_parity

    raise typer.Exit(print_parity(folder))
