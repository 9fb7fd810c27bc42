"""A small model's own vocabulary: the words of the captions that it is trained on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from livetalk.base.errors import OptionError

_SPECIAL = _PAD, _END, _UNKNOWN = "<pad>", "</s>", "<unk>"
_WORD = re.compile(r"\w+|[^\w\s]")


def words_of(captions: Iterable[str]) -> list[str]:
    """All words and marks of captions, sorted."""
    return sorted({word for caption in captions for word in _WORD.findall(caption.lower())})


def tokenizer_of(captions: Iterable[str], largest: int) -> Any:
    """A transformers tokenizer that knows these words, folds case, and ends a prompt with ``</s>`` as UMT5's does.

    Raises:
        OptionError: there are more words than the text encoder has rows for.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = words_of(captions)
    if len(words) + len(_SPECIAL) > largest:
        raise OptionError(f"The captions hold {len(words)} words, the text encoder has room for {largest - 3}.")
    known = {word: number for number, word in enumerate((*_SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(_WORD.pattern), "isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {_END}", special_tokens=[(_END, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=_PAD, eos_token=_END, unk_token=_UNKNOWN, padding_side="right"
    )


def write_tokenizer(captions: Iterable[str], largest: int, folder: Path) -> None:
    """Into ``folder``, as ``render.checkpoint.load_tokenizer`` reads it."""
    tokenizer_of(captions, largest).save_pretrained(str(folder))
