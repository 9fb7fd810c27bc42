"""The models and the device, and the conversations that share them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from livetalk.config import StreamConfig
from livetalk.pipeline import Models
from livetalk.session import Session
from livetalk.thinkers.base import Thinker
from livetalk.turns import VideoFormat


@dataclass(frozen=True)
class LiveSettings:
    """What holds for every conversation of an engine.

    `stream` must have bounded positions: a conversation has no end.
    """

    stream: StreamConfig
    capacity: int = 2  # conversations at once
    prompt: str = ""  # what the video shows, for conversations that do not say; empty for the built-in one
    first_piece_s: float = 30.0  # the thinker's first word or sound
    first_sound_s: float = 60.0  # its first audible sound
    gap_s: float = 30.0  # between two pieces
    max_answer_s: float = 120.0  # of speech
    stall_s: float = 30.0  # a client that reads nothing while fragments wait
    queue_blocks: int = 8  # fragments that wait for the client before generation pauses
    history_audio_s: float = 120.0  # of the user's own sound in memory
    history_chars: int = 40_000  # of text in memory


class Engine:
    """Models, device, settings, and the turn-taking of all sessions. All methods belong to one event loop."""

    capacity: int
    """Conversations that can be open at once."""
    sessions: int
    """Conversations that are open."""
    video: VideoFormat
    """What every conversation's answers look like; known once the engine has started."""

    def __init__(
        self, models: Models, settings: LiveSettings, thinker: Thinker, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Start the thinker, reserve the memory of every conversation, compile and warm up.

        Raises:
            ThinkerError: the thinker is not there.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """Close every session and free everything; may be called again."""
        raise NotImplementedError

    async def open(
        self, *, image: Tensor | bytes | None, prompt: str | None, persona: str, voice: str | None, seed: int
    ) -> Session:
        """Begin a conversation.

        Args:
            image: the bytes of a picture file, or what `encoders.image.preprocess` makes of it (a server decodes
                strangers' pictures in another process); None for a drawn, neutral portrait.
            prompt: what the video shows; None for the settings'.
            persona: who the avatar is; empty for none.
            voice: a name that the thinker's speaker knows; None for its default.
            seed: of the noise.

        Raises:
            CapacityError: as many conversations are open as there may be.
            ImageError: the picture cannot be used.
            ThinkerError: `unsupported`; there is no such voice.
        """
        raise NotImplementedError
