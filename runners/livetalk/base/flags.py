"""What a command line says of the fields of an options class.

An options class is a frozen dataclass whose fields carry a ``Flag``::

    @dataclass(frozen=True, slots=True)
    class StreamOptions:
        steps: Annotated[int, Flag("Denoising steps per block.", minimum=1)] = 4

The class is where an option's name, type, range and default stand. ``livetalk.cli.parameters`` makes a command line of
it; Python code constructs it directly.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flag:
    """What people are told of an option, and the values that it takes."""

    help: str
    spelling: tuple[str, ...] = ()
    """As it is written, where this is not ``--`` and the field's name."""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    """The values that a text may have; those of a ``Literal`` are known without."""
    variable: str | None = None
    """The environment variable that is read where the option is not given."""
    default: str | None = None
    """What None stands for, where that is the field's default."""
