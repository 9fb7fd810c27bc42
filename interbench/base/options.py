"""What a class can be told: its options, read off the signature of its constructor.

Options come from settings files and from the command line. Their names are those of the parameters, their types the
annotations, their defaults the parameters' own, so that whoever writes a class writes no second list. A parameter that
no setting can give (a function, an open pool) is no option.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import functools
import inspect
import json
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from interbench.base.errors import InterbenchError, UsageError
from interbench.base.masking import SECRET


class Required(enum.Enum):
    """Stands for the default of an option that has none."""

    REQUIRED = "required"


REQUIRED = Required.REQUIRED


class Inline:
    """Marks a parameter whose fields are options beside the others: ``settings: Annotated[MySettings, Inline()]``.

    The annotation is a dataclass with a default for every field.
    """


class _UnfitError(Exception):
    """A value is not what an option takes; the message completes "The option ... "."""


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One thing that a class can be told."""

    name: str
    annotation: Any
    """:data:`typing.Any` if the signature says nothing that can be read."""
    default: Any = REQUIRED
    inside: str = ""
    """The parameter marked with :class:`Inline` that it is a field of; empty for a parameter of its own."""

    @property
    def takes(self) -> str:
        """What it takes, for people."""
        return _takes(self.annotation)

    @property
    def fields(self) -> Mapping[str, Option]:
        """What the table of an option that is a dataclass may hold; empty for any other option."""
        kind = _dataclass_in(self.annotation)
        return {} if kind is None else _fields(kind)

    def _fit(self, value: Any) -> Any:
        if self.annotation is Any:
            return value
        kind = _dataclass_in(self.annotation)
        if kind is not None and isinstance(value, Mapping):
            given = _fit_all(self.fields, value, f"{self.name}.")
            try:
                # What is not given stays as the class has it.
                own: Any = self.default if isinstance(self.default, kind) else None
                return kind(**given) if own is None else dataclasses.replace(own, **given)
            except (TypeError, ValueError) as error:
                raise _UnfitError(f"is wrong: {error}") from None
        try:
            return _checked(self.annotation, value)
        except ValueError:
            raise _UnfitError(f"must be {self.takes}, not {_shown(self.name, value)}") from None

    def _read(self, text: str) -> Any:
        parsed = _toml(text)
        candidates = [text] if parsed is None else [parsed, text]
        for candidate in candidates:
            try:
                self._fit(candidate)
            except _UnfitError:
                continue
            return candidate
        self._fit(candidates[0])  # says what is wrong with it
        return candidates[0]


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """The options of one class."""

    subject: str
    """Whose, as messages name it: ``system 'puppet'``."""
    known: Mapping[str, Option]
    inline: Mapping[str, type] = dataclasses.field(default_factory=dict)
    """Parameters that are made of options: the dataclass of each."""
    fixed: tuple[tuple[Option, Any], ...] = ()
    """What the harness gives by itself."""
    takes_any: bool = False
    """Whether the class also takes names that its signature does not say."""
    error: type[InterbenchError] = UsageError

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments for the class, from options by name.

        Raises:
            InterbenchError: of the kind ``error``, naming the option that is unknown, wrong or missing.
        """
        placed = list(self.fixed)
        for name, value in values.items():
            option = self.known.get(name)
            if option is None and not self.takes_any:
                raise self.error(self._unknown(name, values))
            option = option or Option(name, Any)
            try:
                placed.append((option, option._fit(value)))
            except _UnfitError as error:
                raise self.error(f"The option {name!r} of the {self.subject} {error}.") from None
        for option in self.known.values():
            if option.default is REQUIRED and option.name not in values:
                raise self.error(
                    f"The {self.subject} needs the option {option.name!r} ({option.takes}); give it with --set or in "
                    f"a settings file."
                )
        arguments: dict[str, Any] = {}
        inside: dict[str, dict[str, Any]] = {parameter: {} for parameter in self.inline}
        for option, value in placed:
            (inside[option.inside] if option.inside else arguments)[option.name] = value
        try:
            return arguments | {parameter: self.inline[parameter](**fields) for parameter, fields in inside.items()}
        except (TypeError, ValueError) as error:
            raise self.error(f"The options of the {self.subject} are wrong: {error}.") from None

    def read(self, path: str, text: str) -> Any:
        """The value that ``text`` from a command line means, as a settings file would hold it.

        Numbers, lists and tables are written as in TOML, a text as it is.

        Args:
            path: the option's name, or names joined by dots for a field of an option that is a table.
            text: what stands behind the equals sign.

        Raises:
            InterbenchError: of the kind ``error``: there is no such option, or the text means nothing to it.
        """
        head, *rest = path.split(".")
        option = self.known.get(head)
        if option is None:
            if not self.takes_any:
                raise self.error(self._unknown(head, (head,)))
            option = Option(head, Any)
        try:
            for name in rest:
                if name not in option.fields:
                    raise _UnfitError(_no_field(name, option.fields))
                option = option.fields[name]
            return option._read(text)
        except _UnfitError as error:
            raise self.error(f"The option {path!r} of the {self.subject} {error}.") from None

    def _unknown(self, name: str, given: Iterable[str]) -> str:
        if not self.known:
            return f"The {self.subject} takes no options, but got {', '.join(given)}."
        return (
            f"The {self.subject} has no option {name!r}; its options: {', '.join(self.known)}.{near(name, self.known)}"
        )


def near(name: str, known: Iterable[str]) -> str:
    """A sentence that asks whether one of ``known`` was meant, with a space before it; empty if none is like it."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def options_of(
    cls: type,
    subject: str,
    *,
    given: Mapping[str, Any] | None = None,
    positional: int = 0,
    error: type[InterbenchError] = UsageError,
) -> Options:
    """The options of ``cls``.

    A constructor that hands ``**options`` on to its base has the base's options as well. One that hands them on to
    nobody takes any name.

    Args:
        cls: the class.
        subject: whose options they are, for messages.
        given: what the harness gives by itself to a class that takes it; that is no option.
        positional: how many first parameters the harness gives.
        error: what is raised for a wrong option.
    """
    given = given or {}
    known: dict[str, Option] = {}
    kinds: dict[str, type] = {}
    fixed: list[tuple[Option, Any]] = []
    takes_any = False
    for depth, init in enumerate(_constructors(cls)):
        parameters = list(inspect.signature(init).parameters.values())[1:]
        for parameter in parameters[0 if depth else positional :]:
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                continue
            option = _option(init, parameter)
            if depth and option.default is REQUIRED:
                # What a base needs, the constructor in front of it may well give.
                option = dataclasses.replace(option, default=None)
            inline = _inline(option.annotation)
            if inline is not None:
                kinds[parameter.name] = inline
                offered = [dataclasses.replace(field, inside=parameter.name) for field in _fields(inline).values()]
            else:
                offered = [option]
            for one in offered:
                if one.name in known:
                    continue
                if one.name in given:
                    fixed.append((one, given[one.name]))
                elif settable(one.annotation):
                    known[one.name] = one
                elif one.default is REQUIRED:
                    raise error(
                        f"The {subject} can't be made from settings: its parameter {one.name!r} has no default and is "
                        f"nothing that a setting can give."
                    )
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        if not takes_any:
            break
    return Options(subject, known, kinds, tuple(fixed), takes_any, error)


def _constructors(cls: type) -> list[Callable[..., None]]:
    """The constructors along the bases of ``cls``, without that of ``object``."""
    return [
        vars(base)["__init__"]
        for base in cls.__mro__
        if base is not object and inspect.isfunction(vars(base).get("__init__"))
    ]


def _option(init: Callable[..., None], parameter: inspect.Parameter) -> Option:
    default = REQUIRED if parameter.default is parameter.empty else parameter.default
    return Option(parameter.name, _hint(init, parameter), default)


def _hint(init: Callable[..., None], parameter: inspect.Parameter) -> Any:
    """The annotation as a type; Any if there is none, or if it can't be read outside its module."""
    if parameter.annotation is parameter.empty:
        return Any
    spoken = types.SimpleNamespace(__annotations__={"it": parameter.annotation})
    try:
        return typing.get_type_hints(spoken, globalns=getattr(init, "__globals__", {}), include_extras=True)["it"]
    except Exception:
        return Any


@functools.cache
def _fields(kind: type) -> Mapping[str, Option]:
    """The fields of a dataclass as options."""
    hints = typing.get_type_hints(kind, include_extras=True)
    found = {}
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        default: Any = REQUIRED
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found[field.name] = Option(field.name, hints[field.name], default)
    return found


def _fit_all(fields: Mapping[str, Option], values: Mapping[str, Any], before: str) -> dict[str, Any]:
    fit = {}
    for name, value in values.items():
        if name not in fields:
            raise _UnfitError(_no_field(name, fields))
        try:
            fit[name] = fields[name]._fit(value)
        except _UnfitError as error:
            raise _UnfitError(f"is wrong: {before}{name} {error}") from None
    return fit


def _no_field(name: str, fields: Mapping[str, Option]) -> str:
    if not fields:
        return f"is no table, so there is no {name!r} in it"
    return f"has no {name!r}; it holds {', '.join(fields)}"


def _inline(annotation: Any) -> type | None:
    """The dataclass of a parameter that is marked with :class:`Inline`."""
    if typing.get_origin(annotation) is not typing.Annotated:
        return None
    kind, *marks = typing.get_args(annotation)
    return _dataclass_in(kind) if any(isinstance(mark, Inline) for mark in marks) else None


def _members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the annotation alone; ``Annotated`` is taken off."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(member for part in typing.get_args(annotation) for member in _members(part))
    return (annotation,)


def _dataclass_in(annotation: Any) -> type | None:
    found = [member for member in _members(annotation) if isinstance(member, type) and dataclasses.is_dataclass(member)]
    return found[0] if len(found) == 1 else None


def settable(annotation: Any) -> bool:
    """Whether values of this type can stand in a settings file."""
    from pydantic.errors import PydanticUserError

    if annotation is Any:
        return True
    if any(member is Callable or typing.get_origin(member) is Callable for member in _members(annotation)):
        return False
    try:
        _adapter(annotation)
    except PydanticUserError:
        return False
    return True


def _adapter(annotation: Any) -> Any:
    from pydantic import TypeAdapter

    try:
        return _cached_adapter(annotation)
    except TypeError:  # an annotation that can't be hashed
        return TypeAdapter(annotation)


@functools.cache
def _cached_adapter(annotation: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(annotation)


def _checked(annotation: Any, value: Any) -> Any:
    """``value`` as the annotated type: it is one, or stands for one as in JSON; a text may spell a number or a truth.

    Raises:
        ValueError: it is none.
    """
    adapter = _adapter(annotation)
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
    """``text`` as a value of TOML; None if it is none, or is one that JSON does not have."""
    try:
        table = tomllib.loads(f"value = {text}")
        json.dumps(table)
    except (tomllib.TOMLDecodeError, TypeError, ValueError):
        return None
    return table["value"] if len(table) == 1 else None


def _takes(annotation: Any) -> str:
    if annotation is Any:
        return "anything"
    words = list(dict.fromkeys(word for member in _members(annotation) for word in _words(member)))
    return " or ".join(words) if words else "nothing"


def _words(member: Any) -> Iterator[str]:
    if member is None or member is type(None):
        return
    origin = typing.get_origin(member) or member
    plain = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
    if origin in plain:
        yield plain[origin]
    elif origin is typing.Literal:
        yield "one of " + ", ".join(str(value) for value in typing.get_args(member))
    elif isinstance(origin, type) and issubclass(origin, enum.Enum):
        yield "one of " + ", ".join(str(value.value) for value in origin)
    elif isinstance(origin, type) and dataclasses.is_dataclass(origin):
        yield "a table of " + ", ".join(_fields(origin))
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield "a table"
    elif isinstance(origin, type) and issubclass(origin, (Sequence, AbstractSet)):
        inner = [part for part in typing.get_args(member) if part is not Ellipsis]
        yield "a list" + (f" ({_takes(inner[0])} each)" if len(inner) == 1 and inner[0] is not Any else "")
    else:
        yield getattr(origin, "__name__", str(origin))


def _shown(name: str, value: Any) -> str:
    """A value for a message, unless it may be a secret or is long."""
    if isinstance(value, str) and (SECRET.search(name) or "://" in value or len(value) > 60):
        return "a text"
    if isinstance(value, (str, int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "a table"
    return "a list" if isinstance(value, Sequence) else type(value).__name__
