"""How a turn at a service that speaks the conversation protocol ended, in the harness's words."""

from __future__ import annotations

from collections.abc import Mapping

from interbench.systems.events import Blocked, Completed, Failed, Final, JsonValue, TimedOut
from interbench.systems.live.client import ConversationError, RefusedError, ServedTurn

AGAIN = "The rest of the conversation can't be played; `--retry failed` plays it again from its first turn."
_LEAST_FPS, _MOST_FPS = 1.0, 1000.0
"""Rates beyond which a count of pictures and a length don't belong to one clip."""
_ENDINGS = {
    "timed_out": "The server gave the answer up because it took too long.",
    "failed": "The answer failed at the server, which does not say why.",
    "interrupted": "The answer was interrupted. Does somebody else take part in this conversation?",
    "disconnected": "For the server, the connection broke in the middle of the answer.",
}


def final_event(
    broken: ConversationError | None, record: ServedTurn | ConversationError | None, detail: Mapping[str, JsonValue]
) -> Final:
    """The last event of a turn.

    Args:
        broken: what kept the answer from arriving whole; None if its stream ended in order.
        record: what the service says of the turn, or why that can't be had; None if it has no number to ask for.
        detail: kept with the turn.
    """
    if isinstance(broken, RefusedError):
        return _refused(broken, detail)
    if isinstance(record, ServedTurn) and record.outcome in ("timed_out", "failed"):
        return _unsuccessful(record, detail)
    if isinstance(broken, ConversationError):
        return Failed(broken.code, sentence(broken), transient=broken.transient, detail=detail)
    if not isinstance(record, ServedTurn):
        why = f" {sentence(record)}" if record else ""
        return Failed("no_record", f"The answer ended, but nothing is known of how.{why}", True, detail)
    if record.outcome == "completed":
        return Completed(detail=detail, frames=_sent(record))
    return _unsuccessful(record, detail)


def _sent(record: ServedTurn) -> int | None:
    """How many pictures the service says it sent; None if it does not say, or contradicts itself."""
    if record.frames is None or not record.video_s:
        return record.frames
    return record.frames if _LEAST_FPS <= record.frames / record.video_s <= _MOST_FPS else None


def _refused(refused: RefusedError, detail: Mapping[str, JsonValue]) -> Final:
    """The outcome of a turn that the service did not take, or could not begin to answer."""
    message = sentence(refused)
    if refused.code == "refused":
        return Blocked(refused.code, message, detail, charged=False)
    if refused.code == "timed_out" or refused.status == 504:
        return TimedOut(message, detail)
    if refused.code == "unsupported":
        message += ' If its thinker does not hear, set the option send = "text", or start it with one that does.'
    if refused.status == 404:
        message += f" {AGAIN}"
    if refused.status in (401, 403):
        message += " The token comes from the variable LIVETALK_TOKEN, or the one that token_env names."
    return Failed(refused.code, message, transient=refused.transient, detail=detail)


def _unsuccessful(record: ServedTurn, detail: Mapping[str, JsonValue]) -> Final:
    """The outcome of a turn that began and did not come to a good end."""
    code = record.error.code if record.error else record.outcome
    message = record.error.message if record.error and record.error.message else _ENDINGS.get(record.outcome, "")
    match record.outcome:
        case "timed_out":
            return TimedOut(message, detail)
        case "failed" if code == "refused":
            return Blocked(code, message, detail, charged=False)
        case "failed" | "interrupted" | "disconnected":
            return Failed(code, message, transient=True, detail=detail)
        case "running":
            return Failed("unfinished", "The answer ended, but for the server it still runs.", True, detail)
    return Failed("not_the_protocol", f"The server calls the turn {record.outcome[:80]!r}.", detail=detail)


def turn_detail(record: ServedTurn) -> dict[str, JsonValue]:
    """What the service says of a turn, to be kept with it. What it does not say is left out."""
    parts: dict[str, JsonValue] = {
        step.removesuffix("_s"): seconds for step, seconds in record.timings.items() if seconds is not None
    }
    said: dict[str, JsonValue] = {
        "server_turn": record.index,
        "server_outcome": record.outcome,
        "server_frames": record.frames,
        "server_video_s": record.video_s,
        "server_real_time_factor": record.real_time_factor,
        "underruns": record.underruns,
        "underrun_s": record.underrun_s,
        "parts_s": parts or None,
        "heard": None if record.heard_text == record.text else record.heard_text,
    }
    return {name: value for name, value in said.items() if value is not None}


def sentence(error: Exception) -> str:
    """What an error says, as a sentence."""
    text = str(error).strip() or type(error).__name__
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
