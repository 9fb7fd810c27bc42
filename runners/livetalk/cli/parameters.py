"""From options classes to a command line: a verb takes a few of them, and each becomes a group of options.

A verb is a function whose parameters are options classes (see ``livetalk.base.flags``) or single options::

    def bench(model: ModelOptions, speed: SpeedOptions, blocks: Annotated[int, Flag("Blocks measured.")] = 10) -> None:
        '''Measure milliseconds per block.'''

    add_verb(app, bench)

Names, types, ranges and defaults are the classes' own, so that verbs which share a class share its options.
"""

from __future__ import annotations

import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from types import NoneType
from typing import Annotated, Any, Literal, TypeAlias

import typer
from typer.core import TyperCommand

from livetalk.base.errors import OptionError
from livetalk.base.flags import Flag

AsJson: TypeAlias = Annotated[bool, Flag("Print JSON.", spelling=("--json",))]


def add_verb(app: typer.Typer, function: Callable[..., None], name: str | None = None) -> None:
    """Make a command of a function. ``OptionError``s become the parser's own: usage, and exit status 2.

    Raises:
        TypeError: two of the options have the same name.
    """
    arguments = list(_arguments(function))
    parameters = [parameter for argument in arguments for parameter in argument.parameters]
    names = [parameter.name for parameter in parameters]
    if len(set(names)) < len(names):
        twice = sorted({entry for entry in names if names.count(entry) > 1})
        raise TypeError(f"{function.__name__} has two options of one name: {', '.join(twice)}")

    def command(**given: Any) -> None:
        try:
            function(**{argument.name: argument.build(given) for argument in arguments})
        except OptionError as error:
            raise typer.BadParameter(str(error)) from error

    signature = inspect.Signature(sorted(parameters, key=lambda parameter: parameter.default is not parameter.empty))
    annotations = {parameter.name: parameter.annotation for parameter in parameters}
    # What typer reads.
    vars(command)["__signature__"] = signature
    command.__annotations__ = annotations
    command.__doc__ = function.__doc__
    app.command(name or function.__name__, cls=GroupedCommand)(command)


class GroupedCommand(TyperCommand):
    """Shows its options in groups, in the order of the verb's parameters."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")  # pydantic's, which typer asks
            raise

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panel = getattr(parameter, "rich_help_panel", None)
                argument = parameter.param_type_name == "argument"
                groups.setdefault(panel or ("Arguments" if argument else "Options"), []).append(record)
        # What belongs to no group comes last, with --help.
        for title in sorted(groups, key=lambda title: title == "Options"):
            with formatter.section(title):
                formatter.write_dl(groups[title])


@dataclass(frozen=True, slots=True)
class _Argument:
    """A parameter of a verb's function, and the options of the command line that it is made of."""

    name: str
    kind: Any
    parameters: tuple[inspect.Parameter, ...]

    def build(self, given: dict[str, Any]) -> Any:
        """The function's argument, from the values of all options."""
        if isinstance(self.kind, type) and is_dataclass(self.kind):
            return self.kind(**{parameter.name: _plain(given[parameter.name]) for parameter in self.parameters})
        return _plain(given[self.name])


def _arguments(function: Callable[..., None]) -> Iterator[_Argument]:
    hints = typing.get_type_hints(function, include_extras=True)
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if isinstance(hint, type) and is_dataclass(hint):
            own = typing.get_type_hints(hint, include_extras=True)
            title = (hint.__doc__ or hint.__name__).splitlines()[0].rstrip(".")
            options = (_option(field.name, own[field.name], _default(field), title) for field in fields(hint))
            yield _Argument(parameter.name, hint, tuple(options))
        else:
            yield _Argument(parameter.name, hint, (_option(parameter.name, hint, parameter.default, None),))


def _default(field: Field[Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    return inspect.Parameter.empty if field.default_factory is MISSING else field.default_factory()


def _option(name: str, hint: Any, default: Any, panel: str | None) -> inspect.Parameter:
    """A parameter as typer reads it."""
    kind, *marks = typing.get_args(hint) if typing.get_origin(hint) is Annotated else (hint,)
    flag = next((mark for mark in marks if isinstance(mark, Flag)), None)
    if flag is not None:
        spelling = flag.spelling
        if kind is bool and not spelling:
            spelling = (f"--{name.replace('_', '-')}",)  # without a --no- beside it
        about = typer.Option(
            *spelling,
            help=flag.help if flag.default is None else f"{flag.help} [default: {flag.default}]",
            min=flag.minimum,
            max=flag.maximum,
            envvar=flag.variable,
            show_default=flag.default is None,
            rich_help_panel=panel,
        )
        hint = Annotated[_readable(kind, flag), about]
    if isinstance(default, tuple):
        default = list(default)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _readable(kind: Any, flag: Flag) -> Any:
    """The type as every version of typer knows it: choices as an enumeration, tuples as lists."""
    if flag.choices:
        chosen = _enumeration(flag.choices)
        return typing.Optional[chosen] if NoneType in typing.get_args(kind) else chosen  # noqa: UP045 - known only now
    if typing.get_origin(kind) is Literal:
        return _enumeration(typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return types.GenericAlias(list, typing.get_args(kind)[:1])
    members = [member for member in typing.get_args(kind) if member is not NoneType]
    if NoneType in typing.get_args(kind) and len(members) == 1:
        return typing.Optional[_readable(members[0], flag)]  # noqa: UP045 - of a type that is only known now
    return kind


def _enumeration(values: tuple[str, ...]) -> Any:
    return enum.StrEnum("Choice", {value: value for value in values})


def _plain(value: Any) -> Any:
    """A parsed value as its options class holds it."""
    if isinstance(value, enum.Enum):
        return value.value
    return tuple(value) if isinstance(value, list) else value
