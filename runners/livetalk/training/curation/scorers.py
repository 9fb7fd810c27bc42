"""Learned scores of a condition, by a command or a class of the user's.

None is bundled: the well-known ones come under licences that forbid commercial use, and the paper evaluates with
Q-Align, so that selecting by that alone would select for the test. ``--score NAME=COMMAND`` runs a command with
``{image}``, ``{speech}`` or ``{original}`` (the picture before anything was done to it) whose last line on standard
output is the score; ``--score NAME=module:Class`` makes an object with ``score(image, speech, original)``.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from pathlib import Path

from livetalk.base.errors import OptionError
from livetalk.training.curation.commands import CommandFailedError, CommandTemplate
from livetalk.training.curation.own import load_own

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_PATIENCE_S = 600.0


class ScoreMissingError(Exception):
    """There is no score of this condition, and why."""


class Scorer(ABC):
    """Gives a condition a number; which way is better is for the thresholds to say."""

    identity: str = ""
    """Name and version, kept with every score."""

    @abstractmethod
    def score(self, image: Path, speech: Path, original: Path) -> float:
        """A finite number.

        Raises:
            ScoreMissingError: it can't tell.
        """


class CommandScorer(Scorer):
    """A command whose last line on standard output is the score."""

    def __init__(self, text: str, option: str) -> None:
        self._command = CommandTemplate(text, frozenset({"image", "speech", "original"}), frozenset(), option)
        if not self._command.named:
            raise OptionError(f"{option}: the command must hold {{image}}, {{speech}} or {{original}}")
        self.identity = f"command: {text}"

    def score(self, image: Path, speech: Path, original: Path) -> float:
        paths = {"image": str(image), "speech": str(speech), "original": str(original)}
        try:
            lines = self._command.run(paths, _PATIENCE_S).strip().splitlines()
        except CommandFailedError as error:
            raise ScoreMissingError(str(error)) from None
        try:
            return float(lines[-1])
        except (IndexError, ValueError):
            raise ScoreMissingError("the command's last line is no number") from None


def read_scorers(given: tuple[str, ...]) -> dict[str, Scorer]:
    """The scorers of ``NAME=COMMAND`` or ``NAME=module:Class``, by ``score.NAME``.

    Raises:
        OptionError: a name is none, or twice there; a command or class can't be used.
    """
    found: dict[str, Scorer] = {}
    for text in given:
        name, _, target = text.partition("=")
        option = f"--score {name}"
        if not _NAME.fullmatch(name) or not target:
            raise OptionError(f"--score {text}: write NAME=COMMAND or NAME=module:Class, with a name in small letters")
        if f"score.{name}" in found:
            raise OptionError(f"{option} is there twice; give each score a name of its own")
        scorer = CommandScorer(target, option) if "{" in target else load_own(target, option)
        if not isinstance(scorer, Scorer):
            raise OptionError(f"{option}: {target} is no livetalk.training.curation.scorers.Scorer")
        found[f"score.{name}"] = scorer
    return found


def checked(value: float) -> float:
    """A score as it is kept.

    Raises:
        ScoreMissingError: it is no finite number.
    """
    number = float(value)
    if not math.isfinite(number):
        raise ScoreMissingError(f"the score is {number}")
    return number
