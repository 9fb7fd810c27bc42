"""OmniAvatar's checkpoints in their original file formats, small and with random weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from livetalk.render.config import DiTConfig
from livetalk.render.model import random_tensors, reference_shapes
from livetalk.render.omniavatar.files import OmniAvatarFiles, base_shapes
from safetensors.torch import save_file
from torch import Tensor

RANK, ALPHA = 4, 2
TARGETS = ("q", "k", "v", "o", "ffn.0", "ffn.2")


def adapter(config: DiTConfig, *, seed: int = 1, default: str = ".default") -> dict[str, Tensor]:
    """LoRA of every linear layer of the blocks under peft's injected names, and the new layers whole."""
    shapes = reference_shapes(config)
    names = [
        name for name in shapes if name.startswith("blocks.") and name.endswith(tuple(f".{t}.weight" for t in TARGETS))
    ]
    wanted = {name: shape for name, shape in shapes.items() if name.startswith(("audio_", "patch_embedding."))}
    for name in names:
        module, (out, inner) = name.removesuffix(".weight"), shapes[name]
        wanted[f"{module}.lora_A{default}.weight"] = (RANK, inner)
        wanted[f"{module}.lora_B{default}.weight"] = (out, RANK)
    return random_tensors(wanted, seed=seed)


def settings(**changed: Any) -> dict[str, Any]:
    """``config.json`` as the published one is seen to be."""
    entry = {
        "model_config": {"in_dim": 33, "audio_hidden_size": 8},
        "train_architecture": "lora",
        "lora_rank": RANK,
        "lora_alpha": ALPHA,
        "lora_target_modules": ",".join(TARGETS),
        "use_audio": True,
        "i2v": True,
    }
    return {name: value for name, value in {**entry, **changed}.items() if value is not None}


def write(files: OmniAvatarFiles, config: DiTConfig, *, seed: int = 0, default: str = ".default") -> None:
    """Base, in as many parts as the size has, adapter and ``config.json``."""
    write_base(files, random_tensors(base_shapes(config), seed=seed))
    files.adapter.parent.mkdir(parents=True, exist_ok=True)
    torch.save(adapter(config, seed=seed + 1, default=default), files.adapter)
    files.config.write_text(json.dumps(settings()))


def write_base(files: OmniAvatarFiles, state: Mapping[str, Tensor]) -> None:
    for part, path in enumerate(files.base):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(list(state.items())[part :: len(files.base)]), path)


def merged(files: OmniAvatarFiles, config: DiTConfig, *, seed: int = 0) -> dict[str, Tensor]:
    """What ``write`` wrote, merged by the formula."""
    base, added = random_tensors(base_shapes(config), seed=seed), adapter(config, seed=seed + 1)
    result = {}
    for name in reference_shapes(config):
        a = added.get(f"{name.removesuffix('.weight')}.lora_A.default.weight")
        b = added.get(f"{name.removesuffix('.weight')}.lora_B.default.weight")
        result[name] = added[name] if name in added else base[name]
        if a is not None and b is not None:
            result[name] = base[name] + ALPHA / RANK * (b @ a)
    return result
