"""``livetalk train autoencoder``: first pictures, which are cheap, then clips (docs/training.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from livetalk.base.errors import OptionError
from livetalk.render.config import SPATIAL_STRIDE, TEMPORAL_STRIDE, Size
from livetalk.training import draws
from livetalk.training.autoencoder_network import TrainingAutoencoder
from livetalk.training.checkpoints import newest, read_network
from livetalk.training.clips import Clip, Clips, moving
from livetalk.training.loop import Habits, Outcome, opened, train
from livetalk.training.optimiser import Optimiser
from livetalk.training.settings import Adam
from livetalk.training.sharding import Average, Processes, processes
from livetalk.training.stages import CollapseError, Stage

Phase = Literal["images", "clips"]

NETWORK = "student"
"""Its name in a checkpoint, as every stage's result is named; the average is "ema"."""
_MEASURED = ("measured_mean", "measured_variance")


@dataclass(frozen=True, slots=True)
class AutoencoderSettings:
    """What a run is made with."""

    phase: Phase = "images"
    steps: int = 4000
    batch: int = 8
    crop: int = 48
    """Pixels along each side of what a step sees of a picture; 0 for all of it."""
    frames: int = 9
    """Of a clip, 4k+1; pictures have one."""
    adam: Adam = field(default_factory=lambda: Adam(2e-3, 0.9, 0.99, clip=1.0, warm_up=50))
    noise: float = 0.1
    """Deviation of what is added to the latents, which have 1: the decoder is to bear what a transformer gets wrong."""
    edges: float = 1.0
    """Weight of the error of differences between neighbouring pixels."""
    ema_decay: float = 0.995
    check_every: int = 200
    """Steps between measurements on clips that are not trained on."""


class AutoencoderStage(Stage):
    """Reconstruction. One process alone: the network is small."""

    name = "autoencoder"

    def __init__(
        self, network: TrainingAutoencoder, clips: Clips, settings: AutoencoderSettings, seed: int, on: Processes
    ) -> None:
        super().__init__(network, clips, settings.batch, seed, on)  # type: ignore[arg-type]
        self.network, self.clips, self.settings = network, clips, settings
        network.requires_grad_(True)
        self.optimiser = Optimiser(network, settings.adam)
        self.average = Average(network)
        self._moving = {clip.id: moving(clip.frames) for clip in clips.train} if settings.phase == "clips" else {}

    def step(self, step: int) -> dict[str, float]:
        settings = self.settings
        places = self._batches.at(self.cursor, self.batch)
        self.cursor += self.batch
        shown = torch.stack([self._shown(place.id, step, place.name) for place in places])
        size = SPATIAL_STRIDE
        shape = (
            len(shown),
            16,
            (shown.shape[2] - 1) // TEMPORAL_STRIDE + 1,
            *(side // size for side in shown.shape[3:]),
        )
        noise = settings.noise * draws.normal(shape, self.seed, step, "latents")
        made, latents = self.network(shown, noise, measure=settings.phase == "images")
        absolute = (made - shown).abs().mean()
        loss = absolute + settings.edges * _edges(made, shown)
        loss.backward()
        norm = self.optimiser.step()
        if not np.isfinite(norm):
            raise CollapseError(f"The gradient is {norm} at step {step + 1}; lower the learning rate.")
        self.average.update(self.network, settings.ema_decay)
        measured = {
            "loss": float(loss.detach()),
            "psnr": psnr(made.detach(), shown),
            "largest_latent": float(latents.detach().abs().max()),
            "gradient_norm": norm,
        }
        if (step + 1) % settings.check_every == 0:
            measured |= self.check()
        return measured

    @torch.inference_mode()
    def check(self, count: int = 8) -> dict[str, float]:
        """PSNR of the average on clips that are not trained on (of the first trained on where there are none)."""
        clips = (self.clips.unseen or self.clips.train)[:count]
        own = {name: value.clone() for name, value in self.network.named_parameters()}
        _fill(self.network, self.average.values)
        frames = 1 if self.settings.phase == "images" else self.settings.frames
        found = []
        for clip in clips:
            whole = as_pixels(clip.frames[-frames:])[None]
            found.append(psnr(self.network(whole)[0], whole))
        _fill(self.network, own)
        return {"psnr/unseen" if self.clips.unseen else "psnr/seen": float(np.mean(found))}

    def tensors(self) -> dict[str, Tensor]:
        measured = {name: getattr(self.network, name) for name in _MEASURED}
        return {
            **{f"{NETWORK}.{name}": value.detach() for name, value in self.network.named_parameters()},
            **{f"{NETWORK}.{name}": value for name, value in measured.items()},
            **{f"ema.{name}": value for name, value in {**self.average.values, **measured}.items()},
            **self.optimiser.tensors("student_adam"),
        }

    def progress(self) -> dict[str, Any]:
        return {**super().progress(), "student_updates": self.optimiser.updates}

    def prepare(self, progress: Mapping[str, Any]) -> None:
        super().prepare(progress)
        self.optimiser.restore(int(progress["student_updates"]))

    def _shown(self, identity: str, step: int, name: str) -> Tensor:
        """A cut of a clip [3,T,h,w]: any frame of it, or frames around where it moves."""
        settings, clip = self.settings, self.clips.by_id(identity)
        rng = draws.generator(self.seed, step, name, "cut")
        frames = 1 if settings.phase == "images" else settings.frames
        first = int(rng.integers(len(clip.frames) - frames + 1))
        top, left, height, width = self._place(clip, rng)
        cut = clip.frames[first : first + frames, top : top + height, left : left + width]
        return as_pixels(_varied(cut, rng))

    def _place(self, clip: Clip, rng: np.random.Generator) -> tuple[int, int, int, int]:
        height, width = clip.frames.shape[1:3]
        crop = self.settings.crop
        if not crop or crop >= min(height, width):
            return 0, 0, height, width
        if clip.id not in self._moving:
            return int(rng.integers(height - crop + 1)), int(rng.integers(width - crop + 1)), crop, crop
        change = self._moving[clip.id]
        share = (change / change.sum()).ravel()
        row, column = divmod(int(rng.choice(len(share), p=share)), change.shape[1])
        middle = SPATIAL_STRIDE * row + SPATIAL_STRIDE // 2, SPATIAL_STRIDE * column + SPATIAL_STRIDE // 2
        jitter = rng.integers(-crop // 4, crop // 4 + 1, size=2)
        top, left = (
            int(np.clip(m + j - crop // 2, 0, side - crop))
            for m, j, side in zip(middle, jitter, (height, width), strict=True)
        )
        return top, left, crop, crop


def as_pixels(frames: np.ndarray[Any, Any]) -> Tensor:
    """uint8 [T,H,W,3] to float32 [3,T,H,W] in [-1,1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2).float().div(127.5).sub(1.0)


def psnr(made: Tensor, shown: Tensor) -> float:
    """Decibels, of pixels in [-1,1], clamped first."""
    error = (made.clamp(-1, 1) - shown).square().mean()
    return float(10 * torch.log10(4.0 / error.clamp_min(1e-12)))


def _edges(made: Tensor, shown: Tensor) -> Tensor:
    error = made - shown
    return (error[..., 1:, :] - error[..., :-1, :]).abs().mean() + (error[..., 1:] - error[..., :-1]).abs().mean()


def _varied(frames: np.ndarray[Any, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Mirrored, and in other colours, now and then: there are few people, and all are drawn by one hand."""
    if rng.random() < 0.5:
        frames = frames[:, :, ::-1]
    if rng.random() < 0.3:
        frames = frames[..., rng.permutation(3)]
    if rng.random() < 0.5:
        gain, shift = rng.uniform(0.7, 1.2, 3), rng.uniform(-20, 20, 3)
        frames = np.clip(frames * gain + shift, 0, 255).astype(np.uint8)
    return frames


def _fill(network: TrainingAutoencoder, values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(values[name])


def begun(size: Size, init: str | None, seed: int) -> TrainingAutoencoder:
    """A network to train: framewise and random, or as a run left its average.

    Raises:
        RunError: the run holds no such network.
    """
    network = TrainingAutoencoder(size.vae, seed)
    if init is not None:
        state = read_network(newest(Path(init)), "ema")
        for name in _MEASURED:
            getattr(network, name).copy_(state.pop(name))
        _fill(network, state)
    return network


def train_autoencoder(
    clips_folder: Path,
    out: Path,
    size: Size,
    settings: AutoencoderSettings,
    *,
    init: str | None,
    seed: int,
    habits: Habits,
    told: Callable[[int, int, Mapping[str, float]], None],
) -> Outcome:
    """Train, or go on.

    Raises:
        LiveTalkError: something can't be used, or the run has collapsed.
    """
    if settings.frames % TEMPORAL_STRIDE != 1:
        raise OptionError(f"{settings.frames} frames are no whole number of latents: 1, 5, 9, 13 and so on are.")
    if settings.crop % (2 * SPATIAL_STRIDE):
        raise OptionError(f"a crop of {settings.crop} pixels is no multiple of {2 * SPATIAL_STRIDE}")
    clips = Clips(clips_folder)
    if settings.phase == "clips" and clips.frames < settings.frames:
        raise OptionError(f"the clips have {clips.frames} frames, fewer than {settings.frames}")
    with processes("cpu") as on:
        network = begun(size, init, seed)
        config = {
            "stage": "autoencoder",
            "size": size.name,
            "network": asdict(size.vae),
            "seed": seed,
            "init": init,
            **asdict(settings),
            **clips.identity(),
        }
        with opened(out, json.loads(json.dumps(config)), on):
            stage = AutoencoderStage(network, clips, settings, seed, on)
            return train(
                stage, out, settings.steps, habits, progress=lambda step, seen: told(step, settings.steps, seen)
            )
