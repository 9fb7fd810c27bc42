"""Attention checks: gross defects that nobody overlooks, and the rule by which raters are left out.

The defects are the gross ones of :mod:`interbench.domain.catalogue`, which judges are tried with as well.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from interbench.domain.catalogue import Kind as Planted
from interbench.domain.catalogue import bundled
from interbench.domain.dimensions import DIMENSION_KEYS
from interbench.domain.ratings import WHOLE, Answer, Defect, Kind, Showing
from interbench.rating.settings import Rule

CATALOGUE = bundled().version
"""Version of the catalogue that the defects are from; part of a study."""


@dataclass(frozen=True, slots=True)
class Take:
    """One clip of a conversation that is put together: which conversation's, which turn's, with which edit."""

    system: str
    scenario: str
    turn: int
    """1-based."""
    edit: Defect = ""


@dataclass(frozen=True, slots=True)
class Spoilable:
    """What a defect is made from: a conversation, and others of the same system."""

    system: str
    scenario: str
    turns: int
    others: tuple[tuple[str, str, int], ...]
    """(scenario, persona, turns) of its other conversations."""
    persona: str


@dataclass(frozen=True, slots=True)
class GrossDefect:
    """A way to spoil a conversation beyond doubt."""

    key: str
    aims: tuple[str, ...]
    """Keys of the dimensions that it lowers; it serves wherever one of them is asked."""
    takes: Callable[[Spoilable], tuple[Take, ...] | None]
    """Which clips make it; None where it can't be made."""


def _edited(edit: Defect) -> Callable[[Spoilable], tuple[Take, ...] | None]:
    def takes(material: Spoilable) -> tuple[Take, ...]:
        return tuple(Take(material.system, material.scenario, n, edit) for n in range(1, material.turns + 1))

    return takes


def _other_person(material: Spoilable) -> tuple[Take, ...] | None:
    """Every other answer comes from another person."""
    strangers = [(scenario, turns) for scenario, persona, turns in material.others if persona != material.persona]
    if not strangers or material.turns < 2:
        return None
    scenario, turns = strangers[0]
    return tuple(
        Take(material.system, scenario, min(n, turns)) if n % 2 == 0 else Take(material.system, material.scenario, n)
        for n in range(1, material.turns + 1)
    )


def _other_answers(material: Spoilable) -> tuple[Take, ...] | None:
    """All answers are those of another conversation, of the same person where there is one."""
    if not material.others:
        return None
    scenario, _, turns = min(material.others, key=lambda other: other[1] != material.persona)
    return tuple(Take(material.system, scenario, min(n, turns)) for n in range(1, material.turns + 1))


_TAKES: Mapping[str, Callable[[Spoilable], tuple[Take, ...] | None]] = {
    "frozen": _edited("frozen"),
    "other-answers": _other_answers,
    "other-person": _other_person,
    "muted": _edited("muted"),
}
"""How each gross defect of the catalogue is made for people; one that is not here is not shown to them."""


def _gross() -> tuple[GrossDefect, ...]:
    return tuple(
        GrossDefect(entry.name, tuple(key for key in (entry.aims, *entry.may) if key in DIMENSION_KEYS), takes)
        for entry in bundled().of(Planted.GROSS)
        if (takes := _TAKES.get(entry.name)) is not None
    )


GROSS_DEFECTS: tuple[GrossDefect, ...] = _gross()
"""The frozen picture, another scenario's answers, another person's clips, no sound."""


def fitting(asked: Sequence[str]) -> list[GrossDefect]:
    """The defects that lower something that is asked, aimed at that alone."""
    return [
        replace(defect, aims=aims) for defect in GROSS_DEFECTS if (aims := tuple(k for k in defect.aims if k in asked))
    ]


@dataclass(frozen=True, slots=True)
class Diligence:
    """How a rater stood the checks."""

    rater: str
    done: int
    """Showings that they have closed without skipping."""
    skipped: int
    checks: int
    failed: tuple[str, ...]
    """Which checks: keys of defects, or ``instructed``."""
    repeats: int
    retest: float | None
    """Mean difference between a showing and its hidden repeat on the scale; None without any."""
    consistent: float | None
    """Share of repeated pairs that got the same choice; None without any."""
    hurry: float | None
    """Median over showings of time over play time; None without any."""
    out: tuple[str, ...]
    """Why the rule leaves this rater out; empty if it does not."""


def diligence(
    rater: str, showings: Mapping[str, Showing], answers: Sequence[Answer], rule: Rule, middle: float
) -> Diligence:
    """How this rater stood the checks so far; ``answers`` are the latest of theirs, ``middle`` that of the scale."""
    given: dict[str, dict[str, Answer]] = {}
    for answer in answers:
        given.setdefault(answer.showing, {})[answer.dimension] = answer
    closed = {name for name, of in given.items() if WHOLE in of and name in showings}
    skipped = {name for name in closed if given[name][WHOLE].skipped}
    done = closed - skipped
    checks, failed = 0, []
    differences: list[float] = []
    alike: list[bool] = []
    paces = []
    for name in sorted(done):
        showing = showings[name]
        if showing.play_s > 0:
            paces.append(given[name][WHOLE].seconds / showing.play_s)
        if showing.kind is Kind.DEFECT:
            checks += 1
            if not _stood(showing, given[name], middle):
                failed.append(showing.defect)
        elif showing.kind is Kind.INSTRUCTED:
            checks += 1
            if not _obeyed(showing, given[name]):
                failed.append("instructed")
        elif showing.kind is Kind.REPEAT and showing.repeats in done:
            first = given[showing.repeats]
            turned = showing.sides[0] != showings[showing.repeats].sides[0]
            for key in showing.dimensions:
                if key not in first or key not in given[name]:
                    continue
                before, after = first[key], given[name][key]
                if before.value is not None and after.value is not None:
                    differences.append(abs(before.value - after.value))
                elif before.choice is not None and after.choice is not None:
                    alike.append(
                        (_TURNED.get(before.choice, before.choice) if turned else before.choice) == after.choice
                    )
    retest = statistics.fmean(differences) if differences else None
    hurry = statistics.median(paces) if paces else None
    out = []
    if len(failed) >= rule.failed_checks:
        out.append(f"failed {len(failed)} of {checks} checks")
    if retest is not None and retest > rule.retest:
        out.append(f"repeats differ by {retest:.1f} on average")
    if hurry is not None and hurry < rule.hurry:
        out.append(f"median time is {hurry:.2f} of the play time")
    return Diligence(
        rater,
        len(done),
        len(skipped),
        checks,
        tuple(failed),
        sum(showings[name].kind is Kind.REPEAT for name in done),
        retest,
        statistics.fmean(alike) if alike else None,
        hurry,
        tuple(out),
    )


_TURNED = {"left": "right", "right": "left"}


def _stood(showing: Showing, given: Mapping[str, Answer], middle: float) -> bool:
    """A spoilt conversation is rated at or below the middle, a spoilt one of two loses."""
    values = [value for key in showing.aims if key in given and (value := given[key].value) is not None]
    if values:
        return statistics.fmean(values) <= middle
    choices = [given[key].choice for key in showing.dimensions if key in given]
    return bool(choices) and all(choice == showing.instructed for choice in choices)


def _obeyed(showing: Showing, given: Mapping[str, Answer]) -> bool:
    def written(answer: Answer) -> str:
        return f"{answer.value:g}" if answer.value is not None else str(answer.choice)

    return all(key in given and written(given[key]) == showing.instructed for key in showing.dimensions)
