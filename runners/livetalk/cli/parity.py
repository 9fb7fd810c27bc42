"""``livetalk parity``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from livetalk.base.flags import Flag
from livetalk.cli.parameters import AsJson
from livetalk.render.options import find_device

if TYPE_CHECKING:
    from livetalk.tools.agreement import Agreement


def parity(
    folder: Annotated[Path, typer.Argument(help="Fixture folder with manifest.json, weights and cases.")],
    device: Annotated[str, Flag("cpu or a CUDA device; on a GPU, TF32 is turned off.")] = "cpu",
    session: Annotated[
        bool,
        Flag(
            "Also a session of a small model with random weights, computed every way that the device knows (graphs, "
            "compiler on a GPU, overlap; float32 and bfloat16), against the plain way on the CPU."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare this implementation with results of the published code, case by case."""
    from livetalk.tools.parity import as_text, run

    place = find_device(device)
    results = run(folder, place)
    ways = _session(place) if session else []
    if as_json:
        cases = [result.as_dict() for result in results]
        typer.echo(json.dumps({"cases": cases, "session": list(map(asdict, ways))} if session else cases, indent=1))
    else:
        typer.echo(as_text(results))
        for way in ways:
            typer.echo(
                f"{'pass' if way.passed else 'FAIL'}  {way.way}: latents {way.latents_max:.1e}, rms "
                f"{way.latents_rms:.1e}; frames {way.frames_max}, mean {way.frames_mean:.3f} (limit: {way.limit})"
            )
    if not (all(result.passed for result in results) and all(way.passed for way in ways)):
        raise typer.Exit(1)


def _session(place: str) -> list[Agreement]:
    import torch

    from livetalk.render.config import SIZES
    from livetalk.tools.agreement import small

    device = torch.device(place)
    return list(small(SIZES["tiny"], device, compiled=device.type == "cuda", worthwhile=lambda: True))
