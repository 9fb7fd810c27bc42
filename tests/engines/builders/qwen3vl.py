"""Qwen3-VL checkpoints with random weights, small enough for tests: one dense, one mixture of experts.

Everything that shapes behaviour is as in the published checkpoints: patch 16, spatial merge 2, two frames per group,
sizes of the processors, interleaved rotary sections, the special tokens, one digit per token, the layout of the fused
experts. Only widths, depths and vocabulary are small.

usage: python qwen3vl.py FOLDER

makes FOLDER/dense/tiny-qwen3vl and FOLDER/moe/tiny-qwen3vl.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

TOKENS = 3072
CONTEXT = 262_144
SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Trained on the judge's own prompts, so that these have about as many tokens as for the published tokenizer.
TEXT = [file.read_text() for file in sorted((Path(__file__).parents[3] / "prompts" / "judge").rglob("*.j2"))]
TEMPLATE = """{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}
{%- if part.type in ('video', 'video_url') %}<|vision_start|><|video_pad|><|vision_end|>
{%- elif part.type in ('image', 'image_url') %}<|vision_start|><|image_pad|><|vision_end|>
{%- elif 'text' in part %}{{ part.text }}{% endif %}
{%- endfor %}{% endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}"""


def make_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Byte-level BPE with Qwen's splitting, one digit per token."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=TOKENS - len(SPECIAL), initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(TEXT, trainer)
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=CONTEXT
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_model(tokenizer: PreTrainedTokenizerFast, moe: bool) -> torch.nn.Module:
    def token(name: str) -> int:
        found = tokenizer.convert_tokens_to_ids(name)
        assert isinstance(found, int)
        return found

    text: dict[str, Any] = {
        "vocab_size": (len(tokenizer) + 63) // 64 * 64,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-6,
        "bos_token_id": token("<|endoftext|>"),
        "eos_token_id": token("<|im_end|>"),
        "pad_token_id": token("<|endoftext|>"),
        "tie_word_embeddings": False,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5_000_000,
            "mrope_section": [12, 10, 10],
            "mrope_interleaved": True,
        },
    }
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 2,
        "in_channels": 3,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": 64,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [0],
    }
    common: dict[str, Any] = {
        "image_token_id": token("<|image_pad|>"),
        "video_token_id": token("<|video_pad|>"),
        "vision_start_token_id": token("<|vision_start|>"),
        "vision_end_token_id": token("<|vision_end|>"),
        "tie_word_embeddings": False,
    }
    torch.manual_seed(0)
    model: Any
    if moe:
        text |= {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 96,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "norm_topk_prob": True,
        }
        config = Qwen3VLMoeConfig(text_config=text, vision_config=vision, **common)
        model = Qwen3VLMoeForConditionalGeneration(config)
    else:
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **common))
    ready: torch.nn.Module = model.to(torch.bfloat16).eval()
    return ready


def transpose_experts(file: Path) -> None:
    """The published checkpoints hold fused experts as [expert, in, out]; transformers 5 saves [expert, out, in]."""
    weights = load_file(file)
    for name, weight in weights.items():
        if ".experts." in name and name.endswith(("gate_up_proj", "down_proj")):
            weights[name] = weight.transpose(1, 2).contiguous()
    save_file(weights, file, metadata={"format": "pt"})


def save_processors(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    shape: dict[str, Any] = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
    shape |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    image = Qwen2VLImageProcessor(size={"longest_edge": 16_777_216, "shortest_edge": 65_536}, **shape)
    video = Qwen3VLVideoProcessor(
        size={"longest_edge": 25_165_824, "shortest_edge": 4096},
        fps=2,
        min_frames=4,
        max_frames=768,
        do_sample_frames=True,
        **shape,
    )
    Qwen3VLProcessor(image, tokenizer, video, chat_template=TEMPLATE).save_pretrained(folder)
    for processor, name in ((image, "preprocessor_config.json"), (video, "video_preprocessor_config.json")):
        config = json.loads(processor.to_json_string()) | {"processor_class": "Qwen3VLProcessor"}
        (folder / name).write_text(json.dumps(config, indent=2))


def make(folder: Path, *, moe: bool) -> None:
    folder.mkdir(parents=True)
    tokenizer = make_tokenizer(folder)
    model: Any = make_model(tokenizer, moe)
    ends = [tokenizer.convert_tokens_to_ids(name) for name in ("<|im_end|>", "<|endoftext|>")]
    model.generation_config.update(bos_token_id=ends[1], pad_token_id=ends[1], eos_token_id=ends)
    model.save_pretrained(folder)
    if moe:
        transpose_experts(folder / "model.safetensors")
    save_processors(folder, tokenizer)


def main() -> None:
    for kind in ("dense", "moe"):
        make(Path(sys.argv[1]) / kind / "tiny-qwen3vl", moe=kind == "moe")


if __name__ == "__main__":
    main()
