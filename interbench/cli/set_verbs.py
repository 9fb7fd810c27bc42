"""What the verbs ``speak`` and ``new`` do."""

from __future__ import annotations

import sys
from pathlib import Path

from interbench.base.progress import make_progress
from interbench.report.notes import counted
from interbench.scenarios.template import add_scenario
from interbench.scenarios.user_audio import render


def speak_set(folder: Path, command: str | None, *, everything: bool, quiet: bool) -> None:
    """Speak what is new or changed, and say how much that was."""
    with make_progress(quiet=quiet) as progress:
        count = render(folder, command=command, everything=everything, progress=progress)
    sys.stdout.write(f"{folder}: {counted(count, 'file')} spoken.\n")


def begin_scenario(folder: Path, name: str, turns: int) -> None:
    """Add a scenario to be filled in, and say what comes next."""
    file = add_scenario(folder, name, turns)
    sys.stdout.write(
        f"{file}: {name} added, with {counted(turns, 'turn')} to be filled in.\n"
        f"What is still to be said:   interbench validate {folder}\n"
        f"The user's voice:           interbench speak {folder}\n"
    )
