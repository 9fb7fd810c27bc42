"""What of a reference reply can be recomputed: seatings, sums, dates, times of day.

A scenario that rests on arithmetic carries its figures as data, so that a test can do the sum again. Nothing here is
shown to a system or a judge.
"""

from __future__ import annotations

import ast
import datetime
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from interbench.domain.keypoints import says

Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60)]
Pair = tuple[Name, Name]
MOST_SEATS = 8
"""Of a seating whose uniqueness is checked by trying every order."""
_LONGEST = 200
_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class _Constraint(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    said: tuple[Phrase, ...] = Field((), description="Phrases that the turn's reference reply must all say.")


class Seating(_Constraint):
    """People in an order that keeps rules; at a round table the last sits beside the first."""

    kind: Literal["seating"]
    seats: tuple[Name, ...] = Field(min_length=2, description="In order: each has the next one at the right hand.")
    round: bool = True
    right_of: tuple[Pair, ...] = Field((), description="[a, b]: a sits at b's right hand.")
    beside: tuple[Pair, ...] = ()
    apart: tuple[Pair, ...] = Field((), description="Not beside one another.")
    unique: bool = Field(False, description="No other order keeps the rules.")

    def problems(self) -> Iterator[str]:
        rules = (*self.right_of, *self.beside, *self.apart)
        if unknown := sorted({name for rule in rules for name in rule} - set(self.seats)):
            yield f"a rule names {', '.join(unknown)}, who has no seat"
            return
        if len(set(self.seats)) < len(self.seats):
            yield "somebody has two seats"
            return
        yield from (f"{self.seats!r} breaks a rule: {broken}" for broken in self._broken(self.seats))
        if not self.unique:
            return
        if len(self.seats) > MOST_SEATS:
            yield f"{len(self.seats)} seats are too many to try every order; `unique` can be checked of {MOST_SEATS}"
            return
        first, *rest = self.seats
        orders = ((first, *order) for order in itertools.permutations(rest)) if self.round else None
        kept = [order for order in orders or itertools.permutations(self.seats) if not any(self._broken(order))]
        if len(kept) != 1:
            yield f"{len(kept)} orders keep the rules, not one"

    def _broken(self, order: tuple[str, ...]) -> Iterator[str]:
        count = len(order)
        right = {name: order[(index + 1) % count] for index, name in enumerate(order)}
        if not self.round:
            del right[order[-1]]
        neighbours = {frozenset(pair) for pair in right.items()}
        yield from (f"{a} at {b}'s right hand" for a, b in self.right_of if right.get(b) != a)
        yield from (f"{a} beside {b}" for a, b in self.beside if frozenset((a, b)) not in neighbours)
        yield from (f"{a} apart from {b}" for a, b in self.apart if frozenset((a, b)) in neighbours)


class Sum(_Constraint):
    """An expression of numbers, ``+ - * /`` and brackets, and its value."""

    kind: Literal["sum"]
    expression: Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST)]
    equals: float = Field(description="As the reply gives it: the value may differ by half of its last digit.")

    def problems(self) -> Iterator[str]:
        try:
            value = _value(ast.parse(self.expression, mode="eval").body)
        except (SyntaxError, ValueError, ZeroDivisionError, RecursionError) as error:
            yield f"{self.expression!r} can't be computed: {error}"
            return
        digits = f"{self.equals:.10f}".rstrip("0").partition(".")[2]
        if not math.isclose(value, self.equals, rel_tol=0, abs_tol=0.5 * 10 ** -len(digits) + 1e-9):
            yield f"{self.expression} is {value:g}, not {self.equals:g}"


class Date(_Constraint):
    """A day, some days after another."""

    kind: Literal["date"]
    start: datetime.date
    days: int = Field(ge=-36_600, le=36_600)
    gives: datetime.date
    weekday: Annotated[str, StringConstraints(max_length=20)] | None = None

    def problems(self) -> Iterator[str]:
        found = self.start + datetime.timedelta(days=self.days)
        if found != self.gives:
            yield f"{self.days} days from {self.start} is {found}, not {self.gives}"
        if self.weekday is not None and self.gives.strftime("%A").casefold() != self.weekday.casefold():
            yield f"{self.gives} is a {self.gives:%A}, not a {self.weekday}"


class ClockTime(_Constraint):
    """A time of day, some minutes after another; past midnight it begins anew."""

    kind: Literal["clock"]
    start: datetime.time
    minutes: int = Field(ge=-10_080, le=10_080)
    gives: datetime.time

    def problems(self) -> Iterator[str]:
        found = (self.start.hour * 60 + self.start.minute + self.minutes) % 1440
        if found != self.gives.hour * 60 + self.gives.minute:
            text = f"{found // 60:02}:{found % 60:02}"
            yield f"{self.minutes} minutes from {self.start:%H:%M} is {text}, not {self.gives:%H:%M}"


Constraint = Annotated[Seating | Sum | Date | ClockTime, Field(discriminator="kind")]


def constraint_problems(constraint: Seating | Sum | Date | ClockTime, reply: str) -> Iterator[str]:
    """What is wrong with a constraint, computed anew, and with the ``reply`` that should keep it; clauses."""
    yield from constraint.problems()
    yield from (f"the reply does not say {phrase!r}" for phrase in constraint.said if not says(phrase, reply))


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left), _value(right))
    raise ValueError("only numbers, + - * / and brackets are taken")
