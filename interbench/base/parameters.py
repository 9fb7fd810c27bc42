"""Parameters of chat requests that some servers know under another name or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from interbench.base.errors import UsageError

NEEDED = frozenset({"model", "messages"})
"""Without these there is no request."""


def check_adjustments(what: str, omit: Collection[str], rename: Mapping[str, str]) -> None:
    """
    Raises:
        UsageError: a name can't be left out or changed, or is asked for both.
    """
    if isinstance(omit, str) or not all(isinstance(name, str) and name for name in omit):
        raise UsageError(f'{what}: omit is a list of names of request parameters, e.g. omit = ["top_p"].')
    if not isinstance(rename, Mapping) or not all(isinstance(name, str) and name for name in rename.values()):
        raise UsageError(
            f"{what}: rename is a table of request parameters, e.g. "
            f'rename = {{ max_tokens = "max_completion_tokens" }}.'
        )
    if wrong := sorted(NEEDED & ({*omit} | {*rename} | {*rename.values()})):
        raise UsageError(f"{what}: every request needs {wrong[0]!r}; it can be neither left out nor renamed.")
    if twice := sorted({*omit} & {*rename}):
        raise UsageError(f"{what}: {twice[0]!r} is both left out and renamed; choose one.")


def adjusted(parameters: Mapping[str, Any], omit: Collection[str], rename: Mapping[str, str]) -> dict[str, Any]:
    """``parameters`` without those to be left out, the others under the names that the server knows."""
    return {rename.get(name, name): value for name, value in parameters.items() if name not in omit}


def advice(said: str, parameters: Collection[str], table: str) -> str:
    """What to set where a server rejects requests, by its own words.

    Args:
        said: the server's words.
        parameters: names that were sent.
        table: of the settings file, where the options belong.
    """
    named = [name for name in parameters if name not in NEEDED and re.search(rf"\b{re.escape(name)}\b", said)]
    wanted = "max_completion_tokens" if "max_completion_tokens" in said and "max_tokens" in parameters else ""
    left_out = json.dumps(named or ["PARAMETER"])
    option = f'rename = {{ max_tokens = "{wanted}" }}' if wanted else f"omit = {left_out}"
    return (
        f"If it is a parameter that it does not take, leave that out or give it the name that the server knows, under "
        f"[{table}] in the settings file: {option}."
    )
