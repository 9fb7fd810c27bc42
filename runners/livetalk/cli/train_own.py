"""``livetalk train autoencoder``, ``speech``, ``teacher`` and ``assemble``: networks of one's own, from clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from livetalk.base.errors import OptionError
from livetalk.base.flags import Flag
from livetalk.cli.train_runs import Shown
from livetalk.render.config import SIZES

if TYPE_CHECKING:
    from livetalk.training.loop import Habits, Outcome
    from livetalk.training.small_model import Origin

MINI = "mini"

OwnSize: TypeAlias = Annotated[str, Flag("Of the networks.", choices=tuple(SIZES))]
ClipFolder: TypeAlias = Annotated[Path, typer.Argument(help="Folder of clips, as examples/mini/draw.py draws them.")]
Begin: TypeAlias = Annotated[
    str | None,
    Flag("A run, or a checkpoint in it, whose average it begins as; or an assembled model.", default="random weights"),
]
Decay: TypeAlias = Annotated[
    int | None,
    Flag(
        "Updates over which the learning rate falls along half a cosine to a fiftieth.", minimum=1, default="it stays"
    ),
]


@dataclass(frozen=True, slots=True)
class OwnHabits:
    """Beside the training; may be changed when a run goes on."""

    save_every: Annotated[int, Flag("Steps between checkpoints.", minimum=1)] = 100
    keep: Annotated[int, Flag("Checkpoints that stay.", minimum=1)] = 2
    compile: Annotated[
        bool,
        Flag("torch.compile; some minutes at the start, and rounds otherwise."),
    ] = False

    def chosen(self) -> Habits:
        """As the loop takes them."""
        from livetalk.training.checkpoints import Kept
        from livetalk.training.loop import Habits

        return Habits(self.save_every, Kept(self.keep), compiled=self.compile)


def autoencoder(
    clips: ClipFolder,
    out: Annotated[Path, Flag("The run's folder; one that holds the same run goes on.")],
    habits: OwnHabits,
    size: OwnSize = MINI,
    phase: Annotated[
        Literal["images", "clips"], Flag("Pictures, first and long; then clips, which teach what lies between them.")
    ] = "images",
    init: Begin = None,
    steps: Annotated[int | None, Flag("Updates.", minimum=1, default="4000")] = None,
    batch: Annotated[int | None, Flag("Pictures or clips of one update.", minimum=1, default="8; 2 clips")] = None,
    crop: Annotated[
        int | None, Flag("Pixels along each side of what an update sees; 0 for all.", minimum=0, default="48")
    ] = None,
    frames: Annotated[int | None, Flag("Of a clip, 4k+1.", minimum=1, default="9")] = None,
    learning_rate: Annotated[float | None, Flag("AdamW's.", minimum=0, default="2e-3; 1e-3 for clips")] = None,
    decay: Decay = None,
    seed: Annotated[int, Flag("Of all that is drawn.", minimum=0, maximum=2**63 - 1)] = 0,
) -> None:
    """Train a Wan autoencoder of a small size.

    Call it again to go on; SIGTERM saves and ends it.
    """
    from livetalk.render.config import size as named_size
    from livetalk.training.autoencoder import AutoencoderSettings, train_autoencoder

    found = AutoencoderSettings(phase=phase)
    if phase == "clips":
        found = replace(found, batch=2, adam=replace(found.adam, learning_rate=1e-3))
    found = replace(found, **_given(steps=steps, batch=batch, crop=crop, frames=frames))
    found = replace(found, adam=replace(found.adam, **_given(learning_rate=learning_rate, decay=decay)))
    with Shown("autoencoder", also=("psnr", "psnr/unseen")) as shown:
        outcome = train_autoencoder(
            clips, out, named_size(size), found, init=init, seed=seed, habits=habits.chosen(), told=shown.told
        )
    _conclude(out, outcome)


def speech(
    clips: ClipFolder,
    out: Annotated[Path, Flag("The run's folder; one that holds the same run goes on.")],
    habits: OwnHabits,
    size: OwnSize = MINI,
    init: Begin = None,
    steps: Annotated[int | None, Flag("Updates.", minimum=1, default="1500")] = None,
    batch: Annotated[int | None, Flag("Clips of one update.", minimum=1, default="4")] = None,
    learning_rate: Annotated[float | None, Flag("AdamW's.", minimum=0, default="1e-3")] = None,
    decay: Decay = None,
    seed: Annotated[int, Flag("Of all that is drawn.", minimum=0, maximum=2**63 - 1)] = 0,
) -> None:
    """Train a small wav2vec2 to hear what of speech can be seen."""
    from livetalk.render.config import size as named_size
    from livetalk.training.speech import SpeechSettings, train_speech

    found = SpeechSettings()
    found = replace(found, **_given(steps=steps, batch=batch))
    found = replace(found, adam=replace(found.adam, **_given(learning_rate=learning_rate, decay=decay)))
    with Shown("speech", also=("spectrum/unseen", "mouth_correlation/unseen")) as shown:
        outcome = train_speech(
            clips, out, named_size(size), found, init=init, seed=seed, habits=habits.chosen(), told=shown.told
        )
    _conclude(out, outcome)


def encode(
    clips: ClipFolder,
    out: Annotated[Path, Flag("Folder of the encoded clips; what is there is kept.")],
    autoencoder: Annotated[
        str, Flag("A run of `livetalk train autoencoder`, a checkpoint in it, or an assembled model.")
    ],
    speech: Annotated[str, Flag("A run of `livetalk train speech`, a checkpoint in it, or an assembled model.")],
    size: OwnSize = MINI,
    frames: Annotated[int, Flag("Latent frames, in blocks of 3; 21 are 81 video frames.", minimum=3)] = 21,
) -> None:
    """Encode clips once for `livetalk train teacher`: latents, speech features, captions."""
    from rich.console import Console
    from rich.progress import Progress

    from livetalk.render.config import size as named_size
    from livetalk.training.clip_latents import encode_clips

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("clips")
        made = encode_clips(
            clips,
            out,
            named_size(size),
            autoencoder=autoencoder,
            speech=speech,
            frames=frames,
            told=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo(f"{out}: {made} clips encoded now")


def teacher(
    data: Annotated[Path, typer.Argument(help="Folder of encoded clips, as `livetalk train encode` fills it.")],
    out: Annotated[Path, Flag("The run's folder; one that holds the same run goes on.")],
    habits: OwnHabits,
    size: OwnSize = MINI,
    init: Annotated[
        str | None,
        Flag(
            "A run of this stage whose average it begins as, an assembled model, or a transformer's file.",
            default="random weights",
        ),
    ] = None,
    steps: Annotated[int | None, Flag("Updates.", minimum=1, default="6000")] = None,
    batch: Annotated[int | None, Flag("Clips of one update.", minimum=1, default="4")] = None,
    learning_rate: Annotated[float | None, Flag("AdamW's.", minimum=0, default="5e-4")] = None,
    decay: Decay = None,
    frames: Annotated[
        int | None,
        Flag(
            "Latent frames of an update's part of a clip, behind the clip's picture; short ones cost less.",
            minimum=0,
            default="whole clips",
        ),
    ] = None,
    motion: Annotated[
        float | None, Flag("How much more errors weigh where a clip moves; 0 for the same.", minimum=0, default="3")
    ] = None,
    ema_decay: Annotated[float | None, Flag("Of the average.", minimum=0, maximum=1, default="0.999")] = None,
    seed: Annotated[int, Flag("Of all that is drawn.", minimum=0, maximum=2**63 - 1)] = 0,
) -> None:
    """Train a bidirectional teacher by flow matching, with its text encoder, or go on from one (fine-tuning)."""
    from livetalk.render.config import size as named_size
    from livetalk.training.teacher import TeacherSettings, train_teacher

    found = TeacherSettings()
    found = replace(found, **_given(steps=steps, batch=batch, frames=frames, motion=motion, ema_decay=ema_decay))
    found = replace(found, adam=replace(found.adam, **_given(learning_rate=learning_rate, decay=decay)))
    with Shown("teacher", also=("moving/unseen", "moving/other_speech")) as shown:
        outcome = train_teacher(
            data, out, named_size(size), found, init=init, seed=seed, habits=habits.chosen(), told=shown.told
        )
    _conclude(out, outcome)


@dataclass(frozen=True, slots=True)
class OriginOptions:
    """Origin, written into every file of the folder. Nothing is where no script is named."""

    script: Annotated[Path | None, Flag("The script that made the clips; its name and SHA-256 are kept.")] = None
    stages: Annotated[str, Flag("How the transformer was trained, in words, where it took several runs.")] = ""
    license: Annotated[str, Flag("An SPDX identifier, such as Apache-2.0.")] = ""

    def chosen(self) -> Origin | None:
        """
        Raises:
            OptionError: there is something to be kept, but no script.
        """
        from livetalk.cli.version import version
        from livetalk.training.small_model import Origin

        if self.script is None:
            if self.stages or self.license:
                raise OptionError("--stages and --license are kept with --script; name the script that made the clips")
            return None
        return Origin(f"livetalk {version()}", self.script, self.stages, self.license)


def assemble(
    out: Annotated[Path, Flag("The model's folder; what is given replaces what is there.")],
    origin: OriginOptions,
    size: OwnSize = MINI,
    autoencoder: Annotated[str | None, Flag("A run of this stage.", default="left as it is")] = None,
    speech: Annotated[str | None, Flag("A run of this stage.", default="left as it is")] = None,
    teacher: Annotated[
        str | None, Flag("A run of this stage: text encoder, tokenizer, transformer.", default="left as they are")
    ] = None,
    student: Annotated[
        str | None, Flag("An ODE or DMD run, or a transformer's file, in place of the teacher.", default="the teacher")
    ] = None,
    data: Annotated[Path | None, Flag("The encoded clips that the teacher was trained on.")] = None,
    dtype: Annotated[Literal["float16", "bfloat16", "float32"], Flag("Of the files.")] = "float16",
    note: Annotated[str | None, Flag("A line for the card.")] = None,
) -> None:
    """Make a folder that `--size mini --checkpoints FOLDER` loads, of what has been trained so far."""
    import torch

    from livetalk.render.config import size as named_size
    from livetalk.training.small_model import assemble as write

    written = write(
        out,
        named_size(size),
        autoencoder=autoencoder,
        speech=speech,
        teacher=teacher,
        student=student,
        data=data,
        dtype=getattr(torch, dtype),
        origin=origin.chosen(),
        note=note,
    )
    for file in written:
        typer.echo(f"{file.path}: {file.parameters:,} parameters, {file.bytes / 1e6:.2f} MB")


def _conclude(out: Path, outcome: Outcome) -> None:
    state = "complete" if outcome.complete else "told to end; call the same again to go on"
    typer.echo(f"{out}: step {outcome.step} of {outcome.steps}, {state}{_last(outcome.measured)}")


def _last(measured: Mapping[str, float]) -> str:
    shown = [f"{name} {value:.2f}" for name, value in measured.items() if name.startswith(("psnr", "loss"))]
    return f"; {', '.join(shown)}" if shown else ""


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
