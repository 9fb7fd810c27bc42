"""What Qwen3-Omni reads: a conversation as tokens and sound, and its answer's tokens as text.

The layout is the published chat template's (ChatML; a sound is a run of placeholders between its two marks, and comes
before the text of its message). It is written token by token rather than through the template, so that no words of a
user can pass for a mark of the format, and so that neither images nor the libraries they need are involved.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from torch import Tensor

from livetalk.thinkers.base import Message, Question, Samples, ThinkerError
from livetalk.thinkers.foreign import mended
from livetalk.thinkers.messages import system_prompt

RATE = 16_000
_SHORTEST_SOUND = RATE // 10
"""Samples; anything shorter is followed by silence, since from too little no placeholder would come."""

_TOKENS_PER_SECOND, _FRAMES_PER_SECOND = 13, 100


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation up to the beginning of the answer."""

    ids: tuple[int, ...]
    """Its tokens; placeholders where a sound is."""
    from_user: tuple[bool, ...]
    """For each token, whether it belongs to a message of the user."""
    sounds: tuple[Tensor, ...]
    """Log-mel features [128,T] of the sounds, in the order of their placeholders."""


@dataclass(frozen=True, slots=True)
class _Part:
    ids: list[int]
    from_user: bool = False
    sounds: tuple[Tensor, ...] = ()


class PromptWriter:
    """Writes prompts for one checkpoint.

    Args:
        tokenizer: the checkpoint's.
        extractor: the checkpoint's feature extractor for sound.
        config: its ``Qwen3OmniMoeConfig``.
        longest: tokens a prompt may have. Of a longer conversation the oldest messages are left out.
    """

    def __init__(self, tokenizer: Any, extractor: Any, config: Any, longest: int) -> None:
        self._tokenizer, self._extractor, self._longest = tokenizer, extractor, longest
        self._start, self._end = config.im_start_token_id, config.im_end_token_id
        self._placeholder: int = config.thinker_config.audio_token_id
        self._sound_start: int = config.thinker_config.audio_start_token_id
        self._sound_end: int = tokenizer.convert_tokens_to_ids("<|audio_end|>")

    def write(self, question: Question) -> Prompt:
        """The prompt that asks for an answer.

        Raises:
            ThinkerError: ``unsupported``; the question has neither words nor sound, or is by itself too long.
        """
        turn = self._message(Message("user", question.text, question.audio), with_both=True)
        if turn is None:
            raise ThinkerError("unsupported", "The turn has neither words nor sound; say or type something.")
        persona = [self._part("system", system_prompt(question.persona))]
        asked = _Part([self._start, *self._encode("assistant\n")])
        left = self._longest - sum(len(part.ids) for part in (*persona, turn, asked))
        if left < 0:
            raise ThinkerError(
                "unsupported",
                f"Persona and turn have {self._longest - left:,} tokens, {self._longest:,} is the most this model "
                "takes; shorten one of them.",
            )
        history: list[_Part] = []
        for message in reversed(question.history):
            part = self._message(message)
            if part is None:
                continue
            left -= len(part.ids)
            if left < 0:
                break
            history.insert(0, part)
        while history and not history[0].from_user:  # an answer to a question that was left out
            del history[0]
        parts = (*persona, *history, turn, asked)
        return Prompt(
            ids=tuple(chain.from_iterable(part.ids for part in parts)),
            from_user=tuple(chain.from_iterable([part.from_user] * len(part.ids) for part in parts)),
            sounds=tuple(chain.from_iterable(part.sounds for part in parts)),
        )

    def _message(self, message: Message, *, with_both: bool = False) -> _Part | None:
        """A message, its sound only where its words are not known (or with both); None if there is nothing in it."""
        text = message.text if message.text and message.text.strip() else None
        heard = message.role == "user" and message.audio is not None and len(message.audio) > 0
        if heard and message.audio is not None and (with_both or text is None):
            return self._part(message.role, text or "", message.audio)
        return None if text is None else self._part(message.role, text)

    def _part(self, role: str, text: str, audio: Samples | None = None) -> _Part:
        opening = f"{role}\n"
        sounds: tuple[Tensor, ...] = ()
        ids = [self._start]
        if audio is not None:
            features = self._features(audio)
            count = sound_tokens(features.shape[-1])
            ids += [*self._encode(opening), self._sound_start, *[self._placeholder] * count, self._sound_end]
            opening, sounds = "", (features,)
        ids += [*self._encode(opening + text), self._end, *self._encode("\n")]
        return _Part(ids, role == "user", sounds)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(mended(text), add_special_tokens=False, split_special_tokens=True).input_ids
        return ids

    def _features(self, audio: Samples) -> Tensor:
        samples = np.pad(audio, (0, max(0, _SHORTEST_SOUND - len(audio))))
        features: Tensor = self._extractor(
            samples, sampling_rate=RATE, padding=True, truncation=False, return_tensors="pt"
        ).input_features[0]
        return features


def sound_tokens(frames: int) -> int:
    """Placeholders of a sound of so many feature frames (100 a second): thirteen for each whole second, and the rest
    three times halved. (``_get_feat_extract_output_lengths``)"""
    seconds, rest = divmod(frames, _FRAMES_PER_SECOND)
    for _ in range(3):
        rest = (rest + 1) // 2
    return seconds * _TOKENS_PER_SECOND + rest


class TextReader:
    """Tokens in, text out, as soon as its characters are whole.

    The tokenizer splits text into bytes, so that a token may end within a character. Tokens that stand for no text
    (marks of the format, placeholders, thinking) give none.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._silent = frozenset(tokenizer.get_added_vocab().values())
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self, token: int) -> str:
        """The text that is complete with this token; empty if none is."""
        if token in self._silent:
            return ""
        letters = self._tokenizer.convert_ids_to_tokens(token) or ""
        return self._decoder.decode(bytes(_BYTES[letter] for letter in letters))


def _bytes_of_letters() -> dict[str, int]:
    """The letters that byte-level BPE writes the 256 bytes as: printable Latin-1 as itself, the rest from U+0100 on.
    (Radford et al. 2019, the encoder published with GPT-2.)"""
    printable: Sequence[int] = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}


_BYTES = _bytes_of_letters()
