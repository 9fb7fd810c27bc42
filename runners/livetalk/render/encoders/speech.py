"""Speech as wav2vec2 features, one vector per video frame: of a whole clip, or as a stream (spec section 5).

A feature is the last hidden state followed by every hidden state, (layers + 2) * hidden channels. Audio is 16 kHz mono
float32; video runs at 16 frames per second, so one frame is 1000 samples and 3.125 steps of the convolutional front
end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from livetalk.base.errors import AudioError
from livetalk.base.rates import AUDIO_RATE, VIDEO_FPS
from livetalk.render.config import SPEECH_LOOK_AHEAD, SpeechConfig, video_frames
from livetalk.render.streams import to_device

Samples = npt.NDArray[np.float32]

FRAME_SAMPLES = AUDIO_RATE // VIDEO_FPS

DEFAULT_LEFT = 64
"""Context of a streaming window in video frames, chosen from the measured curve in docs/speech-windows.md."""
DEFAULT_RIGHT = SPEECH_LOOK_AHEAD

LOUDNESS_SECONDS = 2.0
"""What is known of a voice from earlier utterances weighs as much as so many seconds of the new one. Measured in
docs/speech-windows.md: enough for the first block, and outweighed by the time that the utterance speaks for itself."""

_VARIANCE_FLOOR = 1e-7

_PLACES_KEPT = 1024
"""Shapes of windows; a conversation has a few dozen."""

_NARROW = 16
"""Where a processor has AMX, oneDNN (3.12) computes a bfloat16 convolution of fewer channels in a group than this
wrongly under a wide kernel: with 12 under a kernel of 16 by 0.7 of the result. The published encoder has 48."""


@dataclass(frozen=True, slots=True)
class Loudness:
    """Sums over a voice's samples so far, and over the output of the front end's first convolution on them."""

    count: float
    total: float
    square: float
    steps: float
    step_total: Tensor
    """[channels] float64."""
    step_square: Tensor
    """[channels] float64."""

    def __add__(self, other: Loudness) -> Loudness:
        return Loudness(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def within(self, seconds: float) -> Loudness:
        """The same averages with the weight of at most so many seconds."""
        share = min(1.0, seconds * AUDIO_RATE / max(self.count, 1.0))
        return Loudness(*(getattr(self, f.name) * share for f in fields(self)))


class SpeechEncoder:
    """wav2vec2, with its front end resampled to video frames before the transformer."""

    def __init__(self, model: Wav2Vec2Model) -> None:
        """
        Raises:
            ValueError: the model is not of wav2vec2-base's kind (group norm in the first layer, post-norm transformer).
        """
        config = model.config
        if config.feat_extract_norm != "group" or config.do_stable_layer_norm or config.add_adapter:
            raise ValueError("the speech encoder must be of wav2vec2-base's kind; larger variants are built otherwise")
        self.model = model.train(False).requires_grad_(False)
        parameter = next(model.parameters())
        self.dtype, self.device = parameter.dtype, parameter.device
        position = model.encoder.pos_conv_embed
        narrow = position.conv.in_channels // position.conv.groups < _NARROW
        self._position = torch.float32 if narrow and self.device.type == "cpu" else self.dtype
        """What the convolution that tells places apart computes in."""
        position.to(self._position)
        self._known_places: dict[tuple[int, int, int], tuple[Tensor, Tensor, Tensor]] = {}
        self.field, self.hop = 1, 1
        """Samples seen by one step of the front end, and samples from one step to the next."""
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            self.field, self.hop = (self.field - 1) * stride + kernel, self.hop * stride

    @classmethod
    def from_state(
        cls,
        config: SpeechConfig,
        state: Mapping[str, Tensor],
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> SpeechEncoder:
        """Build from tensors under the names of ``reference_shapes``, without a second copy of the weights."""
        model = empty_model(config)
        model.load_state_dict({key: state[key].to(device=device, dtype=dtype) for key in state}, assign=True)
        return cls(model)

    @property
    def channels(self) -> int:
        """Channels of one frame's feature."""
        return (int(self.model.config.num_hidden_layers) + 2) * int(self.model.config.hidden_size)

    @torch.inference_mode()
    def whole_clip(self, samples: Samples, latent_frames: int) -> Tensor:
        """Features of a finished clip, exactly as released: [4F-3, channels].

        Longer audio is cut to (4F-4) frames. Shorter audio is stretched over all frames, as the release does; pad it
        with silence first if it should keep its pace.

        Raises:
            AudioError: fewer samples than one step of the front end needs (25 ms).
        """
        frames = video_frames(latent_frames)
        samples = samples[: (frames - 1) * FRAME_SAMPLES] if frames > 1 else samples
        if len(samples) < self.field:
            raise AudioError(
                f"The clip has {len(samples)} samples; speech features need at least {self.field} "
                f"({1000 * self.field / AUDIO_RATE:.0f} ms). Pad it with silence."
            )
        return self.hidden_states(self.resampled(self.front_end(self.normalised(samples)), frames))

    @staticmethod
    def normalised(samples: Samples) -> Samples:
        """Zero mean and unit variance over the whole clip."""
        mean, variance = samples.mean(), samples.var()
        normalised: Samples = ((samples - mean) / np.sqrt(variance + _VARIANCE_FLOOR)).astype(np.float32)
        return normalised

    @torch.inference_mode()
    def front_end(self, samples: Samples) -> Tensor:
        """Convolutional features of normalised samples: [1, conv channels, steps]."""
        steps: Tensor = self.model.feature_extractor(self._tensor(samples))
        return steps

    @staticmethod
    def resampled(steps: Tensor, frames: int) -> Tensor:
        """Front-end steps to exactly ``frames`` of them, first on first and last on last."""
        return F.interpolate(steps, size=frames, mode="linear", align_corners=True)

    @torch.inference_mode()
    def hidden_states(self, frames: Tensor) -> Tensor:
        """Front-end features at video frames [1, conv channels, T] to features [T, channels]."""
        encoder = self.model.encoder
        hidden, _ = self.model.feature_projection(frames.transpose(1, 2))
        places = encoder.pos_conv_embed(hidden.to(self._position)).to(self.dtype)
        hidden = encoder.layer_norm(hidden + places)
        states = [hidden]
        for layer in encoder.layers:
            output = layer(hidden)
            hidden = output if isinstance(output, Tensor) else output[0]  # a tuple before transformers 5
            states.append(hidden)
        return torch.cat([states[-1], *states], dim=-1)[0]

    def _tensor(self, samples: Samples) -> Tensor:
        return to_device(torch.from_numpy(np.ascontiguousarray(samples)).unsqueeze(0), self.device, self.dtype)

    def _places(self, offset: int, frames: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """The two of so many front-end steps around each of so many video frames, and the share of the later one.

        Frames are ``FRAME_SAMPLES`` apart, the first of them ``offset`` samples after the first step. The windows of a
        conversation soon repeat the same few; these stay on the device.
        """
        key = offset, frames, steps
        found = self._known_places.get(key)
        if found is None:
            position = (offset + FRAME_SAMPLES * torch.arange(frames, dtype=torch.float64)) / self.hop
            lower = position.floor().long().clamp(max=steps - 1)
            upper = (lower + 1).clamp(max=steps - 1)
            weight = (position - lower).to(self.dtype)
            # Copies that are waited for: other threads' streams read them, too.
            found = lower.to(self.device), upper.to(self.device), weight.to(self.device)
            if len(self._known_places) < _PLACES_KEPT:
                self._known_places[key] = found
        return found


class SpeechStream:
    """Features of one conversation's audio while it arrives.

    Each request encodes a window: the frames asked for, up to ``left`` frames before and ``right`` frames after them.
    What the whole clip would have told the encoder about loudness (mean and variance of the samples, and of each
    channel of the first convolution) is estimated from all audio up to the end of the window, so the window's own
    length does not show there. Features depend on the audio and the sequence of requests, never on how the audio was
    cut into pushes.

    Requests move forward: the ``last`` of one must not lie before the ``last`` of the one before it, and audio further
    back than ``left`` frames is forgotten. Not to be shared between threads.

    Args:
        left, right: frames of context.
        voice: ``loudness`` of an earlier utterance of the same voice, so that the first blocks need not guess it anew.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        left: int = DEFAULT_LEFT,
        right: int = DEFAULT_RIGHT,
        *,
        voice: Loudness | None = None,
    ) -> None:
        if left < 0 or right < 0:
            raise ValueError(f"context must not be negative, got left {left}, right {right}")
        self.left, self.right = left, right
        self._encoder = encoder
        self._statistics = _RunningStatistics(encoder, voice)
        self._samples: Samples = np.zeros(0, np.float32)
        self._arrived: list[Samples] = []
        self._origin = 0  # index in the conversation of the first sample kept
        self._total = 0
        self._closed = False
        self._last = -1

    def push(self, samples: Samples) -> None:
        """Append audio: 16 kHz mono, any number of samples.

        Raises:
            AudioError: values that are not finite.
            RuntimeError: the stream is closed.
        """
        if self._closed:
            raise RuntimeError("the speech stream is closed")
        samples = np.array(samples, dtype=np.float32)
        if samples.ndim != 1:
            raise ValueError(f"expected mono samples as one row, got shape {samples.shape}")
        if not np.isfinite(samples).all():
            raise AudioError("The audio holds values that are not numbers; decode it again.")
        self._arrived.append(samples)
        self._total += len(samples)

    def close(self) -> None:
        """No audio follows: every later frame is silence and can be asked for at once."""
        self._closed = True

    @property
    def loudness(self) -> Loudness:
        """Of the voice so far, what was known before it included."""
        return self._statistics.loudness

    def ready(self, first_frame: int, last_frame: int) -> bool:
        """Whether the features of these video frames (inclusive) can be computed now."""
        self._check(first_frame, last_frame)
        return self._closed or self._end(last_frame + self.right) <= self._total

    @torch.inference_mode()
    def features(self, first_frame: int, last_frame: int) -> Tensor:
        """Features of video frames first…last, inclusive: [n, channels].

        Raises:
            RuntimeError: not ready yet.
            ValueError: the frames lie before what is kept.
        """
        if not self.ready(first_frame, last_frame):
            missing = self._end(last_frame + self.right) - self._total
            raise RuntimeError(f"frames {first_frame} to {last_frame} need {missing} more samples of audio")
        begin, end = max(0, first_frame - self.left), self._window_end(last_frame)
        first_step, last_step = self._step(begin), -self._step(-end)
        start = self._encoder.hop * first_step
        if start < self._origin:
            raise ValueError(
                f"the audio of frames {first_frame} to {last_frame} is no longer kept; requests move forward"
            )
        self._gather(start)
        window = self._samples[start - self._origin : self._end(end) - self._origin]
        self._statistics.extend(self._samples, self._origin, min(self._end(end), self._total))
        self._last = last_frame
        silence = np.zeros(self._end(end) - start - len(window), np.float32)
        steps = self._statistics.front_end(np.concatenate([window, silence]))
        assert steps.shape[-1] == last_step - first_step + 1
        states = self._encoder.hidden_states(self._at_frames(steps, begin, end))
        return states[first_frame - begin : last_frame - begin + 1]

    def _check(self, first: int, last: int) -> None:
        if not 0 <= first <= last:
            raise ValueError(f"frames {first} to {last} are not a range")
        if last < self._last:
            raise ValueError(f"requests move forward: frame {last} was asked for after frame {self._last}")

    def _step(self, frame: int) -> int:
        """Front-end step at or before a frame's time."""
        return frame * FRAME_SAMPLES // self._encoder.hop

    def _end(self, frame: int) -> int:
        """Samples that must be there to place ``frame``: to the end of the step at or after it."""
        return self._encoder.hop * -self._step(-frame) + self._encoder.field

    def _window_end(self, last: int) -> int:
        """Last frame of the window. Once closed, silence that nobody asked for is no context."""
        if self._closed and self._end(last + self.right) > self._total:
            return max(last, min(last + self.right, self._total // FRAME_SAMPLES))
        return last + self.right

    def _gather(self, start: int) -> None:
        """Join what arrived and drop what lies before ``start``, except samples the statistics have not counted yet."""
        keep = min(start, self._statistics.position)
        joined = np.concatenate([self._samples, *self._arrived])
        self._samples, self._arrived = joined[max(0, keep - self._origin) :], []
        self._origin = max(self._origin, keep)

    def _at_frames(self, steps: Tensor, begin: int, end: int) -> Tensor:
        """Front-end features at the times of frames begin…end, between the two steps around each."""
        offset = begin * FRAME_SAMPLES - self._step(begin) * self._encoder.hop
        lower, upper, weight = self._encoder._places(offset, end + 1 - begin, steps.shape[-1])
        return torch.lerp(steps[..., lower], steps[..., upper], weight)


class _RunningStatistics:
    """Loudness of a conversation so far, where the released encoder uses that of the whole clip.

    Two things in the front end look at the whole clip: the normalisation of the samples, and the group norm after the
    first convolution, which normalises each channel over time. The convolution is linear, so the statistics of its
    output on normalised samples follow from those on raw samples, and both can be summed as the audio arrives.
    """

    def __init__(self, encoder: SpeechEncoder, voice: Loudness | None = None) -> None:
        self._encoder = encoder
        first = encoder.model.feature_extractor.conv_layers[0]
        self._kernel = first.conv.weight.float().cpu()
        self._stride: int = first.conv.stride[0]
        nothing = torch.zeros(self._kernel.shape[0], dtype=torch.float64)
        self.loudness = voice.within(LOUDNESS_SECONDS) if voice else Loudness(0, 0.0, 0.0, 0, nothing, nothing)
        self._count = 0
        self._steps = 0

    @property
    def position(self) -> int:
        """First sample still needed."""
        return min(self._count, self._steps * self._stride)

    def extend(self, samples: Samples, origin: int, end: int) -> None:
        """Count the conversation's samples up to ``end``; ``samples`` begins at sample ``origin`` of the
        conversation."""
        if end <= self._count:
            return
        fresh = samples[self._count - origin : end - origin].astype(np.float64)
        steps = max(self._steps, (end - self._kernel.shape[-1]) // self._stride + 1)
        span = samples[self._steps * self._stride - origin : end - origin]
        output = torch.zeros((self._kernel.shape[0], 0), dtype=torch.float64)
        if steps > self._steps:
            output = F.conv1d(torch.from_numpy(span.copy()).view(1, 1, -1), self._kernel, stride=self._stride)[0]
            output = output[:, : steps - self._steps].double()
        self.loudness += Loudness(
            len(fresh),
            float(fresh.sum()),
            float(np.square(fresh).sum()),
            steps - self._steps,
            output.sum(dim=1),
            output.square().sum(dim=1),
        )
        self._count, self._steps = end, steps

    def front_end(self, samples: Samples) -> Tensor:
        """Convolutional features of a window of raw samples: [1, conv channels, steps]."""
        voice = self.loudness
        mean = voice.total / max(voice.count, 1)
        scale = float(np.sqrt(max(voice.square / max(voice.count, 1) - mean**2, 0.0) + _VARIANCE_FLOOR))
        step_mean = voice.step_total / max(voice.steps, 1)
        step_variance = (voice.step_square / max(voice.steps, 1) - step_mean.square()).clamp_min(0.0)
        layers = self._encoder.model.feature_extractor.conv_layers
        first, norm = layers[0], layers[0].layer_norm
        output = first.conv(self._encoder._tensor(((samples - mean) / scale).astype(np.float32))[:, None])
        centre = (step_mean - mean * self._kernel.sum(dim=(1, 2)).double()) / scale
        gain = (step_variance / scale**2 + norm.eps).rsqrt()
        columns = to_device(torch.stack((centre, gain)), self._encoder.device, self._encoder.dtype)[..., None]
        output = (output - columns[0]) * columns[1]
        hidden: Tensor = first.activation(output * norm.weight[:, None] + norm.bias[:, None])
        for layer in layers[1:]:
            hidden = layer(hidden)
        return hidden


def empty_model(config: SpeechConfig) -> Wav2Vec2Model:
    """transformers' module of these dimensions without memory behind its weights."""
    overrides = {
        **config.overrides,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        # Masking is for training; without it the model has no mask embedding to load.
        "apply_spec_augment": False,
        "mask_time_prob": 0.0,
        "mask_feature_prob": 0.0,
        "attn_implementation": "sdpa",
    }
    with torch.device("meta"):
        return Wav2Vec2Model(Wav2Vec2Config(**overrides))


def reference_shapes(config: SpeechConfig) -> dict[str, tuple[int, ...]]:
    """Name to shape of every tensor needed, under today's names (``current_name`` translates older ones)."""
    return {name: tuple(tensor.shape) for name, tensor in empty_model(config).state_dict().items()}


def current_name(key: str) -> str | None:
    """Name of a published file's tensor today; None if this encoder does not need it (spec 1)."""
    key = key.removeprefix("wav2vec2.")
    if key.startswith("lm_head.") or key == "masked_spec_embed":
        return None
    weight_norm = "pos_conv_embed.conv."
    return key.replace(f"{weight_norm}weight_g", f"{weight_norm}parametrizations.weight.original0").replace(
        f"{weight_norm}weight_v", f"{weight_norm}parametrizations.weight.original1"
    )
