"""``livetalk train``: the recipe's verbs, a module for each group of them."""

from __future__ import annotations

import typer

from livetalk.cli.parameters import add_verb
from livetalk.cli.train_checks import bench, parity, plan
from livetalk.cli.train_curate import curate
from livetalk.cli.train_data import export, trajectories
from livetalk.cli.train_own import assemble, autoencoder, encode, speech, teacher
from livetalk.cli.train_runs import dmd, ode

train_app = typer.Typer(
    name="train",
    help="Distil a student (curate to export), or train a small model of one's own (autoencoder to assemble).",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_OWN = (autoencoder, speech, encode, teacher, assemble)
for function in (curate, trajectories, ode, dmd, export, *_OWN, plan, bench, parity):
    add_verb(train_app, function)
