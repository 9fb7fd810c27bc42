"""The ``given`` transcriber: the text that the system itself reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from interbench.asr.base import Transcriber, Utterance
from interbench.domain.records import Transcript


class Given(Transcriber):
    """The text that the system itself reports; every record is marked as reported.

    A clip that can't be heard has said nothing, whatever its system reports.
    """

    label = "given"
    needs_audio = False
    batch_size = 64

    def identity(self) -> Mapping[str, Any]:
        return {"transcriber": "given", "version": 1}

    async def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        return [_given(utterance) for utterance in batch]


def _given(utterance: Utterance) -> Transcript:
    facts = utterance.facts
    if facts is not None and not facts.has_audio:
        return Transcript("", flags=("reported", "no_audio"))
    if facts is not None and not facts.audible:
        return Transcript("", flags=("reported", "silent"))
    if utterance.reported_text is None:
        return Transcript(
            "",
            flags=("no_text",),
            error="the system does not report its text; choose a transcriber that listens, e.g. --transcriber funasr",
        )
    return Transcript(utterance.reported_text, flags=("reported",))
