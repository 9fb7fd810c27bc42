"""One answer on its way: thinker, renderer, decoder and encoder at work side by side, and the reader's end of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import cast

from torch import Tensor

from livetalk.base.rates import VIDEO_FPS
from livetalk.live.device_queue import DeviceQueue, Playback
from livetalk.live.memory import heard_text
from livetalk.live.piece_queue import Piece, PieceQueue, StalledError
from livetalk.live.settings import LiveSettings
from livetalk.live.speech_feed import SpeechFeed
from livetalk.live.turns import Outcome, TurnError, TurnRecord, TurnTimings, UserTurn
from livetalk.render.config import block_frames
from livetalk.render.encoders.speech import Loudness, SpeechEncoder, SpeechStream
from livetalk.render.performer import FrameBlock, Performer, Stage
from livetalk.thinkers.base import Delta, HeardDelta, Question, TextDelta, Thinker, ThinkerError
from livetalk.video.fragments import FragmentWriter
from livetalk.video.mux import SOUND_RATE

_log = logging.getLogger(__name__)
_SOUND_PER_FRAME = SOUND_RATE // VIDEO_FPS
_FAREWELL_S = 5.0  # for a thinker whose answer was cancelled


@dataclass(slots=True)
class AnswerContext:
    """What the answers of one session work with, one after the other."""

    performer: Performer
    begin: Callable[[], None]
    """Starts the performer's session anew, from the picture."""
    speech: SpeechEncoder
    note: str
    """Goes into every clip, for whoever finds one."""
    thinker: Thinker
    settings: LiveSettings
    rendering: DeviceQueue
    decoding: DeviceQueue
    pool: Executor
    clock: Callable[[], float]
    in_order: bool = False
    """Not before the first answer, nor after the renderer failed."""
    loudness: Loudness | None = None
    """Of the voice so far."""


@dataclass(frozen=True, slots=True)
class _Ending:
    outcome: Outcome
    error: ThinkerError | TurnError | None = None


class Answer:
    """The stream of one answer: a fragmented MP4, a piece for each block; the first begins with the init segment.

    Iterate it once, and ``aclose`` it if it is not read to its end: the turn then ends as ``disconnected`` and nothing
    more is generated. Cancelling the task that waits for a piece does the same.

    Raises:
        ThinkerError, TurnError: from the first piece, if the answer ended before its first byte. Later errors end the
            stream cleanly and stand in the turn's record.
    """

    def __init__(
        self, index: int, turn: UserTurn, question: Question, context: AnswerContext, stage_free: asyncio.Event
    ):
        """Begin at once; what needs the performer waits for ``stage_free``."""
        self.index = index
        self.said = turn
        self.stage_free = asyncio.Event()
        """The performer can serve the next answer."""
        self._context = context
        self._clock = context.clock
        self._begun = self._clock()
        self._loop = asyncio.get_running_loop()
        self._feed = SpeechFeed(context.settings.max_answer_s)
        self._playback = Playback(self._clock, self._begun)
        self._pieces_out = PieceQueue(context.settings.queue_blocks, context.settings.stall_s)
        self._times: dict[str, float] = {}
        self._busy = {"render": 0.0, "decode": 0.0, "encode": 0.0}
        self._text: list[str] = []
        self._typed = turn.text if turn.text and turn.text.strip() else None
        self._transcript: str | None = None  # of the user's sound, where the thinker wrote one down
        self._made = self._taken = 0  # frames
        self._bytes_taken = False
        self._first_frame = 0  # of the session
        self._whole = False  # the thinker said all it had to say
        self._trouble: _Ending | None = None  # what broke, once all that is there has been shown
        self._ending: _Ending | None = None
        self._heard_s: float | None = None
        self._read_out = False
        self._thinking = self._loop.create_task(self._think(question))
        self._running = self._loop.create_task(self._run(stage_free))

    # -- for the reader ----------------------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._read_out:
            raise StopAsyncIteration
        try:
            piece = await self._pieces_out.get()
        except asyncio.CancelledError:
            self._disconnect()
            raise
        if piece is not None:
            self._bytes_taken = True
            self._taken += piece.frames
            return piece.data
        self._read_out = True
        if not self._bytes_taken and self._ending is not None:
            if self._ending.error is not None:
                raise self._ending.error
            if self._ending.outcome is Outcome.interrupted:
                raise TurnError("interrupted", "The answer was interrupted before its first frame.")
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """The client is gone."""
        self._read_out = True
        self._disconnect()

    def give_up(self) -> None:
        """The client takes nothing of what it is sent: as if it were gone, and the turn's record says why."""
        self._pieces_out.leave()
        self._end(self._stalled())

    # -- for the session ---------------------------------------------------------------------------------------------

    def interrupt(self, played_s: float | None, error: TurnError | None = None) -> None:
        """End it, if it has not ended, after the block in work; what was played until now is what was heard.

        An answer that was read to its end and that its viewer is known to have cut short counts as interrupted, too.
        """
        if self._ending is None:
            self._pieces_out.widen()
            self._end(_Ending(Outcome.interrupted, error), played_s)
        elif played_s is not None and played_s < min(self._feed.seconds, self._video_s):
            self._heard_s = max(0.0, played_s)
            if self._ending.outcome is Outcome.completed:
                self._ending = _Ending(Outcome.interrupted)

    async def ended(self) -> None:
        """Wait until nothing of it is at work any more."""
        await asyncio.wait({self._running})
        _, lingering = await asyncio.wait({self._thinking}, timeout=_FAREWELL_S)
        if lingering:
            _log.error("the thinker did not let go of turn %d within %g seconds", self.index, _FAREWELL_S)

    @property
    def heard(self) -> str:
        """What reached the user of it, or has by now."""
        if self._ending is not None and self._ending.outcome is Outcome.completed:
            return "".join(self._text)
        if self._ending is None:
            heard_s = self._playback.position()
        else:
            heard_s = self._video_s if self._heard_s is None else self._heard_s
        heard_s = min(heard_s, self._video_s)
        return heard_text(
            "".join(self._text), heard_s, self._feed.marks, spoken_s=self._feed.seconds, whole=self._whole
        )

    @property
    def user_text(self) -> str | None:
        """What the user typed, or is known to have said."""
        return self._typed or self._transcript

    def record(self) -> TurnRecord:
        """How it stands."""
        ending = self._ending or _Ending(Outcome.running)
        text = "".join(self._text)
        made_s = self._made / VIDEO_FPS
        return TurnRecord(
            index=self.index,
            outcome=ending.outcome,
            user_text=self.user_text,
            user_text_source="typed" if self._typed else "transcribed" if self._transcript else None,
            text=text,
            heard_text=self.heard,
            timings=TurnTimings(**self._times),
            frames=self._taken,
            video_s=self._video_s,
            underruns=self._playback.underruns,
            underrun_s=self._playback.underrun_s,
            real_time_factor=max(self._busy.values()) / made_s if made_s else None,
            error_code=ending.error.code if ending.error is not None else None,
            error_message=str(ending.error) if ending.error is not None else None,
        )

    # -- thinking, on the event loop ---------------------------------------------------------------------------------

    async def _think(self, question: Question) -> None:
        pieces = cast("AsyncGenerator[Delta]", self._context.thinker.answer(question))
        try:
            while (piece := await self._next(pieces)) is not None:
                self._hear(piece)
                if self._feed.full:
                    break
                await asyncio.sleep(0)  # a thinker that has everything ready must not keep the loop to itself
            else:
                self._whole = True
        except ThinkerError as error:
            outcome = Outcome.timed_out if error.code == "timed_out" else Outcome.failed
            self._trouble = _Ending(outcome, error)
        except Exception:
            _log.exception("the thinker failed in turn %d", self.index)
            message = "The thinker failed unexpectedly; the log of the service says how."
            self._trouble = _Ending(Outcome.failed, ThinkerError("failed", message))
        finally:
            self._feed.end()
            try:
                await pieces.aclose()
            except Exception:
                _log.exception("the thinker did not close its answer in turn %d", self.index)

    async def _next(self, pieces: AsyncGenerator[Delta]) -> Delta | None:
        settings = self._context.settings
        limit = settings.gap_s if self._text or self._feed.seconds else settings.first_piece_s
        if not self._feed.audible:
            limit = min(limit, self._begun + settings.first_sound_s - self._clock())
        try:
            async with asyncio.timeout(limit) as timeout:
                return await anext(pieces, None)
        except TimeoutError:
            if not timeout.expired():
                raise
            what = "go on" if self._feed.audible else "begin to speak"
            raise ThinkerError(
                "timed_out",
                f"The thinker did not {what} in time; it may be overloaded. Try again, or raise its limits.",
            ) from None

    def _hear(self, piece: Delta) -> None:
        if isinstance(piece, TextDelta):
            if piece.text:
                self._text.append(piece.text)
                self._mark("thinker_first_text_s")
            return
        if isinstance(piece, HeardDelta):
            self._transcript = piece.text
            return
        self._feed.push(piece)
        if self._feed.audible:
            self._mark("thinker_first_sound_s")

    # -- performing, in threads --------------------------------------------------------------------------------------

    async def _run(self, stage_free: asyncio.Event) -> None:
        try:
            await stage_free.wait()
            if not self._feed.stop.is_set():
                await self._loop.run_in_executor(self._context.pool, self._perform)
            # The sound has ended, and with it the thinker, or something else has ended the turn.
            self._ending = self._ending or self._conclusion()
        except StalledError:
            self._end(self._stalled())
        except Exception:
            _log.exception("rendering failed in turn %d", self.index)
            message = "The video could not be generated; the log of the service says why. The conversation can go on."
            self._end(_Ending(Outcome.failed, TurnError("render_failed", message)), self._video_s)
        finally:
            self._mark("finished_s")
            self.stage_free.set()
            self._pieces_out.end()

    def _conclusion(self) -> _Ending:
        if self._trouble is not None:
            return self._trouble
        if self._feed.full:
            longest = self._context.settings.max_answer_s
            message = f"The answer was longer than the {longest:g} seconds allowed, and was cut off there."
            return _Ending(Outcome.timed_out, TurnError("too_long", message))
        if self._made:
            return _Ending(Outcome.completed)
        if self._text:
            message = "The thinker wrote an answer but spoke nothing audible; check its voice and its speech endpoint."
            return _Ending(Outcome.failed, TurnError("no_speech", message))
        return _Ending(
            Outcome.failed, TurnError("no_answer", "The thinker ended its answer without a word; try again.")
        )

    def _end(self, ending: _Ending, played_s: float | None = None) -> None:
        """Stop all work for it; the first reason counts."""
        if self._ending is not None:
            return
        self._ending = self._trouble or ending
        self._heard_s = self._playback.position() if played_s is None else max(0.0, played_s)
        self._feed.stop.set()
        self._thinking.cancel()

    def _stalled(self) -> _Ending:
        stall = self._context.settings.stall_s
        message = f"The client read nothing for {stall:g} seconds while video was waiting."
        return _Ending(Outcome.disconnected, TurnError("stalled", message))

    def _disconnect(self) -> None:
        self._pieces_out.leave()
        self._end(_Ending(Outcome.disconnected))

    def _perform(self) -> None:
        """From the first sound to the last fragment."""
        with ThreadPoolExecutor(1, "livetalk-encode") as encoding:
            # Opened while the thinker thinks: a hardware encoder takes its time.
            opened = encoding.submit(self._open_file)
            writing: Future[None] | None = None
            try:
                with closing(self._blocks()) as blocks:
                    for block in blocks:
                        self._mark("first_block_s")
                        if writing is not None:
                            writing.result()
                        writing = encoding.submit(self._write, opened.result(), block)
            finally:
                self._tell(self.stage_free.set)
            if writing is not None:
                writing.result()
                encoding.submit(self._finish, opened.result()).result()
        self._mark("finished_s")
        self._pieces_out.drain()

    def _blocks(self) -> Generator[FrameBlock]:
        context = self._context
        if not context.in_order:
            context.begin()
        context.in_order = False  # unless the performance ends well
        self._first_frame = block_frames(context.performer.next_block)[0]
        speech = _TimedStream(
            context.speech,
            context.loudness,
            context.settings.look_ahead,
            lambda: self._mark("first_window_s"),
        )
        try:
            yield from context.performer.perform(self._feed.samples(), speech, stop=self._feed.stop, gate=self)
        except GeneratorExit:
            context.in_order = True
            raise
        context.in_order = True
        context.loudness = speech.loudness

    @contextmanager
    def turn(self, stage: Stage, block: int) -> Iterator[None]:
        """A ``livetalk.render.performer.Gate``: those go first whose viewers need the work soonest."""
        # A clean pass serves the block after its own.
        video_s = (block_frames(block + (stage == "clean"))[0] - self._first_frame) / VIDEO_FPS
        turns = self._context.decoding if stage == "decode" else self._context.rendering
        with turns.turn(lambda: self._due(video_s)), self._at_work("decode" if stage == "decode" else "render"):
            yield

    def _due(self, video_s: float) -> float:
        """An answer that was stopped is in the way of the next one."""
        return float("-inf") if self._feed.stop.is_set() else self._playback.due(video_s)

    def _open_file(self) -> FragmentWriter:
        settings = self._context.settings
        size = settings.stream.width, settings.stream.height
        return FragmentWriter(*size, encoder=settings.encoder, metadata={"comment": self._context.note})

    def _write(self, writer: FragmentWriter, block: FrameBlock) -> None:
        count = len(block.frames)
        sound = self._feed.sound(count * _SOUND_PER_FRAME)
        with self._at_work("encode"):
            fragment = writer.write(block.frames.numpy(), sound)
        self._mark("first_fragment_s")
        self._playback.deliver(count / VIDEO_FPS)
        head = b"" if self._made else writer.init_segment
        self._made += count
        waiting = self._clock()
        self._pieces_out.put(Piece(head + fragment, count))
        self._playback.hold(self._clock() - waiting)

    def _finish(self, writer: FragmentWriter) -> None:
        rest = writer.finish()
        if rest:
            self._pieces_out.put(Piece(rest, 0))

    @contextmanager
    def _at_work(self, stage: str) -> Iterator[None]:
        began = self._clock()
        try:
            yield
        finally:
            self._busy[stage] += self._clock() - began

    @property
    def _video_s(self) -> float:
        return self._taken / VIDEO_FPS

    def _mark(self, name: str) -> None:
        """Note when something happened for the first time."""
        self._times.setdefault(name, self._clock() - self._begun)

    def _tell(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is there to be told
            self._loop.call_soon_threadsafe(call)


class _TimedStream(SpeechStream):
    """Says when the sound of the first block and its look-ahead is there."""

    def __init__(
        self, encoder: SpeechEncoder, voice: Loudness | None, look_ahead: int, arrived: Callable[[], None]
    ) -> None:
        super().__init__(encoder, right=look_ahead, voice=voice)
        self._arrived_first = arrived

    def features(self, first_frame: int, last_frame: int) -> Tensor:
        if first_frame == 0:
            self._arrived_first()
        return super().features(first_frame, last_frame)
