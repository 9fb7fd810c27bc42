"""The verb ``single``: single-round metrics of clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

single = typer.Typer(
    name="single",
    help="Measure clips of one round: FID, FVD, Sync-C, Sync-D, IQA, ASE, speed (docs/single.md).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@single.command()
def parity(
    folder: Annotated[Path, typer.Argument(help="Folder of numbers, with its manifest.json.")],
) -> None:
    """Check the metrics' arithmetic and networks against a folder of numbers; exit status 1 if any differs."""
    from interbench.cli.single_results import print_parity

    raise typer.Exit(print_parity(folder))


@single.callback()
def _single() -> None:
    return
