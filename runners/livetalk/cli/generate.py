"""``livetalk generate``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from livetalk.base.errors import OptionError
from livetalk.base.flags import Flag
from livetalk.live.settings import LiveSettings
from livetalk.render.options import (
    BUNDLED_NOTE,
    LIVETALK,
    MODELS,
    ModelChoice,
    ModelOptions,
    Position,
    SpeedOptions,
    StreamOptions,
)

if TYPE_CHECKING:
    from rich.console import Console

    from livetalk.render.config import StreamConfig
    from livetalk.render.omniavatar.clip import ClipSettings
    from livetalk.render.pipeline import Models
    from livetalk.tools.generate import ClipPlan, ClipReport


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

        self.check_names()
        plan = plan_clip(len(read_audio(self.audio)), stream, self.seconds)
        preprocess(self.image, ((stream.height, stream.width),), middle=stream.middle)
        require_writable(self.output)
        return plan

    def check_names(self) -> None:
        """
        Raises:
            OptionError: the prompt is no text, or an input would be overwritten.
        """
        if not self.prompt.isascii() and self.prompt != self.prompt.encode(errors="replace").decode():
            raise OptionError("the prompt is not valid UTF-8")
        if self.output.resolve() in (self.image.resolve(), self.audio.resolve()):
            raise OptionError(f"{self.output} is one of the inputs and would be overwritten; choose another --output")


@dataclass(frozen=True, slots=True)
class OmniAvatarOptions:
    """OmniAvatar."""

    resolution: Annotated[
        Literal["720", "512"],
        Flag("720 is published: 400x720, 720x720 or 720x400 by the picture's shape; 512 is LiveTalk's 512x512."),
    ] = "720"
    fps: Annotated[int, Flag("Frames per second; 25 is published, 16 is LiveTalk's.", minimum=1, maximum=60)] = 25
    text_scale: Annotated[
        float, Flag("Guidance by the prompt; 1 is none. 4 to 6 is advised.", minimum=1, maximum=20)
    ] = 4.5
    audio_scale: Annotated[
        float | None,
        Flag(
            "Guidance by the speech, where it is another: a third forward per step.",
            minimum=1,
            maximum=20,
            default="that of --text-scale",
        ),
    ] = None
    negative_prompt: Annotated[str | None, Flag("What the video does not show.", default="the published one")] = None
    overlap: Annotated[int, Flag("Frames a window is told of the one before: 1, 5, 9 or 13.", minimum=1)] = 13
    max_tokens: Annotated[
        int, Flag("Length of a window, in tokens of 16x16 pixels and 4 frames; memory grows with it.", minimum=1)
    ] = 30_000
    lead_silence: Annotated[
        float, Flag("Seconds of silence before the speech, as published.", minimum=0, maximum=10)
    ] = 0.3

    def settings(self, choice: ModelChoice, image: Path, steps: int | None) -> ClipSettings:
        """As the renderer takes them; a small size has its own picture size.

        Raises:
            LiveTalkError: the picture can't be used.
        """
        from livetalk.render.omniavatar.clip import STEPS, ClipSettings
        from livetalk.render.omniavatar.sampler import NEGATIVE_PROMPT, Guidance
        from livetalk.render.omniavatar.windows import SIZES as PUBLISHED_SIZES
        from livetalk.tools.omniavatar import picture_size

        own = (choice.size.stream.height, choice.size.stream.width)
        published = self.resolution == "720" and own == (512, 512)
        return ClipSettings(
            size=picture_size(image, PUBLISHED_SIZES if published else (own,)),
            fps=self.fps,
            steps=STEPS if steps is None else steps,
            guidance=Guidance(self.text_scale, self.text_scale if self.audio_scale is None else self.audio_scale),
            negative_prompt=NEGATIVE_PROMPT if self.negative_prompt is None else self.negative_prompt,
            overlap=self.overlap,
            max_tokens=self.max_tokens,
            lead_silence=self.lead_silence,
        )


Model = Annotated[
    str,
    Flag(
        "livetalk is the causal student; the others are what it was distilled from, as published: 25 frames per "
        "second, 50 steps, no stream.",
        spelling=("--model",),
        choices=MODELS,
    ),
]


def generate(
    clip: ClipOptions,
    model: ModelOptions,
    stream: StreamOptions,
    speed: SpeedOptions,
    omniavatar: OmniAvatarOptions,
    which: Model = LIVETALK,
) -> None:
    """Make a talking clip from a picture, speech and a prompt."""
    if which == LIVETALK:
        _refuse(omniavatar, OmniAvatarOptions(), f"is for OmniAvatar; --model is {which}")
        _generate_livetalk(clip, model, stream, speed)
    else:
        about = f"is LiveTalk's; {which} has no stream"
        _refuse(replace(stream, steps=None), StreamOptions(), about)
        _refuse(speed, SpeedOptions(), about)
        if clip.speech != "auto" or clip.position != "absolute":
            raise OptionError(f"{'--speech' if clip.speech != 'auto' else '--position'} {about}")
        _generate_omniavatar(clip, model, stream, omniavatar, which)


def _refuse(given: object, default: object, why: str) -> None:
    """
    Raises:
        OptionError: an option was given that the model does not have.
    """
    for name in (entry.name for entry in fields(given)):  # type: ignore[arg-type]
        if getattr(given, name) != getattr(default, name):
            raise OptionError(f"--{name.replace('_', '-')} {why}")


def _generate_omniavatar(
    clip: ClipOptions, model: ModelOptions, stream: StreamOptions, omniavatar: OmniAvatarOptions, which: str
) -> None:
    from livetalk.sound.files import read_audio
    from livetalk.tools.omniavatar import generate_omniavatar, plan_omniavatar
    from livetalk.video.mux import require_writable

    choice = model.choose(model=which)
    clip.check_names()
    settings = omniavatar.settings(choice, clip.image, stream.steps)
    plan = plan_omniavatar(len(read_audio(clip.audio)), settings, clip.seconds)
    require_writable(clip.output)
    choice.require_files()
    models, console = _loaded(choice)
    with _bar(console, "steps") as progress:
        report = generate_omniavatar(
            models,
            settings,
            image=clip.image,
            audio=clip.audio,
            prompt=clip.prompt,
            output=clip.output,
            seed=clip.seed,
            seconds=clip.seconds,
            progress=progress,
        )
    height, width = settings.size
    _tell(report, width, height, f"{len(plan.windows)} windows of {plan.window_frames} frames")


def _generate_livetalk(clip: ClipOptions, model: ModelOptions, stream: StreamOptions, speed: SpeedOptions) -> None:
    from livetalk.tools.generate import generate_clip

    choice = model.choose(or_bundled=True)
    settings = stream.apply(choice.size.stream, clip.position)
    clip.check(settings)
    models, console = _loaded(choice)
    with _bar(console, "blocks") as progress:
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
            progress=progress,
        )
    _tell(report, settings.width, settings.height, f"speech features: {report.speech}")


def _loaded(choice: ModelChoice) -> tuple[Models, Console]:
    from rich.console import Console

    console = Console(stderr=True)
    if choice.bundled:
        console.print(BUNDLED_NOTE)
    with console.status("Loading the models"):
        models = choice.load()
    if models.random:
        console.print(
            f"The weights of size {choice.size.name} are random: the clip shows that everything runs, and nothing "
            "else.",
            style="yellow",
        )
    return models, console


@contextmanager
def _bar(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is moved with what is done and what is to do."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (SpinnerColumn(), TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _tell(report: ClipReport, width: int, height: int, how: str) -> None:
    typer.echo(
        f"{report.path}: {report.frames} frames, {report.seconds:.2f} s at {width}x{height}; weights: "
        f"{report.weights}; {how}; {report.frames_per_second:.1f} frames/s, first frames after "
        f"{report.first_frame_seconds:.2f} s"
    )
