"""``livetalk train trajectories``: the teacher's way from noise to a clip, five states of it, for every condition.

Any number of processes may work on one folder. Each condition is claimed while it is worked on; what is there is
skipped; a killed process loses the one it was at. Everything appears whole or not at all.
"""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from livetalk.base.errors import LiveTalkError, OptionError
from livetalk.render.checkpoint import CheckpointFiles, check_dit
from livetalk.render.config import FRAMES_PER_BLOCK
from livetalk.render.model import CausalDiT
from livetalk.render.omniavatar.files import OmniAvatarFiles, fingerprint, open_omniavatar
from livetalk.render.omniavatar.sampler import NEGATIVE_PROMPT, Guidance, GuidedFlow, denoise, image_condition
from livetalk.render.options import LIVETALK, ModelChoice
from livetalk.render.sampler import SHIFT, schedule
from livetalk.training.claims import PACKING, Claims
from livetalk.training.conditions import Condition
from livetalk.training.draws import normal
from livetalk.training.encoding import Encoded, cache_settings, load_encoders
from livetalk.training.records import (
    CACHE,
    SHARD_PREFIX,
    TRAJECTORIES,
    ConditionReader,
    ConditionRecord,
    RecordError,
    TrajectoryReader,
    TrajectorySettings,
    valid_text,
    write_condition,
    write_negative,
    write_settings,
    write_trajectories,
)

STATES = 5
"""Kept of a trajectory: at the student's four noise levels, and the end."""

Stored = Literal["bfloat16", "float32"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How trajectories are made; the defaults are the paper's, and where it says nothing ours (docs/training.md)."""

    steps: int = 48
    text_scale: float = 4.5
    audio_scale: float | None = None
    """None for that of the text."""
    negative_prompt: str = NEGATIVE_PROMPT
    zero_first_row: bool = False
    frames: int = 21
    """Latent frames."""
    seed: int = 0
    stored: Stored = "bfloat16"
    shard: int = 64

    def __post_init__(self) -> None:
        if self.steps < STATES - 1 or self.steps % (STATES - 1):
            raise OptionError(
                f"{self.steps} steps have no quarters; the states are kept at those. Use 48, as published."
            )
        if self.frames < FRAMES_PER_BLOCK or self.frames % FRAMES_PER_BLOCK:
            raise OptionError(f"{self.frames} latent frames are no whole number of blocks of {FRAMES_PER_BLOCK}.")

    @property
    def guidance(self) -> Guidance:
        return Guidance(self.text_scale, self.text_scale if self.audio_scale is None else self.audio_scale)

    @property
    def kept(self) -> tuple[int, ...]:
        """Steps whose states are kept: 0, 12, 24, 36 and 48 of 48."""
        return tuple(part * self.steps // (STATES - 1) for part in range(STATES))

    def settings(self, choice: ModelChoice, negative_hash: str) -> TrajectorySettings:
        """As they are stated in the folder and in every file.

        Raises:
            CheckpointError: the teacher's files are missing, damaged or another model.
        """
        # Shown to the network rounded to bfloat16, as the student was taught them, whatever computes here.
        table = schedule(self.steps, rounding="bfloat16")
        return TrajectorySettings(
            teacher=choice.model if choice.model != LIVETALK else f"{choice.size.name}, a file",
            teacher_fingerprint=_fingerprint(choice),
            steps=self.steps,
            shift=SHIFT,
            text_scale=self.guidance.text,
            audio_scale=self.guidance.audio,
            negative_hash=negative_hash,
            seed=self.seed,
            dtype=self.stored,
            compute_dtype=str(choice.dtype).removeprefix("torch."),
            timesteps=tuple(table.timesteps.tolist()),
            kept=self.kept,
            sigmas=(*(float(table.sigmas[step]) for step in self.kept[:-1]), 0.0),
            shard=self.shard,
        )


@dataclass(slots=True)
class Tally:
    """What became of the conditions."""

    encoded: int = 0
    made: int = 0
    there: int = 0
    """Trajectories that were there before."""
    elsewhere: int = 0
    """Left to other processes, which are at them or died at them."""
    seconds: float = 0.0
    """Spent sampling."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why, by id."""


Progress = Callable[[str, int, int], None]
"""Told the stage and how many of how many conditions are done."""


def make_trajectories(
    choice: ModelChoice,
    conditions: Sequence[Condition],
    folder: Path,
    sampling: Sampling,
    *,
    only_conditions: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> Tally:
    """Encode what is not encoded and sample what is not sampled.

    Args:
        choice: the teacher (``ModelOptions.choose(model=…)``) and where it runs.
        only_conditions: stop after encoding; distribution matching needs no trajectories.

    Raises:
        RecordError: the folder holds records of other settings, or of these ids but made from something else.
        CheckpointError: a file is missing, damaged or another model.
    """
    cached = cache_settings(choice, sampling.frames, sampling.negative_prompt, sampling.zero_first_row)
    settings = None if only_conditions else sampling.settings(choice, cached.negative_hash)
    write_settings(folder / CACHE, cached)
    if settings is not None:
        write_settings(folder / TRAJECTORIES, settings)
    digests = {condition.id: condition.digest() for condition in conditions}
    reader = ConditionReader(folder)
    _refuse_changed(digests, reader.digest, reader.folder)
    tally, claims = Tally(), Claims(folder)
    try:
        _encode(choice, conditions, digests, reader, claims, tally, progress)
        if settings is not None:
            _refuse_changed(digests, TrajectoryReader(folder, settings).digest, folder / TRAJECTORIES)
            wanted = [condition for condition in conditions if condition.id not in tally.failed]
            _sample(choice, wanted, digests, reader, claims, settings, tally, progress)
            with claims.claim(PACKING, wait=True):
                there = TrajectoryReader(folder, settings)
                left = [one.id for one in wanted if one.id not in tally.failed and there.digest(one.id) is None]
                tally.elsewhere = len(left)
                pack(folder, settings, last=not (tally.elsewhere or tally.failed))
    finally:
        claims.close()
    return tally


def _encode(
    choice: ModelChoice,
    conditions: Sequence[Condition],
    digests: dict[str, str],
    reader: ConditionReader,
    claims: Claims,
    tally: Tally,
    progress: Progress,
) -> None:
    folder = reader.folder.parent
    missing = [condition for condition in conditions if not reader.path(condition.id).exists()]
    without_negative = not reader.has_negative()
    if not missing and not without_negative:
        return
    models = load_encoders(choice)
    encoded, text = Encoded(models, choice.size, reader.settings), models.text()
    if without_negative:
        write_negative(folder, valid_text(text(reader.settings.negative_prompt)).cpu())
    for done, condition in enumerate(missing):
        progress("conditions", done, len(missing))
        with claims.claim(condition.key) as free:
            if not free or reader.path(condition.id).exists():
                continue
            try:
                record = encoded.record(condition, digests[condition.id], text(condition.text))
            except LiveTalkError as error:
                tally.failed[condition.id] = str(error)
                continue
            write_condition(folder, _kept(record))
            tally.encoded += 1
    progress("conditions", len(missing), len(missing))
    del models, encoded, text
    gc.collect()
    if choice.device.startswith("cuda"):
        torch.cuda.empty_cache()


def _kept(record: ConditionRecord) -> ConditionRecord:
    """Text in bfloat16, as its encoder gives it."""
    return replace(record, text=record.text.to(torch.bfloat16))


def _sample(
    choice: ModelChoice,
    conditions: Sequence[Condition],
    digests: dict[str, str],
    reader: ConditionReader,
    claims: Claims,
    settings: TrajectorySettings,
    tally: Tally,
    progress: Progress,
) -> None:
    folder = reader.folder.parent
    there = TrajectoryReader(folder, settings)
    missing = [condition for condition in conditions if there.digest(condition.id) is None]
    tally.there = len(conditions) - len(missing)
    if not missing:
        return
    teacher, negative = choice.load_transformer(), reader.negative()
    for done, condition in enumerate(missing):
        progress("trajectories", done, len(missing))
        with claims.claim(condition.key) as free:
            there.refresh()
            if not free or not reader.path(condition.id).exists() or there.digest(condition.id) is not None:
                continue  # another process is at it, or has been
            began = time.perf_counter()
            try:
                states = sample(teacher, reader.read(condition.id), negative, settings, reader.settings.text_rows)
            except RecordError as error:
                tally.failed[condition.id] = str(error)
                continue
            path = folder / TRAJECTORIES / f"{condition.key}.safetensors"
            write_trajectories(path, {condition.id: states}, {condition.id: digests[condition.id]}, settings)
            tally.seconds += time.perf_counter() - began
            tally.made += 1
        with claims.claim(PACKING) as free:
            if free:
                pack(folder, settings)
    progress("trajectories", len(missing), len(missing))


def sample(
    teacher: CausalDiT, record: ConditionRecord, negative: Tensor, settings: TrajectorySettings, rows: int
) -> Tensor:
    """The five states of one condition [5,F,16,h,w], noisiest first, in the stored dtype; frame 0 is the picture's
    latent in each.

    Its noise depends on the seed and its id alone.

    Args:
        negative: text rows [1,rows,C] of the negative prompt.
        rows: text rows the network sees.
    """
    frames = (len(record.audio) + 3) // 4
    noise = normal((frames, *record.reference.shape[1:]), settings.seed, "trajectory", record.id).to(teacher.device)
    guidance = Guidance(settings.text_scale, settings.audio_scale)
    image = image_condition(record.reference, frames, 1)
    flow = GuidedFlow(teacher, guidance, record.context(rows), negative, record.audio, image)
    table = schedule(settings.steps, rounding="bfloat16")
    kept = [
        state.to(getattr(torch, settings.dtype)).cpu()
        for step, state in enumerate(denoise(flow, noise, record.reference, table))
        if step in settings.kept
    ]
    states = torch.stack(kept)
    if not bool(torch.isfinite(states).all()):
        raise RecordError(f"The trajectory of {record.id!r} holds values that are not numbers; nothing was stored.")
    return states


def pack(folder: Path, settings: TrajectorySettings, *, last: bool = False) -> None:
    """Join single trajectories to shards, as many as fill one; with ``last`` the rest, too. To be called under a claim
    of ``PACKING``.

    Killed between writing a shard and removing its parts, it leaves both; the next call removes these.
    """
    folder = folder / TRAJECTORIES
    reader = TrajectoryReader(folder.parent, settings)
    singles = {path for path in folder.glob("*.safetensors") if not path.name.startswith(SHARD_PREFIX)}
    waiting = [name for name in reader.ids() if reader.place(name) in singles]
    for path in singles - {reader.place(name) for name in waiting}:
        path.unlink(missing_ok=True)  # is in a shard
    while len(waiting) >= settings.shard or (last and waiting):
        chosen, waiting = waiting[: settings.shard], waiting[settings.shard :]
        numbers = [int(path.stem.removeprefix(SHARD_PREFIX)) for path in folder.glob(f"{SHARD_PREFIX}*.safetensors")]
        path = folder / f"{SHARD_PREFIX}{max(numbers, default=-1) + 1:05}.safetensors"
        digests = {name: reader.digest(name) or "" for name in chosen}
        write_trajectories(path, {name: reader.states(name) for name in chosen}, digests, settings)
        for name in chosen:
            reader.place(name).unlink(missing_ok=True)


def _refuse_changed(digests: dict[str, str], found: Callable[[str], str | None], folder: Path) -> None:
    changed = [name for name, digest in digests.items() if found(name) not in (None, digest)]
    if changed:
        raise RecordError(
            f"{folder} holds records of {len(changed)} conditions that were made from another picture, sound or text, "
            f"such as {changed[0]!r}. Give changed conditions ids of their own, or choose another folder."
        )


def _fingerprint(choice: ModelChoice) -> str:
    if choice.model == LIVETALK and (choice.weights is not None or choice.checkpoints is not None):
        path = choice.weights or CheckpointFiles.under(choice.checkpoints or Path()).dit
        return fingerprint(check_dit(path, choice.size.dit))
    if choice.checkpoints is None:
        return hashlib.sha256(f"random, size {choice.size.name}, seed 0".encode()).hexdigest()
    files = OmniAvatarFiles.under(choice.checkpoints, choice.model)
    return open_omniavatar(files, choice.size.dit).fingerprint()
