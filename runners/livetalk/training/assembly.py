"""From what a user asks for to a run: networks, samples, a stage, and what is watched."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from livetalk.base.errors import OptionError
from livetalk.render.checkpoint import CheckpointFiles, load_vae
from livetalk.render.config import Size
from livetalk.render.model import random_tensors
from livetalk.render.omniavatar.files import OMNIAVATAR
from livetalk.render.options import PUBLISHED
from livetalk.training.conditions import read_conditions
from livetalk.training.loop import Habits, Outcome, opened, train
from livetalk.training.planning import Plan, Shape, plan_matching, plan_ode
from livetalk.training.samples import Samples
from livetalk.training.settings import MatchingSettings, OdeSettings, Offload, flat
from livetalk.training.sharding import Processes, collected, processes, sharded
from livetalk.training.stages import MatchingStage, OdeStage, Stage
from livetalk.training.validation import DecodedBrightness, Validation
from livetalk.training.weights import Weights, open_weights

if TYPE_CHECKING:
    from livetalk.render.vae import WanVAE

Told = Callable[[int, int, Mapping[str, float]], None]
"""Told of every step done: its number, how many there are, what was measured."""


@dataclass(frozen=True, slots=True)
class Run:
    """What both stages are told."""

    data: Path
    out: Path
    size: Size
    checkpoints: Path
    device: str
    seed: int
    habits: Habits
    validate: tuple[str, ...] = ()
    """Samples whose clips are rendered."""
    sounds: Path | None = None
    """Conditions that know the speech of these samples."""


def train_ode(
    run: Run,
    settings: OdeSettings,
    init: str,
    told: Told,
    say: Callable[[str], None],
    *,
    offload: Offload | None = None,
) -> Outcome:
    """The ODE initialisation.

    Raises:
        LiveTalkError: something can't be used, does not fit, or the run has collapsed.
    """
    offload = offload or Offload()
    samples = Samples(run.data, run.size.dit, trajectories=True, guidance=settings.guidance)
    with processes(run.device) as on:
        _require_gpu(on, offload)
        _require_memory(
            on,
            lambda memory: plan_ode(
                run.size.dit, settings, gpus=on.world, memory_gb=memory, offload=offload, shape=_shape(samples)
            ),
        )
        weights = open_weights(init, run.size.dit, run.checkpoints)
        config = _config("ode", run, settings, samples, on, student=weights)
        with opened(run.out, config, on):
            student = sharded(run.size.dit, weights, on, compute=_compute(on))
            stage = OdeStage(student, samples, settings, run.seed, on, offload=offload)
            vae = _vae(run, on, say) if run.habits.validate_every else None
            return _train(stage, run, settings.steps, vae, told, say)


def train_matching(
    run: Run,
    settings: MatchingSettings,
    *,
    init: str,
    critic: str,
    teacher: str,
    offload: Offload,
    told: Told,
    say: Callable[[str], None],
) -> Outcome:
    """Distribution matching.

    Raises:
        LiveTalkError: something can't be used, does not fit, or the run has collapsed.
    """
    samples = Samples(run.data, run.size.dit, trajectories=False)
    dit, taught = run.size.dit, OMNIAVATAR.get(teacher, run.size.dit)
    with processes(run.device) as on:
        _require_gpu(on, offload)
        _require_memory(
            on,
            lambda memory: plan_matching(
                dit,
                dit,
                taught,
                settings,
                gpus=on.world,
                memory_gb=memory,
                offload=offload,
                shape=_shape(samples),
            ),
        )
        sources = {
            "student": open_weights(init, dit, run.checkpoints),
            "critic": open_weights(critic, dit, run.checkpoints),
            "teacher": open_weights(teacher, taught, run.checkpoints),
        }
        config = _config("dmd", run, settings, samples, on, **sources)
        with opened(run.out, config, on):
            compute = _compute(on)
            stage = MatchingStage(
                sharded(dit, sources["student"], on, compute=compute),
                sharded(dit, sources["critic"], on, compute=compute),
                sharded(
                    taught,
                    sources["teacher"],
                    on,
                    compute=compute,
                    stored=compute,
                    trained=False,
                    offload=offload.teacher,
                ),
                samples,
                settings,
                run.seed,
                on,
                offload=offload,
            )
            vae = _vae(run, on, say)
            if vae is not None:
                stage.brightness = DecodedBrightness(vae)
            return _train(stage, run, settings.steps, vae, told, say)


def _train(stage: Stage, run: Run, steps: int, vae: WanVAE | None, told: Told, say: Callable[[str], None]) -> Outcome:
    on = stage.on
    clips: Validation | None = None
    if run.habits.validate_every and on.first:
        if vae is None:
            raise OptionError(
                f"validation clips need the VAE, which is not at {CheckpointFiles.under(run.checkpoints).vae}. Say "
                "where with --checkpoints, or leave them out with --validate-every 0."
            )
        listed = () if run.sounds is None else tuple(read_conditions(run.sounds))
        assert isinstance(stage.samples, Samples)
        clips = Validation(
            run.out,
            stage.samples,
            run.size.dit,
            vae,
            ids=run.validate,
            sounds=listed,
            seed=run.seed,
            dtype=_compute(on),
        )

    def validate(step: int) -> None:
        which, values = stage.weights()
        whole = collected(values, keep=clips is not None)
        if clips is not None:
            for path in clips.render(step, whole, on.device):
                say(f"{path} ({which})")
        on.wait()

    return train(
        stage,
        run.out,
        steps,
        run.habits,
        validate=validate,
        progress=lambda step, measured: told(step, steps, measured),
    )


def _vae(run: Run, on: Processes, say: Callable[[str], None]) -> WanVAE | None:
    """On the first process alone; random where the size has no published weights."""
    if not on.first:
        return None
    # Only now: a run that decodes nothing need not wait for diffusers.
    from livetalk.render import vae as vae_module
    from livetalk.render.vae import WanVAE

    dtype = _compute(on)
    path = CheckpointFiles.under(run.checkpoints).vae
    if run.size.name != PUBLISHED and path != CheckpointFiles.flat(run.checkpoints).vae:
        state = random_tensors(vae_module.reference_shapes(run.size.vae), seed=0, dtype=dtype)
        return WanVAE.from_state(run.size.vae, state, dtype=dtype, device=on.device, channels_last=True)
    if not path.exists():
        say(f"{path} is not there: frames are not decoded, and a collapse to black is not noticed.")
        return None
    return load_vae(path, run.size.vae, dtype=dtype, device=on.device, channels_last=True)


def _config(
    stage: str,
    run: Run,
    settings: OdeSettings | MatchingSettings,
    samples: Samples,
    on: Processes,
    **weights: Weights,
) -> dict[str, Any]:
    """What makes the run what it is; weights are looked at by the first process alone."""
    prints = {name: one.fingerprint() for name, one in weights.items()} if on.first else None
    found: dict[str, Any] = {
        "stage": stage,
        "size": run.size.name,
        "network": asdict(run.size.dit),
        "seed": run.seed,
        **flat(settings),
        **samples.identity(),
        **{f"{name}_fingerprint": value for name, value in on.gathered(prints)[0].items()},
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def _require_gpu(on: Processes, offload: Offload) -> None:
    if offload.options and on.device.type != "cuda":
        raise OptionError(f"{', '.join(offload.options)}: for a GPU alone; on a CPU everything is in the host's memory")


def _require_memory(on: Processes, plan: Callable[[float], Plan]) -> None:
    if on.device.type == "cuda":
        plan(torch.cuda.get_device_properties(on.device).total_memory / 1e9).require()


def _shape(samples: Samples) -> Shape:
    settings = samples.settings
    return Shape(settings.frames, settings.height, settings.width, settings.text_rows)


def _compute(on: Processes) -> torch.dtype:
    return torch.bfloat16 if on.device.type == "cuda" else torch.float32
