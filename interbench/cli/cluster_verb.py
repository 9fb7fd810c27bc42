"""The verb ``cluster``: whether a Ray cluster can be used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

cluster = typer.Typer(
    name="cluster",
    help="Ray clusters to play on (docs/scale.md).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@cluster.callback()
def _verbs() -> None:
    """Ray clusters to play on (docs/scale.md)."""


@cluster.command()
def check(
    address: Annotated[str, typer.Argument(help="auto, or HOST:PORT of Ray's head.")] = "auto",
    clips_via: Annotated[
        str | None, typer.Option("--clips-via", help="The folder or URI that clips are to come through.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The run folder that is meant.")] = None,
) -> None:
    """Look at every node in a minute: versions, GPUs, round trip, space, and the way of clips. Starts no model."""
    from interbench.base import termination
    from interbench.cli.commands import conclude
    from interbench.pipeline.placement.check import check_cluster

    findings = termination.run(check_cluster(address, clips_via, out))
    raise typer.Exit(conclude(f"cluster {address}", findings, "ready to be played on"))
