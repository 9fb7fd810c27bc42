"""Every way in which a judge server fails to answer, told apart."""

from __future__ import annotations

from interbench.base.errors import JudgeError
from interbench.domain.records import Missing

BUSY = frozenset({429, 503})
"""Statuses of a server that may be asked again."""


class Failure(Exception):  # noqa: N818 - not an error of the harness: it becomes a verdict's reason for missing
    """A request has no answer. ``missing`` is the typed reason."""

    def __init__(self, missing: Missing, message: str, *, status: int | None = None, forgotten: bool = False) -> None:
        super().__init__(message)
        self.missing = missing
        self.status = status
        self.forgotten = forgotten
        """The server no longer has a video that was sent by reference."""


class UnavailableError(JudgeError):
    """The server can't be reached or is overloaded; it may come back."""


class UnusableError(JudgeError):
    """What answers at the address can't be used, however it is asked: a refused certificate, a redirect."""


class AccessError(JudgeError):
    """The server refuses access: 401 (who are you?) or 403 (not you, or not this)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(Exception):  # noqa: N818
    """No connection: the server is down or restarting."""


class Busy(Exception):  # noqa: N818
    """429 or 503."""

    def __init__(self, message: str, wait_s: float | None) -> None:
        super().__init__(message)
        self.wait_s = wait_s
