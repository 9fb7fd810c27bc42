"""What a thinker can be told: its options, read off the signature of its constructor.

The names are those of the parameters, the types their annotations, the defaults their own, and what each is for stands
in the class's docstring under ``Args:``, so that whoever writes a thinker writes no second list. A parameter that no
text can give (a clock) is no option.

A deliberate copy, cut down to what thinkers need, of ``interbench/base/options.py``: both programs read options alike.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from livetalk.base.errors import LiveTalkError

_SECRET = re.compile(r"(api_?key|token|secret|password|authorization)$", re.IGNORECASE)


class ThinkerOptionError(LiveTalkError):
    """There is no such thinker, or its options lack something or hold what it has no use for."""


@dataclasses.dataclass(frozen=True, slots=True)
class ThinkerOption:
    """One thing that a thinker can be told."""

    name: str
    annotation: Any
    """``typing.Any`` if the signature says nothing that can be read."""
    required: bool
    default: Any
    """None if it is required."""
    help: str
    """What the class's docstring says of it; empty if nothing."""

    @property
    def takes(self) -> str:
        """What it takes, for people."""
        return _takes(self.annotation)

    @property
    def fields(self) -> dict[str, ThinkerOption]:
        """What the table of an option that is a dataclass may hold; empty for any other option."""
        kind = _dataclass_in(self.annotation)
        if kind is None:
            return {}
        hints = typing.get_type_hints(kind)
        defaults = {field.name: field.default for field in dataclasses.fields(kind)}
        return {
            name: ThinkerOption(
                name,
                hints[name],
                default is dataclasses.MISSING,
                None if default is dataclasses.MISSING else default,
                "",
            )
            for name, default in defaults.items()
        }

    def check(self, value: Any) -> Any:
        """The value as the class takes it.

        Raises:
            ValueError: it is of another type.
        """
        if self.annotation is Any:
            return value
        kind = _dataclass_in(self.annotation)
        if kind is not None and isinstance(value, Mapping):
            fields = self.fields
            given = {}
            for name, entry in value.items():
                if name not in fields:
                    raise ValueError(_no_field(name, fields))
                try:
                    given[name] = fields[name].check(entry)
                except ValueError as error:
                    raise ValueError(f"is wrong: {self.name}.{name} {error}") from None
            try:
                # What is not given stays as the thinker has it.
                return dataclasses.replace(self.default, **given) if self._holds(kind) else kind(**given)
            except (TypeError, ValueError) as error:
                raise ValueError(f"is wrong: {error}") from None
        try:
            return _checked(self.annotation, value)
        except ValueError:
            raise ValueError(f"must be {self.takes}, not {_shown(self.name, value)}") from None

    def _holds(self, kind: type) -> bool:
        return isinstance(self.default, kind)

    def read(self, text: str) -> Any:
        """The value that a text from a command line means to this option.

        Numbers, lists and tables are written as in TOML, a text as it is.

        Raises:
            ValueError: it means nothing to this option.
        """
        parsed = _toml(text)
        candidates = [text] if parsed is None else [parsed, text]
        for candidate in candidates:
            try:
                self.check(candidate)
            except ValueError:
                continue
            return candidate
        return self.check(candidates[0])  # says what is wrong with it


@dataclasses.dataclass(frozen=True, slots=True)
class ThinkerOptionSet:
    """The options of one thinker."""

    subject: str
    """Whose, as messages name it: ``thinker 'chat'``."""
    known: Mapping[str, ThinkerOption]
    takes_any: bool
    """Whether the class also takes names that its signature does not say."""

    def read(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """Values by name, from texts by name; a name with dots is that of a field of an option that is a table.

        Raises:
            ThinkerOptionError: an option is unknown, or a text means nothing to it.
        """
        values: dict[str, Any] = {}
        for path, text in texts.items():
            option, (*tables, last) = self._find(path), path.split(".")
            try:
                value = option.read(text)
            except ValueError as error:
                raise ThinkerOptionError(f"The option {path!r} of the {self.subject} {error}.") from None
            table = values
            for name in tables:
                table = table.setdefault(name, {})
            table[last] = value
        return values

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments for the class.

        Raises:
            ThinkerOptionError: an option is unknown, wrong or missing.
        """
        arguments = {}
        for name, value in values.items():
            option = self._find(name)
            try:
                arguments[name] = option.check(value)
            except ValueError as error:
                raise ThinkerOptionError(f"The option {name!r} of the {self.subject} {error}.") from None
        for option in self.known.values():
            if option.required and option.name not in values:
                raise ThinkerOptionError(
                    f"The {self.subject} needs the option {option.name!r} ({option.takes}); give it with --set "
                    f"thinker.{option.name}=VALUE."
                )
        return arguments

    def _find(self, path: str) -> ThinkerOption:
        name, *rest = path.split(".")
        option = self.known.get(name)
        if option is None:
            if self.takes_any and not rest:
                return ThinkerOption(name, Any, False, None, "")
            if not self.known:
                raise ThinkerOptionError(f"The {self.subject} takes no options, but got {name}.")
            raise ThinkerOptionError(
                f"The {self.subject} has no option {name!r}; its options: {', '.join(self.known)}."
                f"{near(name, self.known)}"
            )
        for name in rest:
            fields = option.fields
            if name not in fields:
                raise ThinkerOptionError(f"The option {path!r} of the {self.subject} {_no_field(name, fields)}.")
            option = fields[name]
        return option


def options_of(cls: type, subject: str) -> ThinkerOptionSet:
    """The options of a class. A constructor that hands ``**options`` on to its base has the base's options as well.

    Raises:
        ThinkerOptionError: the class needs something that no text can give.
    """
    known: dict[str, ThinkerOption] = {}
    takes_any = False
    for depth, (owner, init) in enumerate(_constructors(cls)):
        parameters = list(inspect.signature(init).parameters.values())[1:]
        about = _described(owner)
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                continue
            annotation = _hint(init, parameter)
            # What a base needs, the constructor in front of it may well give.
            required = parameter.default is parameter.empty and not depth
            if not _settable(annotation):
                if required:
                    raise ThinkerOptionError(
                        f"The {subject} can't be made from settings: its parameter {parameter.name!r} has no default "
                        "and is nothing that a setting can give."
                    )
                continue
            default = None if parameter.default is parameter.empty else parameter.default
            option = ThinkerOption(parameter.name, annotation, required, default, about.get(parameter.name, ""))
            known.setdefault(parameter.name, option)
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        if not takes_any:
            break
    return ThinkerOptionSet(subject, known, takes_any)


def near(name: str, known: Iterable[str]) -> str:
    """A sentence that asks whether one of ``known`` was meant, with a space before it; empty if none is like it."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _constructors(cls: type) -> list[tuple[type, Callable[..., None]]]:
    """The constructors along the bases of a class, without that of ``object``, each with its class."""
    return [
        (base, vars(base)["__init__"])
        for base in cls.__mro__
        if base is not object and inspect.isfunction(vars(base).get("__init__"))
    ]


def _described(cls: type) -> dict[str, str]:
    """What the docstring of a class says of each name under ``Args:``; several names may share a line."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(cls) or "", re.MULTILINE | re.DOTALL)
    if section is None:
        return {}
    entries = re.findall(r"^ {4}(\w[\w, ]*): (.*(?:\n {5,}.*)*)", section.group(1), re.MULTILINE)
    return {
        name.strip(): " ".join(text.split()).replace("``", "`") for names, text in entries for name in names.split(",")
    }


def _no_field(name: str, fields: Mapping[str, ThinkerOption]) -> str:
    if not fields:
        return f"is no table, so there is no {name!r} in it"
    return f"has no {name!r}; it holds {', '.join(fields)}"


def _hint(init: Callable[..., None], parameter: inspect.Parameter) -> Any:
    """The annotation as a type; Any if there is none, or if it can't be read outside its module."""
    if parameter.annotation is parameter.empty:
        return Any
    spoken = types.SimpleNamespace(__annotations__={"it": parameter.annotation})
    try:
        return typing.get_type_hints(spoken, globalns=getattr(init, "__globals__", {}))["it"]
    except Exception:
        return Any


def _members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the annotation alone."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(member for part in typing.get_args(annotation) for member in _members(part))
    return (annotation,)


def _dataclass_in(annotation: Any) -> type | None:
    found = [member for member in _members(annotation) if isinstance(member, type) and dataclasses.is_dataclass(member)]
    return found[0] if len(found) == 1 else None


def _settable(annotation: Any) -> bool:
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    if any(member is Callable or typing.get_origin(member) is Callable for member in _members(annotation)):
        return False
    try:
        TypeAdapter(annotation)
    except PydanticUserError:
        return False
    return True


def _checked(annotation: Any, value: Any) -> Any:
    """A value as the annotated type: it is one, or stands for one as in JSON; a text may spell a number or a truth."""
    from pydantic import TypeAdapter

    adapter = TypeAdapter(annotation)
    try:
        return adapter.validate_python(value, strict=True)
    except ValueError:
        if isinstance(value, str):
            return adapter.validate_python(value)
        try:
            plain = json.dumps(value)
        except TypeError:
            raise ValueError from None
        return adapter.validate_json(plain, strict=True)


def _toml(text: str) -> Any:
    """A text as a value of TOML; None if it is none, or is one that JSON does not have."""
    try:
        table = tomllib.loads(f"value = {text}")
        json.dumps(table)
    except (tomllib.TOMLDecodeError, TypeError, ValueError):
        return None
    return table["value"] if len(table) == 1 else None


def _takes(annotation: Any) -> str:
    if annotation is Any:
        return "anything"
    plain = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
    words = []
    for member in _members(annotation):
        origin = typing.get_origin(member) or member
        if member is type(None):
            continue
        if origin is typing.Literal:
            words.append("one of " + ", ".join(map(str, typing.get_args(member))))
        elif isinstance(origin, type) and dataclasses.is_dataclass(origin):
            words.append("a table of " + ", ".join(field.name for field in dataclasses.fields(origin)))
        elif origin in plain:
            words.append(plain[origin])
        elif isinstance(origin, type) and issubclass(origin, Mapping):
            words.append("a table")
        elif isinstance(origin, type) and issubclass(origin, (Sequence, AbstractSet)):
            inner = [part for part in typing.get_args(member) if part is not Ellipsis]
            words.append("a list" + (f" ({_takes(inner[0])} each)" if len(inner) == 1 and inner[0] is not Any else ""))
        else:
            words.append(getattr(origin, "__name__", str(origin)))
    return " or ".join(dict.fromkeys(words)) or "nothing"


def _shown(name: str, value: Any) -> str:
    """A value for a message, unless it may be a secret or is long."""
    if isinstance(value, str) and (_SECRET.search(name) or "://" in value or len(value) > 60):
        return "a text"
    if isinstance(value, (str, int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "a table"
    return "a list" if isinstance(value, Sequence) else type(value).__name__
