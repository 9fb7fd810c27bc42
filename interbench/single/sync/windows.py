"""Windows of lips and of sound through SyncNet, some at a time."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from interbench.single.nets.syncnet import COLUMNS, WIDTH, WINDOW, SyncNet
from interbench.single.sync.mfcc import Cepstra

_BATCH = 20
Embedded: TypeAlias = npt.NDArray[np.float32]


def embed_sound(network: SyncNet, cepstra: Cepstra, windows: int) -> Embedded:
    """Embeddings [windows, 1024] of sound, four columns of ``cepstra`` [columns, 13] to a window."""
    columns = torch.from_numpy(cepstra).float().T
    found = [np.empty((0, WIDTH), np.float32)]
    with torch.inference_mode():
        for start in range(0, windows, _BATCH):
            numbers = range(start, min(start + _BATCH, windows))
            sounds = torch.stack([columns[None, :, 4 * n : 4 * n + COLUMNS] for n in numbers])
            found.append(network.sound(sounds.to(_device(network))).float().cpu().numpy())
    return np.concatenate(found)


class Lips:
    """Embeddings of the windows of one track, whose crops come in order.

    Args:
        network: the network, on the device that is to compute.
        windows: how many there are: window ``i`` are frames ``i`` to ``i + 4``.
    """

    def __init__(self, network: SyncNet, windows: int) -> None:
        self._network, self._left = network, windows
        self._waiting: list[npt.NDArray[np.uint8]] = []
        self._found = [np.empty((0, WIDTH), np.float32)]

    def add(self, crop: npt.NDArray[np.uint8]) -> None:
        """Take the next crop [224, 224, 3], BGR."""
        if self._left:
            self._waiting.append(crop)
            if len(self._waiting) == _BATCH + WINDOW - 1:
                self._embed()

    def embeddings(self) -> Embedded:
        """Embeddings [windows, 1024], once every crop has been taken."""
        if self._left:
            self._embed()
        return np.concatenate(self._found)

    def _embed(self) -> None:
        count = min(self._left, len(self._waiting) - WINDOW + 1)
        if count < 1:
            return
        pictures = torch.from_numpy(np.stack(self._waiting)).permute(3, 0, 1, 2)
        mouths = torch.stack([pictures[:, n : n + WINDOW] for n in range(count)])
        with torch.inference_mode():
            self._found.append(self._network.lips(mouths.to(_device(self._network)).float()).float().cpu().numpy())
        self._left -= count
        del self._waiting[:count]


def _device(network: SyncNet) -> torch.device:
    return next(network.parameters()).device
