"""OmniAvatar's checkpoints in their original files (training recipe 2.1).

What is published is an adapter: LoRA of the linear layers of every block, and whole tensors for what the plain Wan
transformer lacks. It is merged into Wan's own file when tensors are read, W + (α/r)·B·A in float32, so that nothing
besides the finished weights is ever in memory. The result has the names and shapes of LiveTalk's student.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from livetalk.base.errors import CheckpointError
from livetalk.render.checkpoint import CheckpointFiles, StateFile, check, open_state
from livetalk.render.config import DiTConfig
from livetalk.render.model import CausalDiT, reference_shapes

OMNIAVATAR: dict[str, DiTConfig] = {
    "omniavatar-1.3b": DiTConfig(),
    "omniavatar-14b": DiTConfig(dim=5120, num_heads=40, num_layers=40, ffn_dim=13_824),
}
"""The two published sizes."""

BASE_IN_DIM = 16
"""Input channels of Wan's patch embedding, which is replaced and never merged."""

_FOLDERS = {
    "omniavatar-1.3b": ("OmniAvatar-1.3B", "Wan2.1-T2V-1.3B"),
    "omniavatar-14b": ("OmniAvatar-14B", "Wan2.1-T2V-14B"),
}
_PARTS = {"omniavatar-1.3b": 1, "omniavatar-14b": 6}
_LORA = re.compile(r"(?P<module>.+)\.lora_(?P<half>[AB])(?:\.default)?\.weight")
_NAMED = 4


@dataclass(frozen=True, slots=True)
class OmniAvatarFiles:
    """Where one size's files lie; ``under`` gives the layout of ``livetalk download``."""

    model: str
    config: Path
    adapter: Path
    base: tuple[Path, ...]

    @classmethod
    def under(cls, root: Path, model: str) -> OmniAvatarFiles:
        folder, wan = (root / name for name in _FOLDERS[model])
        count, stem = _PARTS[model], "diffusion_pytorch_model"
        names = [f"{stem}-{part:05}-of-{count:05}" for part in range(1, count + 1)] if count > 1 else [stem]
        return cls(
            model,
            folder / "config.json",
            folder / "pytorch_model.pt",
            tuple(wan / f"{name}.safetensors" for name in names),
        )

    def require(self, others: CheckpointFiles) -> None:
        """Go on only if these files and the encoders and the VAE of ``others`` are there.

        Raises:
            CheckpointError: with the first that is not, how many more, and what fetches them.
        """
        shared = (others.text_encoder, others.tokenizer, others.vae, others.speech)
        missing = [path for path in (self.config, self.adapter, *self.base, *shared) if not path.exists()]
        if missing:
            more = f", nor are {len(missing) - 1} more" if len(missing) > 1 else ""
            raise CheckpointError(
                f"{missing[0]} is not there{more}. `livetalk download --model {self.model}` fetches the published "
                "files; --checkpoints names their folder; --size tiny runs without them."
            )


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """What ``config.json`` says of the adapter."""

    rank: int
    alpha: float
    targets: tuple[str, ...]
    """Ends of the names of the linear layers; empty where the file does not say."""

    @property
    def scale(self) -> float:
        """α/r, by which B·A is added: 0.5 for the published files."""
        return self.alpha / self.rank


def read_config(path: Path, config: DiTConfig) -> LoraConfig:
    """Rank and alpha of the adapter.

    Raises:
        CheckpointError: the file is not there, does not say them, or describes another network. They are never
            guessed: a wrong scale gives pictures that are only worse.
    """
    try:
        entry = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} can't be read ({error.strerror}). `livetalk download` fetches it.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}.") from error
    entry = entry if isinstance(entry, dict) else {}
    architecture = entry.get("train_architecture", "lora")
    if architecture != "lora":
        raise CheckpointError(f"{path} describes a model trained as {architecture!r}; only adapters (lora) are read.")
    rank, alpha = entry.get("lora_rank"), entry.get("lora_alpha")
    if not _is_number(rank) or rank != int(rank) or rank < 1:
        raise CheckpointError(f"{path} gives no lora_rank, and it is not guessed. Use the published file.")
    if not _is_number(alpha) or alpha <= 0:
        raise CheckpointError(f"{path} gives no lora_alpha, and it is not guessed. Use the published file.")
    network = entry.get("model_config", {})
    for name, expected in (("in_dim", config.in_dim), ("audio_hidden_size", config.audio_hidden)):
        if isinstance(network, dict) and network.get(name, expected) != expected:
            raise CheckpointError(f"{path} describes a network with {name} {network[name]}, not {expected}.")
    targets = entry.get("lora_target_modules", ())
    if isinstance(targets, str):
        targets = [name.strip() for name in targets.split(",") if name.strip()]
    return LoraConfig(int(rank), float(alpha), tuple(map(str, targets)))


class MergedState(Mapping[str, Tensor]):
    """A base's tensors with an adapter's merged in, computed in float32 when asked for.

    Args:
        base: the plain transformer.
        adapter: LoRA pairs, with or without peft's ``.default`` in their names, and whole tensors, which take the place
            of the base's.

    Raises:
        CheckpointError: something of the adapter would be left over, is half of a pair, or does not fit the base.
    """

    def __init__(
        self,
        base: StateFile,
        adapter: StateFile,
        lora: LoraConfig,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        self._base, self._adapter, self._lora, self._device = base, adapter, lora, device
        self._pairs: dict[str, dict[str, str]] = {}
        whole = []
        for key in adapter:
            if match := _LORA.fullmatch(key):
                halves = self._pairs.setdefault(f"{match['module']}.weight", {})
                if match["half"] in halves:
                    raise CheckpointError(f"{adapter.path} holds {key} and {halves[match['half']]}, which are one.")
                halves[match["half"]] = key
            else:
                whole.append(key)
        self._check_pairs()
        strange = [key for key in whole if "lora" in key.lower() or "base_layer" in key or key in self._pairs]
        if strange:
            raise CheckpointError(_leftover(adapter.path, strange))
        self.shapes: dict[str, tuple[int, ...]] = {**base.shapes, **{key: adapter.shapes[key] for key in whole}}
        self._whole = frozenset(whole)

    def _check_pairs(self) -> None:
        path, rank = self._adapter.path, self._lora.rank
        if not self._pairs:
            raise CheckpointError(f"{path} holds no LoRA weights: it is not an OmniAvatar adapter.")
        for name, halves in self._pairs.items():
            if name not in self._base.shapes:
                raise CheckpointError(_leftover(path, list(halves.values())))
            if set(halves) != {"A", "B"}:
                raise CheckpointError(
                    f"{path} holds only one half of the LoRA of {name}: {next(iter(halves.values()))}."
                )
            out, inner = self._base.shapes[name]
            for half, expected in (("A", (rank, inner)), ("B", (out, rank))):
                found = self._adapter.shapes[halves[half]]
                if found != expected:
                    raise CheckpointError(
                        f"{halves[half]} of {path} is {list(found)} instead of {list(expected)}: it does not fit the "
                        f"base, or config.json names another rank than {rank}."
                    )
        if not self._lora.targets:
            return
        ends = tuple(f".{target}.weight" for target in self._lora.targets)
        targets = [name for name in self._base.shapes if name.startswith("blocks.") and name.endswith(ends)]
        without, beyond = [n for n in targets if n not in self._pairs], [n for n in self._pairs if n not in targets]
        if without or beyond:
            raise CheckpointError(
                f"{path} has no LoRA for {len(without)} layers that config.json lists, and has it for {len(beyond)} "
                f"that it does not: {', '.join([*without, *beyond][:_NAMED])}."
            )

    def __getitem__(self, name: str) -> Tensor:
        if name in self._whole:
            return self._adapter[name].to(self._device, torch.float32)
        weight = self._base[name].to(self._device, torch.float32)
        if name not in self._pairs:
            return weight
        a, b = (self._adapter[self._pairs[name][half]].to(self._device, torch.float32) for half in "AB")
        return weight + self._lora.scale * (b @ a)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def fingerprint(self) -> str:
        """Of base and adapter as they lie in their files, and of the scale."""
        parts = [fingerprint(self._base), fingerprint(self._adapter), repr(self._lora.scale)]
        return hashlib.sha256("".join(parts).encode()).hexdigest()


def fingerprint(state: Mapping[str, Tensor], values: int = 256) -> str:
    """SHA-256 over names, shapes, types and evenly spaced values of all tensors: another training shows, and of a file
    of gigabytes little is read."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name]
        flat = tensor.flatten()
        some = flat[:: max(1, len(flat) // values)].contiguous().cpu()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(some.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def open_omniavatar(files: OmniAvatarFiles, config: DiTConfig, device: torch.device | str = "cpu") -> MergedState:
    """Open a size's files and check every name and shape, without reading a tensor.

    Args:
        device: where tensors are merged.

    Raises:
        CheckpointError: a file is missing or damaged, is another model, or something in it would be left over.
    """
    lora = read_config(files.config, config)
    base = joined([open_state(path) for path in files.base])
    check(base.path, base.shapes, base_shapes(config), f"the plain Wan transformer under {files.model}")
    merged = MergedState(base, open_state(files.adapter), lora, device=device)
    check(files.adapter, merged.shapes, reference_shapes(config), f"an adapter of {files.model}")
    absent = [
        name for name in reference_shapes(config) if name.startswith("patch_embedding") and name not in merged._whole
    ]
    if absent:
        raise CheckpointError(
            f"{files.adapter} has no {absent[0]}; the base's, of {BASE_IN_DIM} channels, can't stand in."
        )
    return merged


def load_omniavatar(
    files: OmniAvatarFiles,
    config: DiTConfig,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
) -> CausalDiT:
    """The merged network.

    Raises:
        CheckpointError: as ``open_omniavatar``.
    """
    return CausalDiT.from_state(config, open_omniavatar(files, config, device), dtype=dtype, device=device)


def base_shapes(config: DiTConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the plain Wan transformer under a network of these dimensions."""
    plain = reference_shapes(replace(config, in_dim=BASE_IN_DIM + 1))
    shapes = {name: shape for name, shape in plain.items() if not name.startswith("audio_")}
    shapes["patch_embedding.weight"] = (config.dim, BASE_IN_DIM, *shapes["patch_embedding.weight"][2:])
    return shapes


def joined(parts: list[StateFile]) -> StateFile:
    """One table of the tensors of several files.

    Raises:
        CheckpointError: two of them hold a tensor of one name.
    """
    if len(parts) == 1:
        return parts[0]
    places: dict[str, StateFile] = {}
    for part in parts:
        for name in part:
            if name in places:
                raise CheckpointError(
                    f"{name} is in both {places[name].path} and {part.path}: the files don't go together."
                )
            places[name] = part
    shapes = {name: part.shapes[name] for name, part in places.items()}
    return StateFile(parts[0].path, shapes, lambda name: places[name][name])


def _leftover(path: Path, keys: list[str]) -> str:
    more = ", …" if len(keys) > _NAMED else ""
    named = f"{', '.join(keys[:_NAMED])}{more}"
    return f"{path} holds {len(keys)} tensors that belong nowhere: {named}. Use the published file."


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
