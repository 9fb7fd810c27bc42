"""Playing an avatar with a model that only knows prompts: templates, word budgets, and history that fits.

The templates are ``prompts/systems/*.j2``, one per family. What people said enters through the filter ``line`` (one
line, no control characters) and never as template text.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment

from interbench.base.bundled import data_path
from interbench.domain.persona import Persona
from interbench.systems.events import PastTurn

WORDS_PER_S = 2.3
"""How fast a person speaks in a clip: public guidance says 2 to 2.5 words a second."""
PAUSES_S = 1.0
"""Half a second before and after the words."""
CHARS_PER_TOKEN = 3.5
"""On the safe side for English, so that a prompt is never longer than the model reads."""
_SHORT = 12
"""Words kept of each side of an exchange that is only summed up."""
_SENTENCE_END = re.compile(r"[.!?][\"'”’)]*$")


class PromptTooLongError(Exception):
    """Not even the prompt without any history fits the model."""


class _Templates(FileSystemLoader):
    """Templates by the name in front of the suffix.

    Some of the bundled ones import ``_scene.jinja``, as the file was called at first: their texts stay as they were to
    the byte, so that the hashes of prompts in older runs are still theirs.
    """

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        return super().get_source(environment, f"{PurePosixPath(template).stem}.j2")


@functools.cache
def template(name: str) -> Template:
    """A bundled template of ``prompts/systems``."""
    environment = SandboxedEnvironment(
        loader=_Templates(data_path("prompts") / "systems"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["line"] = line
    return environment.get_template(name)


def line(text: str) -> str:
    """``text`` as data on one line: white space collapsed, control and format characters removed."""
    kept = "".join(" " if character.isspace() else character for character in text)
    return " ".join("".join(c for c in kept if unicodedata.category(c)[0] != "C").split())


def picture_prompt(persona: Persona) -> str:
    """What a model that films ``persona`` speaking is told of the picture, on one line."""
    return template("picture.j2").render(persona=persona).strip()


def word_budget(seconds: float) -> int:
    """Words that fit into a clip of ``seconds``."""
    return max(1, math.floor((seconds - PAUSES_S) * WORDS_PER_S))


def speaking_s(words: int) -> float:
    """Seconds that a clip needs for ``words`` words."""
    return words / WORDS_PER_S + PAUSES_S


def choose_duration(words: int, durations: Sequence[float]) -> float:
    """The shortest allowed clip that holds ``words`` words; the longest if none does."""
    wanted = speaking_s(words)
    fitting = [seconds for seconds in durations if seconds >= wanted - 1e-9]
    return min(fitting) if fitting else max(durations)


def cut_words(text: str, words: int) -> tuple[str, int]:
    """``text`` within a budget of words, and how many words were cut off.

    The cut is made after a sentence where that leaves at least half of the budget.
    """
    spoken = text.split()
    if len(spoken) <= words:
        return text.strip(), 0
    kept = spoken[:words]
    for end in range(len(kept), words // 2, -1):
        if _SENTENCE_END.search(kept[end - 1]):
            kept = kept[:end]
            break
    return " ".join(kept), len(spoken) - len(kept)


@dataclass(frozen=True, slots=True)
class Said:
    """One earlier exchange, as a prompt tells it."""

    user: str
    reply: str
    """Empty if nobody knows what was said."""
    summed_up: bool


@dataclass(frozen=True, slots=True)
class Fitted:
    """A prompt that fits, and what of the history is in it."""

    prompt: str
    verbatim: int
    summed_up: int
    left_out: int


def fit(render: Callable[[tuple[Said, ...]], str], history: Sequence[PastTurn], max_tokens: int | None) -> Fitted:
    """The prompt with as much history as the model reads.

    The latest exchanges are told word for word, those before them with the beginning of each side, and the earliest
    are left out when even that is too long. Tokens are estimated by :data:`CHARS_PER_TOKEN`.

    Raises:
        PromptTooLongError: it is too long without any history.
    """
    total = len(history)
    shapes = [(total - short, short, 0) for short in range(total + 1)]
    shapes += [(0, total - gone, gone) for gone in range(1, total + 1)]
    for verbatim, short, gone in shapes:
        told = tuple(_said(past, summed_up=position < short) for position, past in enumerate(history[gone:]))
        prompt = render(told).strip()
        if max_tokens is None or len(prompt) / CHARS_PER_TOKEN <= max_tokens:
            return Fitted(prompt, verbatim, short, gone)
    raise PromptTooLongError(f"the prompt is longer than the {max_tokens} tokens that the model reads")


def _said(past: PastTurn, *, summed_up: bool) -> Said:
    user, reply = past.user_text, past.reply_text or ""
    if summed_up:
        user, reply = _begin(user), _begin(reply)
    return Said(user, reply, summed_up)


def _begin(text: str) -> str:
    words = text.split()
    return text if len(words) <= _SHORT else " ".join(words[:_SHORT]) + " …"
