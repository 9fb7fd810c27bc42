"""Which transcriber a name on the command line means."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from interbench.asr.base import Transcriber
from interbench.base.registry import Alias, Registry


def _auto() -> str:
    return "funasr" if importlib.util.find_spec("funasr") is not None else "given"


TRANSCRIBERS: Registry[Transcriber] = Registry(
    "transcriber",
    Transcriber,  # type: ignore[type-abstract]
    "interbench.transcribers",
    {"funasr": "interbench.asr.funasr:FunASR", "given": "interbench.asr.given:Given"},
    address="interbench.asr.openai:OpenAITranscriber",
    aliases={"auto": Alias("funasr where it is installed, otherwise given", _auto)},
)


def make_transcriber(name: str, options: Mapping[str, Any]) -> Transcriber:
    """The transcriber called ``name``.

    Args:
        name: a name of :data:`TRANSCRIBERS`, ``module:Class``, or the URL of an endpoint.
        options: by the names of its constructor's parameters.

    Raises:
        UsageError: there is none of that name, or an option is unknown or wrong.
    """
    return TRANSCRIBERS.make(name, options)
