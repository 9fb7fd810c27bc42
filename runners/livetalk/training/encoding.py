"""Conditions to what networks see of them: text rows, speech features, the picture's latent.

Encoded once and kept, so that no GPU that trains needs the text encoder, the VAE or wav2vec2 (11.4 GB of T5 alone).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from livetalk.base.errors import AudioError
from livetalk.base.rates import AUDIO_RATE, VIDEO_FPS
from livetalk.render.checkpoint import (
    CheckpointFiles,
    check_speech_encoder,
    check_text_encoder,
    check_vae,
)
from livetalk.render.config import Size
from livetalk.render.encoders.image import preprocess
from livetalk.render.encoders.speech import Samples, SpeechEncoder
from livetalk.render.model import CausalDiT
from livetalk.render.omniavatar.files import fingerprint
from livetalk.render.options import ModelChoice
from livetalk.render.pipeline import Models, load_models, random_models
from livetalk.sound.files import read_audio
from livetalk.training.conditions import Condition
from livetalk.training.records import CacheSettings, ConditionRecord, valid_text


def cache_settings(choice: ModelChoice, frames: int, negative_prompt: str, zero_first_row: bool) -> CacheSettings:
    """What conditions are encoded with; the checkpoints are looked into, not loaded.

    Raises:
        CheckpointError: a file is missing, damaged or another model.
    """
    size = choice.size
    return CacheSettings(
        frames=frames,
        height=size.stream.latent_height,
        width=size.stream.latent_width,
        text_rows=size.text.text_len,
        text_width=size.text.dim,
        audio_width=size.speech.feature_dim,
        fps=VIDEO_FPS,
        zero_first_row=zero_first_row,
        negative_prompt=negative_prompt,
        encoders=_fingerprint(choice),
    )


def _fingerprint(choice: ModelChoice) -> str:
    if choice.checkpoints is None:
        return f"random, size {choice.size.name}, seed 0"
    files, size = CheckpointFiles.under(choice.checkpoints), choice.size
    parts = (
        check_vae(files.vae, size.vae),
        check_speech_encoder(files.speech, size.speech)[1],
        check_text_encoder(files.text_encoder, size.text),
    )
    return " ".join(fingerprint(part)[:16] for part in parts)


def load_encoders(choice: ModelChoice) -> Models:
    """The encoders alone, in float32 (the text encoder in bfloat16, as published).

    Raises:
        CheckpointError: a file is missing, damaged or another model.
    """
    with torch.device("meta"):
        nothing = CausalDiT(choice.size.dit)
    if choice.checkpoints is None:
        return random_models(choice.size, device=choice.device, dit=nothing)
    return load_models(
        CheckpointFiles.under(choice.checkpoints),
        choice.size,
        dtype=torch.float32,
        device=choice.device,
        text_device=choice.text_device,
        dit=nothing,
    )


@dataclass(frozen=True, slots=True)
class Encoded:
    """Encoders that stay loaded for many conditions."""

    models: Models
    size: Size
    settings: CacheSettings

    def pictures_and_speech(self, condition: Condition) -> tuple[Tensor, Tensor]:
        """The picture's latent [1,16,h,w] and the speech features [4F−3,C], float32.

        Raises:
            LiveTalkError: the picture or the sound can't be used.
        """
        stream = self.size.stream
        picture = preprocess(condition.image, ((stream.height, stream.width),), middle=stream.middle)
        reference = self.models.vae.encode_image(picture)[0].transpose(0, 1)
        samples = read_audio(condition.audio)
        features = training_features(self.models.speech, samples, condition.start, self.settings)
        return reference.cpu(), features.cpu()

    def record(self, condition: Condition, digest: str, context: Tensor) -> ConditionRecord:
        """A condition with its text already encoded ([1,rows,C])."""
        reference, audio = self.pictures_and_speech(condition)
        return ConditionRecord(condition.id, digest, valid_text(context).cpu(), audio, reference)


def training_features(speech: SpeechEncoder, samples: Samples, start: float, settings: CacheSettings) -> Tensor:
    """Features as in LiveTalk's training data: one row per video frame from so many samples (81 from 81 000), short
    sound looped, and no zero row before them unless the settings say so.

    Raises:
        AudioError: there is no sound from ``start`` on.
    """
    rows = settings.audio_rows - settings.zero_first_row
    wanted = rows * AUDIO_RATE // settings.fps
    samples = samples[round(start * AUDIO_RATE) :]
    if not len(samples):
        raise AudioError(f"The audio holds no samples from second {start:g} on, so there is nothing to speak.")
    looped = np.resize(samples, wanted)
    features = speech.hidden_states(speech.resampled(speech.front_end(speech.normalised(looped)), rows))
    if settings.zero_first_row:
        features = torch.cat((torch.zeros_like(features[:1]), features))
    return features
