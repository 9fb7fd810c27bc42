"""Reports without the texts of private scenarios: figures stay, and nothing that says what was asked or answered."""

from __future__ import annotations

from dataclasses import replace

from interbench.domain.records import Exchange, Verdict
from interbench.domain.scenario import Scenario, Turn
from interbench.report.model import PlayedScenario, ReportData, ShownConversation

PRIVATE = "(private)"


def withheld(data: ReportData) -> ReportData:
    """``data`` in which private scenarios have lost their texts, recordings, clips, transcripts and judges' words."""
    private = {entry.scenario.id for entry in data.scenarios if entry.private}
    if not private:
        return data
    note = (
        f"{len(private)} of {len(data.scenarios)} scenarios are private: their figures are shown, their texts, clips "
        f"and transcripts are not."
    )
    return replace(
        data,
        scenarios=tuple(_scenario(entry) if entry.private else entry for entry in data.scenarios),
        conversations=tuple(
            _conversation(shown) if shown.scenario in private else shown for shown in data.conversations
        ),
        notes=(*data.notes, note),
    )


def _scenario(entry: PlayedScenario) -> PlayedScenario:
    scenario = entry.scenario
    kept = Scenario(
        id=scenario.id,
        category=scenario.category,
        title=PRIVATE,
        persona=scenario.persona,
        stresses=scenario.stresses,
        tier=scenario.tier,
        turns=tuple(Turn(text=PRIVATE, mood=PRIVATE, reply=PRIVATE, reply_mood=PRIVATE) for _ in scenario.turns),
    )
    return replace(entry, scenario=kept, user_audio=(), variant_audio=())


def _conversation(shown: ShownConversation) -> ShownConversation:
    return replace(
        shown,
        exchanges=tuple(_exchange(exchange) for exchange in shown.exchanges),
        transcripts={},
        verdicts=tuple(_verdict(verdict) for verdict in shown.verdicts),
        clip_problems={exchange.turn: f"not shown {PRIVATE}" for exchange in shown.exchanges},
    )


def _exchange(exchange: Exchange) -> Exchange:
    detail = {"parts_s": exchange.parts_s} if exchange.parts_s else {}
    return replace(
        exchange, message="", reply_text=None, detail=detail, events=(), variant=0, guard="", line_source="none"
    )


def _verdict(verdict: Verdict) -> Verdict:
    return replace(verdict, reasons="", evidence={})
