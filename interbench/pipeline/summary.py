"""What one invocation did, as far as people are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from interbench.domain.records import Exchange, Verdict


@dataclass(slots=True)
class Summary:
    """What an invocation did."""

    outcomes: Counter[str] = field(default_factory=Counter)
    troubled: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Turns that were not completed, by system, outcome and code."""
    examples: dict[tuple[str, str, str], Exchange] = field(default_factory=dict)
    """The first of each of these."""
    transcripts: int = 0
    verdicts: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    unplayed: int = 0
    """Conversations that could not be judged because they were not played to their end yet."""
    judge: Mapping[str, Any] = field(default_factory=dict)
    ear: str = ""
    """One line on how well the transcriber hears; empty if it does not listen."""
    transcriber: Sequence[str] = ()
    """What the transcriber has to say of what it loaded."""
    spent: str = ""
    """One line on money; empty if nothing costs any."""
    cap: str = ""
    """Why turns were left unplayed, if a cap was reached."""

    @property
    def did_something(self) -> bool:
        """Whether the ledger holds more than before."""
        return bool(self.outcomes or self.transcripts or self.verdicts)

    def count(self, exchange: Exchange) -> None:
        """Take in one turn that was played."""
        self.outcomes[exchange.outcome.value] += 1
        if not exchange.completed:
            kind = (exchange.system, exchange.outcome.value, exchange.code)
            self.troubled[kind] += 1
            self.examples.setdefault(kind, exchange)

    def count_verdict(self, verdict: Verdict) -> None:
        """Take in one verdict."""
        self.verdicts += 1
        if verdict.missing is not None:
            self.missing[verdict.missing.value] += 1
