"""The Wan 2.1 video autoencoder: diffusers' modules under the original file's names, decoded as a stream.

Latents are [1, 16, F, h, w], normalised as the transformer uses them; pixels are [1, 3, T, 8h, 8w] in [-1, 1]. Latent
0 is one frame, every later latent four (spec section 10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d
from torch import Tensor

from livetalk.render.config import SPATIAL_STRIDE, TEMPORAL_STRIDE, VAEConfig
from livetalk.render.decoder_graph import DecoderGraphs
from livetalk.render.model.graphs import CudaRecorder, Recorder

LATENT_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
LATENT_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip
RECORDED_FROM = 3
"""Latents of a video that are decoded before a step is recorded, or replayed: the first two have a shorter past."""


class WanVAE:
    """Encoder and decoder over one set of weights.

    Nothing of a stream is kept here: every ``VAEStream`` owns its cache, so several conversations can decode over the
    same weights, and encoding a picture disturbs no stream.
    """

    def __init__(self, module: AutoencoderKLWan, *, onednn: bool = True) -> None:
        """``onednn``: on a CPU in float32, its convolutions instead of those torch would choose."""
        self.module = module.eval().requires_grad_(False)
        parameter = next(module.parameters())
        self.dtype, self.device = parameter.dtype, parameter.device
        self.channels = int(module.config["z_dim"])
        shape = (1, self.channels, 1, 1, 1)
        self._mean = torch.tensor(LATENT_MEAN, dtype=self.dtype, device=self.device).view(shape)
        # The release keeps the deviations in the run's dtype and inverts them there: in bfloat16 both steps round.
        self._inverse_std = 1.0 / torch.tensor(LATENT_STD, dtype=self.dtype, device=self.device).view(shape)
        if onednn and self.device.type == "cpu" and self.dtype == torch.float32 and torch.backends.mkldnn.enabled:
            _prefer_onednn(module)
        self._encoder_slots = _count_causal_convs(module.encoder)
        self._decoder_slots = _count_causal_convs(module.decoder)
        self._decode_first: Callable[..., tuple[Tensor, list[Any]]] = self._first_frame
        self._decode_next: Callable[..., tuple[Tensor, list[Any]]] = self._next_frames

    @classmethod
    def from_state(
        cls,
        config: VAEConfig,
        state: Mapping[str, Tensor],
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        channels_last: bool = False,
        onednn: bool = True,
    ) -> WanVAE:
        """Build from tensors under the original file's names (spec 1.3), without a second copy of the weights."""
        module = empty_module(config)
        names = original_names(config)
        # Tensor cores read channels-last; each convolution's output then follows its weight's layout.
        layouts = {5: torch.channels_last_3d, 4: torch.channels_last} if channels_last else {}
        module.load_state_dict(
            {
                names[key]: value.to(
                    device=device, dtype=dtype, memory_format=layouts.get(value.ndim, torch.contiguous_format)
                )
                for key, value in state.items()
            },
            assign=True,
        )
        return cls(module, onednn=onednn)

    def compile(self, **options: Any) -> None:
        """Compile the two decoder steps: the first latent, and any later one; the second latent's cache is shorter than
        that of all after it, so that a picture size takes three shapes, each static."""
        self._decode_first = torch.compile(self._first_frame, dynamic=False, **options)
        self._decode_next = torch.compile(self._next_frames, dynamic=False, **options)

    @torch.inference_mode()
    def encode_image(self, image: Tensor) -> Tensor:
        """[1, 3, 1, H, W] in [-1, 1] to one latent [1, 16, 1, h, w], float32."""
        if image.ndim != 5 or image.shape[2] != 1:
            raise ValueError(f"expected one picture as [1, 3, 1, H, W], got {tuple(image.shape)}")
        return self.encode_clip(image)

    @torch.inference_mode()
    def encode_clip(self, frames: Tensor) -> Tensor:
        """[1, 3, 4k+1, H, W] in [-1, 1] to latents [1, 16, k+1, h, w], float32: the mean of the posterior, no
        sampling."""
        if frames.ndim != 5 or frames.shape[:2] != (1, 3) or frames.shape[2] % TEMPORAL_STRIDE != 1:
            raise ValueError(f"expected a clip as [1, 3, 4k+1, H, W], got {tuple(frames.shape)}")
        if frames.shape[-1] % SPATIAL_STRIDE or frames.shape[-2] % SPATIAL_STRIDE:
            raise ValueError(f"height and width must be multiples of {SPATIAL_STRIDE}, got {tuple(frames.shape[-2:])}")
        frames = frames.to(self.device, self.dtype)
        cache: list[Any] = [None] * self._encoder_slots
        later = range(1, frames.shape[2], TEMPORAL_STRIDE)
        chunks = [frames[:, :, :1], *(frames[:, :, start : start + TEMPORAL_STRIDE] for start in later)]
        moments = [self.module.encoder(chunk, feat_cache=cache, feat_idx=[0]) for chunk in chunks]
        mean = self.module.quant_conv(torch.cat(moments, dim=2))[:, : self.channels]
        latents: Tensor = (mean - self._mean) * self._inverse_std
        return latents.float()

    def decoder_stream(self, graphs: bool | Recorder = False) -> VAEStream:
        """A decoder with a cache of its own; use one per conversation.

        Args:
            graphs: record its step, at the first video of more than ``RECORDED_FROM`` latents, and replay it from then
                on; True means nothing where there is no CUDA. Nothing else may be at work on the device while it
                records, as while a performer warms up.
        """
        recorder = None if isinstance(graphs, bool) else graphs
        if graphs is True and self.device.type == "cuda":
            recorder = CudaRecorder(self.device, torch.cuda.Stream(self.device))
        return VAEStream(self, recorder)

    def decode(self, latents: Tensor) -> Tensor:
        """A whole clip [1, 16, F, h, w] to uint8 [4F-3, H, W, 3]; the same numbers as a stream gives."""
        return self.decoder_stream().decode(latents)

    def decode_float(self, latents: Tensor) -> Tensor:
        """A whole clip [1, 16, F, h, w] to [1, 3, 4F-3, H, W] in the weights' dtype, not clamped."""
        return self.decoder_stream().decode_float(latents)

    def _denormalised(self, latent: Tensor) -> Tensor:
        features: Tensor = self.module.post_quant_conv(latent / self._inverse_std + self._mean)
        return features

    # The steps take and return the cache instead of changing it in place: that is what a compiler or a CUDA graph can
    # hold.
    def _first_frame(self, latent: Tensor) -> tuple[Tensor, list[Any]]:
        cache: list[Any] = [None] * self._decoder_slots
        frames = self.module.decoder(self._denormalised(latent), feat_cache=cache, feat_idx=[0], first_chunk=True)
        return frames, cache

    def _next_frames(self, latent: Tensor, cache: list[Any]) -> tuple[Tensor, list[Any]]:
        cache = list(cache)
        frames = self.module.decoder(self._denormalised(latent), feat_cache=cache, feat_idx=[0], first_chunk=False)
        return frames, cache


class VAEStream:
    """Decodes one conversation's latents as they come. Not to be shared between threads."""

    def __init__(self, vae: WanVAE, recorder: Recorder | None = None) -> None:
        self._vae, self._recorder = vae, recorder
        self._cache: list[Any] | None = None
        self._graphs: DecoderGraphs | None = None
        self._replaying = False
        self._decoded = 0

    def reset(self) -> None:
        """Forget the past: the next latent is the first of a new video."""
        self._cache = None
        self._replaying = False
        self._decoded = 0

    @property
    def recorded(self) -> bool:
        """Whether its step is replayed from now on."""
        return self._graphs is not None

    @property
    def cache(self) -> tuple[Tensor | None, ...]:
        """The two past frames each causal convolution keeps, in the order they run; None where nothing is kept."""
        past = self._graphs.past if self._replaying and self._graphs is not None else self._cache
        return tuple(slot if isinstance(slot, Tensor) else None for slot in past or ())

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """The next k latents [1, 16, k, h, w] to uint8 frames [T, H, W, 3] on the weights' device.

        T is 4k, or 4k-3 if the first of them is the first of the stream. However the latents are cut into calls, the
        frames are bit for bit the same.
        """
        return torch.cat([to_uint8(frames) for frames in self._frames(latents)])

    @torch.inference_mode()
    def decode_float(self, latents: Tensor) -> Tensor:
        """As ``decode``, but [1, 3, T, H, W] in the weights' dtype, not clamped."""
        # What is replayed comes in the same memory again.
        return torch.cat([frames.clone() if self._replaying else frames for frames in self._frames(latents)], dim=2)

    def _frames(self, latents: Tensor) -> Iterator[Tensor]:
        if latents.ndim != 5 or latents.shape[:2] != (1, self._vae.channels) or not latents.shape[2]:
            raise ValueError(f"expected latents as [1, {self._vae.channels}, k, h, w], got {tuple(latents.shape)}")
        for latent in torch.split(latents.to(self._vae.device, self._vae.dtype), 1, dim=2):
            yield self._next(latent)
            self._decoded += 1

    def _next(self, latent: Tensor) -> Tensor:
        if self._cache is None:
            frames, self._cache = self._vae._decode_first(latent)
            return frames
        # By then the past has its final shapes, and the step was done with them: what is compiled, planned or allocated
        # at the first time is not to be recorded.
        if self._recorder is not None and self._decoded >= RECORDED_FROM:
            if self._graphs is None:
                self._graphs = DecoderGraphs(self._vae._decode_next, latent, self._cache, self._recorder)
            if self._graphs.fits(latent):
                if not self._replaying:
                    self._graphs.begin(self._cache)
                    self._replaying = True
                    self._cache = self._graphs.past  # the other's memory is free again
                return self._graphs.frames(latent)
        frames, self._cache = self._vae._decode_next(latent, self._cache)
        return frames


def to_unit(frames: Tensor) -> Tensor:
    """Decoded frames of any shape to float32 in [0, 1]."""
    return frames.float().clamp(-1.0, 1.0).mul(0.5).add(0.5).clamp(0.0, 1.0)


def to_uint8(frames: Tensor) -> Tensor:
    """[1, 3, T, H, W] to [T, H, W, 3]; truncated, not rounded, as released."""
    return to_unit(frames[0]).mul(255.0).to(torch.uint8).permute(1, 2, 3, 0).contiguous()


def empty_module(config: VAEConfig) -> AutoencoderKLWan:
    """diffusers' module of these dimensions without memory behind its weights."""
    if config.z_dim != len(LATENT_MEAN):
        raise ValueError(f"the latent statistics are known for {len(LATENT_MEAN)} channels, not for {config.z_dim}")
    with torch.device("meta"):
        module: AutoencoderKLWan = AutoencoderKLWan(
            base_dim=config.dim,
            z_dim=config.z_dim,
            dim_mult=list(config.dim_mult),
            num_res_blocks=config.num_res_blocks,
            attn_scales=[],
            temperal_downsample=list(config.temporal_downsample),
            latents_mean=list(LATENT_MEAN),
            latents_std=list(LATENT_STD),
        )
    return module


def reference_shapes(config: VAEConfig) -> dict[str, tuple[int, ...]]:
    """Original name to shape of every tensor of the file."""
    shapes = {name: tuple(tensor.shape) for name, tensor in empty_module(config).state_dict().items()}
    return {original: shapes[name] for original, name in original_names(config).items()}


def original_names(config: VAEConfig) -> dict[str, str]:
    """Name in the original file to name in diffusers, for every tensor.

    The original numbers residual blocks and resamplers of a half in one list; diffusers groups the decoder's by level.
    """
    levels = len(config.dim_mult)
    names: dict[str, str] = {}

    def pair(original: str, ours: str, parts: tuple[str, ...] = ("weight", "bias")) -> None:
        names.update({f"{original}.{part}": f"{ours}.{part}" for part in parts})

    def residual(original: str, ours: str, *, shortcut: bool = False) -> None:
        pair(f"{original}.residual.0", f"{ours}.norm1", ("gamma",))
        pair(f"{original}.residual.2", f"{ours}.conv1")
        pair(f"{original}.residual.3", f"{ours}.norm2", ("gamma",))
        pair(f"{original}.residual.6", f"{ours}.conv2")
        if shortcut:
            pair(f"{original}.shortcut", f"{ours}.conv_shortcut")

    def ends(half: str) -> None:
        pair(f"{half}.conv1", f"{half}.conv_in")
        residual(f"{half}.middle.0", f"{half}.mid_block.resnets.0")
        pair(f"{half}.middle.1.norm", f"{half}.mid_block.attentions.0.norm", ("gamma",))
        pair(f"{half}.middle.1.to_qkv", f"{half}.mid_block.attentions.0.to_qkv")
        pair(f"{half}.middle.1.proj", f"{half}.mid_block.attentions.0.proj")
        residual(f"{half}.middle.2", f"{half}.mid_block.resnets.1")
        pair(f"{half}.head.0", f"{half}.norm_out", ("gamma",))
        pair(f"{half}.head.2", f"{half}.conv_out")

    def resampler(original: str, ours: str, *, temporal: bool) -> None:
        pair(f"{original}.resample.1", f"{ours}.resample.1")
        if temporal:
            pair(f"{original}.time_conv", f"{ours}.time_conv")

    ends("encoder")
    index, channels = 0, config.dim
    for level, factor in enumerate(config.dim_mult):
        for _ in range(config.num_res_blocks):
            width = config.dim * factor
            residual(f"encoder.downsamples.{index}", f"encoder.down_blocks.{index}", shortcut=channels != width)
            channels, index = width, index + 1
        if level < levels - 1:
            temporal = config.temporal_downsample[level]
            resampler(f"encoder.downsamples.{index}", f"encoder.down_blocks.{index}", temporal=temporal)
            index += 1
    pair("conv1", "quant_conv")

    pair("conv2", "post_quant_conv")
    ends("decoder")
    index, channels = 0, config.dim * config.dim_mult[-1]
    for level, factor in enumerate(reversed(config.dim_mult)):
        width = config.dim * factor
        for block in range(config.num_res_blocks + 1):
            ours = f"decoder.up_blocks.{level}.resnets.{block}"
            residual(f"decoder.upsamples.{index}", ours, shortcut=channels != width)
            channels, index = width, index + 1
        if level < levels - 1:
            temporal = config.temporal_downsample[levels - 2 - level]
            ours = f"decoder.up_blocks.{level}.upsamplers.0"
            resampler(f"decoder.upsamples.{index}", ours, temporal=temporal)
            channels, index = width // 2, index + 1
    unmatched = set(names.values()) ^ set(empty_module(config).state_dict())
    if unmatched:
        raise RuntimeError(f"diffusers names these tensors of the VAE otherwise than expected: {sorted(unmatched)[:5]}")
    return names


def _count_causal_convs(module: torch.nn.Module) -> int:
    return sum(isinstance(layer, WanCausalConv3d) for layer in module.modules())


class _OneDNNConv3d(WanCausalConv3d):  # type: ignore[misc,unused-ignore]
    """The same convolution through oneDNN. For inputs as narrow as the small sizes', torch would pick its plain
    implementation on a CPU, which takes ten times as long and rounds about half as much."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002 (torch's name)
        if torch.compiler.is_compiling():
            output: Tensor = super()._conv_forward(input, weight, bias)
        else:
            output = torch.mkldnn_convolution(input, weight, bias, [0, 0, 0], self.stride, self.dilation, self.groups)
        return output


def _prefer_onednn(module: torch.nn.Module) -> None:
    for layer in module.modules():
        if type(layer) is WanCausalConv3d:
            layer.__class__ = _OneDNNConv3d
