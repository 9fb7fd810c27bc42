"""Memory and time of a run by arithmetic (recipe 7), before anything is loaded. Nothing here was timed.

What is counted: parameters, gradients, AdamW's moments, the average, chunks of keys and values, checkpointed layer
inputs, one layer computed again, gathered layers; multiply-adds as two operations. What is assumed stands in
``Assumptions``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from livetalk.base.errors import LiveTalkError
from livetalk.render.config import FRAMES_PER_BLOCK, TRAINED_FRAMES, DiTConfig
from livetalk.render.model.weights import reference_shapes
from livetalk.training.schedules import STUDENT_STEPS, TEACHER_STEPS, generator_updates
from livetalk.training.settings import MatchingSettings, OdeSettings, Offload

StageName = Literal["ode", "dmd"]
GB, TERA = 1e9, 1e12


class PlanError(LiveTalkError):
    """A run can't fit where it is meant to go."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What arithmetic can't tell."""

    tflops: float = 400.0
    """Sustained, of each GPU."""
    reserve_gb: float = 3.0
    """The CUDA context, communication buffers, and what the allocator can't use."""
    layer_width: int = 30
    """Values kept per token and channel while one layer is computed again: 2 GB at 21 frames of 1.3B."""
    link_gb_s: float = 25.0
    """Between the host's memory and a GPU, for what lies there."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Of one sample."""

    frames: int = TRAINED_FRAMES
    height: int = 64
    width: int = 64
    text_rows: int = 512

    @property
    def tokens_per_frame(self) -> int:
        return self.height * self.width // 4

    @property
    def tokens(self) -> int:
        return self.frames * self.tokens_per_frame


@dataclass(frozen=True, slots=True)
class Row:
    """One part of the memory, in GB on each GPU."""

    part: str
    gb: float
    host_gb: float = 0.0
    """Of it in the host's memory, for each GPU as well."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a stage takes on so many GPUs."""

    stage: StageName
    gpus: int
    memory_gb: float
    batch: int
    steps: int
    rows: tuple[Row, ...]
    step_seconds: float
    """Of one step of the trainer, on average."""
    sample_tflop: dict[str, float]
    """Operations of one sample by kind of update."""
    hints: tuple[str, ...] = field(default=())

    @property
    def total_gb(self) -> float:
        return sum(row.gb for row in self.rows)

    @property
    def host_gb(self) -> float:
        """In the hosts' memory, for all GPUs together."""
        return sum(row.host_gb for row in self.rows) * self.gpus

    @property
    def fits(self) -> bool:
        return self.total_gb <= self.memory_gb

    @property
    def hours(self) -> float:
        return self.step_seconds * self.steps / 3600

    def require(self) -> Plan:
        """
        Raises:
            PlanError: it does not fit; the message says what would.
        """
        if not self.fits:
            largest = sorted(self.rows, key=lambda row: -row.gb)[:3]
            raise PlanError(
                f"{self.stage} does not fit: it needs {self.total_gb:.1f} GB on each of {self.gpus} GPUs of "
                f"{self.memory_gb:g} GB ({', '.join(f'{row.part} {row.gb:.1f}' for row in largest)}, …). "
                f"{' '.join(self.hints)}"
            )
        return self


def parameters(config: DiTConfig) -> int:
    """1 421 187 232 of 1.3B, 14 293 426 336 of 14B."""
    return sum(math.prod(shape) for shape in reference_shapes(config).values())


def forward_tflop(config: DiTConfig, shape: Shape, *, causal: bool) -> float:
    """Operations of one pass over a clip: 141 of 1.3B, 104.5 if causal, 902 of 14B."""
    attended = sum(_attended(shape)) if causal else shape.frames**2
    return _passes(config, shape, shape.tokens, attended * shape.tokens_per_frame**2)


def last_block_tflop(config: DiTConfig, shape: Shape) -> float:
    """Of the last block alone, whose clean pass is left out."""
    block = FRAMES_PER_BLOCK * shape.tokens_per_frame
    return _passes(config, shape, block, block * shape.tokens)


def _attended(shape: Shape) -> list[int]:
    """Frames seen, summed over each block's own."""
    ends = range(FRAMES_PER_BLOCK, shape.frames + 1, FRAMES_PER_BLOCK)
    return [FRAMES_PER_BLOCK * end for end in ends]


def _passes(config: DiTConfig, shape: Shape, tokens: int, pairs: int) -> float:
    linear = tokens * (6 * config.dim**2 + 2 * config.dim * config.ffn_dim)
    text = shape.text_rows * 2 * config.dim**2 + 2 * tokens * shape.text_rows * config.dim
    return 2 * config.num_layers * (linear + text + 2 * pairs * config.dim) / TERA


def rollout_tflop(config: DiTConfig, shape: Shape) -> float:
    """Of a rollout without a gradient: two and a half steps on average, and the clean passes."""
    causal = forward_tflop(config, shape, causal=True)
    return (STUDENT_STEPS + 1) / 2 * causal + causal - last_block_tflop(config, shape)


def plan_ode(
    student: DiTConfig,
    settings: OdeSettings,
    *,
    gpus: int,
    memory_gb: float,
    offload: Offload | None = None,
    shape: Shape | None = None,
    assume: Assumptions | None = None,
) -> Plan:
    """The ODE stage: 22.7 GB of state shared by all GPUs, and a sample's activations."""
    shape, assume, offload = shape or Shape(), assume or Assumptions(), offload or Offload()
    tflop = 4 * forward_tflop(student, shape, causal=True)  # forward, again, and twice as much backward
    rows = (
        *_trained("student", student, gpus, offload),
        *_activations(student, shape, assume),
        *_gathered(student, gpus, settings.batch),
        Row("reserve", assume.reserve_gb),
    )
    seconds = tflop * -(-settings.batch // gpus) / assume.tflops + _moved(student, gpus, offload) / assume.link_gb_s
    hints = _hints(Offload(optimiser=not offload.optimiser))
    return Plan("ode", gpus, memory_gb, settings.batch, settings.steps, rows, seconds, {"ode": tflop}, hints)


def plan_matching(
    student: DiTConfig,
    critic: DiTConfig,
    teacher: DiTConfig,
    settings: MatchingSettings,
    *,
    gpus: int,
    memory_gb: float,
    offload: Offload | None = None,
    shape: Shape | None = None,
    assume: Assumptions | None = None,
) -> Plan:
    """Distribution matching: 79.7 GB of state shared by all GPUs (1.3B, 1.3B, 14B), and a sample's activations."""
    shape, assume, offload = shape or Shape(), assume or Assumptions(), offload or Offload()
    branches = settings.rules.guidance.branches
    rollout = rollout_tflop(student, shape)
    scored = forward_tflop(critic, shape, causal=False)
    taught = forward_tflop(teacher, shape, causal=False)
    generator = rollout + 3 * forward_tflop(student, shape, causal=True) + scored + branches * taught
    critics = rollout + 4 * scored
    teacher_gb = 2 * parameters(teacher) / GB
    layers = 2 * 2 * parameters(teacher) / teacher.num_layers / GB
    rows = (
        *_trained("student", student, gpus, offload),
        *_trained("critic", critic, gpus, offload),
        _kept("average of the student (fp32)", 4 * parameters(student) / gpus / GB, offload.average),
        _kept("teacher (bf16)", teacher_gb / gpus, offload.teacher),
        Row("keys and values of the past (bf16)", 4 * student.num_layers * shape.tokens * student.dim / GB),
        *_activations(student, shape, assume),
        Row("two gathered layers of the teacher (bf16)", layers if gpus > 1 or offload.teacher else 0),
        *_gathered(student, gpus, settings.batch),
        Row("reserve", assume.reserve_gb),
    )
    each = -(-settings.batch // gpus)
    updates = generator_updates(
        settings.steps, warm_up=settings.warm_up, every=settings.every, alternation=settings.alternation
    )
    often = updates / settings.steps
    seconds = each * (critics + often * generator) / assume.tflops
    moved = _moved(critic, gpus, offload) + often * _moved(student, gpus, offload)
    if offload.teacher:
        moved += each * often * branches * teacher_gb / gpus
    if offload.average:
        moved += often * 2 * 4 * parameters(student) / gpus / GB
    seconds += moved / assume.link_gb_s
    hints = _hints(Offload(not offload.teacher, not offload.average, not offload.optimiser))
    counted = {"generator": generator, "critic": critics}
    return Plan("dmd", gpus, memory_gb, settings.batch, settings.steps, rows, seconds, counted, hints)


def trajectory_gpu_hours(
    teacher: DiTConfig, count: int, shape: Shape | None = None, assume: Assumptions | None = None
) -> float:
    """Of so many trajectories with one scale, on one GPU: 38 for 4000."""
    shape, assume = shape or Shape(), assume or Assumptions()
    return 2 * TEACHER_STEPS * forward_tflop(teacher, shape, causal=False) * count / assume.tflops / 3600


def _trained(name: str, config: DiTConfig, gpus: int, offload: Offload) -> tuple[Row, ...]:
    half = 8 * parameters(config) / gpus / GB
    return (
        Row(f"{name}: weights and gradients (fp32)", half),
        _kept(f"{name}: AdamW's moments (fp32)", half, offload.optimiser),
    )


def _kept(part: str, gb: float, on_host: bool) -> Row:
    """Where a part lies."""
    return Row(part, 0.0, gb) if on_host else Row(part, gb)


def _moved(config: DiTConfig, gpus: int, offload: Offload) -> float:
    """GB over each GPU's link for one update: both moments there and back."""
    return 2 * 8 * parameters(config) / gpus / GB if offload.optimiser else 0.0


def _hints(left: Offload) -> tuple[str, ...]:
    """What makes a run fit.

    Args:
        left: what does not yet lie in the host's memory and could.
    """
    if not left.options:
        return ("Use more GPUs or larger ones.",)
    *others, last = left.options
    named = f"{', '.join(others)} or {last}" if others else last
    return (f"Use more GPUs or larger ones, or {named}.",)


def _activations(config: DiTConfig, shape: Shape, assume: Assumptions) -> tuple[Row, Row]:
    values = shape.tokens * config.dim
    return (
        Row("layer inputs for the backward pass (bf16)", 2 * config.num_layers * values / GB),
        Row("one layer computed again", 2 * assume.layer_width * values / GB),
    )


def _gathered(config: DiTConfig, gpus: int, batch: int) -> tuple[Row, ...]:
    """Whole gradients are kept while several samples of a process add up."""
    whole = 4 * parameters(config) / GB if batch > gpus else 0.0
    return (Row("gradients while samples add up (fp32)", whole),)


def as_text(plans: list[Plan], notes: tuple[str, ...] = ()) -> str:
    """Tables of what each stage takes."""
    lines = []
    for plan in plans:
        lines.append(f"{plan.stage} on {plan.gpus} x {plan.memory_gb:g} GB, batch {plan.batch}, {plan.steps} steps")
        lines += [f"  {row.gb:7.1f} GB  {row.part}" for row in plan.rows if row.gb]
        lines += [f"  ({row.host_gb:5.1f} GB) {row.part}, in the host's memory" for row in plan.rows if row.host_gb]
        verdict = "fits" if plan.fits else f"DOES NOT FIT. {' '.join(plan.hints)}"
        lines.append(f"  {plan.total_gb:7.1f} GB  of {plan.memory_gb:g} on each GPU: {verdict}")
        if plan.host_gb:
            lines.append(f"  {plan.host_gb:7.1f} GB  of the hosts' memory, for all GPUs")
        work = ", ".join(f"{name} {value:.0f}" for name, value in plan.sample_tflop.items())
        lines.append(f"  {plan.step_seconds:7.1f} s   a step on average ({work} TFLOP a sample)")
        lines.append(f"  {plan.hours:7.1f} h   in all")
    return "\n".join([*lines, *notes])
