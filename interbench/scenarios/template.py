"""A scenario to be filled in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from interbench.base.errors import ScenarioError, UsageError
from interbench.domain.persona import SLUG
from interbench.scenarios.files import lines_of_text
from interbench.scenarios.sets import SCENARIOS


def template(name: str, turns: int) -> dict[str, Any]:
    """A scenario in which all that its author has to say is an empty text, which is a defect until it is said."""
    return {
        "id": name,
        "category": "",
        "title": "",
        "persona": "maya",
        "stresses": [],
        "turns": [
            {
                "text": "",
                "mood": "",
                "reply": "",
                "reply_mood": "neutral",
                "key_points": [{"text": "", "accept": [], "needs": []}],
                "leans_on": [{"turn": number - 1, "carry": ""}] if number > 1 else [],
            }
            for number in range(1, turns + 1)
        ],
    }


def add_scenario(folder: Path, name: str, turns: int) -> Path:
    """Append a scenario to be filled in to the set in ``folder``, which is made if it is not there; gives the file.

    Raises:
        UsageError: the name or the number of turns can't be used.
        ScenarioError: the set has a scenario of that name already, or can't be read or written.
    """
    if re.fullmatch(SLUG, name) is None:
        raise UsageError(f"{name!r} can't be a scenario's id: small letters, digits, - and _, as in trip-to-rome.")
    if not 1 <= turns <= 32:
        raise UsageError(f"A scenario has 1 to 32 turns, not {turns}.")
    file = folder / SCENARIOS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = file.read_bytes() if file.exists() else b""
        if name in _ids(held):
            raise ScenarioError(f"{file} has a scenario {name!r} already; give the new one another id (--id).")
        with file.open("ab") as out:
            gap = b"" if not held or held.endswith(b"\n") else b"\n"
            out.write(gap + json.dumps(template(name, turns), ensure_ascii=False).encode() + b"\n")
    except OSError as error:
        raise ScenarioError(f"{file} can't be written: {error.strerror or error}.") from error
    return file


def _ids(data: bytes) -> set[str]:
    found = set()
    for _, line in lines_of_text(data):
        try:
            scenario = json.loads(line)
        except ValueError:
            continue
        if isinstance(scenario, dict):
            found.add(str(scenario.get("id")))
    return found
