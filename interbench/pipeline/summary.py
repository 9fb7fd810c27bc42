"""What one invocation did, as far as people are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from interbench.domain.records import Exchange, Missing, Outcome, Transcript, Verdict

_CLIPS = (Missing.CLIP_CHANGED, Missing.CLIP_MISSING, Missing.CLIP_UNREADABLE)


@dataclass(slots=True)
class Summary:
    """What an invocation did."""

    outcomes: Counter[str] = field(default_factory=Counter)
    troubled: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Turns that were not completed, by system, outcome and code."""
    examples: dict[tuple[str, str, str], Exchange] = field(default_factory=dict)
    """The first of each of these."""
    held: Counter[str] = field(default_factory=Counter)
    """What the run folder held when the invocation began: turns "completed", clips "transcribed", verdicts "scored"."""
    transcripts: int = 0
    untranscribed: Counter[str] = field(default_factory=Counter)
    """Transcripts that could not be made, by why."""
    verdicts: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    unplayed: int = 0
    """Conversations that could not be judged because they were not played to their end yet."""
    seconds: float = 0.0
    """How long the stages took."""
    judge: Mapping[str, Any] = field(default_factory=dict)
    ear: str = ""
    """One line on how well the transcriber hears; empty if it does not listen."""
    transcriber: Sequence[str] = ()
    """What the transcriber has to say of what it loaded."""
    copies: Mapping[str, str] = field(default_factory=dict)
    """Why the judge was given plain copies, by the SHA-256 of the clips."""
    notices: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What was odd about answers that were kept, by system."""
    spent: str = ""
    """One line on money; empty if nothing costs any."""
    all_failed: Sequence[str] = ()
    """Systems of the plan that have completed none of the turns the run folder holds."""
    cap: str = ""
    """Why turns were left unplayed, if a cap was reached."""
    held_up: list[str] = field(default_factory=list)
    """Of every conversation that could not be gone on with because a clip of it is gone: why."""
    stranded: str = ""
    """Why turns were left unplayed, if there was no machine for them."""

    @property
    def did_something(self) -> bool:
        """Whether the ledger holds more than before."""
        return bool(self.outcomes or self.transcripts or self.verdicts)

    def count(self, exchange: Exchange) -> None:
        """Take in one turn that was played."""
        self.outcomes[exchange.outcome.value] += 1
        self.notices.update((exchange.system, notice) for notice in exchange.notices)
        if not exchange.completed:
            kind = (exchange.system, exchange.outcome.value, exchange.code)
            self.troubled[kind] += 1
            self.examples.setdefault(kind, exchange)

    def count_transcript(self, transcript: Transcript) -> None:
        """Take in one transcript."""
        self.transcripts += 1
        if transcript.error is not None:
            self.untranscribed[transcript.error] += 1

    def count_verdict(self, verdict: Verdict) -> None:
        """Take in one verdict."""
        self.verdicts += 1
        if verdict.missing is not None:
            self.missing[verdict.missing.value] += 1

    @property
    def fruitless(self) -> str:
        """Why nothing came of what was done, or clips kept some of it from being done; empty if all is well.

        Turns that fail are a result, as long as others do not; so are verdicts that an offline judge can't give. What
        earlier invocations brought counts too: a run that was cut off and gone on with ends as it would have ended.
        """
        turns = sum(self.outcomes.values())
        if self.held_up:
            number = len(self.held_up)
            counted = "1 conversation was" if number == 1 else f"{number} conversations were"
            return f"{counted} not gone on with: {self.held_up[0]}"
        if turns and not self.outcomes[Outcome.COMPLETED.value] and not self.held["completed"]:
            return f"None of the {turns} turns that were played was completed; the lines above say why."
        if clips := sum(self.missing[reason.value] for reason in _CLIPS):
            return (
                f"{clips} verdicts were not given because clips are no longer those that were recorded, or can't be "
                f"read. The report names them; restore them, and give the same command again."
            )
        if self.transcripts and sum(self.untranscribed.values()) == self.transcripts and not self.held["transcribed"]:
            first = next(iter(self.untranscribed))
            return f"None of {self.transcripts} clips could be transcribed: {first}"
        if self.verdicts and sum(self.missing.values()) == self.verdicts and not self.held["scored"]:
            return f"None of {self.verdicts} verdicts has a score; the lines above say why."
        return ""
