"""A conversation put together from the ledger: what a judge is handed, and what a verdict was given on."""

from __future__ import annotations

from interbench.domain.records import Outcome, PlayedConversation, PlayedTurn
from interbench.domain.scenario import Scenario
from interbench.store.run_folder import Key, Run


def played(run: Run, scenario: Scenario, system: str, transcriber: str, label: str) -> PlayedConversation | None:
    """The conversation as the ledger holds it; None if it was not played to its end.

    Args:
        run: the run folder.
        scenario: what was played.
        system: label of the system that played it.
        transcriber: key of the transcriber whose transcripts it gets.
        label: that transcriber's label.
    """
    exchanges = {exchange.turn: exchange for exchange in run.exchanges(system, scenario.id)}
    if len(exchanges) < len(scenario.turns):
        return None
    transcripts = run.transcripts(transcriber, system, scenario.id)
    turns = []
    for index, turn in enumerate(scenario.turns, start=1):
        exchange = exchanges[index]
        turns.append(
            PlayedTurn(
                index=index,
                user_text=turn.line(exchange.variant),
                user_mood=turn.line_mood(exchange.variant),
                outcome=exchange.outcome,
                message=exchange.message,
                clip=None if exchange.clip is None else (run.path / exchange.clip).resolve(),
                facts=exchange.facts,
                transcript=transcripts.get(Key(system, scenario.id, index))
                if exchange.outcome is Outcome.COMPLETED
                else None,
                timings=exchange.timings,
            )
        )
    return PlayedConversation(system, scenario, tuple(turns), label)
