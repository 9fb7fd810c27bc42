"""The kinds of thinkers and what each needs: from the options of a command line to a thinker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from livetalk.base.errors import LiveTalkError
from livetalk.thinkers.base import Thinker


class ThinkerOptionError(LiveTalkError):
    """There is no such kind of thinker, or its options lack something or hold what it has no use for."""


@dataclass(frozen=True)
class Kind:
    """A kind of thinker, for a command line's help.

    Args:
        name: as it is asked for.
        summary: one line.
        required: options that it cannot do without, as `make_thinker` names them.
        optional: further options that it takes.
    """

    name: str
    summary: str
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


_KINDS = (
    Kind(
        "script",
        "Fixed answers, or patterns around the user's words, spoken by espeak-ng; needs no model.",
        optional=("script", "voice"),
    ),
    Kind(
        "vllm-omni",
        "Qwen3-Omni behind vLLM-Omni's streaming API; hears the user's voice itself.",
        required=("url",),
        optional=("model", "voice"),
    ),
    Kind(
        "chat",
        "Any OpenAI-compatible chat model, spoken sentence by sentence by an OpenAI-compatible speech endpoint.",
        required=("url",),
        optional=("model", "speech_url", "speech_model", "transcribe_url", "voice"),
    ),
    Kind(
        "qwen-omni",
        "Qwen3-Omni in this process through transformers.",
        required=("model",),
        optional=("voice", "device"),
    ),
)


def describe() -> tuple[Kind, ...]:
    """All kinds there are."""
    return _KINDS


def make_thinker(
    kind: str,
    *,
    url: str | None = None,
    model: str | None = None,
    speech_url: str | None = None,
    speech_model: str | None = None,
    transcribe_url: str | None = None,
    script: str | Path | None = None,
    voice: str | None = None,
    device: str | None = None,
) -> Thinker:
    """A thinker that is not yet started.

    Args:
        kind: the name of one of `describe()`.
        url: root of the chat service's API, e.g. `http://127.0.0.1:8091/v1`.
        model: its model; a folder or name for `qwen-omni`.
        speech_url, speech_model: the speech endpoint; by default the chat service's.
        transcribe_url: root of an API that turns a spoken turn into text, for models that cannot hear.
        script: file with the answers, for `script`.
        voice: the speaker's voice for conversations that name none.
        device: where `qwen-omni` runs.

    Raises:
        ThinkerOptionError: unknown kind, an option is missing, or one is given that this kind does not take.
        ThinkerError: an option's value is wrong (no such voice, an unreadable script).
    """
    found = next((entry for entry in _KINDS if entry.name == kind), None)
    if found is None:
        known = ", ".join(entry.name for entry in _KINDS)
        raise ThinkerOptionError(f"There is no thinker {kind!r}. There are: {known}.")
    given = {
        "url": url,
        "model": model,
        "speech_url": speech_url,
        "speech_model": speech_model,
        "transcribe_url": transcribe_url,
        "script": script,
        "voice": voice,
        "device": device,
    }
    for name, value in given.items():
        if value is None and name in found.required:
            raise ThinkerOptionError(f"The thinker {kind!r} needs {_option(name)}.")
        if value is not None and name not in found.required + found.optional:
            takes = ", ".join(map(_option, found.required + found.optional))
            raise ThinkerOptionError(f"The thinker {kind!r} has no use for {_option(name)}; it takes {takes}.")
    # Each kind's module is loaded only where it is wanted: one needs torch, another a library with voices.
    if kind == "script":
        from livetalk.thinkers.script import ScriptedThinker, read_script

        return ScriptedThinker(read_script(Path(script)) if script is not None else (), voice=voice)
    if kind == "vllm-omni":
        from livetalk.thinkers.vllm_omni import VllmOmniThinker

        return VllmOmniThinker(str(url), model=model, voice=voice)
    if kind == "chat":
        from livetalk.thinkers.chat import ChatThinker

        return ChatThinker(
            str(url),
            model=model,
            speech_url=speech_url,
            speech_model=speech_model,
            transcribe_url=transcribe_url,
            voice=voice,
        )
    from livetalk.thinkers.qwen_omni import QwenOmniThinker

    return QwenOmniThinker(str(model), voice=voice, device=device or "auto")


def _option(name: str) -> str:
    """An option as the command line writes it."""
    prefix = "thinker-" if name in ("url", "model", "device") else ""
    return f"--{prefix}{name.replace('_', '-')}"
