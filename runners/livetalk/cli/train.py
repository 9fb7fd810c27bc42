"""``livetalk train``: the recipe, stage by stage."""

from __future__ import annotations

import typer

from livetalk.cli.parameters import add_verb
from livetalk.cli.train_curate import curate

app = typer.Typer(
    name="train", help="Distil a causal few-step student, stage by stage.", no_args_is_help=True, rich_markup_mode=None
)
add_verb(app, curate)
