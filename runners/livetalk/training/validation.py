"""Clips that show what a run has learned, rendered as people will see them: by the runner, in its window."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from livetalk.base.errors import OptionError
from livetalk.base.rates import VIDEO_FPS
from livetalk.render.config import DiTConfig, StreamConfig
from livetalk.render.model import CausalDiT
from livetalk.render.model.weights import to_published
from livetalk.render.performer import Performer, SeededNoise, split_features
from livetalk.sound.files import Samples as Sound
from livetalk.sound.files import padded, read_audio
from livetalk.training.conditions import Condition
from livetalk.training.monitors import brightness
from livetalk.training.rollout import Conditions
from livetalk.training.samples import Samples
from livetalk.video.mux import SOUND_RATE, VideoWriter

if TYPE_CHECKING:
    from livetalk.render.vae import WanVAE

FOLDER = "validation"


class Validation:
    """Renders the same conditions with the same noise again and again.

    Args:
        ids: which samples; by default the first.
        sounds: conditions that know the speech of a sample; a sample without one gives a silent clip.
    """

    def __init__(
        self,
        run: Path,
        samples: Samples,
        config: DiTConfig,
        vae: WanVAE,
        *,
        ids: tuple[str, ...] = (),
        sounds: tuple[Condition, ...] = (),
        seed: int = 0,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        self.folder = run / FOLDER
        self.samples, self.config, self.vae = samples, config, vae
        self.ids = ids or tuple(samples.ids[:1])
        if unknown := [name for name in self.ids if name not in samples.ids]:
            raise OptionError(f"there is no sample {unknown[0]!r} in {samples.folder}")
        self.seed, self.dtype = seed, dtype
        self.stream = StreamConfig(
            latent_height=samples.settings.height, latent_width=samples.settings.width, position="absolute"
        )
        self._sounds = {condition.id: condition for condition in sounds}

    def render(self, step: int, own: Mapping[str, Tensor], device: torch.device) -> list[Path]:
        """Clips of all validation samples after a step; they appear whole.

        Args:
            own: parameters by the names of the network.
        """
        state = to_published(self.config, own)
        dit = CausalDiT.from_state(self.config, state, dtype=self.dtype, device=device)
        self.folder.mkdir(parents=True, exist_ok=True)
        made = []
        for index, name in enumerate(self.ids):
            path = self.folder / f"step-{step:08}-{index:02}.mp4"
            self._clip(dit, self.samples.read(name, device), name, path)
            made.append(path)
        del dit
        gc.collect()
        return made

    def _clip(self, dit: CausalDiT, conditions: Conditions, name: str, path: Path) -> None:
        performer = Performer(
            dit, self.vae.decoder_stream(), self.stream, overlap=False, graphs=False, decode_device=self.vae.device
        )
        reference = conditions.reference.transpose(0, 1)[None]
        performer.start(conditions.text[None], reference, SeededNoise(self.seed, dit.device))
        with VideoWriter(
            path, self.stream.width, self.stream.height, sound=self._sound(name, len(conditions.features))
        ) as writer:
            for block in performer.blocks(split_features(conditions.features)):
                writer.write(block.frames.numpy())

    def _sound(self, name: str, frames: int) -> Sound | None:
        condition = self._sounds.get(name)
        if condition is None:
            return None
        samples = read_audio(condition.audio, SOUND_RATE)[round(condition.start * SOUND_RATE) :]
        return padded(samples, frames * SOUND_RATE // VIDEO_FPS)


class DecodedBrightness:
    """How bright a clip's last frame is, decoded by itself, as a share of its portrait's brightness."""

    def __init__(self, vae: WanVAE) -> None:
        self._vae = vae

    @torch.no_grad()
    def __call__(self, sample: Tensor, reference: Tensor) -> float:
        made, portrait = (self._of(latents) for latents in (sample[-1:], reference))
        return made / max(portrait, 1 / 255)

    def _of(self, latents: Tensor) -> float:
        stream = self._vae.decoder_stream()
        return brightness(stream.decode(latents.transpose(0, 1)[None].to(self._vae.device, self._vae.dtype)))
