"""Every error the harness raises on purpose.

Each message is one paragraph that says what is wrong, where, and what to do. The command line prints the message
alone; anything that is not an :class:`InterbenchError` is a defect of the harness and keeps its traceback.
"""

from __future__ import annotations


class InterbenchError(Exception):
    """Base class: something the user can act on."""

    exit_code = 1


class UsageError(InterbenchError):
    """An option, setting or argument is wrong."""

    exit_code = 2


class ScenarioError(InterbenchError):
    """A scenario set can't be read or breaks its schema."""

    exit_code = 2


class SystemLoadError(InterbenchError):
    """A system under test can't be found, imported or constructed."""

    exit_code = 2


class GpuError(InterbenchError):
    """The GPU driver of this machine does not answer."""


class MediaError(InterbenchError):
    """A media file is missing, truncated, hostile or not what it should be.

    ``code`` is a short stable word (``empty``, ``undecodable``, ``timeout`` ...) kept in records.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class StoreError(InterbenchError):
    """A run folder can't be opened, locked, read or written."""


class ClipGoneError(StoreError):
    """A clip that the rest of a conversation goes on from is not the one that was recorded, or no longer there."""


class RunLockedError(StoreError):
    """Another process works on this run folder."""


class IncomparableError(StoreError):
    """A setting changed in a way that would make old and new results incomparable."""


class CapReachedError(InterbenchError):
    """A cap on what a run may spend leaves no room for the next clip."""

    exit_code = 3


class FailedAuditError(InterbenchError):
    """A dimension of a judge that was required to pass did not."""

    exit_code = 3


class FruitlessError(InterbenchError):
    """Everything was tried that was to be done, and nothing came of it, or clips kept it from being done."""

    exit_code = 4


class SystemFailedError(InterbenchError):
    """A system has completed none of its turns, and the user wants that to be an error (``--strict``)."""

    exit_code = 5


class ClusterError(InterbenchError):
    """A cluster can't be used: it can't be reached, its machines differ, or it lacks what was asked for."""

    exit_code = 2


class NodeLostError(InterbenchError):
    """The machine that a conversation was on is gone, or nobody knows. It says nothing about the system under test:
    nothing is recorded of the turn, and the conversation is played elsewhere."""


class StrandedError(InterbenchError):
    """What is left of a run has no machine to be done on; the same command goes on when there is one."""

    exit_code = 6


class ScriptError(InterbenchError):
    """The model that writes the avatars' replies can't be used."""


class TranscriberError(InterbenchError):
    """A transcriber can't be set up or has failed for a whole batch."""


class JudgeError(InterbenchError):
    """A judge can't be set up, or its server does something other than the settings say."""


class ResumeUnsupportedError(InterbenchError):
    """A conversation can't be taken up where it was interrupted; it is played again from its first turn."""


class ScoresError(InterbenchError):
    """Scores to be pooled are malformed, doubled or outside the plan."""

    exit_code = 2


class ReferencePoolError(InterbenchError):
    """A frozen pool can't be read, or was made with another judge."""

    exit_code = 2


def most_telling(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception of a group that tells the user most: the first that is ours, else the first."""
    leaves: list[BaseException] = []

    def collect(error: BaseException) -> None:
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                collect(inner)
        else:
            leaves.append(error)

    collect(group)
    return next((leaf for leaf in leaves if isinstance(leaf, InterbenchError)), leaves[0])
