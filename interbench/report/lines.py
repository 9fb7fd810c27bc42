"""What the user said: how often the line that stands after any answer, and where systems were told different things.

A user reacts to the answer before (:mod:`interbench.domain.guards`), so two systems may have been led through a turn
with different words. That is what a conversation is, and a reader must know of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from interbench.domain.records import Exchange
from interbench.scenarios.plan import PlannedScenario


@dataclass(frozen=True, slots=True)
class LineUse:
    """Of one system: the turns in which the user could have said several things."""

    turns: int
    fallbacks: int
    """Of these, those in which the user said the line that stands after any answer."""
    sources: Mapping[str, int] = field(default_factory=dict)
    """Of these turns: whose word the answer before was (``reported``, ``transcribed``, ``none``)."""

    @property
    def share(self) -> float:
        return self.fallbacks / self.turns


def line_use(planned_scenarios: Iterable[PlannedScenario], exchanges: Iterable[Exchange]) -> dict[str, LineUse]:
    """By system, of those that played a turn with variants; turns that were never put to a system don't count."""
    varied = _varied(planned_scenarios)
    turns: Counter[str] = Counter()
    fallbacks: Counter[str] = Counter()
    sources: dict[str, Counter[str]] = {}
    for exchange in exchanges:
        if (exchange.scenario, exchange.turn) in varied and exchange.outcome.value != "not_played":
            turns[exchange.system] += 1
            fallbacks[exchange.system] += not exchange.variant
            sources.setdefault(exchange.system, Counter())[exchange.line_source] += 1
    return {name: LineUse(count, fallbacks[name], dict(sources[name])) for name, count in turns.items()}


def line_notes(planned_scenarios: Sequence[PlannedScenario], exchanges: Sequence[Exchange]) -> tuple[str, ...]:
    """A sentence beneath tables and at the top of reports, on all systems; none where no turn has variants."""
    used = line_use(planned_scenarios, exchanges)
    if not used:
        return ()
    counts = [
        f"{name} in {use.fallbacks} of {use.turns} ({100 * use.share:.0f} %; the words of the answer before were "
        f"{', '.join(f'{_SOURCES[source]} in {count}' for source, count in sorted(use.sources.items()))})"
        for name, use in used.items()
    ]
    return (f"Of the turns with variants the user said the line that stands after any answer to: {'; '.join(counts)}.",)


_SOURCES = {"reported": "the system's own", "transcribed": "a transcript's", "none": "unknown"}


def different_lines(
    planned_scenarios: Iterable[PlannedScenario], exchanges: Iterable[Exchange], one: str, other: str
) -> tuple[int, int]:
    """(turns in which the user said different things to the two systems, turns that were put to both)."""
    said: dict[tuple[str, int], dict[str, int]] = {}
    for exchange in exchanges:
        if exchange.system in (one, other) and exchange.outcome.value != "not_played":
            said.setdefault((exchange.scenario, exchange.turn), {})[exchange.system] = exchange.variant
    both = {at: variants for at, variants in said.items() if len(variants) == 2}
    texts = {
        (planned.scenario.id, index): turn
        for planned in planned_scenarios
        for index, turn in enumerate(planned.scenario.turns, start=1)
    }
    different = sum(
        texts[at].line(variants[one]) != texts[at].line(variants[other]) for at, variants in both.items() if at in texts
    )
    return different, len(both)


def _varied(planned_scenarios: Iterable[PlannedScenario]) -> frozenset[tuple[str, int]]:
    return frozenset(
        (planned.scenario.id, index)
        for planned in planned_scenarios
        for index, turn in enumerate(planned.scenario.turns, start=1)
        if turn.variants
    )
