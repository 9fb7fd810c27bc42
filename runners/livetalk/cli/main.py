"""The command line: verbs only. Each calls one function elsewhere; imports are lazy so that ``--help`` is quick."""

from __future__ import annotations

import sys

import typer

from livetalk.cli.bench import bench
from livetalk.cli.checkpoints import doctor, download
from livetalk.cli.generate import generate
from livetalk.cli.list_verb import list_choices
from livetalk.cli.parameters import add_verb
from livetalk.cli.parity import parity
from livetalk.cli.serve import serve
from livetalk.cli.train import app as train

app = typer.Typer(
    name="livetalk",
    help="A talking avatar, rendered block by block in real time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for function in (generate, serve, bench, download, doctor, parity):
    add_verb(app, function)
add_verb(app, list_choices, "list")
app.add_typer(train)


def main() -> None:
    """Entry point: errors a user can mend are printed as one paragraph, without a traceback."""
    from livetalk.base.errors import LiveTalkError

    try:
        app()
    except LiveTalkError as error:
        typer.echo(f"livetalk: {error}", err=True)
        sys.exit(1)
