"""One conversation: turns in, streamed answers out; what was seen and said lives on from turn to turn."""

from __future__ import annotations

from collections.abc import AsyncIterator

from livetalk.turns import TurnRecord, UserTurn, VideoFormat


class Answer:
    """The stream of one answer: a fragmented MP4 from its first byte on, one piece per block.

    Iterate it once, and `aclose` it if it is not read to its end (`async for` over it in a response that is cancelled
    does so itself): the turn then ends as `disconnected` and nothing more is generated.

    Raises:
        ThinkerError, TurnError: from the first piece, if the answer ended before its first byte. Later errors end the
            stream cleanly and stand in the turn's record.
    """

    index: int
    """The turn, from 1."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        raise NotImplementedError

    async def aclose(self) -> None:
        """The client is gone."""
        raise NotImplementedError


class Session:
    """One conversation. `Engine.open` makes it; all methods belong to one event loop."""

    id: str
    video: VideoFormat

    def respond(self, turn: UserTurn, *, played_s: float | None = None) -> Answer:
        """Begin to answer. A running answer is interrupted first, as `interrupt` does.

        Raises:
            TurnError: `closed`.
        """
        raise NotImplementedError

    async def interrupt(self, played_s: float | None = None) -> None:
        """End the running answer, if there is one, after the block in work; its stream ends with a whole fragment.

        Args:
            played_s: seconds of the answer that the client had played; memory keeps what was heard until then. By
                default as many as have passed since its first fragment.
        """
        raise NotImplementedError

    def record(self, index: int) -> TurnRecord:
        """A turn as it stands, also while it runs.

        Raises:
            KeyError: there is no such turn.
        """
        raise NotImplementedError

    @property
    def records(self) -> tuple[TurnRecord, ...]:
        """All turns, oldest first."""
        raise NotImplementedError

    async def close(self) -> None:
        """End a running answer and free everything; may be called again."""
        raise NotImplementedError
