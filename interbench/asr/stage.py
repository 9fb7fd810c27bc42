"""The transcription stage: clips in as soon as they exist, transcripts into the ledger, in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from interbench.asr.base import Transcriber, Utterance
from interbench.base.errors import InterbenchError, MediaError, TranscriberError
from interbench.base.foreign import MAX_NAME, MAX_TEXT, mended, number
from interbench.domain.records import Exchange, Transcript, Word
from interbench.media.pool import MediaPool
from interbench.store.clips import clip_problem
from interbench.store.run_folder import Key, Run

_LONGEST = 200_000
"""Characters of a transcript; nobody says more in one answer."""


class TranscriptionStage:
    """Takes completed exchanges and records their transcripts, never blocking whoever hands them over.

    Args:
        transcriber: started by the stage.
        run: the run folder, open for writing.
        media: decodes the sound of clips.
    """

    def __init__(self, transcriber: Transcriber, run: Run, media: MediaPool) -> None:
        self._transcriber = transcriber
        self._run = run
        self._media = media
        self._queue: asyncio.Queue[tuple[Exchange, asyncio.Future[Transcript]]] = asyncio.Queue()
        self._consumers: set[asyncio.Task[None]] = set()
        self.key = ""
        """Under which the transcripts are kept."""

    async def __aenter__(self) -> Self:
        await self._transcriber.start()
        self.key = self._run.identify("transcriber", self._transcriber.label, self._transcriber.identity())
        self._consumers = {asyncio.create_task(self._consume()) for _ in range(self._transcriber.parallel)}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for consumer in self._consumers:
            consumer.cancel()
        if self._consumers:
            await asyncio.wait(self._consumers)
        await self._transcriber.stop()

    @property
    def label(self) -> str:
        return self._transcriber.label

    @property
    def notes(self) -> Sequence[str]:
        return self._transcriber.notes()

    def submit(self, exchange: Exchange) -> asyncio.Future[Transcript]:
        """Queue a completed exchange; the future ends with its transcript, which is then in the ledger."""
        future: asyncio.Future[Transcript] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((exchange, future))
        return future

    async def _consume(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < self._transcriber.batch_size and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                transcripts = await self._transcribe([exchange for exchange, _ in batch])
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), transcript in zip(batch, transcripts, strict=True):
                if not future.done():
                    future.set_result(transcript)

    async def _transcribe(self, exchanges: list[Exchange]) -> list[Transcript]:
        heard = [await self._utterance(exchange) for exchange in exchanges]
        utterances = [utterance for utterance in heard if isinstance(utterance, Utterance)]
        given = iter(await self._transcribed(utterances))
        transcripts = [next(given) if isinstance(utterance, Utterance) else utterance for utterance in heard]
        for exchange, transcript in zip(exchanges, transcripts, strict=True):
            self._run.record_transcript(Key(exchange.system, exchange.scenario, exchange.turn), self.key, transcript)
        return transcripts

    async def _transcribed(self, utterances: list[Utterance]) -> list[Transcript]:
        try:
            transcripts = await self._transcriber.transcribe(utterances) if utterances else []
        except InterbenchError:
            raise
        except Exception as error:
            # The clips are paid for and other transcribers may be had: a defect of this one leaves typed gaps.
            why = f"the transcriber {self._transcriber.label!r} failed ({type(error).__name__}: {error})"
            return [Transcript("", flags=("failed",), error=why)] * len(utterances)
        if len(transcripts) != len(utterances):
            raise TranscriberError(
                f"The transcriber {self._transcriber.label!r} gave {len(transcripts)} transcripts for "
                f"{len(utterances)} clips; this is a defect of the transcriber."
            )
        return [_kept(transcript) for transcript in transcripts]

    async def _utterance(self, exchange: Exchange) -> Utterance | Transcript:
        """What is to be heard, or the failed transcript of a clip whose sound can't be had any more."""
        samples = None
        if self._transcriber.needs_audio and exchange.clip is not None:
            clip = self._run.path / exchange.clip
            if exchange.facts is not None:
                problem = await asyncio.to_thread(clip_problem, clip, exchange.facts)
                if problem is not None:
                    return Transcript("", flags=("failed", problem.code), error=problem.message)
            try:
                samples = await self._media.audio(clip)
            except MediaError as error:
                why = (
                    f"the sound of {exchange.clip} can't be decoded any more ({error}). If the file was changed since "
                    f"it was recorded, restore it, and give the same command again."
                )
                return Transcript("", flags=("failed",), error=why)
        return Utterance(
            key=f"{exchange.system}/{exchange.scenario}/{exchange.turn}",
            samples=samples,
            facts=exchange.facts,
            reported_text=exchange.reply_text,
        )


def _kept(transcript: Transcript) -> Transcript:
    """A transcript as it can be kept: texts mended and within bounds, and no times where one of them is no time."""
    long = len(transcript.text) > _LONGEST
    words = tuple(
        Word(mended(word.text, MAX_NAME), word.start_s, word.end_s)
        for word in transcript.words
        if number(word.start_s) is not None and number(word.end_s) is not None
    )
    return replace(
        transcript,
        text=mended(transcript.text, _LONGEST),
        words=words if len(words) == len(transcript.words) else (),
        flags=(*(mended(flag, MAX_NAME) for flag in transcript.flags), *(["cut"] if long else [])),
        error=None if transcript.error is None else mended(transcript.error, MAX_TEXT),
    )
