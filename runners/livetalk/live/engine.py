"""The models and the device, and the conversations that share them."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TypeVar

import numpy as np
from torch import Tensor

from livetalk.base.background import Worker, in_background
from livetalk.base.rates import VIDEO_FPS
from livetalk.live.answer import AnswerContext
from livetalk.live.device_queue import DeviceQueue
from livetalk.live.session import Session
from livetalk.live.settings import LiveSettings
from livetalk.live.turns import CapacityError, VideoFormat
from livetalk.render.encoders.image import preprocess
from livetalk.render.encoders.speech import FRAME_SAMPLES, SpeechStream
from livetalk.render.performer import Performer, SeededNoise
from livetalk.render.pipeline import RANDOM_NOTE, Models
from livetalk.render.portrait import portrait
from livetalk.render.speed import make_fast
from livetalk.render.streams import Streams, finish, on
from livetalk.thinkers.base import Manner, Thinker
from livetalk.video.fragments import FragmentWriter
from livetalk.video.mux import SOUND_RATE

__all__ = ["Engine", "LiveSettings"]

_log = logging.getLogger(__name__)
_PROMPTS_KEPT = 32
_FAREWELL_S = 2.0
"""For a picture or a prompt that nobody needs any more; the largest takes longer, and ends with the process."""
_R = TypeVar("_R")


@cache
def _drawn(height: int, width: int, middle: float) -> Tensor:
    """The portrait for conversations without a picture, as ``preprocess`` gives it."""
    return preprocess(portrait(), ((height, width),), middle=middle)


class Engine:
    """Models, device, settings, and the turn-taking of all sessions. All methods belong to one event loop.

    Every conversation works on a performer of its own. They are made, and on a GPU compiled and captured, when the
    engine starts: a conversation then begins without delay, and none fails half-way for want of memory.
    """

    def __init__(
        self, models: Models, settings: LiveSettings, thinker: Thinker, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.models, self.settings, self.thinker, self.clock = models, settings, thinker, clock
        self.capacity = settings.capacity
        """Conversations that can be open at once."""
        self.encoder = settings.encoder
        """Of the video, by FFmpeg's name once the engine has started."""
        self.rendering, self.decoding = DeviceQueue(), DeviceQueue()
        self._performers: list[Performer] = []  # without a conversation
        self._open: set[Session] = set()
        self._opening = 0
        self._prompts: OrderedDict[str, Tensor] = OrderedDict()
        self._prompt_lock = threading.Lock()
        self._video: VideoFormat | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._streams = Streams()
        # What cuDNN and cuBLAS set up for a thread is set up once. Two of them: a new prompt takes seconds, and a
        # conversation about a known one does not wait for it.
        self._picturing, self._prompting = Worker("livetalk-pictures"), Worker("livetalk-prompts")

    @property
    def sessions(self) -> int:
        """Conversations that are open, or about to be."""
        return len(self._open) + self._opening

    @property
    def video(self) -> VideoFormat:
        """What answers look like; known once the engine has started."""
        if self._video is None:
            raise RuntimeError("what videos look like is known once the engine has started")
        return self._video

    async def start(self) -> None:
        """Start the thinker, reserve the memory of every conversation, compile and warm up.

        Raises:
            ThinkerError: the thinker is not there.
            EncoderError: the video encoder can't be used here.
        """
        # Two threads for each answer, and an answer may be winding down while the next one begins.
        self._pool = ThreadPoolExecutor(4 * self.capacity + 2, "livetalk-engine")
        await self.thinker.start()
        await in_background(self._prepare)

    async def stop(self) -> None:
        """Close every session and free everything; may be called again."""
        await asyncio.gather(*(session.close() for session in tuple(self._open)))
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await self.thinker.stop()
            await asyncio.to_thread(pool.shutdown)
            for worker in (self._picturing, self._prompting):
                await asyncio.to_thread(worker.close, _FAREWELL_S)
        self._performers.clear()
        self._prompts.clear()

    async def open(
        self,
        *,
        image: Tensor | bytes | None = None,
        prompt: str | None = None,
        persona: str = "",
        voice: str | None = None,
        manner: Manner | None = None,
        seed: int = 0,
    ) -> Session:
        """Begin a conversation.

        Args:
            image: the bytes of a picture file, or what ``encoders.image.preprocess`` made of one (a server decodes
                strangers' pictures in another process); None for a drawn, neutral portrait.
            prompt: what the video shows; None for the settings'.
            persona: who the avatar is; empty for none.
            voice: a name that the thinker's speaker knows; None for its default.
            manner: how it speaks; None for its own way.
            seed: of the noise.

        Raises:
            CapacityError: as many conversations are open as there may be.
            ImageError: the picture can't be used.
            ThinkerError: ``unsupported``; there is no such voice.
        """
        if voice is not None:
            self.thinker.check_voice(voice)
        pool = self._running()
        if not self._performers:
            raise CapacityError(
                f"All {self.capacity} conversations that this service holds at once are taken; try again later."
            )
        performer = self._performers.pop()
        self._opening += 1
        try:
            context, reference = await self._condition(image, self.settings.prompt if prompt is None else prompt)
            self._running()
        except BaseException:
            # If this was cancelled the thread goes on for a while, but it does not use the performer.
            self._performers.append(performer)
            raise
        finally:
            self._opening -= 1
        shared = AnswerContext(
            performer=performer,
            begin=partial(self._begin, performer, context, reference, seed),
            speech=self.models.speech,
            note=self._note(),
            thinker=self.thinker,
            settings=self.settings,
            rendering=self.rendering,
            decoding=self.decoding,
            pool=pool,
            clock=self.clock,
        )
        session = Session(
            shared,
            self.video,
            persona=persona,
            voice=voice,
            manner=manner or Manner(),
            seed=seed,
            leave=partial(self._give_back, performer),
        )
        self._open.add(session)
        return session

    async def _give_back(self, performer: Performer, session: Session) -> None:
        try:
            await self._in_thread(performer.end)
        finally:
            self._open.discard(session)
            self._performers.append(performer)

    def _prepare(self) -> None:
        """Everything that takes long and can be done before anybody asks."""
        models, settings, stream = self.models, self.settings, self.settings.stream
        on_cuda = models.dit.device.type == "cuda"
        make_fast(
            models,
            stream,
            compiled=settings.compiled,
            mode=settings.compile_mode,
            float8=settings.float8,
            tune=settings.tune,
        )
        self._streams = Streams.on(models.dit.device, models.vae.device)
        self._portrait = _drawn(stream.height, stream.width, stream.middle)
        listener = SpeechStream(models.speech)
        listener.push(np.zeros(16 * FRAME_SAMPLES, np.float32))
        listener.features(0, 8)
        # Before the caches: the text encoder needs much memory, for a moment.
        self._prompting.submit(partial(self._encoded, settings.prompt)).result()
        self._picturing.submit(partial(self._encoded_picture, None)).result()
        for _ in range(self.capacity):
            # They take turns at the device, and need one set of streams.
            performer = Performer(
                models.dit,
                models.vae.decoder_stream(graphs=settings.decoder_graph),
                stream,
                decode_device=models.vae.device,
                streams=self._streams,
                first_alone=settings.first_alone,
                benchmark=on_cuda if settings.tune is None else settings.tune,
            )
            if on_cuda:  # captures a graph for every length of the window
                performer.warm_up(SpeechStream(models.speech))
                performer.end()
            self._performers.append(performer)
        writer = FragmentWriter(stream.width, stream.height, encoder=self.settings.encoder)
        self._video = VideoFormat(stream.width, stream.height, VIDEO_FPS, writer.mime, SOUND_RATE)
        self.encoder = writer.encoder
        _log.info("ready for %d conversations, video encoder %s", self.capacity, self.encoder)

    async def _condition(self, image: Tensor | bytes | None, prompt: str) -> tuple[Tensor, Tensor]:
        """Context and reference of a conversation, complete on the device."""
        context = self._kept(prompt)
        if context is None:
            context = await asyncio.wrap_future(self._prompting.submit(partial(self._encoded, prompt)))
        return context, await asyncio.wrap_future(self._picturing.submit(partial(self._encoded_picture, image)))

    def _encoded_picture(self, image: Tensor | bytes | None) -> Tensor:
        stream = self.settings.stream
        if image is None:
            picture = self._portrait
        elif isinstance(image, Tensor):
            picture = image
        else:
            picture = preprocess(image, ((stream.height, stream.width),), middle=stream.middle)
        with on(self._streams.pictures):
            reference = self.models.vae.encode_image(picture)
            finish(self._streams.pictures)  # whoever reads it need not know where it was made
        return reference

    def _kept(self, prompt: str) -> Tensor | None:
        """The latest prompts are kept: the text encoder is large, and most conversations share one."""
        with self._prompt_lock:
            if prompt in self._prompts:
                self._prompts.move_to_end(prompt)
            return self._prompts.get(prompt)

    def _encoded(self, prompt: str) -> Tensor:
        context = self._kept(prompt)  # somebody may have asked for it meanwhile
        if context is None:
            with on(self._streams.prompts):
                context = self.models.encode_prompt(prompt, give_back=not self._open)
                finish(self._streams.prompts)
            with self._prompt_lock:
                self._prompts[prompt] = context
                if len(self._prompts) > _PROMPTS_KEPT:
                    self._prompts.popitem(last=False)
        return context

    def _note(self) -> str:
        """What a viewer of a clip should know, as ``generate`` writes it: one line of JSON."""
        note = {
            "made_with": "livetalk",
            "weights": self.models.weights,
            **({"note": RANDOM_NOTE} if self.models.random else {}),
            "thinker": self.thinker.name,
            **self.settings.shown(),
        }
        return json.dumps(note, ensure_ascii=False)

    def _begin(self, performer: Performer, context: Tensor, reference: Tensor, seed: int) -> None:
        performer.start(context, reference, SeededNoise(seed, self.models.dit.device))

    async def _in_thread(self, call: Callable[..., _R], *args: object) -> _R:
        return await asyncio.get_running_loop().run_in_executor(self._running(), call, *args)

    def _running(self) -> ThreadPoolExecutor:
        if self._pool is None:
            raise RuntimeError("the engine is not running: it has not been started, or was stopped")
        return self._pool
