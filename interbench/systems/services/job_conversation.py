"""A conversation in which every answer is a job: ordered, waited for, fetched and charged."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

from interbench.base.errors import ResumeUnsupportedError
from interbench.base.foreign import number
from interbench.domain.persona import Persona
from interbench.domain.records import BELIEVED
from interbench.media import continuity
from interbench.systems.base import Conversation
from interbench.systems.events import (
    Completed,
    Event,
    Failed,
    JsonValue,
    PastTurn,
    ProgressReport,
    ReplyText,
    Retired,
    Submitted,
    Submitting,
    TurnRequest,
)
from interbench.systems.services.job import Finished, Order
from interbench.systems.services.service_errors import Ended

if TYPE_CHECKING:
    from interbench.systems.services.rest_job import RestJobSystem

_EXTENSION_SLACK_S = 0.5
_LEAST_POLL_S = 0.1


class JobConversation(Conversation):
    """One conversation with a service.

    Args:
        system: says what to order and how to ask for it.
        persona: who answers.
    """

    def __init__(self, system: RestJobSystem, persona: Persona) -> None:
        self._system = system
        self._persona = persona
        self._previous: str | None = None
        """The provider's id of the last answer that was completed."""

    async def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        system = self._system
        if (day := system.gone) is not None:
            yield Retired(f"{system.base_url} has not served this since {day}; nothing was sent")
            return
        try:
            order, detail = await system.order(self._persona, turn, self._previous)
            assets = await _uploaded(system, order)
            yield Submitting(order.seconds, system.estimate_usd(order.seconds), detail)
            job_id = await system.create(order, assets)
            yield Submitted(job_id)
            if order.words:
                yield ReplyText(order.words)
            async for event in self._follow(turn, job_id, order.seconds):
                yield event
        except Ended as ended:
            yield ended.final

    async def resume(self, turn: TurnRequest, job_id: str) -> AsyncIterator[Event]:
        system = self._system
        try:
            words, _ = system.spoken(turn)
            if words:
                yield ReplyText(words)
            async for event in self._follow(turn, job_id, system.clip_seconds(turn, words)):
                yield event
        except Ended as ended:
            yield ended.final

    async def _follow(self, turn: TurnRequest, job_id: str, seconds: float) -> AsyncIterator[Event]:
        """Poll until the job ends, and fetch its clip."""
        system = self._system
        polls = 0
        last: ProgressReport | None = None
        while True:
            state = await system.poll(job_id)
            polls += 1
            if isinstance(state, Finished):
                break
            progress = ProgressReport(state.fraction, state.note)
            if progress != last:
                yield progress
                last = progress
            hint = number(state.poll_s, min(_LEAST_POLL_S, system.poll_s))
            await system.service.sleep(min(hint or system.poll_s, system.poll_s))
        output = turn.workdir / "reply.mp4"
        duration = await system.fetch(state, output)
        detail: dict[str, JsonValue] = {**state.detail, "polls": polls}
        if system.state == "extension" and duration is not None and duration > seconds + _EXTENSION_SLACK_S:
            # Services hand out the whole of an extended clip; the answer is its new end.
            await continuity.keep_end(output, seconds)
            detail["cut_from_s"] = round(duration, 3)
        self._previous = state.handle or job_id
        charged, odd = system.charged_seconds(seconds, state.seconds, duration)
        detail["charged_s"] = round(charged, 3)
        usd, estimate = state.usd, system.estimate_usd(charged)
        if usd is not None and estimate is not None and not estimate / BELIEVED <= usd <= estimate * BELIEVED:
            odd.append(f"the service counts {usd:g} USD, which can't be for this clip: {estimate:.2f} USD are charged")
            usd = None
        notices = [*state.notices, *odd]
        if notices:
            detail["notices"] = notices
        yield Completed(output, detail, cost_usd=estimate if usd is None else usd, video_s=charged)

    def state(self) -> JsonValue:
        return {"previous": self._previous}

    async def restore(self, history: Sequence[PastTurn], state: JsonValue) -> None:
        previous = state.get("previous") if isinstance(state, Mapping) else None
        if self._system.state == "session" and previous is None and any(past.clip for past in history):
            raise ResumeUnsupportedError("the provider's id of the last answer is not in the ledger")
        self._previous = previous if isinstance(previous, str) else None


async def _uploaded(system: RestJobSystem, order: Order) -> Mapping[str, str]:
    """What :meth:`RestJobSystem.upload` gives. Uploads are free, so whatever goes wrong there has cost nothing."""
    try:
        return await system.upload(order)
    except Ended as ended:
        final = ended.final
        if isinstance(final, Failed):
            code = "upload_failed" if final.code == "unknown_submission" else final.code
            final = dataclasses.replace(final, code=code, charged=False)
        raise Ended(final) from None
