"""The published generation loop's way of working, re-stated for timing.

Written from the facts of the specification (sections 6 to 8 and 14.11), in plain PyTorch, with what it costs left in:
the text embedding at every forward, cloned cross-attention keys and values, cache rows moved down when the window
rolls, rotations in complex128, normalisations and modulations as chains of element-wise operations, packed keys, and a
clean pass carried through to its unused output. It takes checkpoint tensors under their published names and agrees
with `livetalk` to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from livetalk.render.config import FRAMES_PER_BLOCK, ROPE_FRAMES, DiTConfig, StreamConfig
from livetalk.render.model.rotary import angles, part_widths
from livetalk.render.sampler import schedule
from torch import Tensor


class PublishedLoop:
    """One clip, block by block."""

    def __init__(self, config: DiTConfig, state: Mapping[str, Tensor], stream: StreamConfig) -> None:
        self.config, self.w, self.stream = config, state, stream
        self.n = stream.tokens_per_frame
        sample = state["head.modulation"]
        shape = (1, stream.window * self.n, config.dim)
        self.cache = [
            {
                "k": sample.new_zeros(shape),
                "v": sample.new_zeros(shape),
                "global_end": torch.zeros(1, dtype=torch.long),
                "local_end": torch.zeros(1, dtype=torch.long),
            }
            for _ in range(config.num_layers)
        ]
        self.cross: list[tuple[Tensor, Tensor] | None] = [None] * config.num_layers
        positions = torch.arange(ROPE_FRAMES)
        self.tables = [torch.polar(torch.ones(()).double(), angles(positions, w)) for w in part_widths(config.head_dim)]
        plan = schedule(stream.steps, rounding="bfloat16")
        self.sigmas, self.timesteps = plan.sigmas, plan.timesteps

    @torch.inference_mode()
    def block(
        self, index: int, noise: Tensor, step_noise: Tensor, reference: Tensor, audio: Tensor, context: Tensor
    ) -> Tensor:
        """Clean latents [1,16,3,h,w] of block `index`.

        Args:
            noise: [1,16,3,h,w].
            step_noise: [steps−1,1,16,3,h,w].
            reference: [1,16,1,h,w].
            audio: conditions [P,3,1,1,d].
            context: [1,T,text_dim].
        """
        start = FRAMES_PER_BLOCK * index
        mask = torch.ones_like(noise[:, :1])
        if index == 0:
            mask[:, :, 0] = 0
        y = torch.cat((reference.expand(-1, -1, FRAMES_PER_BLOCK, -1, -1), mask), dim=1)
        x = noise.clone()
        for i, timestep in enumerate(self.timesteps):
            if index == 0:
                x[:, :, :1] = reference
            flow = self.forward(x, timestep.expand(1, FRAMES_PER_BLOCK), y, audio, context, start)
            x0 = (x.double() - self.sigmas[i].double() * flow.double()).to(flow.dtype)
            if i < len(self.timesteps) - 1:
                sigma = self.sigmas[i + 1]
                x = ((1 - sigma) * x0.float() + sigma * step_noise[i].float()).to(x.dtype)
        if index == 0:
            x0[:, :, :1] = reference
        self.forward(x0, torch.zeros(1, FRAMES_PER_BLOCK), y, audio, context, start)
        return x0

    def forward(self, x: Tensor, t: Tensor, y: Tensor, audio: Tensor, context: Tensor, start: int) -> Tensor:
        w, config = self.w, self.config
        f, h, width = x.shape[2], x.shape[3] // 2, x.shape[4] // 2
        x = F.conv3d(torch.cat((x, y), dim=1), w["patch_embedding.weight"], w["patch_embedding.bias"], stride=(1, 2, 2))
        x = x.flatten(2).transpose(1, 2)

        half = config.freq_dim // 2
        wave = torch.outer(t.flatten().double(), 10_000.0 ** (-torch.arange(half).double() / half))
        wave = torch.cat((wave.cos(), wave.sin()), dim=1).to(t.dtype).to(x.dtype)
        e = self._linear(F.silu(self._linear(wave, "time_embedding.0")), "time_embedding.2")
        m = self._linear(F.silu(e), "time_projection.1").unflatten(1, (6, -1)).unsqueeze(0)

        text = F.gelu(self._linear(context, "text_embedding.0"), approximate="tanh")
        text = self._linear(text, "text_embedding.2")

        frame, row, column = self.tables
        rotation = torch.cat(
            (
                frame[start : start + f].view(f, 1, 1, -1).expand(f, h, width, -1),
                row[:h].view(1, h, 1, -1).expand(f, h, width, -1),
                column[:width].view(1, 1, width, -1).expand(f, h, width, -1),
            ),
            dim=-1,
        ).reshape(f * h * width, 1, -1)

        for i in range(config.num_layers):
            if 1 < i <= config.num_layers // 2:
                x = x + audio[i - 2].view(1, f, 1, -1).expand(-1, -1, self.n, -1).flatten(1, 2)
            x = self._layer(i, x, m, text, rotation, start)

        shift, scale = (w["head.modulation"].unsqueeze(1) + e.view(1, f, 1, -1)).chunk(2, dim=2)
        u = F.layer_norm(x, x.shape[-1:], eps=config.eps).unflatten(1, (f, self.n))
        out = self._linear(u * (1 + scale) + shift, "head.head")
        return out.view(f, h, width, 2, 2, -1).permute(5, 0, 1, 3, 2, 4).reshape(1, -1, f, 2 * h, 2 * width)

    def _layer(self, i: int, x: Tensor, m: Tensor, text: Tensor, rotation: Tensor, start: int) -> Tensor:
        block, f = f"blocks.{i}", m.shape[1]
        modulation = (self.w[f"{block}.modulation"].unsqueeze(1) + m).chunk(6, dim=2)
        shift_sa, scale_sa, gate_sa, shift_ff, scale_ff, gate_ff = modulation

        u = F.layer_norm(x, x.shape[-1:], eps=self.config.eps).unflatten(1, (f, self.n))
        a = self._self_attention(
            f"{block}.self_attn", (u * (1 + scale_sa) + shift_sa).flatten(1, 2), i, rotation, start
        )
        x = x + (a.unflatten(1, (f, self.n)) * gate_sa).flatten(1, 2)

        norm = f"{block}.norm3"
        c = F.layer_norm(x, x.shape[-1:], self.w[f"{norm}.weight"], self.w[f"{norm}.bias"], self.config.eps)
        x = x + self._cross_attention(f"{block}.cross_attn", c, i, text)

        u = F.layer_norm(x, x.shape[-1:], eps=self.config.eps).unflatten(1, (f, self.n))
        g = self._linear((u * (1 + scale_ff) + shift_ff).flatten(1, 2), f"{block}.ffn.0")
        g = self._linear(F.gelu(g, approximate="tanh"), f"{block}.ffn.2")
        out: Tensor = x + (g.unflatten(1, (f, self.n)) * gate_ff).flatten(1, 2)
        return out

    def _self_attention(self, name: str, u: Tensor, i: int, rotation: Tensor, start: int) -> Tensor:
        q = self._rotate(self._rms(self._linear(u, f"{name}.q"), f"{name}.norm_q"), rotation)
        k = self._rotate(self._rms(self._linear(u, f"{name}.k"), f"{name}.norm_k"), rotation)
        v = self._linear(u, f"{name}.v")
        cache, new = self.cache[i], u.shape[1]
        end = start * self.n + new
        sink, size = self.stream.sink * self.n, cache["k"].shape[1]
        local_end, global_end = cache["local_end"].item(), cache["global_end"].item()
        if end > global_end and local_end + new > size:
            evicted = local_end + new - size
            rolled = local_end - evicted - sink
            for part in "kv":
                moved = cache[part][:, sink + evicted : sink + evicted + rolled].clone()
                cache[part][:, sink : sink + rolled] = moved
            local_end -= evicted
        local_end = int(local_end + end - global_end)
        cache["k"][:, local_end - new : local_end] = k
        cache["v"][:, local_end - new : local_end] = v
        cache["global_end"].fill_(end)
        cache["local_end"].fill_(local_end)
        out = self._attend(q, cache["k"][:, :local_end], cache["v"][:, :local_end])
        return self._linear(out, f"{name}.o")

    def _cross_attention(self, name: str, c: Tensor, i: int, text: Tensor) -> Tensor:
        q = self._rms(self._linear(c, f"{name}.q"), f"{name}.norm_q")
        held = self.cross[i]
        if held is None:
            k = self._rms(self._linear(text, f"{name}.k"), f"{name}.norm_k")
            held = self.cross[i] = (k, self._linear(text, f"{name}.v"))
        k, v = (part.clone() for part in held)
        return self._linear(self._attend(q, k, v), f"{name}.o")

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        heads = (x.unflatten(2, (self.config.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)

    def _rotate(self, x: Tensor, rotation: Tensor) -> Tensor:
        pairs = x.double().unflatten(2, (self.config.num_heads, -1, 2))
        return torch.view_as_real(torch.view_as_complex(pairs) * rotation).flatten(2).to(x.dtype)

    def _rms(self, x: Tensor, name: str) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(dim=-1, keepdim=True) + self.config.eps)
        return wide.to(x.dtype) * self.w[f"{name}.weight"]

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])
