"""The prompt as UMT5 hidden states (spec section 4)."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

import ftfy
import torch
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from livetalk.render.config import TextConfig

_SPACE = re.compile(r"\s+")


class TextEncoder:
    """UMT5 with its tokenizer. Call it with a prompt.

    Args:
        model: the encoder.
        tokenizer: a transformers tokenizer that appends ``</s>``; None if only token ids will be encoded.
        length: rows of the result, padding included.
    """

    def __init__(self, model: UMT5EncoderModel, tokenizer: Any = None, length: int = TextConfig().text_len) -> None:
        self.model = model.train(False).requires_grad_(False)
        self.tokenizer = tokenizer
        self.length = length
        parameter = next(model.parameters())
        self.dtype, self.device = parameter.dtype, parameter.device

    @classmethod
    def from_state(
        cls,
        config: TextConfig,
        state: Mapping[str, Tensor],
        tokenizer: Any = None,
        *,
        dtype: torch.dtype = torch.bfloat16,
        device: torch.device | str = "cpu",
    ) -> TextEncoder:
        """Build from tensors under the original file's names (spec 1.2), without a second copy of the weights."""
        model = empty_model(config)
        ours = original_names(config)
        loaded = {ours[key]: state[key].to(device=device, dtype=dtype) for key in state}
        loaded["encoder.embed_tokens.weight"] = loaded["shared.weight"]
        model.load_state_dict(loaded, assign=True)
        return cls(model, tokenizer, config.text_len)

    def __call__(self, prompt: str) -> Tensor:
        """A prompt of any length and language to [1, length, dim], rows beyond its tokens zero.

        Tokens beyond ``length`` are cut; the last one kept is then still ``</s>``. An empty prompt is the single token
        ``</s>``.
        """
        if self.tokenizer is None:
            raise ValueError("this text encoder was built without a tokenizer")
        tokens = self.tokenizer(
            [clean(prompt)],
            padding="max_length",
            truncation=True,
            max_length=self.length,
            add_special_tokens=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return self.encode(tokens["input_ids"], tokens["attention_mask"])

    @torch.inference_mode()
    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids and mask [B, length] to [B, length, dim], padding rows zero."""
        return self.raw(ids, mask).masked_fill(mask.to(self.device).unsqueeze(-1) == 0, 0.0)

    @torch.inference_mode()
    def raw(self, ids: Tensor, mask: Tensor) -> Tensor:
        """As ``encode``, with what the encoder gives for padding rows left in."""
        output = self.model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device))
        hidden: Tensor = output.last_hidden_state
        return hidden


def clean(prompt: str) -> str:
    """Repair mis-decoded text, resolve HTML entities twice, and collapse white space, as in training."""
    text = html.unescape(html.unescape(ftfy.fix_text(prompt))).strip()
    return _SPACE.sub(" ", text).strip()


def empty_model(config: TextConfig) -> UMT5EncoderModel:
    """transformers' module of these dimensions without memory behind its weights."""
    settings: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "d_model": config.dim,
        "d_kv": config.dim_attn // config.num_heads,
        "d_ff": config.dim_ffn,
        "num_heads": config.num_heads,
        "num_layers": config.num_layers,
        "relative_attention_num_buckets": config.num_buckets,
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.0,
        # Fused attention keeps the softmax in float32 whatever the weights' dtype, as the original does.
        "attn_implementation": "sdpa",
    }
    with torch.device("meta"):
        return UMT5EncoderModel(UMT5Config(**settings))


def reference_shapes(config: TextConfig) -> dict[str, tuple[int, ...]]:
    """Original name to shape of every tensor of the file."""
    shapes = {name: tuple(tensor.shape) for name, tensor in empty_model(config).state_dict().items()}
    return {original: shapes[name] for original, name in original_names(config).items()}


def original_names(config: TextConfig) -> dict[str, str]:
    """Name in the original file to name in transformers, for every tensor."""
    names = {"token_embedding.weight": "shared.weight", "norm.weight": "encoder.final_layer_norm.weight"}
    for block in range(config.num_layers):
        attention, feed_forward = (f"encoder.block.{block}.layer.{layer}" for layer in (0, 1))
        parts = {
            "norm1": f"{attention}.layer_norm",
            "attn.q": f"{attention}.SelfAttention.q",
            "attn.k": f"{attention}.SelfAttention.k",
            "attn.v": f"{attention}.SelfAttention.v",
            "attn.o": f"{attention}.SelfAttention.o",
            "pos_embedding.embedding": f"{attention}.SelfAttention.relative_attention_bias",
            "norm2": f"{feed_forward}.layer_norm",
            "ffn.gate.0": f"{feed_forward}.DenseReluDense.wi_0",
            "ffn.fc1": f"{feed_forward}.DenseReluDense.wi_1",
            "ffn.fc2": f"{feed_forward}.DenseReluDense.wo",
        }
        names.update({f"blocks.{block}.{part}.weight": f"{ours}.weight" for part, ours in parts.items()})
    return names


def position_buckets(relative: Tensor, buckets: int) -> Tensor:
    """Relative-position bucket of each offset (key minus query), as the encoder's attention takes it."""
    encoder: Any = empty_model(TextConfig(num_layers=1, num_buckets=buckets)).encoder
    found: Tensor = encoder.block[0].layer[0].SelfAttention._relative_position_bucket(relative)
    return found
