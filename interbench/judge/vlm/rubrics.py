"""The judge's prompts: a rubric for each dimension, the preamble, the frame of the transcript, and the re-ask.

They are Jinja templates in ``prompts/judge``, rendered in Jinja's sandbox with strict undefined. A rubric begins with
front matter, flat ``name: value`` lines between two ``---`` lines. Whatever people or systems said enters through the
filter ``quote`` (:func:`quote`), never as template text.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from interbench.base.bundled import data_path
from interbench.base.errors import JudgeError
from interbench.domain.dimensions import DIMENSIONS
from interbench.judge.vlm.parsing import Scale

_SHARED = ("preamble.j2", "conversation.j2", "ask_again.j2")
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
class QuotedTurn:
    """One turn as it is put before the judge."""

    index: int
    user: str
    video: int
    """1-based number of the answer's video."""
    avatar: str
    """Empty if no speech is heard."""


def quote(text: str) -> str:
    r"""``text`` as a JSON string that nothing in it can end.

    Quotation marks, backslashes and everything invisible are escaped, and so is ``<``: no text can spell a closing
    mark, or one of the special tokens (``<|im_end|>`` ...) that a chat template would obey.
    """
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(_escaped(c) if c == "<" or unicodedata.category(c) in _ESCAPED_CATEGORIES else c for c in quoted)


def _escaped(character: str) -> str:
    return json.dumps(character, ensure_ascii=True)[1:-1] if ord(character) > 0x7F else f"\\u{ord(character):04x}"


class Prompts:
    """All prompts of a folder, checked.

    Args:
        folder: None for the bundled ``prompts/judge``.

    Raises:
        JudgeError: a file is missing or breaks the rules of a rubric; the message names it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = data_path("prompts") / "judge" if folder is None else folder
        for stranger in sorted(self.folder.glob("*.jinja")):
            raise self._wrong(stranger.name, f"templates end in .j2; rename it to {stranger.stem}.j2")
        environment = SandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        environment.filters["quote"] = quote
        self._environment = environment
        shared = {name: self._read(name) for name in _SHARED}
        self.preamble = self._render("preamble.j2", self._template("preamble.j2", shared["preamble.j2"]), {})
        self._conversation = self._template("conversation.j2", shared["conversation.j2"])
        self._ask_again = self._template("ask_again.j2", shared["ask_again.j2"])
        common = "\0".join(shared.values())
        self.rubrics: Mapping[str, Rubric] = {d.key: self._rubric(d.key, d.name, d.group, common) for d in DIMENSIONS}

    def conversation(self, turns: Sequence[QuotedTurn]) -> str:
        """The transcript with its frame, as it stands between the videos and the rubric."""
        return self._render("conversation.j2", self._conversation, {"turns": turns})

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
        text = self._render(file, body, {"scale": shown, "name": name})
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
            return self._environment.from_string(source)
        except TemplateError as error:
            raise self._wrong(name, f"it is not a Jinja template ({error})") from None

    def _render(self, name: str, template: Template, values: Mapping[str, Any]) -> str:
        try:
            return template.render(values).strip()
        except (TemplateError, TypeError, ValueError) as error:
            raise self._wrong(name, f"it can't be rendered ({error})") from None

    def _wrong(self, name: str, why: str) -> JudgeError:
        return JudgeError(f"The judge's prompt {name} in {self.folder} can't be used: {why}.")
