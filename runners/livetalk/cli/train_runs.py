"""``livetalk train ode`` and ``livetalk train dmd``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from livetalk.base.flags import Flag
from livetalk.render.config import SIZES
from livetalk.render.options import CHECKPOINTS, PUBLISHED, Checkpoints, find_device

if TYPE_CHECKING:
    from livetalk.training.assembly import Run
    from livetalk.training.loop import Outcome
    from livetalk.training.settings import MatchingSettings, OdeSettings

PRESET_NAMES = ("baseline", "curated", "converged-ode", "aggressive-lr", "final", "final-not-curated")
PRESET = "final"
_THE_PRESETS = "the preset's"

PresetName: TypeAlias = Annotated[str, Flag("A row of the paper's Table 3.", choices=PRESET_NAMES)]
Source: TypeAlias = Annotated[
    str, Flag("omniavatar-1.3b, a safetensors file, a run's folder or a checkpoint in it, or random:SEED.")
]


OffloadTeacher: TypeAlias = Annotated[
    bool, Flag("Keep the teacher in the host's memory and bring a layer to the GPU when it is its turn.")
]
OffloadAverage: TypeAlias = Annotated[bool, Flag("Keep the average of the student in the host's memory.")]
OffloadOptimiser: TypeAlias = Annotated[
    bool, Flag("Keep AdamW's moments in the host's memory and bring those of a tensor when it is updated.")
]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Run."""

    data: Annotated[Path, Flag("Folder of encoded conditions, as `livetalk train trajectories` fills it.")]
    out: Annotated[Path, Flag("The run's folder; one that holds the same run goes on.")]
    size: Annotated[str, Flag("Of the student; mid and tiny are for trials.", choices=tuple(SIZES))] = PUBLISHED
    checkpoints: Checkpoints = None
    device: Annotated[
        str, Flag("cuda or cpu; auto is a GPU if there is one. Of several processes each takes its own.")
    ] = "auto"
    seed: Annotated[int, Flag("Of all that is drawn.", minimum=0, maximum=2**63 - 1)] = 0


@dataclass(frozen=True, slots=True)
class HabitOptions:
    """Beside the training; may be changed when a run goes on."""

    save_every: Annotated[int, Flag("Steps between checkpoints.", minimum=1)] = 100
    keep: Annotated[int, Flag("Checkpoints that stay.", minimum=1)] = 3
    milestone: Annotated[int, Flag("Checkpoints of every so many steps stay for ever; 0 for none.", minimum=0)] = 0
    validate_every: Annotated[
        int, Flag("Steps between validation clips, rendered by the runner; 0 for none.", minimum=0)
    ] = 0
    validate: Annotated[
        tuple[str, ...], Flag("Id of a sample to render; may be given several times.", default="the first sample")
    ] = ()
    sounds: Annotated[
        Path | None, Flag("List of conditions that these samples' speech is taken from.", default="silent clips")
    ] = None
    stop: Annotated[
        bool, Flag("End when what is made is black, static or oversaturated.", spelling=("--stop/--no-stop",))
    ] = True

    def run(self, options: RunOptions) -> Run:
        """Both groups together.

        Raises:
            OptionError: there is no such device.
        """
        from livetalk.render.config import size
        from livetalk.training.assembly import Run
        from livetalk.training.checkpoints import Kept
        from livetalk.training.loop import Habits

        return Run(
            options.data,
            options.out,
            size(options.size),
            options.checkpoints or CHECKPOINTS,
            find_device(options.device, options.size),
            options.seed,
            Habits(self.save_every, Kept(self.keep, self.milestone), self.validate_every, self.stop),
            self.validate,
            self.sounds,
        )


@dataclass(frozen=True, slots=True)
class OdeOptions:
    """ODE initialisation; what is not given is as the preset has it."""

    preset: PresetName = PRESET
    steps: Annotated[int | None, Flag("Updates.", minimum=1, default=_THE_PRESETS)] = None
    batch: Annotated[
        int | None, Flag("Samples of one update, over all processes.", minimum=1, default=_THE_PRESETS)
    ] = None
    learning_rate: Annotated[float | None, Flag("AdamW's.", minimum=0, default=_THE_PRESETS)] = None
    warm_up: Annotated[int, Flag("Updates over which it rises; none is published.", minimum=0)] = 0
    clip: Annotated[float | None, Flag("Largest norm of a gradient.", minimum=0, default=_THE_PRESETS)] = None
    guidance: Annotated[
        float | None, Flag("True scale that the trajectories were sampled with.", default=_THE_PRESETS)
    ] = None
    levels: Annotated[
        Literal["table", "exact"], Flag("Noise levels: the training table's, as published, or the sampler's own.")
    ] = "table"
    reference_frame: Annotated[
        bool,
        Flag(
            "Count the reference frame in the loss, as published.",
            spelling=("--reference-frame/--no-reference-frame",),
        ),
    ] = True

    def settings(self) -> OdeSettings:
        """The preset's with what was given."""
        from livetalk.training.settings import PRESETS

        found = PRESETS[self.preset].ode
        adam = replace(found.adam, **_given(learning_rate=self.learning_rate, clip=self.clip), warm_up=self.warm_up)
        given = _given(steps=self.steps, batch=self.batch, guidance=self.guidance)
        return replace(found, **given, adam=adam, levels=self.levels, reference_frame=self.reference_frame)


@dataclass(frozen=True, slots=True)
class MatchingOptions:
    """Distribution matching; what is not given is as the preset has it."""

    preset: PresetName = PRESET
    steps: Annotated[int | None, Flag("Updates of the critic.", minimum=1, default=_THE_PRESETS)] = None
    batch: Annotated[
        int | None, Flag("Samples of one update, over all processes.", minimum=1, default=_THE_PRESETS)
    ] = None
    learning_rate: Annotated[float | None, Flag("The generator's.", minimum=0, default=_THE_PRESETS)] = None
    critic_learning_rate: Annotated[float | None, Flag("The critic's.", minimum=0, default=_THE_PRESETS)] = None
    text_scale: Annotated[
        float | None, Flag("True scale of the teacher's text: 1 is no guidance.", default=_THE_PRESETS)
    ] = None
    audio_scale: Annotated[
        float | None,
        Flag("Of its audio; another than the text's costs a third pass of the teacher.", default=_THE_PRESETS),
    ] = None
    critic_warm_up: Annotated[
        int | None, Flag("First steps, of the critic alone.", minimum=0, default=_THE_PRESETS)
    ] = None
    every: Annotated[
        int | None, Flag("Updates of the critic for one of the generator.", minimum=1, default=_THE_PRESETS)
    ] = None
    alternation: Annotated[
        Literal["absolute", "after-warm-up"],
        Flag("Whether the generator's turns are counted from the first step or from the warm-up's end."),
    ] = "absolute"
    ema_decay: Annotated[
        float | None, Flag("Of the average of the student.", minimum=0, maximum=1, default=_THE_PRESETS)
    ] = None
    ema_start: Annotated[int | None, Flag("The step after which it begins.", minimum=1, default=_THE_PRESETS)] = None
    warm_up: Annotated[
        int, Flag("Updates over which the generator's learning rate rises; none is published.", minimum=0)
    ] = 0
    clip: Annotated[float | None, Flag("Largest norm of a gradient.", minimum=0, default=_THE_PRESETS)] = None
    levels: Annotated[
        Literal["table", "exact"], Flag("Noise levels: the training table's, as published, or the sampler's own.")
    ] = "table"
    context: Annotated[
        Literal["exact", "published"],
        Flag("The clean pass sees what it sees at inference, or the published trainer's half per cent of noise."),
    ] = "exact"
    critic_mask: Annotated[
        Literal["frame", "channel", "none"],
        Flag("What the critic's loss leaves out: the reference frame; channel is the published code's mistake."),
    ] = "frame"
    latents: Annotated[
        Literal["float32", "bfloat16"], Flag("Of latents between passes; the published code's are bfloat16.")
    ] = "float32"

    def settings(self) -> MatchingSettings:
        """The preset's with what was given."""
        from livetalk.training.settings import PRESETS

        found = PRESETS[self.preset].matching
        rate, critic_rate = self.learning_rate, self.critic_learning_rate
        clip = _given(clip=self.clip)
        given = _given(
            steps=self.steps,
            batch=self.batch,
            text_scale=self.text_scale,
            audio_scale=self.audio_scale,
            warm_up=self.critic_warm_up,
            every=self.every,
            ema_decay=self.ema_decay,
            ema_start=self.ema_start,
        )
        return replace(
            found,
            **given,
            generator=replace(found.generator, **_given(learning_rate=rate), **clip, warm_up=self.warm_up),
            critic=replace(found.critic, **_given(learning_rate=critic_rate), **clip),
            alternation=self.alternation,
            levels=self.levels,
            context=self.context,
            critic_mask=self.critic_mask,
            latents=self.latents,
        )


def ode(
    run: RunOptions,
    stage: OdeOptions,
    habits: HabitOptions,
    init: Source = "omniavatar-1.3b",
    offload_optimiser: OffloadOptimiser = False,
) -> None:
    """Teach a causal student to reach a teacher's trajectories' ends in four steps.

    Start it with torchrun for several GPUs. Call it again to go on; SIGTERM saves and ends it.
    """
    from livetalk.training.assembly import train_ode
    from livetalk.training.settings import Offload

    offload = Offload(optimiser=offload_optimiser)
    with Shown("ode") as shown:
        outcome = train_ode(habits.run(run), stage.settings(), init, shown.told, shown.say, offload=offload)
    _conclude(run, outcome)


def dmd(
    run: RunOptions,
    stage: MatchingOptions,
    habits: HabitOptions,
    init: Annotated[str, Flag("The student: an ODE run's folder, a safetensors file, or random:SEED.")],
    critic: Source = "omniavatar-1.3b",
    teacher: Annotated[
        str, Flag("omniavatar-14b; what else can be an --init has the student's size.")
    ] = "omniavatar-14b",
    offload_teacher: OffloadTeacher = False,
    offload_average: OffloadAverage = False,
    offload_optimiser: OffloadOptimiser = False,
) -> None:
    """Pull what the student makes of itself towards the teacher's distribution.

    Start it with torchrun for several GPUs. Call it again to go on; SIGTERM saves and ends it.
    """
    from livetalk.training.assembly import train_matching
    from livetalk.training.settings import Offload

    with Shown("dmd") as shown:
        outcome = train_matching(
            habits.run(run),
            stage.settings(),
            init=init,
            critic=critic,
            teacher=teacher,
            offload=Offload(offload_teacher, offload_average, offload_optimiser),
            told=shown.told,
            say=shown.say,
        )
    _conclude(run, outcome)


class Shown:
    """A line that moves, where someone looks; of several processes, the first one's."""

    def __init__(self, name: str, *, also: tuple[str, ...] = ()) -> None:
        """
        Args:
            also: what is shown beside the losses and the time.
        """
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn(name),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[measured]}"),
        )
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._task: Any = None
        self._names = ("loss", "generator/loss", "critic/loss", *also)

    def __enter__(self) -> Shown:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def told(self, step: int, steps: int, measured: Mapping[str, float]) -> None:
        losses = [f"{name} {measured[name]:.4f}" for name in self._names if name in measured]
        text = "  ".join([*losses, f"{measured['seconds']:.2f} s"])
        if self._task is None:
            self._task = self._bar.add_task("steps", total=steps, measured="")
        self._bar.update(self._task, completed=step, measured=text)

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _conclude(run: RunOptions, outcome: Outcome) -> None:
    state = "complete" if outcome.complete else "told to end; call the same again to go on"
    typer.echo(f"{run.out}: step {outcome.step} of {outcome.steps}, {state}")


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
