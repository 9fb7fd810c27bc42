"""Windows of lips and of sound through SyncNet."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from interbench.single.nets.syncnet import COLUMNS, WINDOW, SyncNet
from interbench.single.sync.mfcc import Cepstra

_BATCH = 20
Embedded: TypeAlias = npt.NDArray[np.float32]


def embed(
    network: SyncNet, lips: npt.NDArray[np.uint8], cepstra: Cepstra, windows: int, *, first: int = 0
) -> tuple[Embedded, Embedded]:
    """Embeddings [windows, 1024] of what is seen and of what is heard.

    Args:
        network: the network, on the device that is to compute.
        lips: crops [frames, 224, 224, 3] in BGR; window ``i`` are frames ``i`` to ``i + 4``.
        cepstra: of the sound [columns, 13], a hundred a second.
        windows: how many.
        first: frame number of ``lips[0]`` on the clock of ``cepstra``.
    """
    device = next(network.parameters()).device
    pictures = torch.from_numpy(lips).permute(3, 0, 1, 2)
    columns = torch.from_numpy(cepstra).float().T
    seen, heard = [], []
    with torch.inference_mode():
        for start in range(0, windows, _BATCH):
            numbers = range(start, min(start + _BATCH, windows))
            mouths = torch.stack([pictures[:, n : n + WINDOW] for n in numbers]).to(device).float()
            sounds = torch.stack([columns[None, :, 4 * (first + n) :][..., :COLUMNS] for n in numbers]).to(device)
            seen.append(network.lips(mouths).float().cpu().numpy())
            heard.append(network.sound(sounds).float().cpu().numpy())
    return np.concatenate(seen), np.concatenate(heard)
