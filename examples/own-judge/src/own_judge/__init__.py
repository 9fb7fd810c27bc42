"""A transcriber and a judge that do as little as they can."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from interbench.asr import AUDIO_RATE, Transcriber, Transcript, UsageError, Utterance, encode_audio
from interbench.judge import Judge, JudgeTask, Missing, PlayedConversation, Verdict

__version__ = "0.1.0"


class ProgramTranscriber(Transcriber):
    """Any program that prints what it hears in a WAV file.

    Args:
        argv: the program and its arguments; ``{sound}`` stands for the file.
        timeout_s: for one clip.
    """

    label = "program"

    def __init__(self, argv: Sequence[str], timeout_s: float = 120.0) -> None:
        if not any("{sound}" in argument for argument in argv):
            raise UsageError("argv has to say where the file goes: one of its arguments holds {sound}.")
        self._argv = list(argv)
        self._timeout_s = timeout_s

    def identity(self) -> Mapping[str, Any]:
        return {"transcriber": "program", "version": __version__, "argv": self._argv}

    async def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        return [await self._one(utterance) for utterance in batch]

    async def _one(self, utterance: Utterance) -> Transcript:
        if utterance.samples is None:
            return Transcript("", flags=("no_audio",))
        with tempfile.TemporaryDirectory() as folder:
            sound = Path(folder) / "sound.wav"
            await asyncio.to_thread(encode_audio, utterance.samples, AUDIO_RATE, sound)
            argv = [argument.replace("{sound}", str(sound)) for argument in self._argv]
            process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
            try:
                async with asyncio.timeout(self._timeout_s):
                    heard, _ = await process.communicate()
            except TimeoutError:
                return Transcript("", flags=("failed",), error=f"nothing within {self._timeout_s:g} s")
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if process.returncode:
            return Transcript("", flags=("failed",), error=f"the program ended with status {process.returncode}")
        return Transcript(heard.decode(errors="replace").strip())


class SharedWords(Judge):
    """Scores how many of the user's words the replies take up (SR), and says of the rest that it can't.

    Args:
        shortest: words of fewer letters do not count.
    """

    label = "shared-words"
    comparable = False

    def __init__(self, shortest: int = 4) -> None:
        self._shortest = shortest

    def identity(self) -> Mapping[str, Any]:
        return {"judge": "shared-words", "version": __version__, "shortest": self._shortest}

    async def judge(self, conversation: PlayedConversation, tasks: Sequence[JudgeTask]) -> AsyncIterator[Verdict]:
        where = (conversation.system, conversation.scenario.id)
        for task in tasks:
            if task.dimension != "SR":
                why = "this judge only counts words"
                yield Verdict(*where, task.dimension, task.sample, missing=Missing.NOT_MEASURABLE, reasons=why)
                continue
            asked = self._words(turn.user_text for turn in conversation.turns)
            said = self._words(turn.transcript.text for turn in conversation.turns if turn.transcript is not None)
            shared = len(asked & said)
            if not asked:
                why = "the user says no word that is long enough"
                yield Verdict(*where, task.dimension, task.sample, missing=Missing.NOT_APPLICABLE, reasons=why)
                continue
            score, why = 1 + 9 * shared / len(asked), f"{shared} of the user's {len(asked)} words come back"
            yield Verdict(*where, task.dimension, task.sample, score=score, reasons=why)

    def _words(self, texts: Any) -> set[str]:
        return {word for text in texts for word in re.findall(r"\w+", text.lower()) if len(word) >= self._shortest}
