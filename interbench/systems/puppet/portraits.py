"""Draws the reference portraits of a scenario set's personas: ``python -m interbench.systems.puppet.portraits FOLDER``.

A portrait is the puppet itself, looking at us with a closed mouth: 512 by 512 pixels, the same file on every run.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from pydantic import ValidationError

from interbench.base import termination
from interbench.base.errors import ScenarioError
from interbench.domain.persona import Persona
from interbench.systems.puppet.casting import look_of
from interbench.systems.puppet.figure.features import Mouth
from interbench.systems.puppet.figure.sprites import FigurePainter, Pose


def portrait(persona: Persona) -> bytes:
    """The PNG file of a persona's portrait."""
    picture = FigurePainter(persona, look_of(persona)).frame(Pose(mouth=Mouth(smile=0.34)))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def write_portraits(folder: Path) -> list[Path]:
    """Write the portrait of each persona in ``folder/personas.jsonl`` that names one, and return the files.

    Raises:
        ScenarioError: the file is missing or holds something else, or a portrait would lie outside ``folder``.
    """
    source = folder / "personas.jsonl"
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
        personas = [Persona.model_validate_json(line) for line in lines if line.strip()]
    except (OSError, ValidationError) as error:
        raise ScenarioError(f"The personas of {source} can't be read: {error}") from error
    written = []
    for persona in personas:
        if persona.portrait is None:
            continue
        path = folder / persona.portrait
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ScenarioError(f"The portrait of {persona.id!r} would be written outside {folder}: {persona.portrait}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(portrait(persona))
        written.append(path)
    return written


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m interbench.systems.puppet.portraits", description=__doc__)
    parser.add_argument("folder", type=Path, help="scenario set with a personas.jsonl")
    try:
        for path in write_portraits(parser.parse_args().folder):
            print(path)  # noqa: T201 - a command's output
    except ScenarioError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's output
        return error.exit_code
    return 0


if __name__ == "__main__":
    termination.heed("Interrupted; the same command again writes all portraits.")
    sys.exit(main())
