"""One transformer layer of the causal DiT (spec 6.5)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from livetalk.render.config import DiTConfig
from livetalk.render.model.attention import AttentionKernel, sdpa
from livetalk.render.model.cache import LayerCache
from livetalk.render.model.rotary import rotate

_GELU_LINEAR = 2 * math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715 * _GELU_LINEAR


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU in its tanh form, ½x(1 + tanh u) = x·sigmoid(2u); may overwrite x."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or x.requires_grad or torch.compiler.is_compiling():
        return F.gelu(x, approximate="tanh")
    # The same function, over twice as fast: torch's CPU kernel for tanh is slow next to the one for sigmoid. In pieces
    # and in place, for the memory of a second hidden state would be given back and zeroed anew at every layer.
    linear = x.new_full((), _GELU_LINEAR)
    for piece in torch.split(x.view(-1, x.shape[-1]), 64):
        piece.mul_(torch.addcmul(linear, piece, piece, value=_GELU_CUBIC).mul_(piece).sigmoid_())
    return x


def gelu_linear(x: Tensor, linear: nn.Linear) -> Tensor:
    """GELU of a linear map in one product: on CUDA, where cuBLASLt has its tanh form in the epilogue, one kernel."""
    out = torch._addmm_activation(linear.bias, x.flatten(0, -2), linear.weight.t(), use_gelu=True)
    return out.view(*x.shape[:-1], -1)


@torch.inference_mode()
def gelu_linear_agrees(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether ``gelu_linear`` gives the tanh form's numbers here. On a CPU it gives the other form's."""
    linear = nn.Linear(128, 256, device=device, dtype=dtype).requires_grad_(False)
    x = 4 * torch.randn((64, 128), generator=torch.Generator().manual_seed(0)).to(device, dtype)
    expected = F.gelu(linear(x).double(), approximate="tanh")
    limit = 1e-5 if dtype == torch.float32 else 2**-7 * float(expected.abs().max())
    return float((gelu_linear(x, linear).double() - expected).abs().max()) <= limit


def modulate(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """LayerNorm(x)·scale + shift for x [f,n,d]; scale and shift [1,d] when all frames are alike, else [f,d]."""
    if len(scale) == 1:
        return F.layer_norm(x, x.shape[-1:], scale[0], shift[0], eps)
    return torch.addcmul(shift[:, None], F.layer_norm(x, x.shape[-1:], eps=eps), scale[:, None])


class Layer(nn.Module):
    """Self-attention over the cache, cross-attention to the text, feed-forward; the first and last are modulated."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        dim = config.dim
        self.eps, self.heads = config.eps, config.num_heads
        self.modulation = nn.Parameter(torch.empty(6, dim))
        self.self_qkv = nn.Linear(dim, 3 * dim)
        self.self_norm_q = nn.Parameter(torch.empty(dim))
        self.self_norm_k = nn.Parameter(torch.empty(dim))
        self.self_out = nn.Linear(dim, dim)
        self.cross_norm = nn.LayerNorm(dim, eps=config.eps)
        self.cross_q = nn.Linear(dim, dim)
        self.cross_kv = nn.Linear(dim, 2 * dim)
        self.cross_norm_q = nn.Parameter(torch.empty(dim))
        self.cross_norm_k = nn.Parameter(torch.empty(dim))
        self.cross_out = nn.Linear(dim, dim)
        self.ffn_in = nn.Linear(dim, config.ffn_dim)
        self.ffn_out = nn.Linear(config.ffn_dim, dim)
        self.attend: AttentionKernel = sdpa
        self.gelu_in_product = False
        """Let the product before it compute GELU (``gelu_linear``)."""

    def _heads(self, x: Tensor) -> Tensor:
        """[..., d] to [tokens, H, D]."""
        return x.reshape(-1, self.heads, x.shape[-1] // self.heads)

    def _rms(self, x: Tensor, weight: Tensor) -> Tensor:
        """Over the full width, not per head."""
        return F.rms_norm(x, x.shape[-1:], weight, self.eps)

    def text_keys_values(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-attention keys and values [T,H,D] of the embedded text [T,d], stored head by head."""
        k, v = self.cross_kv(text).chunk(2, dim=-1)
        heads = [self._heads(x).transpose(0, 1).contiguous() for x in (self._rms(k, self.cross_norm_k), v)]
        return heads[0].transpose(0, 1), heads[1].transpose(0, 1)

    def store(self, x: Tensor, modulation: Tensor, rotation: Tensor, cache: LayerCache) -> None:
        """Only write this layer's keys and values: all that the last layer of a clean pass is needed for."""
        _, k, v = self.self_qkv(modulate(x, modulation[1], modulation[0], self.eps)).chunk(3, dim=-1)
        self._write(k, v, rotation, cache)

    def _write(self, k: Tensor, v: Tensor, rotation: Tensor, cache: LayerCache) -> None:
        k = rotate(self._heads(self._rms(k, self.self_norm_k)), rotation)
        cache.k.index_copy_(1, cache.rows, k.transpose(0, 1))
        cache.v.index_copy_(1, cache.rows, self._heads(v).transpose(0, 1))

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        rotation: Tensor,
        text_k: Tensor,
        text_v: Tensor,
        text_bias: Tensor | None,
        cache: LayerCache | None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """x [f,n,d] to the same.

        Args:
            modulation: [6,G,d]: shift, 1+scale, gate of self-attention, then of the feed-forward; G is 1 or f.
            rotation: [f·n,1,D/2,2].
            text_k, text_v: [T,H,D].
            text_bias: [1,T], added to the scores of the text; None for nothing.
            cache: where keys and values go and come from; None attends within x, under ``mask`` [f·n, f·n] or
                without one.
        """
        shift_sa, scale_sa, gate_sa, shift_ff, scale_ff, gate_ff = modulation.unbind(0)
        q, k, v = self.self_qkv(modulate(x, scale_sa, shift_sa, self.eps)).chunk(3, dim=-1)
        q = rotate(self._heads(self._rms(q, self.self_norm_q)), rotation)
        if cache is None:
            k = rotate(self._heads(self._rms(k, self.self_norm_k)), rotation)
            # Kernels of one's choice may have no backward.
            whole = mask is None and not torch.is_grad_enabled()
            attended = self.attend(q, k, self._heads(v)) if whole else sdpa(q, k, self._heads(v), mask)
        else:
            self._write(k, v, rotation, cache)
            keys, values = (c[:, : cache.valid].transpose(0, 1) for c in (cache.k, cache.v))
            attended = self.attend(q, keys, values)
        x = torch.addcmul(x, self.self_out(attended.reshape(x.shape)), gate_sa[:, None])

        q = self._heads(self._rms(self.cross_q(self.cross_norm(x)), self.cross_norm_q))
        read = self.attend(q, text_k, text_v) if text_bias is None else sdpa(q, text_k, text_v, text_bias)
        x = x + self.cross_out(read.reshape(x.shape))

        hidden = self._hidden(modulate(x, scale_ff, shift_ff, self.eps))
        return torch.addcmul(x, self.ffn_out(hidden), gate_ff[:, None])

    def _hidden(self, x: Tensor) -> Tensor:
        if self.gelu_in_product and isinstance(self.ffn_in, nn.Linear):
            return gelu_linear(x, self.ffn_in)
        return gelu_tanh(self.ffn_in(x))
