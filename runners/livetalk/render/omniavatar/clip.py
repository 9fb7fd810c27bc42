"""A clip as OmniAvatar makes it: picture and speech in, frames out, window by window (training recipe 2.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from livetalk.base.rates import AUDIO_RATE
from livetalk.render.config import SPATIAL_STRIDE
from livetalk.render.encoders.image import PictureSize
from livetalk.render.encoders.speech import Samples, SpeechEncoder
from livetalk.render.model.dit import CausalDiT
from livetalk.render.omniavatar.sampler import NEGATIVE_PROMPT, Guidance, GuidedFlow, denoise, image_condition
from livetalk.render.omniavatar.windows import FPS, LEAD_SILENCE, MAX_TOKENS, OVERLAP, WindowPlan, plan_windows
from livetalk.render.sampler import Rounding, schedule
from livetalk.render.vae import WanVAE, to_uint8

STEPS = 50
"""Of the published settings; 20 to 50 are said to be usable."""


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """How a clip is made; the defaults are the published ones."""

    size: PictureSize
    """Height and width in pixels."""
    fps: int = FPS
    steps: int = STEPS
    guidance: Guidance = field(default_factory=Guidance)
    negative_prompt: str = NEGATIVE_PROMPT
    overlap: int = OVERLAP
    max_tokens: int = MAX_TOKENS
    lead_silence: float = LEAD_SILENCE
    """Seconds of silence before the speech."""

    def led_in(self, samples: Samples, rate: int = AUDIO_RATE) -> Samples:
        """The speech with the silence before it, as the network hears it."""
        return np.pad(samples, (round(self.lead_silence * rate), 0))

    def delayed(self, samples: Samples, rate: int) -> Samples:
        """The sound that goes with the frames: the first of them is the picture, and the speech begins one later."""
        return np.pad(self.led_in(samples, rate), (round(rate / self.fps), 0))

    def plan(self, samples: int) -> WindowPlan:
        """Windows for so many samples of speech at 16 kHz, the silence before it not counted.

        Raises:
            ValueError: overlap and window do not go together.
        """
        led = samples + round(self.lead_silence * AUDIO_RATE)
        return plan_windows(led, self.size, self.fps, self.overlap, self.max_tokens)


@dataclass(frozen=True, slots=True)
class ClipConditions:
    """What one clip shows, encoded."""

    reference: Tensor
    """Latent of the picture [1,16,1,h,w]."""
    context: Tensor
    """Text rows [1,T,text_dim], padding included."""
    negative: Tensor
    features: Tensor
    """Speech features of all windows [rows,C] (``encode_speech``)."""


def encode_speech(speech: SpeechEncoder, samples: Samples, plan: WindowPlan) -> Tensor:
    """Features [rows,C] of speech that already has its silence before it, one row per video frame.

    Loudness is evened out over the speech, and the silence that completes the last window comes after that: LiveTalk
    stretches short speech instead.
    """
    if len(samples) < speech.field:  # less than the front end can see
        samples = np.pad(samples, (0, speech.field - len(samples)))
    normalised = speech.normalised(samples)
    complete = np.pad(normalised, (0, max(0, plan.padded_samples - len(normalised))))[: plan.padded_samples]
    return speech.hidden_states(speech.resampled(speech.front_end(complete), plan.rows))


def render(
    dit: CausalDiT,
    vae: WanVAE,
    settings: ClipSettings,
    plan: WindowPlan,
    conditions: ClipConditions,
    *,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Tensor]:
    """The clip's frames, uint8 [T,H,W,3] on the device of the VAE, ``plan.output_frames`` of them in all.

    Args:
        progress: called after every step with the steps done and to do.
    """
    draw = torch.Generator().manual_seed(seed)  # on the host: the same noise on every device
    height, width = (side // SPATIAL_STRIDE for side in settings.size)
    table = schedule(settings.steps, rounding=_rounding(dit.dtype))
    reference = conditions.reference[0].transpose(0, 1).float()
    known, total, done, left = reference, settings.steps * len(plan.windows), 0, plan.output_frames
    before = torch.zeros_like(conditions.features[:1])
    for window in plan.windows:
        rows = conditions.features[window.first_row : window.end_row]
        rows = torch.cat((before[-window.known_frames :], rows))
        before = rows
        image = image_condition(reference, plan.latent_frames, window.known_latents)
        flow = GuidedFlow(dit, settings.guidance, conditions.context, conditions.negative, rows, image)
        noise = torch.randn((plan.latent_frames, len(reference[0]), height, width), generator=draw).to(dit.device)
        latents = noise
        for step, state in enumerate(denoise(flow, noise, known.to(dit.device), table)):
            latents = state
            if step:
                done += 1
                progress(done, total)
        tail: Tensor | None = None
        for latent, frames in enumerate(_decoded(vae, latents)):
            tail = frames if tail is None else torch.cat((tail, frames), dim=2)[:, :, -settings.overlap :]
            if window.index and latent < window.known_latents:
                continue  # seen in the window before
            fresh = to_uint8(frames)[:left]
            left -= len(fresh)
            yield fresh
            if not left:
                return
        assert tail is not None
        known = vae.encode_clip(tail.clamp(-1, 1))[0].transpose(0, 1)


def _decoded(vae: WanVAE, latents: Tensor) -> Iterator[Tensor]:
    """A window's frames [1,3,T,H,W], latent by latent."""
    stream = vae.decoder_stream()
    for latent in latents.transpose(0, 1)[None].split(1, dim=2):
        yield stream.decode_float(latent)


def _rounding(dtype: torch.dtype) -> Rounding:
    """Timesteps are rounded as the run is; noise levels never."""
    known: dict[torch.dtype, Rounding] = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
    return known.get(dtype, "exact")
