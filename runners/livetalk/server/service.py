"""The avatar behind the routes: loaded while the server already answers, drained before it stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from livetalk.base.background import in_background
from livetalk.live.engine import Engine, LiveSettings
from livetalk.render.config import Size
from livetalk.render.pipeline import Models
from livetalk.server.conversations import Conversations
from livetalk.server.limits import Limits
from livetalk.server.media import MediaDecoder
from livetalk.server.metrics import Metrics
from livetalk.server.problems import ProblemError
from livetalk.server.schemas import PROTOCOL, Health, Video
from livetalk.server.voices import VoiceSamples
from livetalk.thinkers.base import Thinker

_RETRY_LOADING_S = 5.0


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What a server is started with."""

    size: Size
    """Of the model."""
    device: str
    """Where pictures are computed, for people."""
    live: LiveSettings
    """Of the engine."""
    limits: Limits = field(default_factory=Limits)
    """Of clients."""
    token: str | None = field(default=None, repr=False)
    """The bearer token, or None where none is asked for. It is never shown."""
    hosts: frozenset[str] = frozenset()
    """Host headers that are answered; empty for any."""
    version: str = "unknown"
    """Of this software."""


class Service:
    """One avatar with all its conversations. Its methods belong to one event loop.

    Args:
        settings: of the server.
        load: builds the models; it may take minutes and runs in a thread.
        thinker: not yet started.
        clock: by which conversations expire.
        eager: start the processes that decode media at once, not when the first picture or sound comes.
    """

    def __init__(
        self,
        settings: ServerSettings,
        load: Callable[[], Models],
        thinker: Thinker,
        *,
        clock: Callable[[], float] = time.monotonic,
        eager: bool = True,
    ) -> None:
        stream = settings.live.stream
        self.settings = settings
        self.limits = settings.limits
        self.metrics = Metrics()
        self.media = MediaDecoder(settings.limits, (stream.height, stream.width), middle=stream.middle)
        self.failure: Exception | None = None
        self._voices = VoiceSamples(thinker)
        self._load = load
        self._thinker = thinker
        self._clock = clock
        self._eager = eager
        self._models: Models | None = None
        self._engine: Engine | None = None
        self._conversations: Conversations | None = None
        self._draining = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, loaded: Callable[[], None], failed: Callable[[], None]) -> None:
        """Begin to load. ``loaded`` is called once that is done, ``failed`` if it does not succeed: ``failure`` says
        why."""
        self._tasks.append(asyncio.create_task(self._start(loaded, failed)))

    async def drain(self) -> None:
        """Take nothing new, and end every answer cleanly."""
        self._draining = True
        self.metrics.ready.set(0)
        if self._conversations is not None:
            await self._conversations.close_all()

    async def stop(self) -> None:
        await self.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._engine is not None:
            await self._engine.stop()
        await self.media.close()

    @property
    def conversations(self) -> Conversations:
        """
        Raises:
            ProblemError: ``loading``, ``shutting_down``.
        """
        if self._draining:
            raise ProblemError(
                "shutting_down", "The server is being stopped. Try again once it is back.", retry_after_s=30
            )
        if self._conversations is None:
            raise ProblemError(
                "loading",
                "The models are still being loaded. Ask /health until it is ready.",
                retry_after_s=_RETRY_LOADING_S,
            )
        return self._conversations

    @property
    def voices(self) -> VoiceSamples:
        """
        Raises:
            ProblemError: ``loading``, ``shutting_down``.
        """
        _ = self.conversations
        return self._voices

    @property
    def health(self) -> Health:
        settings, engine, models = self.settings, self._engine, self._models
        ready = self._conversations is not None and engine is not None
        return Health(
            status="ready" if ready else "loading" if self.failure is None else "failed",
            protocol=PROTOCOL,
            version=settings.version,
            size=settings.size.name,
            weights=models.weights if models is not None else None,
            random_weights=models.random if models is not None else None,
            thinker=self._thinker.name,
            voice_fields=list(self._thinker.manners),
            device=settings.device,
            settings=settings.live.shown(),
            sessions=engine.sessions if engine is not None else 0,
            capacity=settings.live.capacity,
            video=Video.model_validate(engine.video, from_attributes=True) if ready and engine is not None else None,
        )

    async def _start(self, loaded: Callable[[], None], failed: Callable[[], None]) -> None:
        decoders = asyncio.create_task(self.media.start() if self._eager else asyncio.sleep(0))
        self._tasks.append(decoders)
        try:
            self._models = await in_background(self._load)
            engine = self._engine = Engine(self._models, self.settings.live, self._thinker)
            await engine.start()
            await decoders
            loaded()
        except Exception as error:
            self.failure = error
            failed()
            return
        self._conversations = Conversations(
            engine, self.limits, closed=self.metrics.conversation_closed, clock=self._clock
        )
        self.metrics.watch_conversations(lambda: engine.sessions, engine.capacity)
        self.metrics.describe(
            version=self.settings.version,
            size=self.settings.size.name,
            random_weights=str(self._models.random).lower(),
            thinker=self._thinker.name,
            device=self.settings.device,
            protocol=str(PROTOCOL),
        )
        self.metrics.ready.set(1)
        await self._conversations.keep_expiring()
