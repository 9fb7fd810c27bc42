"""Reading published checkpoints without running anything that is in them.

A pickle is a program, and so is a TorchScript archive. Here a pickle is read by torch's restricted reader
(``weights_only``), which builds tensors and plain containers and nothing else, and an archive with code in it is
refused. Safetensors hold no code.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from interbench.single.base import CheckpointError

_SHARD_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WHOLE = ("model.safetensors", "pytorch_model.bin")
M = TypeVar("M", bound=nn.Module)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name: one file, or a folder with an index of its shards.

    Raises:
        CheckpointError: it is not there, holds code, or holds anything else than tensors.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {path}.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if _holds_code(path):
        raise CheckpointError(
            f"{path} is a TorchScript archive, which is a program: loading it would run what is in it. Give the plain "
            f"checkpoint of the same network instead (docs/single.md names the files)."
        )
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises whatever its bytes lead to
        raise CheckpointError(
            f"{path} can't be read as a checkpoint of tensors ({_first_line(error)}). It is damaged, or a pickle that "
            f"wants to run code, which is never done."
        ) from error
    return _tensors(found, path)


def load(module: M, state: Mapping[str, Tensor], source: Path, dtype: torch.dtype | None = None) -> M:
    """Put ``state`` into ``module`` and make it ready to be asked; every name and shape has to fit.

    Raises:
        CheckpointError: saying which names are missing, too many, or of another shape.
    """
    own = module.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    # A counter of training steps that older writers left out; nothing depends on it.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    wrong = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    if missing or unknown or wrong:
        said = [
            f"{what}: {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
            for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", sorted(wrong)))
            if names
        ]
        raise CheckpointError(
            f"{source} is no checkpoint of {type(module).__name__}: tensors {'; '.join(said)}. Give the file that "
            f"docs/single.md names."
        )
    module.load_state_dict(dict(state), strict=False, assign=True)
    if dtype is not None:
        module = module.to(dtype)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module.eval()


def _read_folder(folder: Path) -> dict[str, Tensor]:
    for name in _SHARD_INDEXES:
        index = folder / name
        if index.is_file():
            try:
                files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
                raise CheckpointError(f"{index} is no index of shards ({error}). Fetch it again.") from error
            state: dict[str, Tensor] = {}
            for file in files:
                if not isinstance(file, str) or Path(file).name != file:
                    raise CheckpointError(f"{index} names {file!r}, which is no file beside it.")
                state |= read_state(folder / file)
            return state
    for name in _WHOLE:
        if (folder / name).is_file():
            return read_state(folder / name)
    raise CheckpointError(f"{folder} holds no checkpoint: none of {', '.join((*_SHARD_INDEXES, *_WHOLE))}.")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise CheckpointError(
            f"{path} is in the safetensors format, whose reader is not installed: pip install 'interbench[metrics]'."
        ) from error
    try:
        return load_file(path)
    except Exception as error:
        raise CheckpointError(f"{path} is no safetensors file ({_first_line(error)}). Fetch it again.") from error


def _holds_code(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/")[1:2] == ["code"] or name.endswith("constants.pkl") for name in archive.namelist())


def _tensors(found: object, path: Path) -> dict[str, Tensor]:
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    ):
        raise CheckpointError(f"{path} holds something else than tensors by name.")
    return dict(found)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
