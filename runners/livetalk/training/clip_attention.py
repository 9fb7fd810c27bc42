"""Attention over a whole clip in training, where a block sees itself and those before it (recipe 3.3)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from livetalk.render.config import FRAMES_PER_BLOCK
from livetalk.render.model.attention import sdpa
from livetalk.render.model.dit import block_causal_mask


def block_causal(q: Tensor, k: Tensor, v: Tensor, frames: int) -> Tensor:
    """Every token sees all tokens before the end of its own block.

    A dense mask on a CPU; on a GPU flex attention, compiled, which skips what is masked: at 21 frames of 512×512 the
    dense mask alone is 462 MB and has no fast kernel.

    Args:
        q, k, v: [F·n,H,D].
        frames: F.
    """
    if q.device.type == "cuda":
        return flex_block_causal(q, k, v, frames, compiled=True)
    return sdpa(q, k, v, _dense_mask(frames, len(q) // frames, q.device))


def flex_block_causal(q: Tensor, k: Tensor, v: Tensor, frames: int, *, compiled: bool) -> Tensor:
    """The same by flex attention; not compiled it is slow and runs anywhere."""
    mask = _flex_mask(frames, len(q) // frames, q.device)
    by_head = [x.transpose(0, 1)[None] for x in (q, k, v)]
    attended: Tensor = _flex_attention(compiled)(*by_head, block_mask=mask)
    return attended[0].transpose(0, 1)


@functools.lru_cache(maxsize=4)
def _dense_mask(frames: int, tokens_per_frame: int, device: torch.device) -> Tensor:
    return block_causal_mask(frames, tokens_per_frame, -1, device)


@functools.lru_cache(maxsize=4)
def _flex_mask(frames: int, tokens_per_frame: int, device: torch.device) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    block, tokens = FRAMES_PER_BLOCK * tokens_per_frame, frames * tokens_per_frame

    def may_look(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return key < (query // block + 1) * block

    return create_block_mask(may_look, None, None, tokens, tokens, device=str(device))


@functools.lru_cache(maxsize=2)
def _flex_attention(compiled: bool) -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return cast(Any, torch.compile(flex_attention, dynamic=False) if compiled else flex_attention)  # type: ignore[no-any-return]
