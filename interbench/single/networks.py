"""Networks ready to be asked: found, read, put on a device. The one door through which metrics come to torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from interbench.single.base import MetricError
from interbench.single.weights import FORMULA, file_hash, locate

if TYPE_CHECKING:
    from torch import nn

N = TypeVar("N")
_SEED = 1
INSTALL = "Install it: pip install 'interbench[metrics]'"


@dataclass(frozen=True, slots=True)
class Network(Generic[N]):
    """A network and what it was loaded from."""

    module: N
    weights: str
    """SHA-256 of its file, or that its weights are by formula."""

    @property
    def by_formula(self) -> bool:
        return self.weights.startswith(FORMULA)


def require_torch() -> None:
    """
    Raises:
        MetricError: torch is not installed.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MetricError(f"This metric needs torch, which is not installed ({error}).", INSTALL) from error


def device_of(name: str) -> Any:
    """The torch device that ``name`` means; ``auto`` is the first GPU, else the processor."""
    require_torch()
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise MetricError(f"There is no device {name!r} ({str(error).splitlines()[0]}).") from error
    return device


def network(
    name: str, make: Callable[[], nn.Module], given: str | None, device: str, dtype: str = "float32"
) -> Network[Any]:
    """The network ``name`` of :data:`interbench.single.weights.WEIGHTS`, from its published file.

    Args:
        name: of the weights.
        make: makes the module, its weights unset.
        given: a file named by the user, or ``formula``.
        device: where it is to compute.
        dtype: of its weights.

    Raises:
        MetricError: torch or the weights are not there.
        interbench.single.base.CheckpointError: what is there is something else.
    """
    target = device_of(device)
    import torch

    from interbench.single.nets.loading import load, read_state

    kind = getattr(torch, dtype)
    with torch.device("meta"):
        module = make()
    if given == FORMULA:
        return Network(_by_formula(module, kind).to(target), f"{FORMULA}, seed {_SEED}")
    path = locate(name, given)
    return Network(load(module, read_state(path), path, kind).to(target), hash_of(path))


def _by_formula(module: nn.Module, dtype: Any) -> nn.Module:
    from interbench.single.nets.formula import formula_state
    from interbench.single.nets.loading import load

    shapes = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    return load(module, formula_state(shapes, _SEED), Path(FORMULA), dtype)


def hash_of(path: Path) -> str:
    """SHA-256 of a checkpoint; of a folder, over the hashes of its files."""
    if path.is_file():
        return file_hash(path)
    parts = {file.name: file_hash(file) for file in sorted(path.iterdir()) if file.is_file()}
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def formula_caveat(networks: Mapping[str, Network[Any]]) -> tuple[str, ...]:
    """What has to be said where a network's weights are by formula."""
    names = [what for what, one in networks.items() if one.by_formula]
    if not names:
        return ()
    return (
        f"{' and '.join(names)}: weights by formula. The figures show that everything runs; they measure nothing that "
        f"papers report, and no order by them is claimed.",
    )
