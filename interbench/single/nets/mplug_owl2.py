"""mPLUG-Owl2 as Q-Align uses it: a picture and a question in, the logits of the next word out.

A CLIP-like vision transformer, an abstractor that makes 64 tokens (and an end mark) of its patches, and a LLaMA whose
keys, values and norms exist twice: one set for text (0), one for pictures (1). Key names are those of
``q-future/one-align``. Sizes come from its ``config.json``, so smaller models of the same make load too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TEXT, _PICTURE = 0, 1
_INNER_EPS = 1e-5
"""Of the abstractor's own norms; that within its feed-forward part has the configured one."""


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """Of ``visual_config.visual_model``."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    image_size: int = 448
    patch_size: int = 14
    layer_norm_eps: float = 1e-6


@dataclass(frozen=True, slots=True)
class AbstractorConfig:
    """Of ``visual_config.visual_abstractor``."""

    num_learnable_queries: int = 64
    hidden_size: int = 1024
    num_hidden_layers: int = 6
    num_attention_heads: int = 16
    intermediate_size: int = 2816
    layer_norm_eps: float = 1e-6
    encoder_hidden_size: int = 1024


@dataclass(frozen=True, slots=True)
class OwlConfig:
    """What ``config.json`` says of the whole model."""

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 32
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    vision: VisionConfig = VisionConfig()
    abstractor: AbstractorConfig = AbstractorConfig()

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> OwlConfig:
        """From the content of ``config.json``; what it does not say is as in the published model.

        Raises:
            TypeError: a value is of another kind.
            ValueError: a value is of another kind.
        """
        visual = values.get("visual_config") or {}
        own = {name: values[name] for name in _own_fields() if values.get(name) is not None}
        own.setdefault("num_key_value_heads", own.get("num_attention_heads", 32))
        return cls(
            **{name: type(getattr(cls(), name))(value) for name, value in own.items()},
            vision=_part(VisionConfig(), visual.get("visual_model") or {}),
            abstractor=_part(AbstractorConfig(), visual.get("visual_abstractor") or {}),
        )


def _own_fields() -> tuple[str, ...]:
    return tuple(name for name in OwlConfig.__dataclass_fields__ if name not in ("vision", "abstractor"))


def _part(default: Any, values: Mapping[str, Any]) -> Any:
    names = type(default).__dataclass_fields__
    known = {name: type(getattr(default, name))(values[name]) for name in names if values.get(name) is not None}
    return type(default)(**known)


def _heads(x: Tensor, count: int) -> Tensor:
    heads: Tensor = x.unflatten(-1, (count, -1))
    return heads.transpose(1, 2)


def _merged(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


class _VisionAttention(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        # Of each head its query, key and value stand together.
        q, k, v = self.query_key_value(x).unflatten(-1, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        found: Tensor = self.dense(_merged(F.scaled_dot_product_attention(q, k, v)))
        return found


class _VisionMLP(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.fc1(x)
        found: Tensor = self.fc2(inner * torch.sigmoid(1.702 * inner))
        return found


class _VisionLayer(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.self_attn = _VisionAttention(config)
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = _VisionMLP(config)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x))
        found: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return found


class _VisionEmbeddings(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        patches = (config.image_size // config.patch_size) ** 2
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.position_embedding = nn.Parameter(torch.empty(1, patches + 1, config.hidden_size))
        self.patch_embed = nn.Conv2d(3, config.hidden_size, config.patch_size, config.patch_size, bias=False)
        self.pre_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, pictures: Tensor) -> Tensor:
        patches = self.patch_embed(pictures).flatten(2).transpose(1, 2)
        whole = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], 1)
        found: Tensor = self.pre_layernorm(whole + self.position_embedding)
        return found


class _Layers(nn.Module):
    """Layers under the name that checkpoints give them."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class _Vision(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embeddings = _VisionEmbeddings(config)
        self.encoder = _Layers([_VisionLayer(config) for _ in range(config.num_hidden_layers)])
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.embeddings(pictures)
        for layer in self.encoder.layers:
            x = layer(x)
        found: Tensor = self.post_layernorm(x)
        return found


class _AbstractorAttention(nn.Module):
    q_pos_embed: Tensor
    k_pos_embed: Tensor

    def __init__(self, config: AbstractorConfig, seen: int) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.encoder_hidden_size, config.hidden_size)
        self.value = nn.Linear(config.encoder_hidden_size, config.hidden_size)
        self.register_buffer("q_pos_embed", torch.empty(config.num_learnable_queries, config.hidden_size))
        self.register_buffer("k_pos_embed", torch.empty(seen, config.hidden_size))

    def forward(self, queries: Tensor, both: Tensor) -> Tensor:
        places = torch.cat([self.q_pos_embed, self.k_pos_embed])
        q = _heads(self.query(queries + self.q_pos_embed), self.heads)
        k, v = _heads(self.key(both + places), self.heads), _heads(self.value(both), self.heads)
        return _merged(F.scaled_dot_product_attention(q, k, v))


class _AbstractorMLP(nn.Module):
    def __init__(self, config: AbstractorConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.w2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.w3 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.ffn_ln = nn.LayerNorm(config.intermediate_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.w2(self.ffn_ln(F.silu(self.w1(x)) * self.w3(x)))
        return found


class _AbstractorOutput(nn.Module):
    def __init__(self, config: AbstractorConfig) -> None:
        super().__init__()
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=_INNER_EPS)
        self.mlp = _AbstractorMLP(config)

    def forward(self, attended: Tensor, queries: Tensor) -> Tensor:
        x = queries + self.out_proj(attended)
        found: Tensor = x + self.mlp(self.norm2(x))
        return found


class _CrossAttention(nn.Module):
    def __init__(self, config: AbstractorConfig, seen: int) -> None:
        super().__init__()
        self.attention = _AbstractorAttention(config, seen)
        self.output = _AbstractorOutput(config)
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=_INNER_EPS)
        self.normk = nn.LayerNorm(config.encoder_hidden_size, eps=_INNER_EPS)

    def forward(self, queries: Tensor, seen: Tensor) -> Tensor:
        # What is added to is the normed query, not the query itself: so the model was trained.
        queries = self.norm1(queries)
        both = torch.cat([queries, self.normk(seen)], 1)
        found: Tensor = self.output(self.attention(queries, both), queries)
        return found


class _AbstractorLayer(nn.Module):
    def __init__(self, config: AbstractorConfig, seen: int) -> None:
        super().__init__()
        self.crossattention = _CrossAttention(config, seen)

    def forward(self, queries: Tensor, seen: Tensor) -> Tensor:
        found: Tensor = self.crossattention(queries, seen)
        return found


class _Abstractor(nn.Module):
    def __init__(self, config: AbstractorConfig, seen: int, language: int) -> None:
        super().__init__()
        self.encoder = _Layers([_AbstractorLayer(config, seen) for _ in range(config.num_hidden_layers)])
        self.visual_fc = nn.Linear(config.hidden_size, language)
        self.query_embeds = nn.Parameter(torch.empty(1, config.num_learnable_queries, config.hidden_size))
        self.vit_eos = nn.Parameter(torch.empty(1, 1, language))

    def forward(self, seen: Tensor) -> Tensor:
        x: Tensor = self.query_embeds.expand(len(seen), -1, -1)
        for layer in self.encoder.layers:
            x = layer(x, seen)
        return torch.cat([self.visual_fc(x), self.vit_eos.expand(len(seen), -1, -1)], 1)


class _Twice(nn.Module):
    """One module for text and one for pictures."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.multiway = nn.ModuleList([first, second])

    def forward(self, x: Tensor, shown: Tensor) -> Tensor:
        return torch.where(shown[..., None], self.multiway[_PICTURE](x), self.multiway[_TEXT](x))


class _RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)


class _Attention(nn.Module):
    def __init__(self, config: OwlConfig) -> None:
        super().__init__()
        self.heads, self.shared = config.num_attention_heads, config.num_key_value_heads
        width, narrow = config.hidden_size, config.hidden_size // self.heads * self.shared
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = _Twice(nn.Linear(width, narrow, bias=False), nn.Linear(width, narrow, bias=False))
        self.v_proj = _Twice(nn.Linear(width, narrow, bias=False), nn.Linear(width, narrow, bias=False))
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, shown: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        q = _turned(_heads(self.q_proj(x), self.heads), turn)
        k = _turned(_heads(self.k_proj(x, shown), self.shared), turn)
        v = _heads(self.v_proj(x, shown), self.shared)
        repeats = self.heads // self.shared
        k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
        found: Tensor = self.o_proj(_merged(F.scaled_dot_product_attention(q, k, v, is_causal=True)))
        return found


class _MLP(nn.Module):
    def __init__(self, config: OwlConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return found


class _Layer(nn.Module):
    def __init__(self, config: OwlConfig) -> None:
        super().__init__()

        def norms() -> _Twice:
            return _Twice(
                _RMSNorm(config.hidden_size, config.rms_norm_eps), _RMSNorm(config.hidden_size, config.rms_norm_eps)
            )

        self.self_attn = _Attention(config)
        self.mlp = _MLP(config)
        self.input_layernorm = norms()
        self.post_attention_layernorm = norms()

    def forward(self, x: Tensor, shown: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x, shown), shown, turn)
        found: Tensor = x + self.mlp(self.post_attention_layernorm(x, shown))
        return found


def _rotation(length: int, width: int, theta: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine [length, width] of the rotary embedding."""
    places = torch.arange(0, width, 2, dtype=torch.float32, device=like.device) / width
    angles = torch.arange(length, dtype=torch.float32, device=like.device)[:, None] / theta**places
    both = torch.cat([angles, angles], -1)
    return both.cos().to(like.dtype), both.sin().to(like.dtype)


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * turn[0] + torch.cat([-second, first], -1) * turn[1]


class _Model(nn.Module):
    def __init__(self, config: OwlConfig) -> None:
        super().__init__()
        patches = (config.vision.image_size // config.vision.patch_size) ** 2 + 1
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([_Layer(config) for _ in range(config.num_hidden_layers)])
        self.norm = _RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.vision_model = _Vision(config.vision)
        self.visual_abstractor = _Abstractor(config.abstractor, patches, config.hidden_size)


class Owl(nn.Module):
    """The whole model."""

    def __init__(self, config: OwlConfig) -> None:
        super().__init__()
        self.config = config
        self.model = _Model(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def picture_tokens(self, pictures: Tensor) -> Tensor:
        """Tokens [N, queries + 1, hidden] of pictures [N, 3, side, side], normalised as for CLIP."""
        found: Tensor = self.model.visual_abstractor(self.model.vision_model(pictures))
        return found

    def next_logits(self, tokens: Sequence[int | None], pictures: Tensor) -> Tensor:
        """Logits [vocabulary] of what comes after ``tokens``, in which None stands for all of ``pictures``."""
        device = self.lm_head.weight.device
        pieces, shown = [], []
        for token in tokens:
            if token is None:
                inside = self.picture_tokens(pictures).flatten(0, 1)
            else:
                inside = self.model.embed_tokens(torch.tensor([token], device=device))
            pieces.append(inside)
            shown.append(torch.full((len(inside),), token is None, device=device))
        x, is_picture = torch.cat(pieces)[None], torch.cat(shown)[None]
        config = self.config
        turn = _rotation(x.shape[1], config.hidden_size // config.num_attention_heads, config.rope_theta, x)
        for layer in self.model.layers:
            x = layer(x, is_picture, turn)
        found: Tensor = self.lm_head(self.model.norm(x[:, -1]))[0]
        return found
