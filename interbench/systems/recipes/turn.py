"""One turn of a recipe: command, environment, the files it reads and the clip it leaves. Nothing is written here.

Templates come from recipes alone. What is put into them is data: a value that would break the format of a file, or be
taken for an option, is refused instead of being mended, because a system that is told something else is not the one in
the table.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from interbench.base.errors import InterbenchError
from interbench.domain.persona import SLUG
from interbench.systems.recipes.model import FIELD, TEXTS, InputFile, Recipe

LINKS = (
    "every top-level entry of @system, linked into @turn, so that defaults relative to the working folder hold and "
    "everything the script writes stays in the turn's own folder"
)
_SYSTEM, _TURN = "@system", "@turn"
_PLAIN = re.compile(r"[A-Za-z0-9._/+@-]+")


class UnfitValueError(InterbenchError):
    """A value would break the input format of a system, so it is not handed to it."""

    exit_code = 2
    code = "unfit_value"


class _SpeechLength(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    samples: int = Field(gt=0)
    rate: int = Field(16_000, gt=0)


class TurnFacts(BaseModel):
    """What a recipe has to know of a turn; also what ``interbench recipe show --turn`` reads."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    scenario: str = Field(pattern=SLUG)
    turn: int = Field(ge=1, le=10_000)
    seed: int = Field(ge=0, lt=2**63)
    prompt: str = ""
    script: str = ""
    speech: _SpeechLength

    @property
    def stem(self) -> str:
        """Of the turn's portrait and speech; no two turns of a run have the same."""
        return f"{self.scenario}-{self.turn}"

    @property
    def speech_s(self) -> float:
        return self.speech.samples / self.speech.rate


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are."""

    home: str
    """The checkout."""
    workdir: str
    """The folder that the command runs in and writes to."""
    python: str
    """The interpreter of the checkout's own environment."""
    files: str = ""
    """The folder of portrait and speech, if that is another."""
    port: str = ""
    """On which a server of the checkout's is to listen."""

    @classmethod
    def symbolic(cls) -> Places:
        """Placeholders for paths, as in the published commands: ``@system`` and ``@turn``."""
        return cls(_SYSTEM, _TURN, f"{_SYSTEM}/.venv/bin/python", port="@port")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to be done for one turn."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    files: Mapping[str, str]
    """By name within the working folder."""
    glob: str
    """Relative to the working folder."""
    without: str
    padded_s: float | None
    """Seconds that the speech is filled up to; None if it stays as it is."""

    def golden(self) -> dict[str, Any]:
        """As ``interbench recipe show --turn`` prints it."""
        output = {"glob": f"{_TURN}/{self.glob}", **({"not": self.without} if self.without else {})}
        return {
            "cwd": _TURN,
            "links": LINKS,
            "env": dict(self.env),
            "argv": list(self.argv),
            "files": dict(self.files),
            "output": output,
        }


def read_facts(data: Any) -> TurnFacts:
    """The facts in a JSON value: a turn, or an object with one under ``turn``.

    Raises:
        UnfitValueError: it is none.
    """
    if isinstance(data, dict) and isinstance(data.get("turn"), dict):
        data = data["turn"]
    try:
        return TurnFacts.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise UnfitValueError(
            f"That is no turn: {where}: {first['msg']}. A turn is an object with scenario, turn, seed, prompt and "
            f"speech.samples (at speech.rate, 16000)."
        ) from None


def prepare(recipe: Recipe, facts: TurnFacts, places: Places, *, nth: int = 0, kept: bool = False) -> Prepared:
    """What ``recipe`` does for a turn.

    Args:
        nth: how many turns the process has had before, for one that is kept.
        kept: whether the clip is that of a process that is kept.

    Raises:
        UnfitValueError: a value can't be handed to it.
    """
    folder = places.files or places.workdir
    numbers = {name: number.of(facts.speech_s) for name, number in recipe.numbers.items()}
    values: dict[str, str | int] = {
        "home": places.home,
        "python": places.python,
        "bin": str(PurePosixPath(places.python).parent),
        "workdir": places.workdir,
        "port": places.port,
        "portrait": f"{folder}/{facts.stem}.png",
        "speech": f"{folder}/{facts.stem}.wav",
        "prompt": facts.prompt,
        "script": facts.script,
        "seed": facts.seed,
        "turn": facts.turn,
        "speech_s": f"{facts.speech_s:.3f}",
        "nth": f"{nth:03d}",
        "scenario": facts.scenario,
        "stem": facts.stem,
        **numbers,
    }
    if recipe.plain_paths:
        for name in ("home", "workdir", "portrait", "speech"):
            if not _PLAIN.fullmatch(str(values[name])):
                why = "holds characters that its script would hand to a shell; use a path of letters, digits and ._/+@-"
                raise _unfit(recipe.name, name, why)
    for name in TEXTS:
        if name in recipe.needs and not values[name]:
            raise UnfitValueError(f"{recipe.name} needs a {name}, and the turn has none.")
    glob = recipe.keep.output if kept and recipe.keep is not None and recipe.keep.output else recipe.output.glob
    return Prepared(
        argv=tuple(_argument(recipe.name, argument, values) for argument in recipe.argv),
        env={name: _argument(recipe.name, value, values) for name, value in recipe.env.items()},
        files={name: _file(recipe.name, name, file, values) for name, file in recipe.files.items()},
        # Scenario and turn are slugs and numbers, so that nothing in them is a pattern.
        glob=FIELD.sub(lambda found: str(values[found[1]]), glob),
        without=recipe.output.without,
        padded_s=float(numbers[recipe.pad_speech_to]) if recipe.pad_speech_to else None,
    )


def _argument(recipe: str, template: str, values: Mapping[str, str | int]) -> str:
    for name in FIELD.findall(template):
        value = str(values[name])
        if odd := _controls(value):
            raise _unfit(recipe, name, f"holds {odd}, which no argument of a command may")
        if template == f"{{{name}}}" and value.startswith("-"):
            raise _unfit(recipe, name, "begins with '-', so that it would be taken for an option")
    return FIELD.sub(lambda found: str(values[found[1]]), template)


def _file(recipe: str, name: str, file: InputFile, values: Mapping[str, str | int]) -> str:
    for field in FIELD.findall(file.text):
        if odd := _breaks(file, values[field]):
            raise _unfit(recipe, field, f"holds {odd}, which would break {name}")

    def text(found: re.Match[str]) -> str:
        value = values[found[1]]
        return json.dumps(value, ensure_ascii=False) if file.format == "json" else str(value)

    return FIELD.sub(text, file.text)


def _breaks(file: InputFile, value: str | int) -> str:
    """What in ``value`` would break the format; empty if nothing does."""
    if isinstance(value, int):
        return ""
    # The placeholders for folders are no values of their own.
    for place in (_SYSTEM, _TURN):
        value = value.removeprefix(f"{place}/")
    if odd := _controls(value):
        return odd
    if file.format == "lines":
        mark = file.separator
        if mark and (mark in value or value[:1] == mark[:1] or value[-1:] == mark[-1:]):
            return f"{mark!r}, or a part of it at an end"
    if file.format == "yaml":
        for part in ('"', "\\", "${"):
            if part in value:
                return repr(part)
    return ""


def _controls(value: str) -> str:
    """A character that ends a line or is none, for messages; empty if there is none."""
    for character in value:
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in "\u0085\ufeff":
            return f"U+{ord(character):04X}"
    return ""


def _unfit(recipe: str, name: str, why: str) -> UnfitValueError:
    return UnfitValueError(f"The {name} of this turn {why}; {recipe} is not given it. Change the {name}.")
