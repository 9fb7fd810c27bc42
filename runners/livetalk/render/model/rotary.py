"""Rotary position embedding over (frame, row, column) (spec 6.4)."""

from __future__ import annotations

import torch
from torch import Tensor

THETA = 10_000.0


def part_widths(head_dim: int) -> tuple[int, int, int]:
    """Channels of a head that carry the frame, the row and the column."""
    spatial = head_dim // 3
    if spatial % 2 or head_dim % 2:
        raise ValueError(f"head width {head_dim} can't be split into pairs for frame, row and column")
    return head_dim - 2 * spatial, spatial, spatial


def angles(positions: Tensor, width: int) -> Tensor:
    """[positions, width/2] float64: position · θ^(−2k/width)."""
    frequencies = THETA ** (-torch.arange(0, width, 2, dtype=torch.float64, device=positions.device) / width)
    return torch.outer(positions.double(), frequencies)


def as_rotation(angle: Tensor) -> Tensor:
    """Cosine and sine of float64 angles, stacked last, rounded once to float32."""
    return torch.stack((angle.cos(), angle.sin()), dim=-1).float()


def spatial_rotation(rows: int, columns: int, head_dim: int, device: torch.device | str) -> Tensor:
    """[rows·columns, row and column angles, 2] float32."""
    _, row_width, column_width = part_widths(head_dim)
    row = angles(torch.arange(rows, device=device), row_width)[:, None].expand(-1, columns, -1)
    column = angles(torch.arange(columns, device=device), column_width)[None].expand(rows, -1, -1)
    return as_rotation(torch.cat((row, column), dim=-1).flatten(0, 1))


def frame_rotation(first: int, count: int, head_dim: int, device: torch.device | str) -> Tensor:
    """[count, frame angles, 2] float32 for frame positions first … first+count−1."""
    frame_width, _, _ = part_widths(head_dim)
    return as_rotation(angles(torch.arange(first, first + count, device=device), frame_width))


def token_rotation(frames: Tensor, spatial: Tensor) -> Tensor:
    """[frames·n, 1, head_dim/2, 2] in token order (frame, row, column), the head dimension left to broadcast."""
    count, n = len(frames), len(spatial)
    return torch.cat((frames[:, None].expand(-1, n, -1, -1), spatial[None].expand(count, -1, -1, -1)), dim=2).reshape(
        count * n, 1, -1, 2
    )


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate adjacent channel pairs of x [..., width] by rotation [..., width/2, 2] in float32; dtype of x."""
    pairs = x.float().view(*x.shape[:-1], -1, 2)
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        # One vectorised pass; the compiler has no complex kernels and fuses the real form instead.
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(rotation))
    else:
        a, b = pairs.unbind(-1)
        cos, sin = rotation.unbind(-1)
        # Rounded before they are joined: else what is joined lies in memory in float32, and a second kernel rounds it.
        turned = torch.stack(((a * cos - b * sin).to(x.dtype), (a * sin + b * cos).to(x.dtype)), dim=-1)
    return turned.flatten(-2).to(x.dtype)
