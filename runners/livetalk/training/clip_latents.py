"""Clips as a transformer learns from them: latents, speech features, captions. Encoded once, by trained encoders.

A folder of them holds ``settings.json``, which says what encoded them, and a ``KEY.safetensors`` for each clip:
``latents`` [F,16,h,w], whose frame 0 is the latent of the picture that the clip begins with, and ``audio`` [4F−3,C].
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from livetalk.base.rates import AUDIO_RATE, VIDEO_FPS
from livetalk.render.checkpoint import CheckpointFiles, check_speech_encoder, check_vae
from livetalk.render.config import FRAMES_PER_BLOCK, TEMPORAL_STRIDE, Size, video_frames
from livetalk.render.encoders.speech import SpeechEncoder
from livetalk.render.omniavatar.files import fingerprint
from livetalk.render.vae import WanVAE
from livetalk.training.autoencoder_network import published
from livetalk.training.clips import TRAIN, Clip, Clips
from livetalk.training.conditions import condition_key
from livetalk.training.own_stage import average_of
from livetalk.training.records import SETTINGS, RecordError, write_whole

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """One clip."""

    latents: Tensor
    """[F,16,h,w]; frame 0 is the reference."""
    audio: Tensor
    """Raw speech features [4F−3,C]."""
    caption: str
    split: str

    def part(self, first: int, frames: int) -> EncodedClip:
        """The clip's picture and what follows its latent frame ``first``, ``frames`` of them in all, with the speech of
        the latter. From another frame than 0 on the picture is not what came before, as in a cache that has rolled."""
        latents = torch.cat((self.latents[:1], self.latents[first + 1 : first + frames]))
        rows = self.audio[TEMPORAL_STRIDE * first : TEMPORAL_STRIDE * (first + frames) - TEMPORAL_STRIDE + 1]
        return EncodedClip(latents, rows, self.caption, self.split)


def autoencoder_of(run: str, size: Size) -> WanVAE:
    """The runner's autoencoder, from a training run's average or an assembled model's folder.

    Raises:
        RunError, CheckpointError: there is none, or one of another size.
    """
    file = CheckpointFiles.flat(Path(run)).vae
    if file.exists():
        return WanVAE.from_state(size.vae, check_vae(file, size.vae))
    return WanVAE.from_state(size.vae, published(size.vae, average_of(run)))


def speech_state(run: str) -> dict[str, Tensor]:
    """A speech encoder's tensors from a training run's average, under transformers' names."""
    prefix = "model."
    return {name.removeprefix(prefix): value for name, value in average_of(run).items() if name.startswith(prefix)}


def speech_of(run: str, size: Size) -> SpeechEncoder:
    """The runner's speech encoder, from a training run's average or an assembled model's folder.

    Raises:
        RunError, CheckpointError: there is none, or one of another size.
    """
    folder = CheckpointFiles.flat(Path(run)).speech
    if folder.is_dir():
        return SpeechEncoder.from_state(size.speech, check_speech_encoder(folder, size.speech)[1])
    return SpeechEncoder.from_state(size.speech, speech_state(run))


def encode_clips(
    folder: Path,
    out: Path,
    size: Size,
    *,
    autoencoder: str,
    speech: str,
    frames: int,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Encode what is not encoded yet; how many were.

    Args:
        autoencoder, speech: runs, or folders of assembled models.
        frames: latent frames of a clip.

    Raises:
        RecordError: the folder was encoded by others, or the clips are shorter than asked for.
    """
    clips = Clips(folder)
    if frames % FRAMES_PER_BLOCK:
        raise RecordError(f"{frames} latent frames are no whole number of blocks of {FRAMES_PER_BLOCK}.")
    if video_frames(frames) > clips.frames:
        raise RecordError(f"{frames} latent frames are {video_frames(frames)} frames; the clips have {clips.frames}.")
    vae, hears = autoencoder_of(autoencoder, size), speech_of(speech, size)
    settings = {
        "format": _FORMAT,
        "frames": frames,
        "size": size.name,
        "autoencoder": fingerprint(dict(vae.module.state_dict())),
        "speech": fingerprint(dict(hears.model.state_dict())),
    }
    _state(out, settings)
    missing = [one for one in (*clips.train, *clips.unseen) if not _place(out, one.id).exists()]
    for done, clip in enumerate(missing):
        told(done, len(missing))
        tensors = _encoded(clip, vae, hears, frames)
        about = {"id": clip.id, "caption": clip.caption, "split": clip.split}
        write_whole(_place(out, clip.id), lambda partial, t=tensors, a=about: save_file(t, partial, a))  # type: ignore[misc]
    told(len(missing), len(missing))
    return len(missing)


def _encoded(clip: Clip, vae: WanVAE, speech: SpeechEncoder, frames: int) -> dict[str, Tensor]:
    shown = video_frames(frames)
    pixels = torch.from_numpy(clip.frames[:shown]).permute(3, 0, 1, 2)[None].float().div(127.5).sub(1.0)
    latents = vae.encode_clip(pixels)[0].transpose(0, 1)
    wanted = shown * AUDIO_RATE // VIDEO_FPS
    samples = np.resize(clip.samples, wanted).astype(np.float32)
    audio = speech.hidden_states(speech.resampled(speech.front_end(speech.normalised(samples)), shown))
    return {"latents": latents.half().contiguous(), "audio": audio.half().contiguous()}


class EncodedClips:
    """A folder of them, read at once.

    Raises:
        RecordError: it holds none to train on, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.settings: Mapping[str, Any] = json.loads((folder / SETTINGS).read_text("utf-8"))
            self.frames = int(self.settings["frames"])
        except (OSError, ValueError, KeyError) as error:
            raise RecordError(
                f"{folder} holds no encoded clips ({error}); `livetalk train encode` makes them."
            ) from error
        read = dict(_read(path) for path in sorted(folder.glob("*.safetensors")))
        self.train = {name: clip for name, clip in sorted(read.items()) if clip.split == TRAIN}
        self.unseen = {name: clip for name, clip in sorted(read.items()) if clip.split != TRAIN}
        if not self.train:
            raise RecordError(f"{folder} holds no clip to train on; `livetalk train encode` makes them.")

    def identity(self) -> dict[str, Any]:
        """What a run's samples are, so that it goes on with no others."""
        return {"clips": sorted(self.train), "encoded": dict(self.settings)}

    @property
    def captions(self) -> list[str]:
        """Of what is trained on."""
        return [clip.caption for clip in self.train.values()]


def _state(out: Path, settings: Mapping[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    path = out / SETTINGS
    if not path.exists():
        write_whole(path, lambda partial: partial.write_text(json.dumps(dict(settings), indent=1) + "\n", "utf-8"))
    elif (found := json.loads(path.read_text("utf-8"))) != dict(settings):
        names = [name for name in settings if found.get(name) != settings[name]]
        raise RecordError(f"{out} was encoded otherwise: {', '.join(names)} differ. Choose another --out.")


def _place(out: Path, identity: str) -> Path:
    return out / f"{condition_key(identity)}.safetensors"


def _read(path: Path) -> tuple[str, EncodedClip]:
    try:
        with safe_open(str(path), framework="pt") as file:
            about = file.metadata() or {}
            latents, audio = (file.get_tensor(name).float() for name in ("latents", "audio"))
            return about["id"], EncodedClip(latents, audio, about["caption"], about["split"])
    except (SafetensorError, OSError, KeyError) as error:
        raise RecordError(f"{path} can't be read ({error}). Remove it and encode again.") from error
