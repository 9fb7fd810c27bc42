"""The prompt on its way into cross-attention."""

from __future__ import annotations

import pytest
import torch
from livetalk.render.checkpoint import load_text_encoder, load_tokenizer
from livetalk.render.config import TextConfig
from livetalk.render.encoders.text import TextEncoder, clean, empty_model
from livetalk.render.pipeline import ByteTokenizer
from livetalk.tools.parity import Fixtures
from tiny_checkpoints import TinyCheckpoints


@pytest.fixture
def encoder(checkpoints: TinyCheckpoints) -> TextEncoder:
    files = checkpoints.files
    return load_text_encoder(files.text_encoder, files.tokenizer, checkpoints.size.text, dtype=torch.float32)


def rows_used(context: torch.Tensor) -> int:
    used = context[0].abs().sum(-1) > 0
    count = int(used.sum())
    assert used[:count].all(), "padding rows lie behind the prompt's"
    return count


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("", ""),
        ("  a\n\tb  ", "a b"),
        ("fish &amp;amp; chips", "fish & chips"),
        ("schÃ¶n", "schön"),
        ("a b", "a b"),
        ("&nbsp;x&nbsp;", "x"),
        ("人 在 说话", "人 在 说话"),
    ],
)
def test_cleaning(given: str, cleaned: str) -> None:
    assert clean(given) == cleaned


def test_shape_and_padding(encoder: TextEncoder) -> None:
    context = encoder("a person speaks")
    assert context.shape == (1, 512, 48)
    assert rows_used(context) == 4  # three words and </s>
    assert torch.isfinite(context).all()


def test_an_empty_prompt_is_the_end_token(encoder: TextEncoder) -> None:
    assert rows_used(encoder("")) == 1
    assert torch.equal(encoder("   "), encoder(""))


def test_a_very_long_prompt_is_cut_and_keeps_its_end(encoder: TextEncoder) -> None:
    context = encoder("a person speaks and smiles " * 1000)
    assert rows_used(context) == 512
    tokens = encoder.tokenizer(["a " * 1000], truncation=True, max_length=512)
    assert tokens["input_ids"][0][-1] == 1


@pytest.mark.parametrize("prompt", ["ein mensch spricht", "человек говорит", "人", "🙂 and ﷽"])
def test_other_languages_and_strange_signs(encoder: TextEncoder, prompt: str) -> None:
    context = encoder(prompt)
    assert rows_used(context) >= 2
    assert torch.isfinite(context).all()
    assert not torch.equal(context, encoder(""))


def test_control_characters_are_dropped(encoder: TextEncoder) -> None:
    assert torch.equal(encoder("a\x00 person\x07"), encoder("a person"))


def test_the_prompt_matters(encoder: TextEncoder) -> None:
    assert not torch.allclose(encoder("a person speaks"), encoder("a person smiles"))


def test_padding_is_not_attended_to(golden: Fixtures) -> None:
    ids = torch.tensor([[5, 9, 1, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 0, 0, 0]])
    other = ids.clone()
    other[0, 3:] = 77
    assert torch.allclose(golden.text.encode(ids, mask), golden.text.encode(other, mask), atol=1e-6)


def test_token_and_shared_embedding_are_one_tensor(encoder: TextEncoder) -> None:
    assert encoder.model.shared.weight.data_ptr() == encoder.model.encoder.embed_tokens.weight.data_ptr()


def test_without_a_tokenizer_only_ids(golden: Fixtures) -> None:
    with pytest.raises(ValueError, match="without a tokenizer"):
        golden.text("hello")


def test_half_precision_is_near(checkpoints: TinyCheckpoints, encoder: TextEncoder) -> None:
    files = checkpoints.files
    half = load_text_encoder(files.text_encoder, files.tokenizer, checkpoints.size.text)
    full, context = encoder("a person speaks"), half("a person speaks")
    assert context.dtype == torch.bfloat16
    assert (context.float() - full).abs().max() < 0.1 * full.abs().max()


def test_the_published_dimensions_are_the_defaults() -> None:
    model = empty_model(TextConfig())
    assert sum(parameter.numel() for parameter in model.parameters()) == 5_680_910_336
    assert next(model.parameters()).is_meta


def test_bytes_as_tokens() -> None:
    tokens = ByteTokenizer()(["é"], padding="max_length", max_length=5)
    assert tokens["input_ids"].tolist() == [[3 + 0xC3, 3 + 0xA9, 1, 0, 0]]
    assert tokens["attention_mask"].tolist() == [[1, 1, 1, 0, 0]]
    cut = ByteTokenizer()(["abcdef"], max_length=3)
    assert cut["input_ids"].tolist() == [[3 + ord("a"), 3 + ord("b"), 1]]


def test_the_tokenizer_folder_is_read_without_the_network(checkpoints: TinyCheckpoints) -> None:
    assert load_tokenizer(checkpoints.files.tokenizer, checkpoints.size.text).eos_token == "</s>"
