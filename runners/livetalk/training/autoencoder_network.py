"""The Wan autoencoder as it is trained: the runner's module, with convolutions that have a fast backward pass.

It begins framewise: every kernel that reaches back in time looks at the present frame alone, a later latent holds the
last of its four frames, and is shown four times. So what images teach holds for clips from the first step on, and clips
have to teach nothing but what lies between. The latents are normalised by what is measured of them; ``published`` folds
that into the 1×1 convolutions beside them, so that the file's latents have the published means and deviations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d, WanResample
from torch import Tensor, nn

from livetalk.render.config import TEMPORAL_STRIDE, VAEConfig
from livetalk.render.vae import LATENT_MEAN, LATENT_STD, empty_module, original_names

Z_CHANNELS = len(LATENT_MEAN)
_MOMENTUM = 0.02


class _PlaneConv3d(WanCausalConv3d):  # type: ignore[misc,unused-ignore]
    """The same causal convolution as one over pictures, whose channels are those of all frames that the kernel sees: on
    a CPU narrow ones over volumes take ten times as long. The first frame of a clip needs a third of it."""

    def forward(self, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        taps, stride = self.kernel_size[0], self.stride[0]
        left, _, top, _, past, _ = (int(side) for side in self._padding)
        padding = (top, left)
        if x.shape[2] == 1 and cache_x is None and past == taps - 1:
            weight = self.weight[:, :, -1]
            return _over_planes(x, weight, self.bias, padding)
        if cache_x is not None and past:
            x = torch.cat([cache_x, x], dim=2)
            past -= cache_x.shape[2]
        x = F.pad(x, (0, 0, 0, 0, past, 0))
        count = (x.shape[2] - taps) // stride + 1
        seen = torch.cat([x[:, :, tap : tap + stride * (count - 1) + 1 : stride] for tap in range(taps)], dim=1)
        weight = self.weight.transpose(1, 2).flatten(1, 2)
        return _over_planes(seen, weight, self.bias, padding)


def _over_planes(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    batch, _, frames = x.shape[:3]
    planes = F.conv2d(x.transpose(1, 2).flatten(0, 1), weight, bias, padding=padding)
    volume: Tensor = planes.unflatten(0, (batch, frames)).transpose(1, 2)
    return volume


class TrainingAutoencoder(nn.Module):
    """Encoder and decoder with gradients. Its parameters have diffusers' names, behind ``module.``."""

    measured_mean: Tensor
    measured_variance: Tensor

    def __init__(self, config: VAEConfig, seed: int) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module = _built(config)
        framewise(self.module)
        self.register_buffer("measured_mean", torch.zeros(config.z_dim))
        self.register_buffer("measured_variance", torch.ones(config.z_dim))

    def forward(self, frames: Tensor, noise: Tensor | None = None, *, measure: bool = False) -> tuple[Tensor, Tensor]:
        """Frames [B,3,4k+1,H,W] in [-1,1] to the same, reconstructed, and their normalised latents [B,16,k+1,h,w].

        Args:
            noise: added to the latents, of their shape.
            measure: let this batch count for what latents are normalised by.
        """
        latents = self.encode(frames, measure=measure)
        return self.decode(latents if noise is None else latents + noise), latents

    def encode(self, frames: Tensor, *, measure: bool = False) -> Tensor:
        """To normalised latents."""
        module: Any = self.module
        cache: list[Any] = [None] * sum(isinstance(layer, WanCausalConv3d) for layer in module.encoder.modules())
        later = range(1, frames.shape[2], TEMPORAL_STRIDE)
        chunks = [frames[:, :, :1], *(frames[:, :, start : start + TEMPORAL_STRIDE] for start in later)]
        moments = [module.encoder(chunk, feat_cache=cache, feat_idx=[0]) for chunk in chunks]
        raw = module.quant_conv(torch.cat(moments, dim=2))[:, : self.config.z_dim]
        # Never by this batch's own: what its few pictures have in common, such as a colour, would be lost.
        mean, variance = self.measured_mean.clone(), self.measured_variance.clone()
        if measure:
            found, centre = torch.var_mean(raw.detach(), dim=(0, 2, 3, 4))
            self.measured_mean.lerp_(centre, _MOMENTUM)
            self.measured_variance.lerp_(found, _MOMENTUM)
        return cast(Tensor, (raw - _wide(mean)) / _wide(variance + 1e-6).sqrt())

    def decode(self, latents: Tensor) -> Tensor:
        """Of normalised latents; not clamped."""
        module: Any = self.module
        cache: list[Any] = [None] * sum(isinstance(layer, WanCausalConv3d) for layer in module.decoder.modules())
        features = module.post_quant_conv(latents)
        planes = [
            module.decoder(features[:, :, i : i + 1], feat_cache=cache, feat_idx=[0], first_chunk=i == 0)
            for i in range(features.shape[2])
        ]
        return torch.cat(planes, dim=2)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint holds of it, sharing memory."""
        found = {name: value.detach() for name, value in self.named_parameters()}
        return {**found, "measured_mean": self.measured_mean, "measured_variance": self.measured_variance}


def published(config: VAEConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's tensors (``TrainingAutoencoder.state``) under the original file's names, in float32.

    The encoder's last 1×1 convolution gives latents of the published means and deviations, the decoder's first takes
    them.
    """
    own = {name.removeprefix("module."): value.float().clone() for name, value in state.items()}
    mean, deviation = own.pop("measured_mean"), (own.pop("measured_variance") + 1e-6).sqrt()
    given, scale = torch.tensor(LATENT_MEAN), torch.tensor(LATENT_STD)
    count = config.z_dim
    factor = scale / deviation
    out_weight, out_bias = own["quant_conv.weight"], own["quant_conv.bias"]
    out_weight[:count] *= factor.view(-1, 1, 1, 1, 1)
    out_bias[:count] = (out_bias[:count] - mean) * factor + given
    in_weight, in_bias = own["post_quant_conv.weight"], own["post_quant_conv.bias"]
    in_weight /= scale.view(1, -1, 1, 1, 1)
    in_bias -= (in_weight[:, :, 0, 0, 0] * given).sum(dim=1)
    return {original: own[name].contiguous() for original, name in original_names(config).items()}


def unpublished(config: VAEConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of ``published``, up to what is folded: tensors that a ``TrainingAutoencoder`` goes on with."""
    own = {f"module.{name}": state[original].float().clone() for original, name in original_names(config).items()}
    given, scale = torch.tensor(LATENT_MEAN), torch.tensor(LATENT_STD)
    weight = own["module.post_quant_conv.weight"]
    own["module.post_quant_conv.bias"] += (weight[:, :, 0, 0, 0] * given).sum(dim=1)
    weight *= scale.view(1, -1, 1, 1, 1)
    return {**own, "measured_mean": given, "measured_variance": scale.square()}


def framewise(module: AutoencoderKLWan) -> None:
    """Let every kernel look at the present frame alone."""
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, WanCausalConv3d) and layer.kernel_size[0] > 1:
                layer.weight[:, :, :-1] = 0
            if isinstance(layer, WanResample) and layer.mode in ("upsample3d", "downsample3d"):
                conv = layer.time_conv
                copies = conv.out_channels // conv.in_channels
                conv.weight[:, :, -1, 0, 0] = torch.eye(conv.in_channels).repeat(copies, 1)
                assert conv.bias is not None
                conv.bias.zero_()


def _built(config: VAEConfig) -> AutoencoderKLWan:
    empty = empty_module(config)
    module = AutoencoderKLWan.from_config(empty.config)
    for layer in module.modules():
        if type(layer) is WanCausalConv3d:
            layer.__class__ = _PlaneConv3d
    return cast(AutoencoderKLWan, module)


def _wide(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1, 1)
