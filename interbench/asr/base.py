"""The seam between the harness and speech recognisers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from interbench.domain.records import ClipFacts, Transcript

DOUBTED = "perhaps_no_speech"
"""A transcript's flag: the recogniser gives words and says itself that there was probably no speech."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """The sound of one clip or one user turn."""

    key: str
    """For messages only: ``system/scenario/turn``."""
    samples: npt.NDArray[np.float32] | None
    """16 kHz mono in -1..1; None if there is no audio track, or if the transcriber said it needs no sound."""
    facts: ClipFacts | None
    """Of a system's clip; None for a user's turn."""
    reported_text: str | None
    """What the system says was said (for a user's turn: the scenario's text); None if it does not say."""


class Transcriber(ABC):
    """Turns utterances into transcripts, in batches."""

    label: str
    """Short name shown in tables and records, e.g. ``given``."""
    needs_audio: bool = True
    batch_size: int = 1
    parallel: int = 1
    """Batches that it takes at a time."""
    works_here: bool = True
    """Whether it computes on the machine that starts it; False where it only asks a service."""

    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Everything that could change a transcript (model, revision, settings); hashed into the ledger's key.

        Asked after :meth:`start`, when the weights are known.
        """

    def notes(self) -> Sequence[str]:
        """What a user should know of what was loaded; asked after :meth:`start`, printed and stored with the run."""
        return ()

    async def check(self) -> None:
        """See in a moment whether :meth:`start` can succeed, without loading; raises as it does. For dry runs."""

    async def start(self) -> None:
        """Load models, check endpoints. Raises :class:`interbench.base.errors.TranscriberError` saying what to do."""

    @abstractmethod
    async def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        """One transcript per utterance, in order. An utterance that can't be transcribed gets ``error``, not silence.

        Must not block the event loop: work goes to a thread or process.
        """

    async def stop(self) -> None:
        """Release everything."""
