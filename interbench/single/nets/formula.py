"""Weights by formula: any value of any tensor follows from a seed and the tensor's name.

Networks whose published weights are large, licensed or far away are checked with these: whoever has the formula has
the same network, to the last bit, and nothing needs to be stored. ``docs/single.md`` writes the formula down.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_NORMS = {"L2Norm3_3.weight": 10.0, "L2Norm4_3.weight": 8.0, "L2Norm5_3.weight": 5.0}
_SCALED_DOWN = {"netcnnlip.0.weight": 256.0, "netcnnaud.0.weight": 32.0}
"""First layers of SyncNet, which take values in the hundreds."""


def formula_state(
    keys: Mapping[str, Sequence[int]], seed: int, known: Iterable[str] | None = None
) -> dict[str, Tensor]:
    """Tensors of these names and shapes; ``known`` are all names of the network, if ``keys`` are only some."""
    every = frozenset(keys if known is None else known)
    return {name: torch.from_numpy(formula_values(name, shape, every, seed)) for name, shape in keys.items()}


def formula_values(
    name: str, shape: Sequence[int], known: Container[str], seed: int
) -> npt.NDArray[np.float32] | npt.NDArray[np.int64]:
    """The values of one tensor: float32, or int64 for a counter.

    Args:
        name: of the tensor.
        shape: its shape; () for a counter.
        known: all names of the network, which tell batch norms from other layers.
        seed: of the whole network.
    """
    if name.endswith("num_batches_tracked"):
        return np.array(1, np.int64)
    count = int(np.prod(shape))
    start = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "little")
    u = (np.random.PCG64(start).random_raw(count) >> 40) / 2.0**24
    layer, _, kind = name.rpartition(".")
    if kind == "running_mean":
        values = 0.2 * u - 0.1
    elif kind == "running_var":
        values = 0.5 + u
    elif f"{layer}.running_mean" in known:
        values = 0.8 + 0.4 * u if kind == "weight" else 0.2 * u - 0.1
    elif kind == "bias":
        values = 0.1 * u - 0.05
    elif name in _NORMS:
        values = (0.8 + 0.4 * u) * _NORMS[name]
    else:
        values = (2 * u - 1) * np.sqrt(6 / (count / shape[0]))
    single: npt.NDArray[np.float32] = values.astype(np.float32).reshape(shape)
    if name in _SCALED_DOWN:
        single /= np.float32(_SCALED_DOWN[name])
    return single
