"""``livetalk train trajectories`` and ``livetalk train export``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from livetalk.base.flags import Flag
from livetalk.render.config import SIZES
from livetalk.render.config import size as named_size
from livetalk.render.options import CHECKPOINTS, LIVETALK, MODELS, PUBLISHED, Checkpoints, ModelOptions

if TYPE_CHECKING:
    from livetalk.training.trajectories import Sampling, Tally

TEACHERS = tuple(name for name in MODELS if name != LIVETALK)
FILE = "file"
"""A teacher of one's own: the transformer of --weights, or of --checkpoints."""


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """Sampling. What is not published is a setting, and stands in every file."""

    teacher: Annotated[
        str,
        Flag(
            "Which model samples; the paper's is omniavatar-1.3b. file: the transformer of --weights, or of a small "
            "model's --checkpoints.",
            choices=(*TEACHERS, FILE),
        ),
    ] = TEACHERS[0]
    steps: Annotated[int, Flag("A multiple of 4; the states at its quarters are kept.", minimum=4, maximum=1000)] = 48
    text_scale: Annotated[float, Flag("Guidance by the text; 1 is none.", minimum=1, maximum=20)] = 4.5
    audio_scale: Annotated[
        float | None,
        Flag(
            "Guidance by the speech, where it is another: a third forward per step.",
            minimum=1,
            maximum=20,
            default="that of --text-scale",
        ),
    ] = None
    negative_prompt: Annotated[str | None, Flag("What the video does not show.", default="OmniAvatar's")] = None
    zero_first_row: Annotated[
        bool, Flag("A row of zeros before the speech features, as at OmniAvatar's inference; the student saw none.")
    ] = False
    frames: Annotated[int, Flag("Latent frames, in blocks of 3; 21 are 81 video frames.", minimum=3)] = 21
    seed: Annotated[
        int, Flag("Of the noise, which depends on it and on a condition's id alone.", minimum=0, maximum=2**63 - 1)
    ] = 0
    stored: Annotated[
        Literal["bfloat16", "float32"], Flag("Of the stored states: 13.8 or 27.5 MB per condition at the full size.")
    ] = "bfloat16"
    shard: Annotated[int, Flag("Trajectories in a full shard.", minimum=1)] = 64

    def sampling(self) -> Sampling:
        """
        Raises:
            OptionError: steps or frames do not divide as they must.
        """
        from livetalk.render.omniavatar.sampler import NEGATIVE_PROMPT
        from livetalk.training.trajectories import Sampling as Chosen

        return Chosen(
            steps=self.steps,
            text_scale=self.text_scale,
            audio_scale=self.audio_scale,
            negative_prompt=NEGATIVE_PROMPT if self.negative_prompt is None else self.negative_prompt,
            zero_first_row=self.zero_first_row,
            frames=self.frames,
            seed=self.seed,
            stored=self.stored,
            shard=self.shard,
        )


def trajectories(
    conditions: Annotated[
        Path,
        typer.Argument(help="Folder with conditions.jsonl, such a list, or a folder of pictures, sounds and texts."),
    ],
    out: Annotated[Path, Flag("Data folder; what is there is kept, and other settings are refused.")],
    model: ModelOptions,
    sampling: SamplingOptions,
    only_conditions: Annotated[
        bool, Flag("Encode the conditions and stop: distribution matching reads no trajectories.")
    ] = False,
) -> None:
    """Encode conditions, and sample the teacher's trajectories for them. Several processes may share the work: start
    the same command once per GPU. Exit status 1 if a condition failed."""
    from livetalk.training.conditions import read_conditions
    from livetalk.training.trajectories import make_trajectories

    wanted = sampling.sampling()
    choice = model.choose(model=LIVETALK if sampling.teacher == FILE else sampling.teacher)
    listed = read_conditions(conditions)
    choice.require_files()
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        tasks = {}

        def told(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage)
            bar.update(tasks[stage], completed=done, total=total)

        tally = make_trajectories(choice, listed, out, wanted, only_conditions=only_conditions, progress=told)
    typer.echo(_in_words(tally, out, len(listed), only_conditions))
    for name, why in tally.failed.items():
        typer.echo(f"failed: {name!r}: {why}", err=True)
    if tally.failed:
        raise typer.Exit(1)


def _in_words(tally: Tally, out: Path, total: int, only_conditions: bool) -> str:
    parts = [f"{out}: {total} conditions; {tally.encoded} encoded now"]
    if not only_conditions:
        speed = f" in {tally.seconds:.1f} s" if tally.made else ""
        parts.append(f"{tally.made} trajectories made{speed}, {tally.there} were there")
    if tally.elsewhere:
        parts.append(f"{tally.elsewhere} left to other processes; run the command again if none is running")
    if tally.failed:
        parts.append(f"{len(tally.failed)} failed")
    return "; ".join(parts)


def export(
    student: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run's folder, a checkpoint in it, or a safetensors file under the published names. Of a run the "
            "average is taken where there is one.",
        ),
    ],
    out: Annotated[Path, Flag("The .safetensors file to write.")],
    size: Annotated[str, Flag("Of the student.", choices=tuple(SIZES))] = PUBLISHED,
    dtype: Annotated[Literal["bfloat16", "float32"], Flag("Of the file: 2.8 or 5.7 GB.")] = "bfloat16",
    note: Annotated[str | None, Flag("A line for the file's header: base, data.")] = None,
    checkpoints: Checkpoints = None,
) -> None:
    """Write a student in the released format: `livetalk generate --weights FILE` renders with it."""
    from livetalk.training.export import describe_run, require_place
    from livetalk.training.export import export as write
    from livetalk.training.weights import open_weights

    require_place(out)
    config = named_size(size).dit
    weights = open_weights(student, config, checkpoints or CHECKPOINTS)
    about = {"source": weights.source, "size": size, **describe_run(Path(student)), **({"note": note} if note else {})}
    written = write(weights, config, out, dtype=dtype, about=about)
    recognised = "the published code takes it for LiveTalk-1.3B" if written.as_published else f"size {size}"
    typer.echo(
        f"{written.path}: {written.tensors} tensors, {written.parameters:,} parameters in {dtype}, digest "
        f"{written.digest} ({recognised}); from {written.source}"
    )
