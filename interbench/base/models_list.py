"""What servers answer to ``GET /v1/models``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interbench.base.foreign import listed, mapped

_LISTS = ("data", "models", "result", "results", "items")
_NAMES = ("id", "name", "model", "key")


def served_models(answer: object) -> dict[str, Mapping[str, Any]] | None:
    """The models in a list of them, by name; None where the answer is no list of models, or not all of it.

    Known shapes: OpenAI's ``{"data": [{"id"}]}``, a bare list (Together), lists under other names, entries with a
    ``name`` or that are names, and objects by name. Its twin, which a test compares with it, is ``served_models`` in
    ``livetalk.thinkers.foreign``.
    """
    if isinstance(answer, dict):
        if answer.get("has_more") is True:
            return None
        found = next((answer[name] for name in _LISTS if isinstance(answer.get(name), (list, dict))), None)
        if isinstance(found, dict):
            return {name: mapped(entry) for name, entry in found.items()} or None
        answer = found
    models: dict[str, Mapping[str, Any]] = {}
    for entry in listed(answer):
        if isinstance(entry, str) and entry:
            models[entry] = {}
        elif name := next((entry[key] for key in _NAMES if _is_name(mapped(entry).get(key))), None):
            models[name] = entry
    return models or None


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)
