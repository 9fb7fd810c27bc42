"""Attention kernels behind one function.

Every kernel computes softmax(q·kᵀ/√D)·v without a mask and returns the same numbers up to rounding (spec 9); which one
runs is a matter of what is installed.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

AttentionKernel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""q [M,H,D], k and v [S,H,D] with any strides whose last is 1 → [M,H,D]."""

KERNELS = ("fa3", "fa2", "sdpa", "cudnn", "flash", "math")
_FLASH_ATTENTION = {"fa3": "flash_attn_interface", "fa2": "flash_attn"}

_log = logging.getLogger(__name__)


def sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Torch's own choice of kernel; ``mask`` [M,S] is True where a query may look, or is added to its scores."""
    out = F.scaled_dot_product_attention(_by_head(q), _by_head(k), _by_head(v), attn_mask=mask)
    attended: Tensor = out[0].transpose(0, 1)
    return attended


def _by_head(x: Tensor) -> Tensor:
    """[tokens,H,D] to [1,H,tokens,D]."""
    return x.transpose(0, 1)[None]


def _torch_kernel(name: str) -> AttentionKernel:
    """One of torch's kernels by its operator: ``torch.nn.attention.sdpa_kernel`` turns switches of the whole process,
    and other threads attend at the same time, with heads that not every kernel can take."""
    operators: dict[str, Callable[..., Any]] = {
        "cudnn": lambda q, k, v: torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, False),
        "flash": torch.ops.aten._scaled_dot_product_flash_attention,
        "math": torch.ops.aten._scaled_dot_product_attention_math,
    }
    operator = operators[name]

    def kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        attended: Tensor = operator(_by_head(q), _by_head(k), _by_head(v))[0][0].transpose(0, 1)
        return attended

    return kernel


@functools.cache
def _flash_attention(name: str) -> AttentionKernel:
    """FlashAttention as one operator that a compiler need not look into: not every release can be traced."""
    attend = importlib.import_module(_FLASH_ATTENTION[name]).flash_attn_func

    def kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = attend(q[None], k[None], v[None])
        batch: Tensor = out[0] if isinstance(out, tuple) else out  # some releases return (out, lse)
        return batch[0].contiguous()

    operator = torch.library.custom_op(
        f"livetalk::{name}", kernel, mutates_args=(), schema="(Tensor q, Tensor k, Tensor v) -> Tensor"
    )
    operator.register_fake(lambda q, k, v: q.new_empty(q.shape))
    return operator


def _installed(name: str) -> bool:
    """Whether FlashAttention is there; a build for another torch is not."""
    try:
        return hasattr(importlib.import_module(_FLASH_ATTENTION[name]), "flash_attn_func")
    except (ImportError, OSError):
        return False


def available_kernels(device: torch.device, dtype: torch.dtype) -> list[str]:
    """Kernels that can run here, best first.

    On Hopper and later cuDNN comes before FlashAttention 2, which was written for the generation before.
    """
    if device.type != "cuda":
        return ["sdpa", "math"]
    capability = torch.cuda.get_device_capability(device)
    if dtype not in (torch.bfloat16, torch.float16) or capability < (8, 0):
        return ["sdpa", "math"]
    fa3 = ["fa3"] if capability[0] == 9 and _installed("fa3") else []
    fa2 = ["fa2"] if _installed("fa2") else []
    own = ["cudnn", "sdpa", *fa2] if capability[0] >= 9 else [*fa2, "sdpa", "cudnn"]
    return [*fa3, *own, "flash", "math"]


def choose_kernel(name: str, device: torch.device, dtype: torch.dtype, head_dim: int = 128) -> str:
    """``name``, or for "auto" the best kernel that can run here; on a GPU the best that also agrees with the
    mathematics.

    Raises:
        ValueError: the name is unknown or the kernel can't run with this device and dtype.
    """
    available = available_kernels(device, dtype)
    if name == "auto":
        # What torch brings for a CPU is tested with it; a GPU's kernels come in many builds.
        return next((one for one in available if device.type != "cuda" or agrees(one, device, dtype, head_dim)), "math")
    if name not in KERNELS:
        raise ValueError(f"attention kernel {name!r} is unknown; choose auto or one of {', '.join(KERNELS)}")
    if name not in available:
        raise ValueError(
            f"attention kernel {name!r} can't run on {device.type} with {dtype}; available here: "
            f"{', '.join(available)}. FlashAttention comes with the extra interbench[flash]."
        )
    return name


def attention_kernel(name: str, device: torch.device, dtype: torch.dtype, head_dim: int = 128) -> AttentionKernel:
    """The kernel that ``choose_kernel`` gives for ``name``."""
    name = choose_kernel(name, device, dtype, head_dim)
    if name in _FLASH_ATTENTION:
        return _flash_attention(name)
    return sdpa if name == "sdpa" else _torch_kernel(name)


def disagreement(name: str, q: Tensor, k: Tensor, v: Tensor) -> float:
    """Largest absolute difference of a kernel from attention in float64."""
    attended = attention_kernel(name, q.device, q.dtype)(q, k, v)
    exact = sdpa(q.double(), k.double(), v.double())
    return float((attended.double() - exact).abs().max())


@torch.inference_mode()
def agrees(name: str, device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether a kernel runs and gives attention's numbers, on a small case laid out as the cache is."""
    draw = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw).to(device, dtype)

    k, v = (random(2, 512, head_dim)[:, :320].transpose(0, 1) for _ in range(2))
    try:
        difference = disagreement(name, random(192, 2, head_dim), k, v)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        _log.warning("attention kernel %s does not run here and is passed over: %s", name, error)
        return False
    limit = 1e-4 if dtype == torch.float32 else 0.02  # values are near 0.1; a wrong kernel is off by as much
    if not difference <= limit:  # nor is NaN
        _log.warning("attention kernel %s is off by %.2g and is passed over", name, difference)
        return False
    return True
