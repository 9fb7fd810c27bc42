"""Which transcriber a name on the command line means."""

from __future__ import annotations

import importlib.util
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from interbench.asr.base import Transcriber
from interbench.asr.given import Given
from interbench.base.errors import UsageError

MODEL_VARIABLE = "INTERBENCH_TRANSCRIBER_MODEL"
KEY_VARIABLE = "INTERBENCH_TRANSCRIBER_KEY"
NAMES: Mapping[str, str] = {
    "auto": "funasr where it is installed, otherwise given",
    "funasr": "FunASR's English Paraformer with voice activity and punctuation models (extra: asr)",
    "given": "the text that the system itself reports, marked as such",
    "URL": "an OpenAI-compatible /v1/audio/transcriptions endpoint",
}


def make_transcriber(name: str, options: Mapping[str, Any]) -> Transcriber:
    """The transcriber called ``name``.

    Args:
        name: one of :data:`NAMES`.
        options: keyword arguments of :class:`interbench.asr.funasr.FunASR` or
            :class:`interbench.asr.openai.OpenAITranscriber`. An endpoint's model and key can also stand in the
            environment, as ``INTERBENCH_TRANSCRIBER_MODEL`` and ``INTERBENCH_TRANSCRIBER_KEY``.

    Raises:
        UsageError: there is none of that name, or an option is unknown.
    """
    if name == "auto":
        name = "funasr" if importlib.util.find_spec("funasr") is not None else "given"
    if name == "given":
        if options:
            raise UsageError(f"The transcriber 'given' takes no options, but got {', '.join(options)}.")
        return Given()
    if name == "funasr":
        from interbench.asr.funasr import FunASR

        return _with(FunASR, name, (), options)
    if "://" in name:
        from interbench.asr.openai import OpenAITranscriber

        key = {"api_key_env": KEY_VARIABLE} if KEY_VARIABLE in os.environ else {}
        model = os.environ.get(MODEL_VARIABLE, "whisper-1")
        return _with(OpenAITranscriber, name, (name,), {"model": model, **key, **options})
    raise UsageError(f"There is no transcriber {name!r}; there are {', '.join(NAMES)}.")


def _with(make: Callable[..., Transcriber], name: str, given: Sequence[Any], options: Mapping[str, Any]) -> Transcriber:
    known = inspect.signature(make).parameters
    settable = [option for option in [*known][len(given) :] if option != "sleep"]
    if unknown := [option for option in options if option not in settable]:
        raise UsageError(f"The transcriber {name!r} has no option {unknown[0]!r}. Its options: {', '.join(settable)}.")
    return make(*given, **options)
