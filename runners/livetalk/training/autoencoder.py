"""``livetalk train autoencoder``: first pictures, which are cheap, then clips (docs/training.md)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from livetalk.base.errors import OptionError
from livetalk.render.checkpoint import CheckpointFiles, check_vae
from livetalk.render.config import SPATIAL_STRIDE, TEMPORAL_STRIDE, Size
from livetalk.training import draws
from livetalk.training.autoencoder_network import Z_CHANNELS, TrainingAutoencoder, unpublished
from livetalk.training.batches import Place
from livetalk.training.clips import Clip, Clips, moving
from livetalk.training.loop import Habits, Outcome
from livetalk.training.own_stage import OwnStage, Part, Told, average_of, fill, train_own
from livetalk.training.settings import Adam
from livetalk.training.sharding import Processes

Phase = Literal["images", "clips"]


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
    magnitude: float = 1e-3
    """Weight of the latents' mean square, which would else grow against the noise."""
    edges: float = 1.0
    """Weight of the error of differences between neighbouring pixels."""
    ema_decay: float = 0.995


class AutoencoderStage(OwnStage):
    """Reconstruction. One process alone: the network is small."""

    name = "autoencoder"

    def __init__(
        self, network: TrainingAutoencoder, clips: Clips, settings: AutoencoderSettings, seed: int, on: Processes
    ) -> None:
        super().__init__(network, clips.ids, settings.batch, settings.adam, settings.ema_decay, seed, on)
        self.clips, self.settings = clips, settings
        self._moving = {clip.id: moving(clip.frames) for clip in clips.train} if settings.phase == "clips" else {}

    def parts(self, step: int, places: Sequence[Place]) -> Iterator[Part]:
        yield functools.partial(self._loss, step, places)

    def _loss(self, step: int, places: Sequence[Place]) -> tuple[Tensor, dict[str, float]]:
        settings = self.settings
        shown = torch.stack([self._shown(place.id, step, place.name) for place in places])
        batch, _, frames, height, width = shown.shape
        latent = ((frames - 1) // TEMPORAL_STRIDE + 1, height // SPATIAL_STRIDE, width // SPATIAL_STRIDE)
        noise = settings.noise * draws.normal((batch, Z_CHANNELS, *latent), self.seed, step, "latents")
        made, latents = self.network(shown, noise, measure=settings.phase == "images")
        loss = (made - shown).abs().mean() + settings.edges * _edges(made, shown)
        loss = loss + settings.magnitude * latents.square().mean()
        found = {"psnr": psnr(made.detach(), shown), "largest_latent": float(latents.detach().abs().max())}
        return loss, found

    def check(self, count: int = 8) -> dict[str, float]:
        """PSNR on clips that are not trained on (of the first trained on where there are no others)."""
        clips = (self.clips.unseen or self.clips.train)[:count]
        frames = 1 if self.settings.phase == "images" else self.settings.frames
        found = []
        for clip in clips:
            whole = as_pixels(clip.frames[-frames:])[None]
            found.append(psnr(self.network(whole)[0], whole))
        return {"psnr/unseen" if self.clips.unseen else "psnr/seen": float(np.mean(found))}

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


def train_autoencoder(
    clips_folder: Path,
    out: Path,
    size: Size,
    settings: AutoencoderSettings,
    *,
    init: str | None,
    seed: int,
    habits: Habits,
    told: Told,
) -> Outcome:
    """Train, or go on.

    Args:
        init: a run whose average it begins as, or the folder of an assembled model; None for a random network that
            looks at single frames.

    Raises:
        LiveTalkError: something can't be used, or the run has collapsed.
    """
    if settings.frames % TEMPORAL_STRIDE != 1:
        raise OptionError(f"{settings.frames} frames are no whole number of latents: 1, 5, 9, 13 and so on are.")
    if settings.crop % (2 * SPATIAL_STRIDE):
        raise OptionError(f"A crop of {settings.crop} pixels is no multiple of {2 * SPATIAL_STRIDE}.")
    clips = Clips(clips_folder)
    if settings.phase == "clips" and clips.frames < settings.frames:
        raise OptionError(f"The clips have {clips.frames} frames, fewer than {settings.frames}.")
    network = TrainingAutoencoder(size.vae, seed)
    if init is not None:
        files = CheckpointFiles.flat(Path(init))
        there = files.vae.exists()
        fill(network, unpublished(size.vae, check_vae(files.vae, size.vae)) if there else average_of(init))
    config = {
        "stage": AutoencoderStage.name,
        "size": size.name,
        "network": asdict(size.vae),
        "seed": seed,
        "init": init,
        **asdict(settings),
        **clips.identity(),
    }
    return train_own(
        out, config, settings.steps, habits, told, lambda on: AutoencoderStage(network, clips, settings, seed, on)
    )
