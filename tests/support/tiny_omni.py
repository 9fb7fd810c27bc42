"""A Qwen3-Omni checkpoint with random weights that answers and speaks within a second on a CPU.

The files are those of the published checkpoint: vocab.json and merges.txt (no tokenizer.json), the preprocessor's and
the generation's settings, sharded or single safetensors. Rates, code groups, special tokens and roles are the real
ones; widths, depths and vocabularies are small. Weights are drawn so that an answer depends on all that was said, and
that text and speech end by themselves after some tokens and frames. What is said means nothing.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen3OmniMoeConfig, Qwen3OmniMoeForConditionalGeneration

SPEAKERS = ("aiden", "chelsie", "ethan")

_WIDTH = 32
_LEARNT = 480
_CODES, _GROUPS = 64, 16
_NEVER_SPOKEN = 1024
"""Generation bars the talker's last 1024 ids, apart from the one that ends speech."""

_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_ADDED = {
    "<|endoftext|>": True,
    "<|im_start|>": True,
    "<|im_end|>": True,
    "<|vision_start|>": True,
    "<|vision_end|>": True,
    "<|image_pad|>": True,
    "<|video_pad|>": True,
    "<think>": False,
    "</think>": False,
    "<|audio_start|>": True,
    "<|audio_end|>": True,
    "<tts_pad>": True,
    "<tts_text_bos>": True,
    "<tts_text_eod>": True,
    "<|audio_pad|>": True,
}
_TEXT = (
    "system\nYou are a guide who knows the mountains, the sea and the stars of the night sky.\n",
    "user\nTell me about the moon and the sea, please; what shall we talk about next, and when?\n",
    "assistant\nThe moon is a quarter of the way round. Yes, naïve cafés in Zürich sell tea — 3 euros.\n",
    "user\n请告诉我关于月亮的事情。今天天气很好，我们去看海吧。\n",
    "assistant\n月亮绕着地球转，大海在夜里很安静。😀🎉\n",
)


@dataclass(frozen=True)
class Endings:
    """Roughly how likely each token ends the text, and each frame the speech, before sampling sharpens it."""

    text: float = 0.01
    speech: float = 0.01


NEVER = Endings(text=1e-12, speech=1e-12)


def build_tiny_omni(folder: Path, *, seed: int = 0, endings: Endings | None = None) -> Path:
    """Write a checkpoint of half a million parameters. The same seed gives the same file.

    Args:
        folder: made if missing.
        seed: of the weights.
        endings: how soon its answers end; by default after some twenty tokens and some forty frames.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = _write_tokenizer(folder)
    config = _config(ids)
    with torch.random.fork_rng(devices=[]):
        model: Any = Qwen3OmniMoeForConditionalGeneration(config)
        torch.manual_seed(seed)  # the order in which the constructor draws is not always the same
        _draw(model)
        _end(model, ids, endings or Endings())
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(_PREPROCESSOR, indent=1))
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"]})
    )
    return folder


_PREPROCESSOR = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "processor_class": "Qwen3OmniMoeProcessor",
    "sampling_rate": 16_000,
    "feature_size": 128,
    "n_fft": 400,
    "hop_length": 160,
    "n_samples": 4_800_000,
    "nb_max_frames": 30_000,
    "dither": 0.0,
    "padding_value": 0.0,
    "padding_side": "right",
    "return_attention_mask": True,
}


def _write_tokenizer(folder: Path) -> dict[str, int]:
    bpe = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_SPLIT), "isolated"), byte_level])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=_LEARNT, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(list(_TEXT) * 20, trainer)
    bpe.model.save(str(folder))
    ids: dict[str, int] = bpe.get_vocab()
    added = {token: len(ids) + place for place, token in enumerate(_ADDED)}
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "added_tokens_decoder": {
            str(added[token]): {
                "content": token,
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": special,
            }
            for token, special in _ADDED.items()
        },
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "errors": "replace",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": False,
        "model_max_length": 131_072,
        "audio_token": "<|audio_pad|>",
        "audio_bos_token": "<|audio_start|>",
        "audio_eos_token": "<|audio_end|>",
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_bos_token": "<|vision_start|>",
        "vision_eos_token": "<|vision_end|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))
    return ids | added


def _config(ids: dict[str, int]) -> Any:
    attention = {
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1_000_000.0,
            "mrope_section": [6, 5, 5],
            "mrope_interleaved": True,
        },
        "max_position_embeddings": 65_536,
    }
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True}
    media = {
        "audio_token_id": ids["<|audio_pad|>"],
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "audio_start_token_id": ids["<|audio_start|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "position_id_per_seconds": 13,
    }
    thinker: dict[str, Any] = {
        **media,
        "audio_end_token_id": ids["<|audio_end|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "user_token_id": ids["user"],
        "text_config": {
            **attention,
            **experts,
            "vocab_size": -(-len(ids) // 64) * 64,
            "hidden_size": _WIDTH,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "tie_word_embeddings": False,
        },
        "audio_config": {
            "d_model": 32,
            "encoder_layers": 1,
            "num_hidden_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "num_mel_bins": 128,
            "output_dim": _WIDTH,
            "n_window": 50,
            "n_window_infer": 800,
            "conv_chunksize": 500,
            "downsample_hidden_size": 8,
        },
        "vision_config": {
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": _WIDTH,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
    }
    special = _CODES + _NEVER_SPOKEN - 16  # where the codes end that are no sound, as in the published vocabulary
    talker: dict[str, Any] = {
        **media,
        "spatial_merge_size": 2,
        "num_code_groups": _GROUPS,
        "thinker_hidden_size": _WIDTH,
        "accept_hidden_layer": 2,
        "codec_eos_token_id": special,
        "codec_nothink_id": special + 1,
        "codec_think_bos_id": special + 2,
        "codec_think_eos_id": special + 3,
        "codec_pad_id": special + 4,
        "codec_bos_id": special + 5,
        "speaker_id": {name: special + 6 + place for place, name in enumerate(SPEAKERS)},
        "text_config": {
            **attention,
            **experts,
            "vocab_size": _CODES + _NEVER_SPOKEN,
            "hidden_size": _WIDTH,
            "intermediate_size": 64,
            "shared_expert_intermediate_size": 32,
            "num_hidden_layers": 2,
        },
        "code_predictor_config": {
            "vocab_size": _CODES,
            "hidden_size": _WIDTH,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "num_code_groups": _GROUPS,
        },
    }
    code2wav = {
        "codebook_size": _CODES,
        "num_quantizers": _GROUPS,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "sliding_window": 72,
        "upsample_rates": [8, 5, 4, 3],
        "upsampling_ratios": [2, 2],
        "decoder_dim": 32,
    }
    return Qwen3OmniMoeConfig(
        thinker_config=thinker,
        talker_config=talker,
        code2wav_config=code2wav,
        enable_audio_output=True,
        im_start_token_id=ids["<|im_start|>"],
        im_end_token_id=ids["<|im_end|>"],
        tts_pad_token_id=ids["<tts_pad>"],
        tts_bos_token_id=ids["<tts_text_bos>"],
        tts_eos_token_id=ids["<tts_text_eod>"],
        system_token_id=ids["system"],
        user_token_id=ids["user"],
        assistant_token_id=ids["assistant"],
    )


@torch.no_grad()
def _draw(model: Any) -> None:
    """Weights large enough that what comes out hangs on what went in; the usual ones would whisper."""
    for part in (model.thinker.lm_head, model.talker.codec_head, *model.talker.code_predictor.lm_head):
        part.weight.normal_(0.0, 2.5 / math.sqrt(_WIDTH))
    for name, weight in (*model.thinker.named_parameters(), *model.talker.named_parameters()):
        if weight.ndim < 2 or "head" in name:
            continue
        weight.normal_(0.0, 1.0 if "embed" in name else 2.0 / math.sqrt(weight[0].numel() if weight.ndim == 2 else 32))
    for name, weight in model.code2wav.named_parameters():
        if "layer_scale" in name:
            weight.fill_(0.3)
        elif name == "code_embedding.weight":
            weight.normal_(0.0, math.sqrt(_GROUPS))  # the mean over the groups then has unit size
        elif weight.ndim == 2:
            weight.normal_(0.0, 1.0 / math.sqrt(weight.shape[1]))
        elif weight.ndim == 3:
            weight.normal_(0.0, 1.0 / math.sqrt(weight[0].numel()))
    model.code2wav.decoder[-1].conv.weight *= 0.008


@torch.no_grad()
def _end(model: Any, ids: dict[str, int], endings: Endings) -> None:
    """Give all states one part in common, and those after a word or a sound another, and score the two endings by one
    of these alone: an end that is to come by the second, so that nothing ends before it began, and one that is not by
    the first, which no state lacks."""
    thinker, talker = model.thinker, model.talker
    always = torch.full((_WIDTH,), 1.0 / math.sqrt(_WIDTH))
    going = always * torch.tensor([1.0, -1.0]).repeat(_WIDTH // 2)
    parts = torch.stack((always, going))
    # Nothing else writes these two into a state, or reads them out of one.
    for name, weight in (*thinker.named_parameters(), *talker.named_parameters()):
        if name.endswith(("o_proj.weight", "down_proj.weight", "experts.down_proj", "linear_fc2.weight")):
            if weight.shape[-2] == _WIDTH:
                weight -= parts.T @ (parts @ weight)
        elif ("embed" in name or "head" in name) and weight.shape[-1] == _WIDTH:
            weight -= (weight @ parts.T) @ parts
    words = torch.tensor(sorted(token for name, token in ids.items() if name not in (*_ADDED, "\u010a")))
    # To a frame's first code come the embeddings of the fifteen others and of a token.
    for table, begun, size in (
        (thinker.get_input_embeddings(), words, 3.0),
        (talker.get_input_embeddings(), torch.arange(_CODES), 3.0 * math.sqrt(_GROUPS + 1)),
    ):
        table.weight += size * always
        table.weight[begun] += size * going

    text = words[torch.randint(len(words), (1, 64))]
    codes = torch.randint(_CODES, (1, 64))
    frames = talker.get_input_embeddings()(codes) + talker.text_projection(thinker.get_input_embeddings()(text))
    for table in talker.code_predictor.get_input_embeddings():
        frames = frames + table(codes)
    thought = thinker(input_ids=text, attention_mask=torch.ones_like(text), output_hidden_states=True)
    said = talker.model(inputs_embeds=frames).last_hidden_state
    for head, states, choices, token, chance in (
        (thinker.lm_head, thought.hidden_states[-1], thinker.lm_head.out_features, ids["<|im_end|>"], endings.text),
        (talker.codec_head, said, _CODES, talker.config.codec_eos_token_id, endings.speech),
    ):
        score = torch.logsumexp(head(states)[..., :choices], dim=-1).mean() + math.log(chance / (1.0 - chance))
        part = going if score > 0 else always
        head.weight[token] = score / (states @ part).mean() * part
