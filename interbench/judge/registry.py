"""Which judge a name on the command line means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interbench.errors import UsageError
from interbench.judge.base import Judge

NAMES: Mapping[str, str] = {
    "signals": "offline: scores only what it can measure, by documented formulas",
}


def make_judge(name: str, options: Mapping[str, Any]) -> Judge:
    """The judge called ``name``.

    Raises:
        UsageError: there is none of that name, or an option is unknown.
    """
    if name == "signals":
        from interbench.judge.signals import Signals

        if options:
            raise UsageError(f"The judge 'signals' takes no options, but got {', '.join(options)}.")
        return Signals()
    raise UsageError(f"There is no judge {name!r}; there are {', '.join(NAMES)}.")
