"""Arithmetic of the pipeline, counted and not timed; a multiply-add is two operations (spec 15)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from livetalk.render.config import FRAMES_PER_BLOCK, DiTConfig, StreamConfig, TextConfig, VAEConfig
from livetalk.render.model.weights import PATCH

TAPS = PATCH[1] * PATCH[2]


@dataclass(frozen=True, slots=True)
class ForwardCost:
    """Floating-point operations of one published DiT forward over a block."""

    linear: float
    """The text embedding, which the published code repeats at every forward, included."""
    cross_attention: float
    self_attention: float

    @property
    def total(self) -> float:
        return self.linear + self.cross_attention + self.self_attention


def attended_frames(block: int, window: int) -> int:
    """Latent frames a block attends to, its own included."""
    return min(FRAMES_PER_BLOCK * (block + 1), window)


def dit_forward(
    config: DiTConfig, stream: StreamConfig, attended: int, text_len: int = TextConfig().text_len
) -> ForwardCost:
    """One forward of a block that attends to ``attended`` latent frames."""
    d, n = config.dim, stream.tokens_per_frame
    tokens = FRAMES_PER_BLOCK * n
    layer = 2 * tokens * (6 * d * d + 2 * d * config.ffn_dim)  # q k v o, cross q o, feed-forward
    ends = 2 * tokens * d * TAPS * (config.in_dim + config.out_dim)
    text = 2 * text_len * (config.text_dim * d + d * d)
    return ForwardCost(
        linear=config.num_layers * layer + ends + text,
        cross_attention=config.num_layers * 4 * tokens * text_len * d,
        self_attention=config.num_layers * 4 * tokens * attended * n * d,
    )


def dit_block(
    config: DiTConfig,
    stream: StreamConfig,
    block: int,
    *,
    clean_pass: bool = True,
    text_len: int = TextConfig().text_len,
) -> float:
    """A block as published: its denoising forwards and a whole clean pass."""
    attended = attended_frames(block, stream.window)
    return (stream.steps + clean_pass) * dit_forward(config, stream, attended, text_len).total


def vae_decode(config: VAEConfig, height: int, width: int, *, first: bool) -> float:
    """Decoding one latent of height×width: the stream's first gives one frame, every later one four."""
    widths = [config.dim * m for m in (config.dim_mult[-1], *reversed(config.dim_mult))]
    doubles = tuple(reversed(config.temporal_downsample))
    pixels, frames, cost = height * width, 1, 0.0

    def conv(in_dim: int, out_dim: int, taps: int) -> float:
        return 2.0 * in_dim * out_dim * taps * pixels * frames

    def residual(in_dim: int, out_dim: int) -> float:
        shortcut = conv(in_dim, out_dim, 1) if in_dim != out_dim else 0.0
        return conv(in_dim, out_dim, 27) + conv(out_dim, out_dim, 27) + shortcut

    top = widths[0]
    cost += conv(config.z_dim, config.z_dim, 1) + conv(config.z_dim, top, 27)
    cost += 2 * residual(top, top) + conv(top, 4 * top, 1) + 4.0 * pixels * pixels * top
    for level, (in_dim, out_dim) in enumerate(itertools.pairwise(widths)):
        in_dim = in_dim // 2 if level else in_dim  # the upsampling before has halved it
        for i in range(config.num_res_blocks + 1):
            cost += residual(in_dim if i == 0 else out_dim, out_dim)
        if level < len(doubles):
            if doubles[level] and not first:
                cost += conv(out_dim, 2 * out_dim, 3)
                frames *= 2
            pixels *= 4
            cost += conv(out_dim, out_dim // 2, 9)
    return cost + conv(widths[-1], 3, 27)


def decode_block(config: VAEConfig, stream: StreamConfig, block: int) -> float:
    """Decoding a block's latents."""
    costs = [
        vae_decode(config, stream.latent_height, stream.latent_width, first=block == 0 and i == 0)
        for i in range(FRAMES_PER_BLOCK)
    ]
    return sum(costs)
