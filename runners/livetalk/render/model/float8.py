"""Linear layers with both factors in 8-bit floating point. Off unless asked for: not the release's numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from livetalk.render.model.dit import CausalDiT

_E4M3_MAX = 448.0
_LINEARS = ("self_qkv", "self_out", "cross_q", "cross_out", "ffn_in", "ffn_out")


def _quantized(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of x in e4m3 and their scales [rows,1]."""
    scale = x.abs().amax(dim=-1, keepdim=True).float().clamp(min=1e-12) / _E4M3_MAX
    return (x.float() / scale).to(torch.float8_e4m3fn), scale


class Float8Linear(nn.Module):
    """x·Wᵀ + b with one scale per row of x and per row of W, accumulated as fast as the device can."""

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = _quantized(linear.weight.detach())
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale.t().contiguous())
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        rows, scale = _quantized(x.flatten(0, -2))
        out: Tensor = torch._scaled_mm(
            rows,
            self.weight.t(),
            scale_a=scale,
            scale_b=self.scale,
            bias=self.bias,
            out_dtype=x.dtype,
            use_fast_accum=True,
        )
        return out.view(*x.shape[:-1], -1)


def use_float8(dit: CausalDiT) -> CausalDiT:
    """Turn the linear maps of every layer to 8-bit floating point, in place; the ends of the network stay as they are.

    Raises:
        ValueError: the device has no fast 8-bit multiplication (CUDA, compute capability 8.9 or later), or the model is
            not in bfloat16.
    """
    if dit.device.type != "cuda" or torch.cuda.get_device_capability(dit.device) < (8, 9):
        raise ValueError(
            f"8-bit floating point needs an NVIDIA GPU of compute capability 8.9 or later; the model is on "
            f"{dit.device}. Run without the float8 option."
        )
    if dit.dtype != torch.bfloat16:
        raise ValueError(f"8-bit floating point replaces bfloat16 layers; the model is in {dit.dtype}")
    return quantize_layers(dit)


def quantize_layers(dit: CausalDiT) -> CausalDiT:
    """The replacement itself, on any device torch multiplies 8-bit floats on: for measuring its error."""
    for layer in dit.layers:
        for name in _LINEARS:
            setattr(layer, name, Float8Linear(getattr(layer, name)))
    return dit
