"""Which transcriber a name on the command line means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interbench.asr.base import Transcriber
from interbench.asr.given import Given
from interbench.errors import UsageError

NAMES: Mapping[str, str] = {
    "given": "the text that the system itself reports, marked as such",
}


def make_transcriber(name: str, options: Mapping[str, Any]) -> Transcriber:
    """The transcriber called ``name``.

    Raises:
        UsageError: there is none of that name.
    """
    if name in ("given", "auto"):
        if options:
            raise UsageError(f"The transcriber 'given' takes no options, but got {', '.join(options)}.")
        return Given()
    raise UsageError(f"There is no transcriber {name!r}; there are {', '.join(NAMES)}.")
