"""``livetalk generate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from livetalk.base.errors import OptionError
from livetalk.base.flags import Flag
from livetalk.live.settings import LiveSettings
from livetalk.render.options import ModelOptions, Position, SpeedOptions, StreamOptions

if TYPE_CHECKING:
    from livetalk.render.config import StreamConfig
    from livetalk.tools.generate import ClipPlan


@dataclass(frozen=True, slots=True)
class ClipOptions:
    """Clip."""

    image: Annotated[Path, Flag("Portrait: PNG, JPEG, WebP and others.")]
    audio: Annotated[Path, Flag("Speech: WAV, FLAC, MP3, M4A and others, any rate, any length.")]
    output: Annotated[Path, Flag("The MP4 to write.", spelling=("--output", "-o"))]
    prompt: Annotated[str, Flag("What the video shows.")] = LiveSettings().prompt
    seed: Annotated[
        int, Flag("Seed of the noise; the same seed gives the same video.", minimum=0, maximum=2**63 - 1)
    ] = 0
    seconds: Annotated[
        float | None,
        Flag("Length; beyond the audio's end, silence.", minimum=0.0625, maximum=86_400, default="the audio's length"),
    ] = None
    speech: Annotated[
        Literal["auto", "whole", "windows"],
        Flag("Speech features of the whole clip, as released, or in windows; auto is whole up to 60 s."),
    ] = "auto"
    position: Position = "absolute"

    def check(self, stream: StreamConfig) -> ClipPlan:
        """Read everything that is given and refuse what can't be used, before gigabytes are loaded.

        Raises:
            OptionError: the prompt is no text, or an input would be overwritten.
            LiveTalkError: an input can't be used, or the output not be written.
        """
        from livetalk.render.encoders.image import preprocess
        from livetalk.sound.files import read_audio
        from livetalk.tools.generate import plan_clip
        from livetalk.video.mux import require_writable

        if not self.prompt.isascii() and self.prompt != self.prompt.encode(errors="replace").decode():
            raise OptionError("the prompt is not valid UTF-8")
        if self.output.resolve() in (self.image.resolve(), self.audio.resolve()):
            raise OptionError(f"{self.output} is one of the inputs and would be overwritten; choose another --output")
        plan = plan_clip(len(read_audio(self.audio)), stream, self.seconds)
        preprocess(self.image, ((stream.height, stream.width),))
        require_writable(self.output)
        return plan


def generate(clip: ClipOptions, model: ModelOptions, stream: StreamOptions, speed: SpeedOptions) -> None:
    """Make a talking clip from a picture, speech and a prompt."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    from livetalk.tools.generate import generate_clip

    choice = model.choose()
    settings = stream.apply(choice.size.stream, clip.position)
    plan = clip.check(settings)
    console = Console(stderr=True)
    with console.status("Loading the models"):
        models = choice.load()
    if models.random:
        console.print(
            f"The weights of size {choice.size.name} are random: the clip shows that everything runs, and nothing "
            "else.",
            style="yellow",
        )
    columns = (SpinnerColumn(), TextColumn("blocks"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("blocks", total=plan.blocks)
        report = generate_clip(
            models,
            settings,
            image=clip.image,
            audio=clip.audio,
            prompt=clip.prompt,
            output=clip.output,
            seed=clip.seed,
            seconds=clip.seconds,
            speech=clip.speech,
            fast=speed,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo(
        f"{report.path}: {report.frames} frames, {report.seconds:.2f} s at {settings.width}x{settings.height}; "
        f"weights: {report.weights}; speech features: {report.speech}; {report.frames_per_second:.1f} frames/s, first "
        f"frames after {report.first_frame_seconds:.2f} s"
    )
