"""The bundled system under test: a drawn person who speaks the scenario's reference reply."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping

import interbench
from interbench.base.errors import SystemLoadError
from interbench.base.workers import WorkerDiedError, WorkerError, WorkerTimeoutError
from interbench.domain.persona import Persona
from interbench.media.speech import speakable
from interbench.systems.base import AvatarSystem, Conversation
from interbench.systems.capabilities import Capabilities
from interbench.systems.events import Completed, Event, Failed, JsonValue, ReplyText, TurnRequest
from interbench.systems.puppet.authored import UnwrittenError
from interbench.systems.puppet.defects import DEFECTS, defect_of
from interbench.systems.puppet.motion import FPS
from interbench.systems.puppet.render import MAX_REPLY_S
from interbench.systems.puppet.render_pool import RenderPool


class Puppet(AvatarSystem):
    """A talking avatar that runs on a CPU: its mouth follows the phonemes of a speech synthesizer.

    Args:
        variant: a controlled defect (see :meth:`variants`), with its strength if it has one (``partial@0.25``); None is
            the intact puppet.
        workers: how many clips are rendered at the same time by all puppets of this process that name the same number;
            by default as many as there are cores, at most two.
    """

    capabilities = Capabilities(
        inputs=frozenset({"text"}),
        output="file",
        state="history",
        reports_text=True,
        needs_reference=True,
        max_duration_s=MAX_REPLY_S,
        sizes=((512, 512),),
        fps=float(FPS),
        face_policy="any",
        seedable=True,
        price_usd_per_s=0.0,
        status="Bundled; a test subject that speaks the scenario's own reference replies.",
    )

    def __init__(self, variant: str | None = None, workers: int | None = None) -> None:
        if variant is not None:
            defect_of(variant)
        if workers is not None and workers < 1:
            raise SystemLoadError(f"The puppet needs at least one worker, not {workers}.")
        self.variant = variant
        self._workers = workers or min(2, os.cpu_count() or 1)
        self._render_pool: RenderPool | None = None

    @classmethod
    def variants(cls) -> Mapping[str, str]:
        return {defect.name: defect.description for defect in DEFECTS.values()}

    @property
    def lowers(self) -> tuple[str, ...]:
        return () if self.variant is None else defect_of(self.variant).lowers

    @property
    def version(self) -> str:
        return interbench.__version__

    def settings(self) -> Mapping[str, JsonValue]:
        return {"variant": self.variant}

    async def start(self) -> None:
        await self._enter().warm_up()

    async def stop(self) -> None:
        render_pool, self._render_pool = self._render_pool, None
        if render_pool is not None:
            await render_pool.leave()

    async def open(self, persona: Persona) -> Conversation:
        return _PuppetConversation(self._enter(), persona, self.variant)

    def _enter(self) -> RenderPool:
        if self._render_pool is None:
            self._render_pool = RenderPool.enter(self._workers)
        return self._render_pool


class _PuppetConversation(Conversation):
    def __init__(self, render_pool: RenderPool, persona: Persona, variant: str | None) -> None:
        self._render_pool = render_pool
        self._persona = persona
        self._variant = variant
        self._defect = None if variant is None else defect_of(variant)

    async def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        reference = turn.reference
        if reference is None:
            yield Failed("no_reference", "The puppet speaks the scenario's reference reply, and this turn has none.")
            return
        rewrite = None if self._defect is None else self._defect.rewrite
        try:
            text = speakable(reference.reply if rewrite is None else rewrite(turn, reference))
        except UnwrittenError as error:
            yield Failed("unwritten", str(error))
            return
        yield ReplyText(text)
        path = turn.workdir / "reply.mp4"
        request = {
            "path": str(path),
            "persona": self._persona.model_dump(mode="json"),
            "text": text,
            "mood": reference.mood,
            "seed": turn.seed,
            "turn": turn.index,
            "variant": self._variant,
        }
        try:
            clip = await self._render_pool.call(request, turn.deadline_s)
        except (WorkerTimeoutError, WorkerDiedError) as error:
            yield Failed(error.code, f"The puppet's worker gave no clip: {error}", transient=True)
        except WorkerError as error:
            yield Failed(error.code, str(error))
        else:
            yield Completed(path, detail=clip)
