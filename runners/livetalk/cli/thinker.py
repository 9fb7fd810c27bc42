"""Which thinker, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from livetalk.base.errors import OptionError
from livetalk.base.flags import Flag
from livetalk.thinkers import registry

if TYPE_CHECKING:
    from livetalk.thinkers.base import Thinker

_PREFIX = "thinker."


@dataclass(frozen=True, slots=True)
class ThinkerOptions:
    """Thinker: who thinks and speaks."""

    thinker: Annotated[
        str,
        Flag(
            "script (fixed answers, espeak-ng; needs no model), vllm-omni (Qwen3-Omni behind vLLM-Omni), chat (an "
            "OpenAI-compatible chat model and speech endpoint), qwen-omni (Qwen3-Omni in this process), a plug-in's "
            "name, or module:Class."
        ),
    ] = registry.DEFAULT
    settings: Annotated[
        tuple[str, ...],
        Flag(
            "thinker.OPTION=VALUE, e.g. thinker.url=http://127.0.0.1:8091/v1; may be repeated. `livetalk list "
            "thinkers` shows every thinker's options.",
            spelling=("--set",),
        ),
    ] = ()

    def make(self) -> Thinker:
        """The thinker, not yet started.

        Raises:
            OptionError: an entry is not of the form ``thinker.OPTION=VALUE``.
            ThinkerOptionError: there is no such thinker, or it has no such option.
            ThinkerError: an option's value is wrong.
        """
        texts: dict[str, str] = {}
        for entry in self.settings:
            name, equals, value = entry.partition("=")
            if not equals or not name.startswith(_PREFIX) or name == _PREFIX:
                raise OptionError(
                    f"--set {entry!r} is not of the form thinker.OPTION=VALUE, e.g. "
                    "thinker.url=http://127.0.0.1:8091/v1"
                )
            texts[name.removeprefix(_PREFIX)] = value
        return registry.from_texts(self.thinker, texts)
