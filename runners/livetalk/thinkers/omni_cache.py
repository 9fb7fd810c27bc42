"""How a model of transformers takes the keys and values that it has computed before."""

from __future__ import annotations

import inspect
from typing import Any

from livetalk.thinkers.base import ThinkerError

_NAMES = ("cache", "past_key_values")
"""The argument's name since transformers 5.24, and before, where 5.40 will forget it."""


def cache_argument(model: Any) -> str:
    """The name of the argument of a model's ``forward`` that takes its ``Cache``.

    Its signature tells, not a version: a model that does not know a name takes the argument for one of its layers' and
    begins anew at every call, without a word.

    Raises:
        ThinkerError: ``failed``; this transformers calls it something else again.
    """
    known = inspect.signature(model.forward).parameters
    for name in _NAMES:
        if name in known:
            return name
    raise ThinkerError(
        "failed",
        f"This transformers is newer than livetalk knows: {type(model).__name__} takes its cache neither as "
        f"{' nor as '.join(_NAMES)}. Take an older one: pip install 'transformers>=5.17,<5.25'",
    )
