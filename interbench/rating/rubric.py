"""The judge's rubrics as people read them: the same criteria and anchors, from the same files in ``prompts/judge``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from interbench.domain.dimensions import DIMENSIONS
from interbench.judge.vlm.rubrics import Prompts

_BULLET = re.compile(r"^\s*-\s+")


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Text, or a list under a text."""

    text: str
    points: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What people are asked in one dimension."""

    key: str
    name: str
    group: str
    short: str
    """One sentence."""
    low: int
    high: int
    paragraphs: tuple[Paragraph, ...]
    """The rubric without what tells a model how to answer."""
    sha256: str
    """Of the rubric and of everything that all rubrics share."""


@cache
def rated_dimensions() -> Mapping[str, Question]:
    """By key, in the table's order: every dimension that has a rubric."""
    # The published reading: the other one tells a silent judge of stills what it can't see or hear, and people can.
    rubrics = Prompts("published").rubrics
    return {
        d.key: Question(
            d.key,
            d.name,
            d.group,
            d.question,
            rubrics[d.key].scale.low,
            rubrics[d.key].scale.high,
            readable(rubrics[d.key].text),
            rubrics[d.key].sha256,
        )
        for d in DIMENSIONS
        if d.key in rubrics
    }


def readable(text: str) -> tuple[Paragraph, ...]:
    r"""A rubric in paragraphs, without its title and what asks a model for its ``\boxed`` score."""
    found = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.strip().splitlines()
        if "\\boxed" in block or (len(lines) == 1 and lines[0].isupper()) or lines[0].startswith("RUBRIC:"):
            continue
        heading: list[str] = []
        points: list[str] = []
        tail: list[str] = []
        for line in lines:
            if _BULLET.match(line):
                points.append(_BULLET.sub("", line).strip())
            else:
                (tail if points else heading).append(line.strip())
        found.append(Paragraph(" ".join(heading), tuple(points)))
        if tail:
            found.append(Paragraph(" ".join(tail)))
    return tuple(found)
