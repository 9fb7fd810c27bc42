"""Attention kernels behind one function.

Every kernel computes softmax(q·kᵀ/√D)·v without a mask and returns the same numbers up to rounding (spec 9); which one
runs is a matter of what is installed. FlashAttention 3 and 4 can share the keys of a query among several blocks of the
GPU (``fa3:2`` is FlashAttention 3 with ``num_splits=2``), which pays where the queries alone do not fill its last wave.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from livetalk.render.config import AUTO_ATTENTION

AttentionKernel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""q [M,H,D], k and v [S,H,D] with any strides whose last is 1 → [M,H,D]."""

KERNELS = ("fa3", "fa4", "fa2", "torch-fa3", "torch-fa4", "sdpa", "cudnn", "flash", "math")
_FLASH_ATTENTION = {"fa3": "flash_attn_interface", "fa4": "flash_attn.cute", "fa2": "flash_attn"}
_TORCH_OWN = {"torch-fa3": ("FA3", "fa3"), "torch-fa4": ("FA4", "fa4")}
"""What torch (2.11 and later) calls them, and whose package it needs. It then uses them in the whole process."""
SPLITS = (2, 3)
"""Values of ``num_splits`` that are tried beside 1. The 288 tiles of a block's queries fill 73 % of their waves on 132
multiprocessors; shared in two 87 %, in three 94 %."""

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
def _flash_attention(name: str, splits: int) -> AttentionKernel:
    """FlashAttention as one operator that a compiler need not look into: not every release can be traced."""
    attend = importlib.import_module(_FLASH_ATTENTION[name]).flash_attn_func
    options = {"num_splits": splits} if splits > 1 else {}

    def compute(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = attend(q[None], k[None], v[None], **options)
        batch: Tensor = out[0] if isinstance(out, tuple) else out  # some releases return (out, lse)
        return batch[0].contiguous()

    operator = torch.library.custom_op(
        f"livetalk::{name}_{splits}", compute, mutates_args=(), schema="(Tensor q, Tensor k, Tensor v) -> Tensor"
    )
    operator.register_fake(lambda q, k, v: q.new_empty(q.shape))

    # A function of its own: an operator can't be copied, and with it no layer that holds one.
    def kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        attended: Tensor = operator(q, k, v)
        return attended

    return kernel


def _torch_flash_attention(name: str) -> AttentionKernel:
    """Torch's own operator with FlashAttention 3 or 4 behind it, which torch then takes in the whole process."""
    from torch.nn import attention

    implementation, _ = _TORCH_OWN[name]
    if attention.current_flash_attention_impl() != implementation:
        attention.activate_flash_attention_impl(implementation)
    return _torch_kernel("flash")


def _function(name: str) -> Callable[..., Any] | None:
    """FlashAttention's function, where it is installed; a build for another torch is not."""
    try:
        found: Callable[..., Any] | None = getattr(
            importlib.import_module(_FLASH_ATTENTION[name]), "flash_attn_func", None
        )
    except (ImportError, OSError):
        return None
    return found


def _installed(name: str) -> bool:
    if name in _TORCH_OWN:
        implementation, package = _TORCH_OWN[name]
        known: list[str] = getattr(torch.nn.attention, "list_flash_attention_impls", list)()
        return implementation in known and _installed(package)
    return _function(name) is not None


def split(name: str) -> tuple[str, int]:
    """A kernel's name and its ``num_splits``: ("fa3", 2) of "fa3:2"."""
    kernel, colon, splits = name.partition(":")
    return kernel, int(splits) if colon and splits.isascii() and splits.isdigit() else 0 if colon else 1


def variants(names: Sequence[str]) -> list[str]:
    """The kernels, and after each that can share its keys its names with the numbers of shares to be tried."""
    found = []
    for name in names:
        function = _function(name) if name in ("fa3", "fa4") else None
        shares = () if function is None or "num_splits" not in _parameters(function) else SPLITS
        found += [name, *(f"{name}:{count}" for count in shares)]
    return found


def _parameters(function: Callable[..., Any]) -> Sequence[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # of a compiled one nothing may be known
        return ()


def available_kernels(device: torch.device, dtype: torch.dtype) -> list[str]:
    """Kernels that can run here, best first.

    On Hopper and later cuDNN comes before FlashAttention 2, which was written for the generation before. FlashAttention
    4 has never been run here and comes after what has numbers of its own. What changes torch for the whole process
    (``torch-fa3``, ``torch-fa4``) is last: nobody gets it who does not ask for it.
    """
    if device.type != "cuda":
        return ["sdpa", "math"]
    capability = torch.cuda.get_device_capability(device)
    if dtype not in (torch.bfloat16, torch.float16) or capability < (8, 0):
        return ["sdpa", "math"]
    generation = capability[0]

    def there(name: str, *generations: int) -> list[str]:
        return [name] if (not generations or generation in generations) and _installed(name) else []

    fa2, fa4 = there("fa2"), there("fa4", 9, 10)
    own = ["cudnn", *fa4, "sdpa", *fa2] if generation >= 9 else [*fa2, "sdpa", "cudnn"]
    process_wide = [*there("torch-fa3", 9), *there("torch-fa4", 9, 10)]
    return [*there("fa3", 9), *own, "flash", "math", *process_wide]


def choose_kernel(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    head_dim: int = 128,
    *,
    seconds: Callable[[str], float] | None = None,
) -> str:
    """``name``, or for "auto" the best kernel that can run here; on a GPU the best that also agrees with the
    mathematics.

    Args:
        seconds: how long a kernel takes, by which "auto" then chooses among all that agree; without it, by their order.

    Raises:
        ValueError: the name is unknown or the kernel can't run with this device and dtype.
    """
    available = available_kernels(device, dtype)
    if name == AUTO_ATTENTION:
        candidates = [one for one in available if one not in _TORCH_OWN]
        if seconds is None:
            # What torch brings for a CPU is tested with it; a GPU's kernels come in many builds.
            return next((c for c in candidates if device.type != "cuda" or agrees(c, device, dtype, head_dim)), "math")
        agreeing = [one for one in variants(candidates) if one != "math" and agrees(one, device, dtype, head_dim)]
        return min(agreeing, key=seconds, default="math")
    kernel, splits = split(name)
    if kernel not in KERNELS:
        raise ValueError(f"attention kernel {name!r} is unknown; choose auto or one of {', '.join(KERNELS)}")
    if kernel not in available:
        raise ValueError(
            f"attention kernel {name!r} can't run on {device.type} with {dtype}; available here: "
            f"{', '.join(available)}. FlashAttention 2 comes with the extra interbench[flash], 4 with "
            "`pip install flash-attn-4`, 3 from its source."
        )
    if splits != 1 and name not in variants([kernel]):
        raise ValueError(f"attention kernel {name!r} is unknown; here there are {', '.join(variants([kernel]))}")
    return name


def attention_kernel(name: str, device: torch.device, dtype: torch.dtype, head_dim: int = 128) -> AttentionKernel:
    """The kernel that ``choose_kernel`` gives for ``name``."""
    name = choose_kernel(name, device, dtype, head_dim)
    kernel, splits = split(name)
    if kernel in _FLASH_ATTENTION:
        return _flash_attention(kernel, splits)
    if kernel in _TORCH_OWN:
        return _torch_flash_attention(kernel)
    return sdpa if kernel == "sdpa" else _torch_kernel(kernel)


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
    except Exception as error:  # whatever stops a build that was made for something else
        _log.warning("attention kernel %s does not run here and is passed over: %s", name, error)
        return False
    limit = 1e-4 if dtype == torch.float32 else 0.02  # values are near 0.1; a wrong kernel is off by as much
    if not difference <= limit:  # nor is NaN
        _log.warning("attention kernel %s is off by %.2g and is passed over", name, difference)
        return False
    return True


@torch.inference_mode()
def kernel_seconds(
    name: str, device: torch.device, dtype: torch.dtype, *, heads: int, head_dim: int, queries: int, keys: int
) -> float:
    """What one call takes at these sizes, with keys and values laid out as the cache is: the least of five rounds."""
    kernel = attention_kernel(name, device, dtype)
    q = torch.randn((queries, heads, head_dim), device=device, dtype=dtype)
    k, v = (torch.randn((heads, keys, head_dim), device=device, dtype=dtype).transpose(0, 1) for _ in range(2))

    def calls(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            kernel(q, k, v)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (time.perf_counter() - began) / count

    once = calls(1)  # what is compiled or looked up at the first call is not what is asked for
    count = max(1, min(10, int(0.01 / max(once, 1e-6))))
    return min(calls(count) for _ in range(5))
