"""SyncNet: five frames of a mouth and a fifth of a second of sound, embedded so that what belongs together lies close.

Key names are those of ``syncnet_v2.model``. Source: Chung and Zisserman, "Out of time" (2016), as published by its
author.
"""

from __future__ import annotations

from torch import Tensor, nn

WINDOW = 5
"""Frames of a window."""
COLUMNS = 20
"""Columns of cepstra of a window: four to a frame."""
SIDE = 224
WIDTH = 1024
"""Length of an embedding."""


def _flat(into: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(into, into), nn.BatchNorm1d(into), nn.ReLU(), nn.Linear(into, out))


def _hear(into: int, out: int, kernel: int | tuple[int, int], padding: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    return nn.Conv2d(into, out, kernel, padding=padding), nn.BatchNorm2d(out), nn.ReLU()


def _see(
    into: int, out: int, kernel: tuple[int, int, int], stride: int = 1, padding: int = 0
) -> tuple[nn.Module, nn.Module, nn.Module]:
    convolution = nn.Conv3d(into, out, kernel, (1, stride, stride), (0, padding, padding))
    return convolution, nn.BatchNorm3d(out), nn.ReLU()


def _shrink(padding: int) -> nn.Module:
    return nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, padding, padding))


class SyncNet(nn.Module):
    """Windows of lips [N, 3, 5, 224, 224] (BGR in 0..255, as they are) and of sound [N, 1, 13, 20] (cepstra), each to
    embeddings [N, 1024]."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_hear(1, 64, 3, 1),
            nn.MaxPool2d(1, 1),
            *_hear(64, 192, 3, 1),
            nn.MaxPool2d(3, (1, 2)),
            *_hear(192, 384, 3, 1),
            *_hear(384, 256, 3, 1),
            *_hear(256, 256, 3, 1),
            nn.MaxPool2d(3, (2, 2)),
            *_hear(256, 512, (5, 4), 0),
        )
        self.netfcaud = _flat(512, WIDTH)
        self.netfclip = _flat(512, WIDTH)
        self.netcnnlip = nn.Sequential(
            *_see(3, 96, (5, 7, 7), stride=2),
            _shrink(0),
            *_see(96, 256, (1, 5, 5), stride=2, padding=1),
            _shrink(1),
            *_see(256, 256, (1, 3, 3), padding=1),
            *_see(256, 256, (1, 3, 3), padding=1),
            *_see(256, 256, (1, 3, 3), padding=1),
            _shrink(0),
            *_see(256, 512, (1, 6, 6)),
        )

    def lips(self, x: Tensor) -> Tensor:
        found: Tensor = self.netfclip(self.netcnnlip(x).flatten(1))
        return found

    def sound(self, x: Tensor) -> Tensor:
        found: Tensor = self.netfcaud(self.netcnnaud(x).flatten(1))
        return found
