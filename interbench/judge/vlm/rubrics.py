"""The judge's prompts: a rubric for each dimension, the preamble, the frame of the transcript, and the re-ask.

They are Jinja templates in the folders below ``prompts/judge``, one for each reading of the rubrics, rendered in
Jinja's sandbox with strict undefined. A rubric begins with front matter, flat ``name: value`` lines between two ``---``
lines. Whatever people or systems said enters through the filter ``quote`` (:func:`quote`), never as template text.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from interbench.base.bundled import data_path
from interbench.base.errors import JudgeError
from interbench.domain.dimensions import DIMENSIONS
from interbench.domain.records import LEAST_PAUSE_S
from interbench.domain.scenario import VisibleAct
from interbench.judge.vlm.frames import Stills
from interbench.judge.vlm.parsing import Scale

Mode = Literal["published", "observed", "observed+keypoints"]
MODES: tuple[Mode, ...] = get_args(Mode)
_SHARED = ("preamble.j2", "conversation.j2", "ask_again.j2")
_OPTIONAL = ("portrait.j2", "ending.j2")
"""Shared, too, where a folder has them: how a portrait is introduced, and what ends every rubric (``{{ ending }}``)."""
_FRONT_MATTER = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)
_ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


class _Front(BaseModel):
    """What a rubric says about itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    name: str
    group: Literal["visual", "content"]
    scale: Annotated[str, StringConstraints(pattern=r"^\d{1,3}-\d{1,3}$")]
    version: int = Field(ge=1)


@dataclass(frozen=True, slots=True)
class Rubric:
    """One dimension's prompt, rendered; it does not depend on the conversation."""

    key: str
    name: str
    group: str
    scale: Scale
    version: int
    text: str
    ask_again: str
    """What is said to a judge whose answer held no score; once."""
    sha256: str
    """Of this rubric's file and of everything that all rubrics share."""


@dataclass(frozen=True, slots=True)
class SpokenFacts:
    """What was measured of an answer's speech; seconds of its video."""

    start_s: float
    end_s: float
    words_per_s: float | None
    pauses: tuple[tuple[float, float], ...]
    """In their order; the longest where there are more than are shown."""
    more_pauses: int = 0
    least_pause_s: float = LEAST_PAUSE_S


@dataclass(frozen=True, slots=True)
class Waited:
    """Seconds from the user's turn being complete."""

    first_frame_s: float
    first_speech_s: float | None


@dataclass(frozen=True, slots=True)
class QuotedTurn:
    """One turn as it is put before the judge."""

    index: int
    user: str
    video: int
    """1-based number of the answer's video."""
    avatar: str
    """Empty if no speech is heard."""
    mood: str = ""
    """How the user is meant to feel."""
    seconds: float = 0.0
    """Length of the video."""
    stills: Stills | None = None
    """What is seen of it; None where the server can't say."""
    details: bool = False
    """Whether parts of it are shown once more, densely."""
    speech: SpokenFacts | None = None
    no_speech: str = ""
    """Why there are no facts on speech, as a clause; empty if there are."""
    waited: Waited | None = None
    """None where the user's waiting was not measured."""
    cut_after: int | None = None
    """Words after which ``avatar`` was cut."""
    visible: VisibleAct | None = None
    """What the user asks to see."""
    points: tuple[str, ...] = ()
    """What the author expects of the answer, where the judge is told."""
    must_not: tuple[str, ...] = ()


def quote(text: str) -> str:
    r"""``text`` as a JSON string that nothing in it can end.

    Quotation marks, backslashes and everything invisible are escaped, and so is ``<``: no text can spell a closing
    mark, or one of the special tokens (``<|im_end|>`` ...) that a chat template would obey.
    """
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(_escaped(c) if c == "<" or unicodedata.category(c) in _ESCAPED_CATEGORIES else c for c in quoted)


def _escaped(character: str) -> str:
    return json.dumps(character, ensure_ascii=True)[1:-1] if ord(character) > 0x7F else f"\\u{ord(character):04x}"


def _decimal(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}"


@functools.lru_cache(maxsize=128)
def _compiled(source: str) -> Template:
    """Compiling the prompts of a judge is most of what making one takes, and they are the same for the next."""
    environment = SandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["quote"] = quote
    environment.filters["decimal"] = _decimal
    return environment.from_string(source)


class Prompts:
    """All prompts of a folder, checked.

    Args:
        mode: the reading of the rubrics.
        folder: None for the bundled ones of that reading, below ``prompts/judge``.

    Raises:
        JudgeError: a file is missing or breaks the rules of a rubric; the message names it.
    """

    def __init__(self, mode: Mode = "observed", folder: Path | None = None) -> None:
        self.mode: Mode = mode
        self.folder = data_path("prompts") / "judge" / mode.partition("+")[0] if folder is None else folder
        for stranger in sorted(self.folder.glob("*.jinja")):
            raise self._wrong(stranger.name, f"templates end in .j2; rename it to {stranger.stem}.j2")
        shared = {name: self._read(name) for name in _SHARED}
        shared |= {name: self._read(name) for name in _OPTIONAL if (self.folder / name).exists()}
        self.preamble = self._render("preamble.j2", self._template("preamble.j2", shared["preamble.j2"]), {})
        self._conversation = self._template("conversation.j2", shared["conversation.j2"])
        self._ask_again = self._template("ask_again.j2", shared["ask_again.j2"])
        self._portrait = self._template("portrait.j2", shared["portrait.j2"]) if "portrait.j2" in shared else None
        self._ending = self._template("ending.j2", shared["ending.j2"]) if "ending.j2" in shared else None
        common = "\0".join(shared.values())
        self.rubrics: Mapping[str, Rubric] = {d.key: self._rubric(d.key, d.name, d.group, common) for d in DIMENSIONS}

    def conversation(self, turns: Sequence[QuotedTurn]) -> str:
        """The transcript with its frame, as it stands between the videos and the rubric."""
        return self._render("conversation.j2", self._conversation, {"turns": turns})

    @property
    def shows_portrait(self) -> bool:
        """Whether the person that was asked for is shown."""
        return self._portrait is not None

    def portrait(self, description: str) -> str:
        """What stands before the portrait; only if :attr:`shows_portrait`."""
        if self._portrait is None:
            raise self._wrong("portrait.j2", "there is none")
        return self._render("portrait.j2", self._portrait, {"description": description})

    def _rubric(self, key: str, name: str, group: str, common: str) -> Rubric:
        file = f"{key}.j2"
        source = self._read(file)
        found = _FRONT_MATTER.match(source)
        if found is None:
            raise self._wrong(file, "it does not begin with front matter between two lines of three dashes")
        pairs = [line.partition(":") for line in found[1].splitlines() if line.strip()]
        try:
            front = _Front.model_validate({name.strip(): value.strip() for name, _, value in pairs})
        except ValidationError as error:
            first = error.errors()[0]
            raise self._wrong(file, f"front matter: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        if (front.key, front.name, front.group) != (key, name, group):
            raise self._wrong(file, f"its front matter should say key {key}, name {name}, group {group}")
        low, high = map(int, front.scale.split("-"))
        if low >= high:
            raise self._wrong(file, "the scale's first number must be below its second")
        scale = Scale(low, high)
        shown = {"low": low, "high": high, "middle": (low + high) // 2}
        body = self._template(file, source[found.end() :])
        values: dict[str, Any] = {"scale": shown, "name": name}
        if self._ending is not None:
            values["ending"] = self._render("ending.j2", self._ending, values)
        text = self._render(file, body, values)
        if not text.endswith("\\boxed{score}") or text.count("\\boxed") != 1:
            raise self._wrong(file, r"it must end with \boxed{score}, the only box in it")
        ask_again = self._render("ask_again.j2", self._ask_again, {"scale": shown})
        digest = hashlib.sha256(f"{common}\0{source}".encode()).hexdigest()
        return Rubric(key, name, group, scale, front.version, text, ask_again, digest)

    def _read(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise self._wrong(name, f"it can't be read ({error})") from None

    def _template(self, name: str, source: str) -> Template:
        try:
            return _compiled(source)
        except TemplateError as error:
            raise self._wrong(name, f"it is not a Jinja template ({error})") from None

    def _render(self, name: str, template: Template, values: Mapping[str, Any]) -> str:
        try:
            return template.render(values).strip()
        except (TemplateError, TypeError, ValueError) as error:
            raise self._wrong(name, f"it can't be rendered ({error})") from None

    def _wrong(self, name: str, why: str) -> JudgeError:
        return JudgeError(f"The judge's prompt {name} in {self.folder} can't be used: {why}.")
