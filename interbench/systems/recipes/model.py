"""What a recipe may say, and reading it from TOML. Whatever can be known to be wrong with one is refused here."""

from __future__ import annotations

import functools
import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from interbench.base.errors import SystemLoadError
from interbench.base.options import near

FOLDER = Path(__file__).parent
FIELD = re.compile(r"\{([a-z][a-z0-9_]*)\}")
"""A placeholder. Other braces, as those of JSON, mean themselves."""

PLACES = ("home", "python", "bin", "workdir", "portrait", "speech")
"""Placeholders that stand for paths."""
TEXTS = ("prompt", "script")
"""Placeholders that stand for text from outside."""
NUMBERS = ("seed", "turn", "speech_s", "nth")
"""Placeholders that stand for numbers; ``nth`` only in what a kept process leaves."""
NAMES = ("scenario", "stem", "port")
"""``port``: only of a kept server."""
PLACEHOLDERS = (*PLACES, *TEXTS, *NUMBERS, *NAMES)

_URL_PATH = re.compile(r"/[A-Za-z0-9._~/-]*")
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class InputFile(_Part):
    """A file that is written into the turn's folder."""

    format: Literal["lines", "yaml", "json"]
    """What a value must not break: a line of fields, a text in double quotes in YAML, or JSON, where each placeholder
    stands for a whole value and is quoted by itself."""
    separator: str = ""
    """Of the fields of a line."""
    text: str


class Output(_Part):
    """Where the clip is: exactly one file of the turn's folder, younger than the start."""

    glob: Words
    without: Annotated[str, Field(alias="not")] = ""
    """Names that don't count."""


class Number(_Part):
    """A number that follows from the length of the speech: the smallest ``plus + k * multiple`` that is no less than
    ``per_second`` times the seconds of speech, ``more`` and ``least``."""

    per_second: float = Field(1.0, gt=0)
    more: float = 0.0
    multiple: int = Field(1, ge=1)
    plus: int = 0
    least: int = 1
    most: int | None = None

    def of(self, speech_s: float) -> int:
        wanted = max(speech_s * self.per_second + self.more, self.least)
        steps = math.ceil((wanted - self.plus) / self.multiple - 1e-9)
        value = self.plus + self.multiple * steps
        return value if self.most is None else min(value, self.most)


class Crop(_Part):
    x: int = Field(ge=0)
    y: int = Field(ge=0)
    width: int = Field(ge=2)
    height: int = Field(ge=2)


class Clip(_Part):
    """What the clip is like, and what is done to it before it counts."""

    fps: float = Field(gt=0)
    crop: Crop | None = None
    trim_start_s: float = Field(0.0, ge=0)
    mux: Literal["speech"] | None = None
    """``speech``: the file has no sound, and gets that of the reply."""
    cuts_at_s: float | None = None
    """The picture ends here whatever the length of the speech."""
    advised_s: float | None = None
    """Longer speech is known to make trouble; ``advised_why`` says which."""
    advised_why: str = ""


class Keep(_Part):
    """How weights are loaded once for many turns."""

    kind: Literal["fifo", "module", "server"]
    file: str = ""
    """``fifo``: the input file that a named pipe stands in for; a turn is what the file would hold. ``server``: the
    JSON file that is the body of a turn's request."""
    ready: str = ""
    """``fifo``: what a line of its output holds once the clip of a turn is there or about to be. ``server``: what is
    asked (GET) until it answers 200, such as ``/health``."""
    path: str = ""
    """``server``: what a turn is posted to, such as ``/generate``."""
    output: str = ""
    """``fifo``: the glob of a turn's clip, where it is another than with a process for each turn."""
    module: str = ""
    """``module``: what is imported from the checkout."""
    parse: str = "parse_args"
    """A function without arguments that reads the command line."""
    load: str = "load_models"
    """A function of what ``parse`` gives; what it gives (a tuple, or one thing) is what ``render`` gets besides."""
    render: str = "main"

    @model_validator(mode="after")
    def _whole(self) -> Keep:
        needed = {"fifo": ("file", "ready"), "module": ("module",), "server": ("file", "ready", "path")}
        for name in needed[self.kind]:
            if not getattr(self, name):
                raise ValueError(f"keep.{name} is needed for kind {self.kind!r}")
        for name in ("ready", "path") if self.kind == "server" else ():
            if not _URL_PATH.fullmatch(getattr(self, name)):
                raise ValueError(f"keep.{name} must be the path of an address, such as /health")
        return self


class Checkpoint(_Part):
    """A file or folder of weights, relative to the checkout."""

    path: Words
    source: str = ""
    """Where it is to be had."""
    bytes: int | None = None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None


class Cost(_Part):
    """What a turn takes."""

    vram_gb: float | None = None
    seconds_per_second: float | None = Field(None, gt=0)
    """Seconds of one GPU per second of clip, weights loaded."""
    basis: str = ""
    """Where these come from."""
    timeout_s: float = Field(3600.0, gt=0)
    """Least time that a turn is given."""


class Recipe(_Part):
    """How one published system is driven."""

    name: Name
    title: Words
    repository: Words
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,40}$")]
    beside: str = ""
    """What else has to be in the checkout."""
    licence: Words
    install: Words
    """What its environment needs, for people."""
    read: tuple[Words, ...]
    """Where the facts come from: file and line, or the page."""
    entry: Words
    """The script that is run, relative to the checkout."""
    needs: tuple[Literal["speech", "portrait", "prompt", "script"], ...]
    argv: tuple[str, ...] = Field(min_length=1)
    env: dict[str, str] = Field(default_factory=dict)
    writes: tuple[str, ...] = ()
    """Names at the top of the checkout that a run writes to: not linked, so that each run has its own."""
    files: dict[str, InputFile] = Field(default_factory=dict)
    numbers: dict[str, Number] = Field(default_factory=dict)
    pad_speech_to: str = ""
    """One of the numbers: the seconds that the speech is filled up to with silence, which is cut off the clip again."""
    output: Output
    clip: Clip
    keep: Keep | None = None
    checkpoints: tuple[Checkpoint, ...] = ()
    cost: Cost = Cost()
    seeded: bool = True
    plain_paths: bool = False
    """The script puts paths into command lines of a shell: only those of letters, digits and ``._/+@-`` are handed to
    it."""
    caveats: tuple[Words, ...] = ()

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, InputFile]) -> dict[str, InputFile]:
        for name in files:
            _require_inside(name)
        return files

    @model_validator(mode="after")
    def _known_placeholders(self) -> Recipe:
        known = {*PLACEHOLDERS, *self.numbers}
        for where, text in self.templates():
            for field in FIELD.findall(text):
                if field not in known:
                    raise ValueError(
                        f"{where} uses {{{field}}}, which is not known; there are {', '.join(sorted(known))}"
                    )
        _require_inside(self.output.glob)
        for path in (self.entry, *self.writes, *(checkpoint.path for checkpoint in self.checkpoints)):
            _require_inside(path)
        if self.keep is not None and self.keep.kind != "module":
            if self.keep.file not in self.files:
                raise ValueError(f"keep.file is {self.keep.file!r}, which is none of the files")
            _require_inside(self.keep.output or "output")
        is_server = self.keep is not None and self.keep.kind == "server"
        if is_server and self.keep is not None and self.files[self.keep.file].format != "json":
            raise ValueError(f"keep.file is {self.keep.file!r}, whose format must be json for a server")
        started = "".join((*self.argv, *self.env.values()))
        if is_server != ("{port}" in started):
            raise ValueError("{port} must stand in argv or env of a server, and of nothing else")
        if self.pad_speech_to and self.pad_speech_to not in self.numbers:
            raise ValueError(f"pad_speech_to is {self.pad_speech_to!r}, which is none of the numbers")
        return self

    def templates(self) -> Iterator[tuple[str, str]]:
        """Everything in which placeholders are replaced, and what it is called."""
        yield from (("argv", argument) for argument in self.argv)
        yield from ((f"env.{name}", value) for name, value in self.env.items())
        yield from ((f"files.{name}", file.text) for name, file in self.files.items())
        yield "output.glob", self.output.glob
        if self.keep is not None:
            yield "keep.output", self.keep.output


def _require_inside(path: str) -> None:
    """A recipe names places in its own folders only."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise ValueError(f"{path!r} must be a relative path without '..'")


@functools.cache
def recipe_names() -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    return tuple(sorted(path.name.removesuffix(".toml") for path in FOLDER.glob("*.toml")))


def load_recipe(name: str) -> Recipe:
    """The bundled recipe called ``name``.

    Raises:
        SystemLoadError: there is none.
    """
    names = recipe_names()
    if name not in names:
        raise SystemLoadError(f"There is no recipe {name!r}. There are {', '.join(names)}.{near(name, names)}")
    return read_recipe(FOLDER / f"{name}.toml")


def read_recipe(path: Path) -> Recipe:
    """The recipe in the file ``path``.

    Raises:
        SystemLoadError: it can't be read, or says something that no recipe may.
    """
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        return Recipe.model_validate(data)
    except FileNotFoundError:
        raise SystemLoadError(f"There is no recipe file {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SystemLoadError(f"The recipe {path} can't be read: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise SystemLoadError(f"The recipe {path} is not valid TOML: {error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise SystemLoadError(f"The recipe {path} is wrong{f' at {where}' if where else ''}: {said}.") from None
