"""What a run keeps of a system that it has started."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from interbench.base.masking import mask
from interbench.systems.base import AvatarSystem
from interbench.systems.events import JsonValue
from interbench.systems.registry import SystemSpec


def system_facts(system: AvatarSystem, spec: SystemSpec) -> dict[str, Any]:
    """Its entry in the manifest; of its settings no secrets."""
    return {
        "spec": spec.spec,
        "version": system.version,
        "settings": mask(dict(system.settings())),
        "capabilities": capabilities_json(system),
        "description": type(system).variants().get(spec.variant.partition("@")[0]) or first_line(type(system)),
        "lowers": list(system.lowers),
        "caveats": list(system.caveats),
    }


def capabilities_json(system: AvatarSystem | type[AvatarSystem]) -> dict[str, JsonValue]:
    """A system's capabilities as JSON types, unset ones left out."""
    result: dict[str, JsonValue] = {}
    for name, value in asdict(system.capabilities).items():
        if value in (None, "", ()):
            continue
        if isinstance(value, frozenset):
            value = sorted(value)
        elif not isinstance(value, (bool, int, float, str, list, tuple)):
            value = str(value)
        result[name] = value
    return result


def first_line(cls: type) -> str:
    """What a class says of itself in one line."""
    return (cls.__doc__ or "").strip().partition("\n")[0]
