"""Options of the command line that belong together, written once as a dataclass and shared by several verbs."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any


class Group:
    """Base of dataclasses whose fields are options: ``Annotated[..., typer.Option(...)]`` with a default each."""


def grouped(verb: Callable[..., None]) -> Callable[..., None]:
    """``verb`` with each parameter that is a :class:`Group` replaced by that group's fields, for typer to read."""
    hints = typing.get_type_hints(verb, include_extras=True)
    groups: dict[str, type[Any]] = {}
    spread: list[inspect.Parameter] = []
    for parameter in inspect.signature(verb).parameters.values():
        kind = hints[parameter.name]
        if isinstance(kind, type) and issubclass(kind, Group):
            groups[parameter.name] = kind
            of_fields = typing.get_type_hints(kind, include_extras=True)
            fields = dataclasses.fields(groups[parameter.name])
            spread += [_parameter(field.name, of_fields[field.name], field.default) for field in fields]
        else:
            spread.append(_parameter(parameter.name, kind, parameter.default))

    @functools.wraps(verb)
    def call(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field.name: given.pop(field.name) for field in dataclasses.fields(kind)})
        verb(**given)

    del call.__wrapped__
    call.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in spread}
    return call


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    if default is dataclasses.MISSING:
        default = inspect.Parameter.empty
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
