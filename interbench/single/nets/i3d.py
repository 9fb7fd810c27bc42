"""The inflated Inception network (I3D) of the Fréchet video distance, trained on Kinetics-400.

Key names are those of ``i3d_pretrained_400.pt``. Convolutions and maxima are padded as TensorFlow's "same" does: to
``ceil(size / stride)``, the odd element behind, with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOGITS = 400
SIDE = 224
"""Pixels along each side of the input."""
LEAST_FRAMES = 10
"""With fewer the last average has nothing to average over."""


def _same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    pads: list[int] = []
    for size, width, step in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        short = max(0, (-(-size // step) - 1) * step + width - size)
        pads += [short // 2, short - short // 2]
    return F.pad(x, pads)


class _Unit(nn.Module):
    """Convolution, and batch norm and rectifier unless it is the last."""

    def __init__(self, into: int, out: int, kernel: int = 1, stride: int = 1, *, last: bool = False) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(into, out, kernel, stride, bias=last)
        if not last:
            self.bn = nn.BatchNorm3d(out, eps=1e-5)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3d(_same(x, self.kernel, self.stride))
        return x if self.last else F.relu(self.bn(x))


def _maximum(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    return F.max_pool3d(_same(x, kernel, stride), kernel, stride)


class _Mixed(nn.Module):
    def __init__(self, into: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        self.b0 = _Unit(into, widths[0])
        self.b1a = _Unit(into, widths[1])
        self.b1b = _Unit(widths[1], widths[2], 3)
        self.b2a = _Unit(into, widths[3])
        self.b2b = _Unit(widths[3], widths[4], 3)
        self.b3b = _Unit(into, widths[5])

    def forward(self, x: Tensor) -> Tensor:
        pooled = _maximum(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


class I3D(nn.Module):
    """Clips [N, 3, T, 224, 224], RGB in -1..1, T at least 10, to the 400 logits [N, 400], averaged over time."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = _Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = _Unit(64, 64)
        self.Conv3d_2c_3x3 = _Unit(64, 192, 3)
        self.Mixed_3b = _Mixed(192, (64, 96, 128, 16, 32, 32))
        self.Mixed_3c = _Mixed(256, (128, 128, 192, 32, 96, 64))
        self.Mixed_4b = _Mixed(480, (192, 96, 208, 16, 48, 64))
        self.Mixed_4c = _Mixed(512, (160, 112, 224, 24, 64, 64))
        self.Mixed_4d = _Mixed(512, (128, 128, 256, 24, 64, 64))
        self.Mixed_4e = _Mixed(512, (112, 144, 288, 32, 64, 64))
        self.Mixed_4f = _Mixed(528, (256, 160, 320, 32, 128, 128))
        self.Mixed_5b = _Mixed(832, (256, 160, 320, 32, 128, 128))
        self.Mixed_5c = _Mixed(832, (384, 192, 384, 48, 128, 128))
        self.logits = _Unit(1024, LOGITS, last=True)

    def pool(self, x: Tensor) -> Tensor:
        """What the logits are made from: [N, 1024, T', 1, 1]."""
        x = _maximum(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = _maximum(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        x = _maximum(self.Mixed_3c(self.Mixed_3b(x)), (3, 3, 3), (2, 2, 2))
        x = self.Mixed_4f(self.Mixed_4e(self.Mixed_4d(self.Mixed_4c(self.Mixed_4b(x)))))
        x = self.Mixed_5c(self.Mixed_5b(_maximum(x, (2, 2, 2), (2, 2, 2))))
        return F.avg_pool3d(x, (2, 7, 7), stride=1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.logits(self.pool(x))
        return logits.flatten(2).mean(2)
