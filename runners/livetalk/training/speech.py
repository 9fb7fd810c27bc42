"""``livetalk train speech``: a small wav2vec2 learns what of speech can be seen.

From every video frame's last hidden state two things are predicted: the spectrum of that moment, which tells sounds
apart, and how far the face is from its first picture where the clip moves most, which for a speaker is the mouth. The
other hidden states are trained by being on the way there; the transformer hears all of them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Wav2Vec2Model

from livetalk.base.errors import OptionError
from livetalk.base.rates import AUDIO_RATE
from livetalk.render.checkpoint import CheckpointFiles, check_speech_encoder
from livetalk.render.config import Size, SpeechConfig
from livetalk.render.encoders.speech import FRAME_SAMPLES, SpeechEncoder, empty_model
from livetalk.training.batches import Place
from livetalk.training.clips import Clip, Clips, moving
from livetalk.training.loop import Habits, Outcome
from livetalk.training.own_stage import OwnStage, Part, Told, average_of, fill, train_own
from livetalk.training.settings import Adam
from livetalk.training.sharding import Processes

BANDS = 32
"""Of the spectrum, evenly spaced in mel."""
_WINDOW = 512
_CELLS = 4
"""How many cells of a picture, those that move most, tell how far the mouth is open."""


@dataclass(frozen=True, slots=True)
class SpeechSettings:
    """What a run is made with."""

    steps: int = 1500
    batch: int = 4
    adam: Adam = field(default_factory=lambda: Adam(1e-3, 0.9, 0.99, weight_decay=0.01, clip=1.0, warm_up=100))
    ema_decay: float = 0.995


class TrainingSpeech(nn.Module):
    """The encoder, and what reads from it. Its parameters have transformers' names, behind ``model.``."""

    def __init__(self, config: SpeechConfig, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = Wav2Vec2Model(empty_model(config).config)
            self.reads = nn.Linear(config.hidden_size, BANDS + 1)
        self.model.train(False)  # no dropout, no masks

    def forward(self, sound: Tensor, frames: int) -> Tensor:
        """Normalised samples [B,S] to what is predicted of every video frame, [B,frames,BANDS+1]; as the runner's
        encoder computes it, but with a gradient."""
        model: Any = self.model
        steps = SpeechEncoder.resampled(model.feature_extractor(sound), frames)
        hidden, _ = model.feature_projection(steps.transpose(1, 2))
        hidden = model.encoder.layer_norm(hidden + model.encoder.pos_conv_embed(hidden))
        for layer in model.encoder.layers:
            output = layer(hidden)
            hidden = output if isinstance(output, Tensor) else output[0]
        read: Tensor = self.reads(hidden)
        return read


class SpeechStage(OwnStage):
    """Regression."""

    name = "speech"
    check_every = 100

    def __init__(
        self, network: TrainingSpeech, clips: Clips, settings: SpeechSettings, seed: int, on: Processes
    ) -> None:
        super().__init__(network, clips.ids, settings.batch, settings.adam, settings.ema_decay, seed, on)
        self.clips = clips
        self._known = {clip.id: _pair(clip) for clip in (*clips.train, *clips.unseen)}

    def parts(self, step: int, places: Sequence[Place]) -> Iterator[Part]:
        yield functools.partial(self._loss, [place.id for place in places])

    def check(self) -> dict[str, float]:
        clips = self.clips.unseen or self.clips.train
        _, found = self._loss([clip.id for clip in clips[:16]])
        return {f"{name}/unseen": value for name, value in found.items()}

    def _loss(self, ids: Sequence[str]) -> tuple[Tensor, dict[str, float]]:
        sound, wanted = (torch.stack(part) for part in zip(*(self._known[one] for one in ids), strict=True))
        read = self.network(sound, wanted.shape[1])
        spectrum = F.mse_loss(read[..., :BANDS], wanted[..., :BANDS])
        mouth = F.mse_loss(read[..., BANDS], wanted[..., BANDS])
        found = {
            "spectrum": float(spectrum.detach()),
            "mouth": float(mouth.detach()),
            "mouth_correlation": _correlation(read[..., BANDS].detach(), wanted[..., BANDS]),
        }
        return spectrum + mouth, found


def _pair(clip: Clip) -> tuple[Tensor, Tensor]:
    """A clip's normalised samples, and what is to be read of every frame: mean 0, deviation 1."""
    frames = len(clip.frames)
    samples = np.resize(clip.samples, frames * FRAME_SAMPLES).astype(np.float32)
    wanted = np.concatenate([spectrum(samples, frames), mouth_opening(clip)[:, None]], axis=1)
    return torch.from_numpy(SpeechEncoder.normalised(samples)), torch.from_numpy(wanted.astype(np.float32))


def spectrum(samples: npt.NDArray[np.float32], frames: int) -> npt.NDArray[np.float32]:
    """Log energy in mel bands around every video frame, [frames, BANDS], each band with mean 0 and deviation 1."""
    centres = FRAME_SAMPLES * np.arange(frames)
    padded = np.pad(samples, _WINDOW // 2 + FRAME_SAMPLES // 2)
    # Three windows for each frame: what is said within a sixteenth of a second.
    offsets = (-FRAME_SAMPLES // 3, 0, FRAME_SAMPLES // 3)
    first = centres[:, None] + FRAME_SAMPLES // 2 + np.array(offsets)[None]
    windows = padded[first[..., None] + np.arange(_WINDOW)] * np.hanning(_WINDOW)
    energy = np.abs(np.fft.rfft(windows, axis=-1)) ** 2
    bands = np.log(energy.mean(axis=1) @ _mel().T + 1e-5)
    return _standard(bands).astype(np.float32)


def mouth_opening(clip: Clip) -> npt.NDArray[np.float32]:
    """How far each frame is from the first where the clip moves most, [T], mean 0 and deviation 1."""
    change = moving(clip.frames)
    luma = clip.frames.astype(np.float32).mean(axis=3)
    cell = luma.shape[1] // change.shape[0]
    cells = np.argsort(change.ravel())[-_CELLS:]
    seen = []
    for place in cells:
        row, column = divmod(int(place), change.shape[1])
        part = luma[:, cell * row : cell * (row + 1), cell * column : cell * (column + 1)]
        seen.append(np.abs(part - part[:1]).mean(axis=(1, 2)))
    return _standard(np.mean(seen, axis=0)[:, None])[:, 0]


def _mel() -> npt.NDArray[np.float64]:
    """Triangles over a window's frequencies, [BANDS, _WINDOW/2+1]."""
    edges = 700 * (np.exp(np.linspace(np.log1p(80 / 700), np.log1p(7600 / 700), BANDS + 2)) - 1)
    heard = np.fft.rfftfreq(_WINDOW, 1 / AUDIO_RATE)
    rise = (heard[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - heard[None]) / (edges[2:] - edges[1:-1])[:, None]
    triangles: npt.NDArray[np.float64] = np.clip(np.minimum(rise, fall), 0, None)
    return triangles


def _standard(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    standard: npt.NDArray[Any] = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-6)
    return standard


def _correlation(read: Tensor, wanted: Tensor) -> float:
    pair = torch.stack((read.flatten(), wanted.flatten()))
    return float(torch.corrcoef(pair)[0, 1].nan_to_num())


def train_speech(
    clips_folder: Path,
    out: Path,
    size: Size,
    settings: SpeechSettings,
    *,
    init: str | None,
    seed: int,
    habits: Habits,
    told: Told,
) -> Outcome:
    """Train, or go on.

    Raises:
        LiveTalkError: something can't be used, or the run has collapsed.
    """
    clips = Clips(clips_folder)
    if any(not len(clip.sound) for clip in clips.train):
        raise OptionError(f"{clips_folder} holds clips without sound; there is nothing to hear.")
    network = TrainingSpeech(size.speech, seed)
    if init is not None:
        folder = CheckpointFiles.flat(Path(init)).speech
        if folder.is_dir():
            # What reads from it is not kept: it is learned again in some dozen steps.
            network.model.load_state_dict(
                {k: v.float() for k, v in check_speech_encoder(folder, size.speech)[1].items()}
            )
        else:
            fill(network, average_of(init))
    config = {
        "stage": SpeechStage.name,
        "size": size.name,
        "network": asdict(size.speech),
        "seed": seed,
        "init": init,
        **asdict(settings),
        **clips.identity(),
    }
    return train_own(
        out, config, settings.steps, habits, told, lambda on: SpeechStage(network, clips, settings, seed, on)
    )
