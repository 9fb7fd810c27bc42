"""The record of a turn: how it ended, and what is kept of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from interbench.base.errors import MediaError
from interbench.base.foreign import MAX_TEXT, NotJsonError, kept_json, mended, whole
from interbench.domain.guards import Chosen
from interbench.domain.records import Exchange, Outcome, Timings
from interbench.drive.listening import Observed
from interbench.store.run_folder import Key
from interbench.systems.events import Blocked, Completed, Failed, Final, JsonValue, Retired, TimedOut


def exchange_of(
    key: Key, line: Chosen, observed: Observed, *, resolution_s: float, resumed: bool, continuous: bool = False
) -> Exchange:
    """The record of a turn, before its clip (if any) has been checked."""
    final = observed.final
    assert final is not None
    outcome, code, message = _outcome(final)
    text = mended("".join(observed.text))
    timings = Timings(
        complete_s=observed.final_s,
        first_frame_s=observed.first_frame_s if observed.first_frame_s is not None else observed.final_s,
        accepted_s=observed.accepted_s,
        sent_s=observed.sent_s,
        resolution_s=resolution_s,
        resumed=resumed,
        first_speech_s=observed.first_speech_s,
        continuous=continuous,
    )
    if observed.incidents:
        observed.detail["incidents"] = [incident.kept() for incident in observed.incidents]
    return Exchange(
        system=key.system,
        scenario=key.scenario,
        turn=key.turn,
        outcome=outcome,
        code=mended(code[:200]),
        message=mended(message[:MAX_TEXT]),
        timings=timings,
        reply_text=text if observed.text else None,
        detail=_plain({**observed.detail, **final.detail, **_count_of(final)}),
        events=tuple(observed.events),
        variant=line.variant,
        guard=line.guard,
        line_source=line.source,
    )


def line_of(detail: Mapping[str, Any]) -> Chosen:
    """The line with which a job was submitted; one of before there were any had the turn's own."""
    kept = detail.get("line")
    return Chosen(**kept) if isinstance(kept, Mapping) else Chosen()


def saying(exchange: Exchange, line: Chosen) -> Exchange:
    return dataclasses.replace(exchange, variant=line.variant, guard=line.guard, line_source=line.source)


def _outcome(final: Final) -> tuple[Outcome, str, str]:
    match final:
        case Completed():
            return Outcome.COMPLETED, "", ""
        case Blocked(code, message):
            return Outcome.BLOCKED, str(code), str(message)
        case Failed(code, message):
            return Outcome.FAILED, str(code), str(message)
        case Retired(message):
            return Outcome.RETIRED, "retired", str(message)
        case TimedOut(message):
            return Outcome.TIMED_OUT, "timed_out", str(message)


def refused(exchange: Exchange, error: MediaError) -> Exchange:
    return dataclasses.replace(
        exchange, outcome=Outcome.FAILED, code=f"media_{error.code}", message=str(error), clip=None, facts=None
    )


def _plain(detail: Mapping[str, JsonValue]) -> dict[str, Any]:
    """A provider's data as plain JSON; what is not JSON is kept as its text."""
    try:
        plain: dict[str, Any] = kept_json(dict(detail))
    except (NotJsonError, RecursionError, ValueError) as error:
        return {"unreadable": f"the provider's data can't be kept: {error}"}
    return plain


def noticed(exchange: Exchange, notice: str) -> Exchange:
    """The exchange with one more notice."""
    return dataclasses.replace(exchange, detail={**exchange.detail, "notices": [*exchange.notices, notice]})


def _count_of(final: Final) -> dict[str, JsonValue]:
    frames = whole(final.frames) if isinstance(final, Completed) else None
    return {} if frames is None else {"frames_sent": frames}
