"""Qwen3-Omni in this process: it hears the user, thinks and speaks, through transformers.

Text and sound come as they are generated (see ``omni_model``): the first 320 ms of sound exist after four tokens of
text. Answers share one thread and one CUDA stream of high priority, apart from the event loop and from whoever renders
on the same device; several run step by step in turns (see ``worker``), each slower by the others' share.

Memory for ``Qwen/Qwen3-Omni-30B-A3B-Instruct`` in bfloat16: 70.5 GB of weights (35.3 billion parameters), 1 GB while a
prompt is read, and for each answer under way 96 KiB per token of its conversation and 20 KiB per token and frame of
its speech: 3.2 GB at the default limit of the context. So it has room beside a renderer on a card with 141 GB, takes
an 80 GB card to itself (device "cuda:1" where the renderer is on "cuda:0"), and does not fit into less. Its steps are
launched from Python and compete with a renderer in this process for its one interpreter; where two cards are at hand,
vLLM-Omni in a process of its own answers sooner.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from livetalk.base.background import in_background
from livetalk.thinkers.base import Delta, KnownVoice, Question, Samples, SpeechDelta, TextDelta, Thinker, ThinkerError
from livetalk.thinkers.omni_settings import SPEECH, TEXT, VOICES, OmniLimits, Sampling
from livetalk.thinkers.worker import Steps, Worker

if TYPE_CHECKING:
    from livetalk.thinkers.omni_loading import Omni

DEFAULT_VOICE = "ethan"
DEFAULT_SEED = 42


class QwenOmniThinker(Thinker):
    """Qwen3-Omni in this process, through transformers.

    Args:
        model: folder of the checkpoint, or its name on the Hugging Face hub if it has been downloaded; nothing is
            fetched here.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1".
        dtype: "auto" (bfloat16 on CUDA, float32 on a CPU), "bfloat16", "float16" or "float32".
        voice: the speaker for questions that name none.
        first_chunk: codec frames (80 ms each) in the first piece of sound.
        chunk: codec frames in the pieces after it.
        text, speech: how text and speech are drawn. Speech wants its randomness: always taking the most likely code,
            it may never end.
        limits: where an answer is cut.
        context_tokens: how much of a conversation the model reads, answer included; it was trained on 32,768. Of a
            longer one the oldest messages are left out.
        seed: for questions that name none. The same question and seed give the same answer on the same machine.
        clock: seconds, for taking turns.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        voice: str | None = None,
        first_chunk: int = 4,
        chunk: int = 8,
        text: Sampling = TEXT,
        speech: Sampling = SPEECH,
        limits: OmniLimits | None = None,
        context_tokens: int = 32_768,
        seed: int = DEFAULT_SEED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits or OmniLimits()
        if min(first_chunk, chunk) < 1:
            raise ValueError("A piece of sound has at least one frame.")
        if context_tokens <= self._limits.text_tokens:
            raise ValueError(
                f"A context of {context_tokens:,} tokens has no room for a prompt and {self._limits.text_tokens:,} "
                "tokens of answer."
            )
        self._source = str(Path(model).expanduser()) if Path(model).expanduser().is_dir() else str(model)
        self.name = f"qwen-omni {Path(self._source).name if Path(self._source).is_dir() else self._source}"
        self._device, self._dtype = device, dtype
        self._voice = voice
        self._first_chunk, self._chunk = first_chunk, chunk
        self._text, self._speech = text, speech
        self._prompt_tokens = context_tokens - self._limits.text_tokens
        self._seed = seed
        self._clock = clock
        self._omni: Omni | None = None
        self._worker: Worker | None = None

    async def start(self) -> None:
        self._omni = await in_background(self._load)
        if self._voice is not None:
            self.check_voice(self._voice)
        self._worker = Worker(context=self._omni.computing, explain=_explained, clock=self._clock)
        self._worker.start()
        # The first user would otherwise wait for what is set up on first use.
        async for _ in self._worker.run(
            self._steps(Question("", (), "Hello.", None), OmniLimits(2, self._first_chunk))
        ):
            pass

    def check_voice(self, voice: str) -> None:
        if self._omni and voice.lower() not in self._omni.model.speakers:
            voices = ", ".join(sorted(self._omni.model.speakers))
            raise ThinkerError("unsupported", f"{self.name} has no voice {voice!r}; its voices are {voices}.")

    def voices(self) -> tuple[KnownVoice, ...]:
        if self._omni is None:
            return ()
        published = {voice.name.lower(): voice for voice in VOICES}
        return tuple(published.get(name, KnownVoice(name)) for name in sorted(self._omni.model.speakers))

    async def answer(self, question: Question) -> AsyncIterator[Delta]:
        if self._worker is None:
            raise ThinkerError("failed", f"{self.name} is not running; start it first.")
        async with aclosing(self._worker.run(self._steps(question, self._limits))) as pieces:
            async for piece in pieces:
                yield piece

    async def stop(self) -> None:
        if self._worker is not None:
            await asyncio.to_thread(self._worker.stop)
        if self._omni is None:
            return
        on_cuda = self._omni.stream is not None
        self._omni = None
        gc.collect()
        if on_cuda:
            import torch

            torch.cuda.empty_cache()

    def _load(self) -> Omni:
        try:
            from livetalk.thinkers.omni_loading import load
        except ImportError as error:
            raise ThinkerError(
                "failed", f"Qwen3-Omni needs torch and transformers ({error}); run: pip install 'interbench[livetalk]'"
            ) from error
        return load(self._source, device=self._device, dtype=self._dtype, prompt_tokens=self._prompt_tokens)

    def _steps(self, question: Question, limits: OmniLimits) -> Steps:
        """An answer; runs in the worker's thread."""
        from livetalk.thinkers.omni_codec import CodecStream
        from livetalk.thinkers.omni_prompt import TextReader

        assert self._omni is not None
        model = self._omni.model
        voice = question.voice or self._voice
        if voice is not None:
            self.check_voice(voice)
        elif DEFAULT_VOICE in model.speakers:
            voice = DEFAULT_VOICE
        else:
            voice = min(model.speakers)
        reader = TextReader(self._omni.tokenizer)
        sound = CodecStream(model.code2wav, first=self._first_chunk, chunk=self._chunk)
        for step in model.answer(
            self._omni.writer.write(question),
            voice.lower(),
            text=self._text,
            speech=self._speech,
            limits=limits,
            seed=self._seed if question.seed is None else question.seed,
        ):
            if isinstance(step, int):
                letters = reader.read(step)
                yield TextDelta(letters) if letters else None
            else:
                yield None if step is None else _speech(sound.push(step))
        yield _speech(sound.finish())


def _speech(samples: Samples | None) -> SpeechDelta | None:
    from livetalk.thinkers.omni_codec import RATE

    if samples is None:
        return None
    if not np.isfinite(samples).all():
        raise ThinkerError("failed", "Qwen3-Omni's sound is not a number; run it in bfloat16 or float32.")
    return SpeechDelta(samples, RATE)


def _explained(error: Exception) -> ThinkerError:
    """What an error that nobody foresaw is for a conversation."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return ThinkerError(
            "overloaded", "The GPU has no memory left for this answer; run fewer conversations, or shorter ones."
        )
    what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return ThinkerError("failed", f"Qwen3-Omni could not go on with this answer ({what}); the log has more.")
