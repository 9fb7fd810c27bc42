"""Attention kernels behind one function.

Every kernel computes softmax(q·kᵀ/√D)·v without a mask and returns the same numbers up to rounding (spec 9); which one
runs is a matter of what is installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

AttentionKernel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""q [M,H,D], k and v [S,H,D] with any strides whose last is 1 → [M,H,D]."""

_SDPA = {
    "sdpa": [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
    "cudnn": [SDPBackend.CUDNN_ATTENTION],
    "flash": [SDPBackend.FLASH_ATTENTION],
    "math": [SDPBackend.MATH],
}
KERNELS = ("fa3", "fa2", *_SDPA)


def sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Torch's own choice of kernel; `mask` [M,S] is True where a query may look, or is added to its scores."""
    out = F.scaled_dot_product_attention(
        q.transpose(0, 1)[None], k.transpose(0, 1)[None], v.transpose(0, 1)[None], attn_mask=mask
    )
    attended: Tensor = out[0].transpose(0, 1)
    return attended


def _pinned_sdpa(name: str) -> AttentionKernel:
    backends = _SDPA[name]

    def kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(backends, set_priority=True):
            return sdpa(q, k, v)

    return kernel


def _flash_attention_3() -> AttentionKernel:
    from flash_attn_interface import flash_attn_func  # type: ignore[import-not-found,unused-ignore]

    def kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = flash_attn_func(q[None], k[None], v[None])
        batch: Tensor = out[0] if isinstance(out, tuple) else out  # some releases return (out, lse)
        return batch[0]

    return kernel


def _flash_attention_2() -> AttentionKernel:
    from flash_attn import flash_attn_func  # type: ignore[import-not-found,unused-ignore]

    def kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return flash_attn_func(q[None], k[None], v[None])[0]  # type: ignore[no-any-return]

    return kernel


def available_kernels(device: torch.device, dtype: torch.dtype) -> list[str]:
    """Kernels that can run here, best first.

    On Hopper and later cuDNN comes before FlashAttention 2, which was written for the generation before.
    """
    if device.type != "cuda":
        return ["sdpa", "math"]
    half = dtype in (torch.bfloat16, torch.float16)
    capability = torch.cuda.get_device_capability(device)
    fa3 = ["fa3"] if half and capability[0] == 9 and importlib.util.find_spec("flash_attn_interface") else []
    fa2 = ["fa2"] if half and capability >= (8, 0) and importlib.util.find_spec("flash_attn") else []
    pinned = ["cudnn", "flash"] if half else []
    hopper = capability[0] >= 9
    return [*fa3, *(["sdpa", *fa2] if hopper else [*fa2, "sdpa"]), *pinned, "math"]


def choose_kernel(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """`name`, or for "auto" the best kernel that can run here.

    Raises:
        ValueError: the name is unknown or the kernel cannot run with this device and dtype.
    """
    available = available_kernels(device, dtype)
    if name == "auto":
        return available[0]
    if name not in KERNELS:
        raise ValueError(f"attention kernel {name!r} is unknown; choose auto or one of {', '.join(KERNELS)}")
    if name not in available:
        raise ValueError(
            f"attention kernel {name!r} cannot run on {device.type} with {dtype}; available here: "
            f"{', '.join(available)}. FlashAttention comes with the extra interbench[flash]."
        )
    return name


def attention_kernel(name: str, device: torch.device, dtype: torch.dtype) -> AttentionKernel:
    """The kernel that `choose_kernel` gives for `name`."""
    name = choose_kernel(name, device, dtype)
    if name == "fa3":
        return _flash_attention_3()
    if name == "fa2":
        return _flash_attention_2()
    return sdpa if device.type != "cuda" and name == "sdpa" else _pinned_sdpa(name)


def disagreement(q: Tensor, k: Tensor, v: Tensor) -> dict[str, float]:
    """Largest absolute difference of every available kernel from attention in float64."""
    reference = sdpa(q.double(), k.double(), v.double())
    return {
        name: (attention_kernel(name, q.device, q.dtype)(q, k, v).double() - reference).abs().max().item()
        for name in available_kernels(q.device, q.dtype)
    }
