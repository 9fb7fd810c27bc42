"""What can be chosen from: systems, transcribers, judges, dimensions, scenarios, personas."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from interbench.base.errors import InterbenchError

if TYPE_CHECKING:
    from interbench.base.options import Options
    from interbench.base.registry import Registry

T = TypeVar("T")
Row = dict[str, Any]

_WIDE = 110
"""Columns that a terminal needs for the details."""
_SHORT = 24
"""Names of one kind that are shown where all kinds are."""
_DETAILS = ("from", "output", "state", "price_usd_per_s", "persona", "stresses", "group", "gender", "voice")


def show(what: str | None, *, scenarios: str, with_options: bool = False, as_json: bool) -> None:
    """Print a list for people, or as JSON; without ``what`` the names of everything."""
    kinds: Mapping[str, Callable[[], list[Row]]] = {
        "systems": list_systems,
        "transcribers": list_transcribers,
        "judges": list_judges,
        "dimensions": list_dimensions,
        "scenarios": lambda: list_scenarios(scenarios),
        "personas": lambda: list_personas(scenarios),
    }
    if what is None:
        everything = {kind: rows() for kind, rows in kinds.items()}
        if as_json:
            _print_json(everything)
        else:
            _print([{"what": kind, "names": _names(kind, rows)} for kind, rows in everything.items()])
        return
    rows = kinds[what]()
    if as_json:
        _print_json(rows)
    elif with_options:
        _print([{"name": row["name"], **option} for row in rows for option in row.get("options", ())])
    else:
        _print([{name: value for name, value in row.items() if name != "options"} for row in rows])


def _names(kind: str, rows: Sequence[Row]) -> str:
    names = ", ".join(map(_name, rows[:_SHORT]))
    more = len(rows) - _SHORT
    return f"{names}, and {more} more: interbench list {kind}" if more > 0 else names


def _name(row: Row) -> str:
    return str(next(row[key] for key in ("name", "key", "id") if key in row and (key != "name" or "key" not in row)))


def _registered(
    registry: Registry[T], facts: Callable[[type[T]], Row], given: Mapping[str, Any] | None = None
) -> list[Row]:
    """A row for every name; one that can't be imported says why."""
    rows = []
    for entry in registry.entries().values():
        row: Row = {"name": entry.name, "from": entry.source}
        try:
            found = registry.find(entry.name)
            row |= facts(found.cls) | {"description": _first_line(found.cls)}
            row["options"] = _options(registry.options(found, given=given))
        except InterbenchError as error:
            row["description"] = f"can't be loaded: {error}"
        rows.append(row)
    rows += [
        {"name": name, "from": "built-in", "description": alias.description} for name, alias in registry.aliases.items()
    ]
    if registry.address is not None:
        found = registry.find("http://")
        described = {"name": "URL", "from": "built-in", "description": _first_line(found.cls)}
        rows.append({**described, "options": _options(registry.options(found, given=given))})
    return rows


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0]


def _options(options: Options) -> list[Row]:
    from interbench.base.options import REQUIRED

    rows = []
    for option in options.known.values():
        needed = option.default is REQUIRED
        default = None if needed else _plain(option.default)
        rows.append({"option": option.name, "takes": option.takes, "needed": needed, "default": default})
    return rows


def _plain(value: Any) -> Any:
    """A default as JSON has it."""
    if isinstance(value, type) or not dataclasses.is_dataclass(value):
        return value
    return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}


def list_systems() -> list[Row]:
    """Every system that can be named, its variants and capabilities."""
    from interbench.systems.facts import capabilities_json
    from interbench.systems.registry import SYSTEMS

    def facts(cls: type[Any]) -> Row:
        capabilities = capabilities_json(cls)
        return {
            "output": capabilities.get("output", ""),
            "state": capabilities.get("state", ""),
            "price_usd_per_s": capabilities.get("price_usd_per_s"),
            "status": _status(capabilities),
            "capabilities": capabilities,
        }

    rows: list[Row] = []
    for row in _registered(SYSTEMS, facts):
        rows.append(row)
        if "capabilities" in row:
            variants = SYSTEMS.find(row["name"]).cls.variants()
            rows += [
                {"name": f"{row['name']}:{variant}", "from": row["from"], "description": line}
                for variant, line in variants.items()
            ]
    return rows


def _status(facts: Mapping[str, Any]) -> str:
    parts = [str(facts.get("status", ""))]
    if "retired_on" in facts:
        parts.append(f"retired on {facts['retired_on']}")
    if "evidence_date" in facts:
        parts.append(f"as of {facts['evidence_date']}")
    return ", ".join(part for part in parts if part)


def list_transcribers() -> list[Row]:
    from interbench.asr.registry import TRANSCRIBERS

    return _registered(TRANSCRIBERS, lambda cls: {})


def list_judges() -> list[Row]:
    from interbench.judge.registry import JUDGES

    return _registered(JUDGES, lambda cls: {}, given={"repeats": 1})


def list_dimensions() -> list[Row]:
    from interbench.domain.dimensions import EVERY

    return [
        {"key": dimension.key, "name": dimension.name, "group": dimension.group, "asks": dimension.question}
        for dimension in EVERY
    ]


def list_scenarios(source: str) -> list[Row]:
    from interbench.scenarios.sets import load_set

    return [
        {
            "id": scenario.id,
            "category": scenario.category,
            "turns": len(scenario.turns),
            "persona": scenario.persona,
            "stresses": " ".join(scenario.stresses),
            "title": scenario.title,
        }
        for scenario in load_set(source).scenarios
    ]


def list_personas(source: str) -> list[Row]:
    from interbench.scenarios.sets import load_set

    return [
        {
            "id": persona.id,
            "person": persona.name,
            "age": persona.age,
            "gender": persona.gender,
            "voice": persona.voice.description,
            "appearance": persona.appearance,
        }
        for persona in load_set(source).personas.values()
    ]


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def _print(rows: Sequence[Row]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    names = dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row)
    columns = [name for name in names if any(row.get(name) and not isinstance(row[name], dict) for row in rows)]
    if console.width < _WIDE:
        columns = [name for name in columns if name not in _DETAILS]
    table = Table(box=box.SIMPLE_HEAD)
    for name in columns:
        table.add_column(
            name.replace("_", " "), overflow="fold", no_wrap=name in ("name", "id", "key", "what", "option")
        )
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name))) for name in columns))
    console.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} = {_cell(inner)}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_cell, value))
    return "" if value is None else str(value)
