"""A question as the messages of a chat completion."""

from __future__ import annotations

import base64
from dataclasses import replace
from itertools import dropwhile
from typing import Any

from livetalk.base.rates import AUDIO_RATE
from livetalk.thinkers.base import Question, Samples, ThinkerError
from livetalk.thinkers.foreign import mended
from livetalk.thinkers.sound import to_wav

SPEAKING = (
    "Everything you write is spoken aloud, word for word, in a live conversation. Answer in the user's language with a "
    "few short, plain sentences, the way people talk. Write no lists, headings, markup or emoji, and describe neither "
    "gestures nor sounds."
)
"""Goes behind every persona: models that are told so write what can be spoken. (Qwen3-Omni's authors recommend the
same, with the persona in front: its talker speaks text without formatting more steadily.)"""

MAX_HISTORY_CHARACTERS = 48_000
MAX_HISTORY_AUDIO_S = 120.0

UNKNOWN_WORDS = "(The user said something here that was not written down.)"


def system_prompt(persona: str) -> str:
    """Who the avatar is, and that it speaks."""
    return f"{persona.strip()}\n\n{SPEAKING}".strip()


def chat_messages(question: Question) -> list[dict[str, Any]]:
    """The persona as system message, the history, and what the user says now.

    The oldest history is left out beyond ``MAX_HISTORY_CHARACTERS``, so that a conversation of any length can go on.
    Earlier turns are text; only where no text is known the user's own sound stands in for it, for the last
    ``MAX_HISTORY_AUDIO_S`` seconds of such sound. Messages of one side in a row become one, as many models' templates
    know strict turns only.

    Raises:
        ThinkerError: ``unsupported``; the user says nothing.
    """
    newest_first: list[tuple[str, list[dict[str, Any]]]] = []
    characters, seconds = 0, 0.0
    for message in reversed(question.history):
        if message.text:
            characters += len(message.text)
            parts = [_text(message.text)]
        elif message.role == "user" and message.audio is not None and len(message.audio):
            seconds += len(message.audio) / AUDIO_RATE
            parts = [_sound(message.audio) if seconds <= MAX_HISTORY_AUDIO_S else _text(UNKNOWN_WORDS)]
        else:
            continue
        if characters > MAX_HISTORY_CHARACTERS:
            break
        newest_first.append((message.role, parts))
    now = [_sound(question.audio)] if question.audio is not None and len(question.audio) else []
    if question.text and question.text.strip():
        now.append(_text(question.text))
    if not now:
        raise ThinkerError("unsupported", "The turn has neither words nor sound; say or type something.")
    merged: list[tuple[str, list[dict[str, Any]]]] = [("system", [_text(system_prompt(question.persona))])]
    for role, parts in [*reversed(newest_first), ("user", now)]:
        if merged[-1][0] == role:
            merged[-1][1].extend(parts)
        else:
            merged.append((role, list(parts)))
    return [{"role": role, "content": _content(parts)} for role, parts in merged]


def forgetting(question: Question) -> Question:
    """The question with the newer half of its history, for a model that can't take in all of it."""
    kept = question.history[max(1, len(question.history) // 2) :]
    return replace(question, history=tuple(dropwhile(lambda message: message.role != "user", kept)))


def _content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Text alone as a string, which every service takes."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": mended(text)}


def _sound(samples: Samples) -> dict[str, Any]:
    wav = to_wav(samples, AUDIO_RATE)
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav).decode(), "format": "wav"}}
