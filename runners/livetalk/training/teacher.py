"""``livetalk train teacher``: flow matching over whole clips, every frame seeing all others (recipe 1 and 2.2).

The network is the student's, in the teacher's mode: one noise level for the whole clip, the picture's latent in frame 0
at every step. A small model's text encoder learns with it. Where a clip moves most, which for a speaker is the mouth,
errors weigh more; now and then text or speech are left out, so that guidance has something to compare with.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import UMT5EncoderModel

from livetalk.base.errors import OptionError
from livetalk.render.checkpoint import CheckpointFiles, check_dit, check_text_encoder
from livetalk.render.config import DiTConfig, Size, TextConfig
from livetalk.render.encoders.text import empty_model, original_names
from livetalk.render.model import random_state
from livetalk.render.model.weights import from_published
from livetalk.render.sampler import add_noise
from livetalk.training.batches import Place
from livetalk.training.clip_latents import EncodedClip, EncodedClips
from livetalk.training.draws import generator, integer, normal
from livetalk.training.loop import Habits, Outcome
from livetalk.training.network import TrainingDiT
from livetalk.training.own_stage import OwnStage, Part, Told, average_of, fill, train_own
from livetalk.training.rollout import Conditions, with_reference
from livetalk.training.schedules import score_level, score_time
from livetalk.training.settings import Adam
from livetalk.training.sharding import Processes
from livetalk.training.updates import score_flow
from livetalk.training.vocabulary import tokenizer_of

NEGATIVE = ""
"""A small model's negative prompt: nothing but the end of the text."""
LEAST_FRAMES = 3
"""Of a part of a clip: its picture, and two that may differ."""
_CHECKED = (100, 300, 500, 700, 900)
"""Raw times at which the loss on unseen clips is measured."""


@dataclass(frozen=True, slots=True)
class TeacherSettings:
    """What a run is made with."""

    steps: int = 6000
    batch: int = 4
    adam: Adam = field(default_factory=lambda: Adam(5e-4, 0.9, 0.99, weight_decay=0.01, clip=1.0, warm_up=200))
    ema_decay: float = 0.999
    motion: float = 3.0
    """How much more errors weigh where the clip moves as much as it does on average; 0 for the same everywhere."""
    frames: int = 0
    """Latent frames of a step's part of a clip, from anywhere in it, behind the clip's picture; 0 for whole clips. Time
    and memory of attention grow with their square; whether lips are learned as well from parts is not known."""
    without_text: float = 0.1
    """Share of samples with the negative prompt and without speech."""
    without_speech: float = 0.1
    """Share of samples with their text and without speech."""


class Taught(nn.Module):
    """The transformer, and the text encoder that learns with it."""

    def __init__(self, size: Size, seed: int) -> None:
        super().__init__()
        self.dit = TrainingDiT(size.dit)
        fill(self.dit, from_published(size.dit, _scratch(size.dit, seed).__getitem__))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.text = _text_encoder(size.text)
        self.rows = size.text.text_len

    def context(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids and mask [B,rows] to text rows [B,rows,C], padding rows zero."""
        hidden: Tensor = self.text(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden * mask.unsqueeze(-1).to(hidden.dtype)


class TeacherStage(OwnStage):
    """Flow matching."""

    name = "teacher"

    def __init__(
        self, network: Taught, clips: EncodedClips, settings: TeacherSettings, seed: int, on: Processes
    ) -> None:
        super().__init__(network, list(clips.train), settings.batch, settings.adam, settings.ema_decay, seed, on)
        self.taught, self.clips, self.settings = network, clips, settings
        self._tokenizer = tokenizer_of(clips.captions, network.text.config.vocab_size)

    def compile(self) -> None:
        self._compiled = True
        self.taught.dit.compile(dynamic=False)

    def parts(self, step: int, places: Sequence[Place]) -> Iterator[Part]:
        for place in places:
            yield functools.partial(self._part_of_loss, step, place, len(places))

    def _part_of_loss(self, step: int, place: Place, among: int) -> tuple[Tensor, dict[str, float]]:
        settings = self.settings
        clip = self._cut(self.clips.train[place.id], step, place.name)
        raw = integer(1000, self.seed, step, place.name, "time")
        left_out = float(generator(self.seed, step, place.name, "left out").random())
        conditions = self._conditions(clip)
        if left_out < settings.without_text:
            conditions = conditions.branch("unconditional")
        elif left_out < settings.without_text + settings.without_speech:
            conditions = conditions.branch("text-only")
        noise = normal(tuple(clip.latents.shape), self.seed, step, place.name, "noise")
        loss, moving = self._loss(clip, conditions, noise, raw)
        third = f"loss/t{333 * min(2, raw // 334)}"
        return loss / among, {third: float(loss.detach()), "moving": float(moving)}

    def check(self) -> dict[str, float]:
        """The loss at fixed times and noise on unseen clips; and how much worse it is with another clip's speech."""
        clips = list((self.clips.unseen or self.clips.train).items())[:6]
        own, other = [], []
        for index, (name, clip) in enumerate(clips):
            swapped = clips[(index + 1) % len(clips)][1]
            for raw in _CHECKED:
                noise = normal(tuple(clip.latents.shape), self.seed, name, raw, "check")
                conditions = self._conditions(clip)
                own.append(self._loss(clip, conditions, noise, raw)[1])
                wrong = Conditions(conditions.reference, conditions.text, conditions.negative_text, swapped.audio)
                other.append(self._loss(clip, wrong, noise, raw)[1])
        mean, wrong_mean = (float(torch.stack(found).mean()) for found in (own, other))
        return {"moving/unseen": mean, "moving/other_speech": wrong_mean}

    def _cut(self, clip: EncodedClip, step: int, name: str) -> EncodedClip:
        frames, whole = self.settings.frames, len(clip.latents)
        if not frames or frames >= whole:
            return clip
        return clip.part(integer(whole - frames + 1, self.seed, step, name, "part"), frames)

    def _conditions(self, clip: EncodedClip) -> Conditions:
        tokens = self._tokenizer(
            [clip.caption, NEGATIVE],
            padding="max_length",
            truncation=True,
            max_length=self.taught.rows,
            return_tensors="pt",
        )
        text, negative = self.taught.context(tokens["input_ids"], tokens["attention_mask"])
        return Conditions(clip.latents[:1], text, negative, clip.audio)

    def _loss(self, clip: EncodedClip, conditions: Conditions, noise: Tensor, raw: int) -> tuple[Tensor, Tensor]:
        """Mean squared error of the flow, and that of the cells that move more than others; the picture left out."""
        time = score_time(torch.tensor([raw]))
        noisy = with_reference(add_noise(clip.latents, noise, score_level(time)[0]), conditions.reference)
        flow = score_flow(self.taught.dit, noisy, time, conditions)
        error = (flow - (noise - clip.latents))[1:].square()
        weights = motion_weights(clip.latents, self.settings.motion)
        most = (weights >= weights.flatten().quantile(0.9)).float()
        moving = (error.detach() * most).mean() / most.mean()
        return (error * weights).mean(), moving


def motion_weights(latents: Tensor, motion: float) -> Tensor:
    """Weights of cells [h,w] with mean 1, by how much a clip's latents [F,16,h,w] change there from frame to frame; the
    picture's aside, which may be of another time."""
    change = latents[1:].diff(dim=0).abs().mean(dim=(0, 1))
    weights = 1 + motion * change / change.mean().clamp_min(1e-6)
    return weights / weights.mean()


def _scratch(config: DiTConfig, seed: int) -> dict[str, Tensor]:
    """Random weights to train from: what is added to a residual stream is small at first, and no flow comes out."""
    state = random_state(config, seed=seed)
    for name, value in state.items():
        if name.endswith((".o.weight", ".ffn.2.weight")):
            value.mul_((2 * config.num_layers) ** -0.5)
        elif name.startswith(("head.head", "time_projection")):
            value.mul_(0.0 if name.startswith("head") else 0.1)
    return state


def _text_encoder(config: TextConfig) -> UMT5EncoderModel:
    module = UMT5EncoderModel(empty_model(config).config)
    module.train(False)
    return module


def begin_as(network: Taught, init: str, size: Size) -> None:
    """Take the average of a run of this stage, an assembled model's folder, or a transformer's file, which leaves the
    text encoder as it is.

    Raises:
        RunError, CheckpointError: it holds something else.
    """
    files = CheckpointFiles.flat(Path(init))
    whole = files.text_encoder.exists()
    if not whole and Path(init).is_dir():
        fill(network, average_of(init))
        return
    state = check_dit(files.dit if whole else Path(init), size.dit)
    fill(network.dit, from_published(size.dit, lambda name: state[name].float()))
    if whole:
        text = check_text_encoder(files.text_encoder, size.text)
        own = {ours: text[original].float() for original, ours in original_names(size.text).items()}
        fill(network.text, own)


def train_teacher(
    data: Path,
    out: Path,
    size: Size,
    settings: TeacherSettings,
    *,
    init: str | None,
    seed: int,
    habits: Habits,
    told: Told,
) -> Outcome:
    """Train, or go on.

    Args:
        data: as ``encode_clips`` fills it.
        init: a run of this stage, the folder of an assembled model, or a transformer's safetensors file; None for
            random weights.

    Raises:
        LiveTalkError: something can't be used, or the run has collapsed.
    """
    if 0 < settings.frames < LEAST_FRAMES:
        raise OptionError(f"{settings.frames} latent frames show nothing that moves; {LEAST_FRAMES} do, and 0 is all.")
    clips = EncodedClips(data)
    network = Taught(size, seed)
    if init is not None:
        begin_as(network, init, size)
    config: dict[str, Any] = {
        "stage": TeacherStage.name,
        "size": size.name,
        "network": asdict(size.dit),
        "text": asdict(size.text),
        "seed": seed,
        "init": init,
        **asdict(settings),
        **clips.identity(),
    }
    return train_own(
        out, config, settings.steps, habits, told, lambda on: TeacherStage(network, clips, settings, seed, on)
    )
