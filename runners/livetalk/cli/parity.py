"""``livetalk parity``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from livetalk.base.flags import Flag
from livetalk.cli.parameters import AsJson
from livetalk.render.options import find_device


def parity(
    folder: Annotated[Path, typer.Argument(help="Fixture folder with manifest.json, weights and cases.")],
    device: Annotated[str, Flag("cpu or a CUDA device; on a GPU, TF32 is turned off.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Compare this implementation with results of the published code, case by case."""
    from livetalk.tools.parity import as_text, run

    results = run(folder, find_device(device))
    if as_json:
        typer.echo(json.dumps([result.as_dict() for result in results], indent=1))
    else:
        typer.echo(as_text(results))
    if not all(result.passed for result in results):
        raise typer.Exit(1)
