"""Names and shapes of the published checkpoint's tensors (spec 1.1)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from livetalk.render.config import DiTConfig

PATCH = (1, 2, 2)  # frames, rows, columns of one token


def reference_shapes(config: DiTConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of a checkpoint with these dimensions; 857 of them for LiveTalk-1.3B."""
    dim, ffn = config.dim, config.ffn_dim
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, out_dim: int, in_dim: int) -> None:
        shapes[f"{name}.weight"] = (out_dim, in_dim)
        shapes[f"{name}.bias"] = (out_dim,)

    shapes["patch_embedding.weight"] = (dim, config.in_dim, *PATCH)
    shapes["patch_embedding.bias"] = (dim,)
    linear("text_embedding.0", dim, config.text_dim)
    linear("text_embedding.2", dim, dim)
    linear("time_embedding.0", dim, config.freq_dim)
    linear("time_embedding.2", dim, dim)
    linear("time_projection.1", 6 * dim, dim)
    for i in range(config.num_layers):
        block = f"blocks.{i}"
        shapes[f"{block}.modulation"] = (1, 6, dim)
        for attention in ("self_attn", "cross_attn"):
            for projection in "qkvo":
                linear(f"{block}.{attention}.{projection}", dim, dim)
            for norm in ("norm_q", "norm_k"):
                shapes[f"{block}.{attention}.{norm}.weight"] = (dim,)
        shapes[f"{block}.norm3.weight"] = (dim,)
        shapes[f"{block}.norm3.bias"] = (dim,)
        linear(f"{block}.ffn.0", ffn, dim)
        linear(f"{block}.ffn.2", dim, ffn)
    shapes["head.modulation"] = (1, 2, dim)
    linear("head.head", math.prod(PATCH) * config.out_dim, dim)
    linear("audio_proj.proj", config.audio_hidden, 4 * config.audio_feat_dim)
    shapes["audio_proj.norm_out.weight"] = (config.audio_hidden,)
    shapes["audio_proj.norm_out.bias"] = (config.audio_hidden,)
    for p in range(config.audio_injections):
        linear(f"audio_cond_projs.{p}", dim, config.audio_hidden)
    return shapes


def published_names(config: DiTConfig) -> dict[str, tuple[str, ...]]:
    """Published names behind each parameter here; several are stacked. The patch embedding's weight is split apart."""
    table: dict[str, tuple[str, ...]] = {"patch_y.bias": ("patch_embedding.bias",)}

    def linear(own: str, *published: str) -> None:
        for part in ("weight", "bias"):
            table[f"{own}.{part}"] = tuple(f"{name}.{part}" for name in published)

    linear("text_in", "text_embedding.0")
    linear("text_out", "text_embedding.2")
    linear("time_in", "time_embedding.0")
    linear("time_out", "time_embedding.2")
    linear("time_projection", "time_projection.1")
    linear("audio.pack", "audio_proj.proj")
    linear("audio.norm", "audio_proj.norm_out")
    linear("audio.project", *(f"audio_cond_projs.{p}" for p in range(config.audio_injections)))
    linear("head", "head.head")
    table["head_modulation"] = ("head.modulation",)
    for i in range(config.num_layers):
        own, published = f"layers.{i}", f"blocks.{i}"
        table[f"{own}.modulation"] = (f"{published}.modulation",)
        linear(f"{own}.self_qkv", *(f"{published}.self_attn.{x}" for x in "qkv"))
        linear(f"{own}.self_out", f"{published}.self_attn.o")
        linear(f"{own}.cross_q", f"{published}.cross_attn.q")
        linear(f"{own}.cross_kv", *(f"{published}.cross_attn.{x}" for x in "kv"))
        linear(f"{own}.cross_out", f"{published}.cross_attn.o")
        for attention in ("self", "cross"):
            for x in "qk":
                table[f"{own}.{attention}_norm_{x}"] = (f"{published}.{attention}_attn.norm_{x}.weight",)
        linear(f"{own}.cross_norm", f"{published}.norm3")
        linear(f"{own}.ffn_in", f"{published}.ffn.0")
        linear(f"{own}.ffn_out", f"{published}.ffn.2")
    return table


def from_published(config: DiTConfig, read: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """Parameters of ``CausalDiT`` from a checkpoint's tensors; stacked ones joined, none reshaped.

    Args:
        read: gives a tensor of ``reference_shapes`` by its name; each is asked for once.
    """
    own = {
        name: torch.cat([read(source) for source in sources]) if len(sources) > 1 else read(sources[0])
        for name, sources in published_names(config).items()
    }
    patches = read("patch_embedding.weight").flatten(2)
    own["patch_x.weight"] = patches[:, : config.out_dim].flatten(1).contiguous()
    own["patch_y.weight"] = patches[:, config.out_dim :].flatten(1).contiguous()
    return own


def to_published(config: DiTConfig, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of ``from_published``: a checkpoint's tensors from the parameters of ``CausalDiT``.

    Stacked parameters are split again, the patch embedding is joined. Tensors keep their dtype and device, and may be
    views of what was given.
    """
    shapes, state = reference_shapes(config), {}
    for name, sources in published_names(config).items():
        for source, part in zip(sources, own[name].chunk(len(sources)), strict=True):
            state[source] = part.reshape(shapes[source])
    patches = [own[f"patch_{part}.weight"].unflatten(1, (-1, math.prod(PATCH))) for part in "xy"]
    state["patch_embedding.weight"] = torch.cat(patches, dim=1).reshape(shapes["patch_embedding.weight"])
    return {name: state[name] for name in shapes}


def shape_digest(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """MD5 by which the published code recognises a checkpoint (spec 1): names with and without their shapes, sorted."""
    words = [word for key, shape in shapes.items() for word in (f"{key}:{'_'.join(map(str, shape))}", key)]
    return hashlib.md5(",".join(sorted(words)).encode(), usedforsecurity=False).hexdigest()


def random_tensors(
    shapes: Mapping[str, tuple[int, ...]],
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> dict[str, Tensor]:
    """Random weights under published names, scaled so that activations neither vanish nor explode.

    Nothing is zero-initialised: every path of a network carries signal.
    """
    generator = torch.Generator(device).manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator, dtype=torch.float32, device=device)
        if name.endswith("bias"):
            values = 0.02 * values
        elif name.endswith("modulation"):
            values = values / math.sqrt(shape[-1])
        elif max(shape) == math.prod(shape):  # one value per channel: the weight of a norm
            values = 1 + 0.1 * values
        else:
            values = values / math.sqrt(math.prod(shape[1:]))
        state[name] = values.to(dtype)
    return state


def random_state(
    config: DiTConfig, *, seed: int = 0, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """A random checkpoint of the transformer."""
    return random_tensors(reference_shapes(config), seed=seed, dtype=dtype, device=device)
