"""The network as it is trained: the runner's parameters and mathematics, every pass through ``forward``.

Sharding hooks fire on ``forward`` alone, of the whole and of each layer. So one ``forward`` does every pass, told by
its mode, and each layer's does all that needs that layer's parameters: its share of the modulation, its keys and values
of the text. Attention here has a backward, and nothing is written in place.

Past keys and values are constants that come in immutable chunks, one per block, and are joined inside the layer, so
that with checkpointing the graphs of all blocks share them (recipe 4.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from livetalk.render.config import DiTConfig
from livetalk.render.model.attention import sdpa
from livetalk.render.model.dit import CausalDiT, patchify, sinusoid, unpatchify
from livetalk.render.model.layers import Layer, modulate
from livetalk.render.model.rotary import frame_rotation, rotate, spatial_rotation, token_rotation
from livetalk.render.model.weights import PATCH
from livetalk.training.clip_attention import block_causal

Mode = Literal["clip", "whole", "block", "keys"]
"""clip: all frames, each block seeing itself and those before it. whole: all frames, every token seeing all (teacher
and critic). block: one block after the chunks of the past. keys: the same, but for its own chunk alone."""

LayerChunk = tuple[Tensor, Tensor]
"""One block's keys (normed, rotated) and values in one layer, [N,H,D]; whoever keeps one detaches it."""
Chunk = tuple[LayerChunk, ...]
"""One block's keys and values in every layer."""


class TrainingLayer(Layer):
    """A layer of the runner that computes all that its parameters are needed for."""

    checkpointing = False
    """Keep a layer's input alone for the backward pass and compute the rest again."""

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        time: Tensor,
        rotation: Tensor,
        text: Tensor,
        heard: Tensor | None,
        past: Sequence[LayerChunk],
        mode: Mode,
        *,
        last: bool,
    ) -> tuple[Tensor, LayerChunk | None]:
        """The tokens behind this layer, and in mode "keys" its own chunk.

        Args:
            x: tokens [f,n,d].
            time: [6,G,d], what the timestep adds to this layer's modulation; G is 1 or f.
            rotation: [f·n,1,D/2,2].
            text: embedded rows [T,d].
            heard: speech condition [f,d] that is added before this layer.
            past: the chunks of the blocks before, in order.
            last: in mode "keys", nothing is needed of this layer but its chunk.
        """
        given = (x, time, rotation, text, heard, past, mode, last)
        if self.checkpointing and torch.is_grad_enabled():
            # Inside the hooks of sharding: they gather the parameters before what is below is computed again.
            again: Any = checkpoint(self._compute, *given, use_reentrant=False, preserve_rng_state=False)
            return cast("tuple[Tensor, LayerChunk | None]", again)
        return self._compute(*given)

    def _compute(
        self,
        x: Tensor,
        time: Tensor,
        rotation: Tensor,
        text: Tensor,
        heard: Tensor | None,
        past: Sequence[LayerChunk],
        mode: Mode,
        last: bool,
    ) -> tuple[Tensor, LayerChunk | None]:
        if heard is not None:
            x = x + heard[:, None]
        modulation = self.modulation[:, None] + time + time.new_tensor((0, 1, 0, 0, 1, 0)).view(6, 1, 1)
        shift_sa, scale_sa, gate_sa, shift_ff, scale_ff, gate_ff = modulation.unbind(0)
        q, k, v = self.self_qkv(modulate(x, scale_sa, shift_sa, self.eps)).chunk(3, dim=-1)
        k = rotate(self._heads(self._rms(k, self.self_norm_k)), rotation)
        v = self._heads(v)
        chunk = (k, v.contiguous()) if mode == "keys" else None
        if chunk is not None and last:
            return x, chunk
        q = rotate(self._heads(self._rms(q, self.self_norm_q)), rotation)
        if mode == "clip":
            attended = block_causal(q, k, v, len(x))
        else:
            k, v = (torch.cat([*(c[i] for c in past), own]) if past else own for i, own in enumerate((k, v)))
            attended = sdpa(q, k, v)
        x = torch.addcmul(x, self.self_out(attended.reshape(x.shape)), gate_sa[:, None])

        q = self._heads(self._rms(self.cross_q(self.cross_norm(x)), self.cross_norm_q))
        x = x + self.cross_out(sdpa(q, *self.text_keys_values(text)).reshape(x.shape))

        hidden = F.gelu(self.ffn_in(modulate(x, scale_ff, shift_ff, self.eps)), approximate="tanh")
        return torch.addcmul(x, self.ffn_out(hidden), gate_ff[:, None]), chunk


class TrainingDiT(CausalDiT):
    """Student, critic or teacher. Its parameters have the names that the runner's network gives them."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__(config)
        self.layers = cast("Sequence[Layer]", nn.ModuleList(TrainingLayer(config) for _ in range(config.num_layers)))

    def train_with(self, *, checkpointing: bool) -> TrainingDiT:
        """Let all parameters be trained."""
        for layer in self.layers:
            cast(TrainingLayer, layer).checkpointing = checkpointing
        self.requires_grad_(True)
        return self

    def forward(
        self,
        mode: Mode,
        x: Tensor,
        timesteps: Tensor,
        y: Tensor,
        features: Tensor,
        text: Tensor,
        *,
        first_frame: int = 0,
        past: Sequence[Chunk] = (),
    ) -> Tensor | Chunk:
        """The flow [f,16,h,w] in the dtype of ``x``; in mode "keys" the block's chunk.

        Args:
            x: noisy latents [f,16,h,w].
            timesteps: [1] for all frames, or [f]; float32, never rounded.
            y: image condition [f,17,h,w].
            features: raw speech features [4·f,C], four rows for each of these frames.
            text: rows [T,text_dim], padding rows of zeros included.
            first_frame: position of the first frame in the clip.
            past: the chunks of the blocks before.
        """
        dtype = self.head_modulation.dtype
        rows, columns = x.shape[-2] // PATCH[1], x.shape[-1] // PATCH[2]
        head_dim = self.config.head_dim
        rotation = token_rotation(
            frame_rotation(first_frame, len(x), head_dim, x.device),
            spatial_rotation(rows, columns, head_dim, x.device),
        )
        heard = self.audio(features.to(dtype))
        rows_of_text = self.text_out(F.gelu(self.text_in(text.to(dtype)), approximate="tanh"))
        e = self.time_out(F.silu(self.time_in(sinusoid(timesteps.float(), self.config.freq_dim).to(dtype))))
        time = self.time_projection(F.silu(e)).unflatten(-1, (6, -1)).transpose(0, 1)
        tokens = self.patch_x(patchify(x.to(dtype))) + self.patch_y(patchify(y.to(dtype)))
        chunks = []
        for i, layer in enumerate(self.layers):
            injection = i - 2
            tokens, chunk = layer(
                tokens,
                time,
                rotation,
                rows_of_text,
                heard[injection] if 0 <= injection < len(heard) else None,
                [chunk[i] for chunk in past],
                mode,
                last=i == len(self.layers) - 1,
            )
            chunks.append(chunk)
        if mode == "keys":
            return tuple(chunks)
        shift, scale = self.head_modulation[:, None] + e + e.new_tensor((0, 1)).view(2, 1, 1)
        flow = self.head(modulate(tokens, scale, shift, self.config.eps))
        return unpatchify(flow, *x.shape[-2:]).to(x.dtype)
