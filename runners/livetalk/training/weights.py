"""Where a network's weights come from: a file, a run, OmniAvatar's files, or a seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from livetalk.base.errors import OptionError
from livetalk.render.checkpoint import check, open_state
from livetalk.render.config import DiTConfig
from livetalk.render.model import random_state, reference_shapes
from livetalk.render.model.weights import to_published
from livetalk.render.omniavatar.files import OMNIAVATAR, OmniAvatarFiles, fingerprint, open_omniavatar
from livetalk.training.checkpoints import names_in, newest, read_network
from livetalk.training.network import TrainingDiT

RANDOM = "random:"


class Weights(Mapping[str, Tensor]):
    """Tensors under their published names, read when asked for."""

    def __init__(self, state: Mapping[str, Tensor], source: str) -> None:
        self._state = state
        self.source = source
        """What they are, for people."""

    def __getitem__(self, name: str) -> Tensor:
        return self._state[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)

    def fingerprint(self) -> str:
        """By which a run knows that it goes on with the same."""
        own = getattr(self._state, "fingerprint", None)
        return str(own()) if own is not None else fingerprint(self._state)


def open_weights(source: str, config: DiTConfig, checkpoints: Path) -> Weights:
    """Open a source and check names and shapes.

    Args:
        source: "omniavatar-1.3b" or "omniavatar-14b" for the published files under ``checkpoints``, merged as they are
            read; "random:SEED"; a safetensors file of 857 (or the size's) tensors; a run's folder or a checkpoint in
            it, of which the average is taken where there is one.

    Raises:
        OptionError: there is no such thing.
        CheckpointError, RunError: it is damaged, or of another network.
    """
    if source in OMNIAVATAR:
        if config != OMNIAVATAR[source]:
            raise OptionError(f"{source} does not have the dimensions of the size that was chosen.")
        return Weights(open_omniavatar(OmniAvatarFiles.under(checkpoints, source), config), source)
    if source.startswith(RANDOM):
        seed = source.removeprefix(RANDOM)
        if not (seed.isascii() and seed.isdigit()):
            raise OptionError(f"{source!r} names no seed; write {RANDOM}0")
        return Weights(random_state(config, seed=int(seed)), source)
    path = Path(source)
    if path.is_dir():
        place = newest(path)
        which = "ema" if any(name.startswith("ema.") for name in names_in(place)) else "student"
        state = to_published(config, _fitting(place, read_network(place, which), config))
        return Weights(state, f"{place} ({which})")
    if not path.exists():
        raise OptionError(
            f"{source} is neither a file nor a run, nor one of {', '.join(OMNIAVATAR)}, nor {RANDOM}SEED."
        )
    state_file = open_state(path)
    check(path, state_file.shapes, reference_shapes(config), "a transformer")
    return Weights(state_file, source)


def _fitting(place: Path, own: dict[str, Tensor], config: DiTConfig) -> dict[str, Tensor]:
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in TrainingDiT(config).named_parameters()}
    check(place, {name: tuple(value.shape) for name, value in own.items()}, wanted, "a run of this size")
    return own
