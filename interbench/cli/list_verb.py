"""What can be chosen from: systems, scenarios, judges, dimensions."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from interbench.base.errors import SystemLoadError

_WIDE = 110
"""Columns that a terminal needs for the details."""
_DETAILS = ("from", "output", "state", "price_usd_per_s", "persona", "stresses", "group")


def show(what: str, *, scenarios: str, as_json: bool) -> None:
    """Print a list for people, or as JSON."""
    rows = {
        "systems": list_systems,
        "scenarios": lambda: list_scenarios(scenarios),
        "judges": list_judges,
        "dimensions": list_dimensions,
    }[what]()
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2, ensure_ascii=False, default=str) + "\n")
    else:
        _print(rows)


def list_systems() -> list[dict[str, Any]]:
    """Every system that can be named, its variants and capabilities; one that can't be imported says why."""
    from interbench.pipeline.run import capabilities_json
    from interbench.systems.registry import entries

    rows: list[dict[str, Any]] = []
    for entry in entries().values():
        try:
            cls = entry.load()
        except SystemLoadError as error:
            rows.append({"name": entry.name, "from": entry.source, "description": f"can't be loaded: {error}"})
            continue
        facts = capabilities_json(cls)
        rows.append(
            {
                "name": entry.name,
                "from": entry.source,
                "output": facts.get("output", ""),
                "state": facts.get("state", ""),
                "price_usd_per_s": facts.get("price_usd_per_s"),
                "status": _status(facts),
                "description": (cls.__doc__ or "").strip().partition("\n")[0],
                "capabilities": facts,
            }
        )
        rows += [
            {"name": f"{entry.name}:{variant}", "from": entry.source, "description": line}
            for variant, line in cls.variants().items()
        ]
    return rows


def _status(facts: dict[str, Any]) -> str:
    parts = [str(facts.get("status", ""))]
    if "retired_on" in facts:
        parts.append(f"retired on {facts['retired_on']}")
    if "evidence_date" in facts:
        parts.append(f"as of {facts['evidence_date']}")
    return ", ".join(part for part in parts if part)


def list_scenarios(source: str) -> list[dict[str, Any]]:
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


def list_judges() -> list[dict[str, Any]]:
    from interbench.judge.registry import NAMES

    return [{"name": name, "description": description} for name, description in NAMES.items()]


def list_dimensions() -> list[dict[str, Any]]:
    from interbench.domain.dimensions import DIMENSIONS

    return [
        {"key": dimension.key, "name": dimension.name, "group": dimension.group, "asks": dimension.question}
        for dimension in DIMENSIONS
    ]


def _print(rows: Sequence[dict[str, Any]]) -> None:
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
        table.add_column(name.replace("_", " "), overflow="fold", no_wrap=name in ("name", "id", "key"))
    for row in rows:
        table.add_row(*(Text("" if row.get(name) is None else str(row[name])) for name in columns))
    console.print(table)
