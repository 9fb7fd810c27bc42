"""``livetalk list``."""

from __future__ import annotations

import enum
import json
import textwrap
from typing import Annotated, Any

import typer

from livetalk.cli.parameters import AsJson
from livetalk.thinkers import registry
from livetalk.thinkers.options import ThinkerOption, ThinkerOptionError

_WIDTH = 118


class What(enum.StrEnum):
    """What can be listed."""

    thinkers = "thinkers"


def list_choices(what: Annotated[What, typer.Argument(help="What to list.")], as_json: AsJson = False) -> None:
    """List the thinkers that can be chosen, with their options."""
    found = [_described(entry) for entry in registry.entries().values()]
    typer.echo(json.dumps(found, indent=1) if as_json else "\n\n".join(map(_as_text, found)))


def _described(entry: registry.ThinkerEntry) -> dict[str, Any]:
    """An entry as JSON; one whose package is broken says so and hides no other."""
    about: dict[str, Any] = {"name": entry.name, "source": entry.source}
    try:
        about |= {"summary": entry.summary(), "options": list(map(_option, entry.options().known.values()))}
    except ThinkerOptionError as error:
        about |= {"error": str(error)}
    return about


def _option(option: ThinkerOption) -> dict[str, Any]:
    default = option.default
    return {
        "name": option.name,
        "takes": option.takes,
        "required": option.required,
        "default": default if isinstance(default, (bool, int, float, str)) else str(default) if default else None,
        "help": option.help,
    }


def _as_text(about: dict[str, Any]) -> str:
    source = "" if about["source"] == "built-in" else f" ({about['source']})"
    lines = [f"{about['name']}{source}: {about.get('summary', about.get('error'))}"]
    for option in about.get("options", ()):
        default = f"; default: {option['default']}" if option["default"] not in (None, "") else ""
        takes = option["takes"] + ("; required" if option["required"] else default)
        lines += textwrap.wrap(
            f"thinker.{option['name']} ({takes}) {option['help']}",
            _WIDTH,
            initial_indent="  ",
            subsequent_indent="      ",
        )
    return "\n".join(lines)
