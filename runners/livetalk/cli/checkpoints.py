"""``livetalk download`` and ``livetalk doctor``: the published checkpoints, and whether this machine can use them and
reach its thinker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from livetalk.base.errors import OptionError
from livetalk.base.flags import Flag
from livetalk.cli.parameters import AsJson
from livetalk.cli.thinker import ThinkerOptions
from livetalk.render.config import SIZES
from livetalk.render.options import CHECKPOINTS, CHECKPOINTS_VARIABLE, MODELS, PUBLISHED, Checkpoints


def download(
    to: Annotated[Path, Flag("Folder to fill.", variable=CHECKPOINTS_VARIABLE)] = CHECKPOINTS,
    revision: Annotated[
        tuple[str, ...],
        Flag("REPOSITORY=COMMIT instead of the pinned one, or a tag or branch; may be repeated."),
    ] = (),
    needed_only: Annotated[bool, Flag("Leave out OmniAvatar-1.3B, which LiveTalk does not read.")] = False,
    model: Annotated[
        tuple[str, ...],
        Flag(
            "omniavatar-1.3b or omniavatar-14b: also what `generate --model` and training read of it (6 and 59 GB); "
            "may be repeated."
        ),
    ] = (),
) -> None:
    """Fetch the published checkpoints from the Hugging Face hub; run it again to go on after an interruption."""
    from livetalk.tools.download import download as fetch

    revisions = {}
    for entry in revision:
        name, separator, commit = entry.partition("=")
        if not (name and separator and commit):
            raise OptionError(f"{entry!r} is not of the form REPOSITORY=COMMIT")
        revisions[name] = commit
    if unknown := [name for name in model if name not in MODELS]:
        raise OptionError(f"model {unknown[0]!r} is unknown; choose one of {', '.join(MODELS)}")
    fetch(to, revisions=revisions, needed_only=needed_only, models=model, announce=typer.echo)
    typer.echo(f"All there. `livetalk doctor --checkpoints {to}` checks the files.")


def doctor(
    thinker: ThinkerOptions,
    checkpoints: Checkpoints = None,
    purpose: Annotated[
        str,
        Flag("The size that is to run; others than 1.3B need no GPU and no files.", ("--for",), choices=tuple(SIZES)),
    ] = PUBLISHED,
    as_json: AsJson = False,
) -> None:
    """Check GPU, memory, disk, packages, codecs, files and the thinker's address; exit status 1 if something is
    missing."""
    from dataclasses import asdict

    from livetalk.tools.doctor import examine, in_words, ready, thinker_there

    findings = examine(checkpoints or CHECKPOINTS, purpose)
    if thinker != ThinkerOptions():
        findings += thinker_there(thinker.thinker, thinker.make())
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        typer.echo(in_words(findings))
    if not ready(findings):
        raise typer.Exit(1)
