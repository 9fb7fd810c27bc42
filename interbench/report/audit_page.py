"""The page of an audit: what a judge notices and what it does not, in colour and in words.

One HTML file in the audit's folder, without a script; clips are linked where they lie.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from interbench import __version__
from interbench.audit.plan import FEW
from interbench.audit.verdicts import Cell, State, Validity
from interbench.domain.catalogue import Kind, bundled
from interbench.domain.dimensions import dimension
from interbench.report.audit_plots import DosePlot, dose_plot
from interbench.report.grid import DASH, decimal, visible

if TYPE_CHECKING:
    from interbench.audit.collect import Result

_HERE = Path(__file__).resolve().parent
_PAIRS = 8
_KIND_WORDS = {
    Kind.DEFECT: "Defects",
    Kind.CHANNEL: "Channel probe",
    Kind.POSITION: "Place in the conversation",
    Kind.BLINDNESS: "Sound alone",
}
_CONTROL_WORDS = {
    "base": "the conversations as they are",
    "sham": "the same clips through the encoder",
    "words": "the reference replies under the same clips",
}


@dataclass(frozen=True, slots=True)
class ShownCell:
    """One cell of the matrix."""

    key: str
    state: State
    aimed: bool
    text: str
    more: str


@dataclass(frozen=True, slots=True)
class Row:
    """One condition."""

    name: str
    says: str
    cells: tuple[ShownCell, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Conditions that aim at the same."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A turn under a condition beside the same under its control."""

    condition: str
    says: str
    where: str
    word: str
    control: str
    clips: tuple[str, str]
    """Addresses relative to the page: control's, treated."""
    words: tuple[str, str]


@functools.cache
def _environment() -> Environment:
    """It keeps the templates that it has compiled."""
    env = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["figure"] = _figure
    env.filters["share"] = lambda value: DASH if value is None else f"{100 * value:.0f} %"
    env.filters["shown"] = lambda text: visible(str(text))
    return env


def audit_page(result: Result) -> str:
    """The page as HTML."""
    style = "\n".join((_HERE / "static" / name).read_text(encoding="utf-8") for name in ("report.css", "audit.css"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; media-src 'self' file:; base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template("audit.html")
        .render(
            r=result,
            style=Markup(style),  # noqa: S704 - our own files
            csp=policy,
            version=__version__,
            groups=_groups(result),
            plots=_plots(result),
            pairs=_pairs(result),
            notices=_notices(result),
            scored=[of for of in result.matrix.dimensions if of.validity is not Validity.NOT_SCORED],
            unscored=[of.key for of in result.matrix.dimensions if of.validity is Validity.NOT_SCORED],
            name=lambda key: dimension(key).name,
            dash=DASH,
            legend=_LEGEND,
        )
    )


_LEGEND = (
    (State.DETECTED, "an aimed fall, beyond the floor"),
    (State.MISSED, "no such fall, demonstrably"),
    (State.CLEAN, "demonstrably unmoved (within half a point)"),
    (State.LEAKS, "falls and must not"),
    (State.UNDECIDED, "the data can't tell"),
    (State.ALLOWED, "not judged: may fall beside the aim"),
    (State.NOT_TESTED, "too few scenarios scored on both sides"),
    (State.UNHEARD, "the judge has no sound"),
)


def _figure(value: float | None) -> str:
    return DASH if value is None else decimal(value, 2, "+")


def _says(result: Result, entry: str) -> str:
    return next((one.says for one in bundled() if one.name == entry), "")


def _groups(result: Result) -> tuple[Group, ...]:
    judged = result.effects.judged
    groups: dict[str, list[Row]] = {}
    for condition in judged.conditions:
        cells = [result.matrix.cell(condition.name, key) for key in judged.keys]
        if condition.kind not in _KIND_WORDS or not condition.control or None in cells:
            continue
        title = _KIND_WORDS[condition.kind]
        if condition.kind is Kind.DEFECT:
            title = f"Aimed at {condition.aim}" if condition.aim else "Aimed at what this judge does not score"
        row = Row(
            condition.name, _says(result, condition.entry), tuple(_shown(cell) for cell in cells if cell is not None)
        )
        groups.setdefault(title, []).append(row)
    order = sorted(groups, key=lambda title: (not title.startswith("Aimed at"), title.endswith("score")))
    return tuple(Group(title, tuple(groups[title])) for title in order)


def _shown(cell: Cell) -> ShownCell:
    more = f"Δ {_figure(cell.mean)}, 90 % interval {_figure(cell.lo)} to {_figure(cell.hi)}, {cell.n} of {cell.planned}"
    more += f" scenarios, {cell.missing} without a score" if cell.missing else " scenarios"
    if cell.p_holm is not None:
        more += f"; p {cell.p_holm:.3g} after Holm"
    return ShownCell(cell.key, cell.state, cell.aimed, _figure(cell.mean), more)


def _plots(result: Result) -> tuple[DosePlot, ...]:
    margins = {floor.key: floor.margin for floor in result.matrix.floors}
    units = {entry.name: entry.unit for entry in bundled()}
    return tuple(
        dose_plot(dose, margins[dose.key], units.get(dose.entry, ""))
        for dose in result.doses
        if len(dose.strengths) > 1
    )


def _pairs(result: Result) -> tuple[Pair, ...]:
    """One turn of each defect at its strongest, of the scenario with its largest fall."""
    judged, found = result.effects.judged, []
    for c, condition in enumerate(judged.conditions):
        if condition.kind is not Kind.DEFECT or condition.strength != condition.strongest or not condition.aim:
            continue
        k = judged.keys.index(condition.aim) if condition.aim in judged.keys else 0
        delta = result.effects.delta[c, k]
        order = sorted(range(len(judged.scenarios)), key=lambda s: (delta[s] != delta[s], delta[s]))
        place = next(
            (
                (judged.scenarios[s], turn)
                for s in order
                for turn in range(1, 33)
                if (take := result.takes.get((condition.name, judged.scenarios[s], turn))) is not None
                and (was := result.takes.get((condition.control, judged.scenarios[s], turn))) is not None
                and (take.sha256, take.words) != (was.sha256, was.words)
            ),
            None,
        ) or next(((s, turn) for (name, s, turn) in sorted(result.takes, reverse=True) if name == condition.name), None)
        control = None if place is None else result.takes.get((condition.control, *place))
        if place is None or control is None:
            continue
        treated = result.takes[condition.name, *place]
        cell = result.matrix.cell(condition.name, condition.aim)
        found.append(
            Pair(
                condition.name,
                _says(result, condition.entry),
                f"{place[0]}, turn {place[1]}",
                "" if cell is None else f"{condition.aim} {cell.state}",
                _CONTROL_WORDS.get(condition.control, condition.control),
                (quote(control.clip), quote(treated.clip)),
                (control.words, treated.words),
            )
        )
    return tuple(found[: _PAIRS * 4])


def _notices(result: Result) -> tuple[str, ...]:
    return tuple(_notice_lines(result))


def _notice_lines(result: Result) -> Iterable[str]:
    count = len(result.scenarios)
    if count < FEW:
        yield (
            f"{count} scenarios: large falls can be detected, but that something does not fall stays undecided in most "
            f"cells. A whole audit takes 48."
        )
    if not result.judge_identity.get("comparable", True):
        yield (
            f"{result.judge_label} works offline and scores only what it can count and compare: the nine dimensions "
            f"are not scored by it, and nothing here speaks for them."
        )
    for floor in result.matrix.floors:
        if not floor.steady:
            yield (
                f"{floor.key} is not steady: {floor.by}, which must not matter, moves it by {floor.size:.2f} points. "
                f"Smaller differences than that mean nothing."
            )
    for limit, means in (("floor", "nothing can fall further"), ("ceiling", "no improvement could be seen")):
        there = [
            f"{of.key} ({of.mean:.1f})" for of in result.repeatability if of.limit == limit and of.mean is not None
        ]
        if there:
            yield f"At the {limit} of the scale without any defect, so that {means}: {', '.join(there)}."
    for name, key, own, other in result.matrix.makes_missing:
        yield f"{name} makes verdicts on {key} go missing: {own}, against {other} under its control."
    scored, asked = result.coverage
    if scored < asked:
        reasons = ", ".join(f"{n} {why.replace('_', ' ')}" for why, n in sorted(result.missing.items()))
        yield f"{asked - scored} of {asked} verdicts have no score ({reasons}); they are missing, never a fall."
    for name, of in sorted(result.audit.get("refused", {}).items()):
        yield (
            f"{name} was refused in {len(of)} conversation{'' if len(of) == 1 else 's'}, because the edit missed its "
            f"aim by more than a fifth: {'; '.join(of[:3])}{' …' if len(of) > 3 else ''}."
        )
    if result.audit.get("unfit"):
        unfit = ", ".join(f"{name} {n}" for name, n in sorted(result.audit["unfit"].items()))
        yield f"Scenarios that a condition does not fit, and that it was not tried on: {unfit}."
    if result.catalogue_differs:
        yield (
            f"This version's catalogue has other entries than the audit was made with: "
            f"{', '.join(result.catalogue_differs)}."
        )
