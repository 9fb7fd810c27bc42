"""Which judge a name on the command line means."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from interbench.base.errors import UsageError
from interbench.judge.base import Judge

MODEL_VARIABLE = "INTERBENCH_JUDGE_MODEL"
KEY_VARIABLE = "INTERBENCH_JUDGE_KEY"
NAMES: Mapping[str, str] = {
    "signals": "offline: scores only what it can measure, by documented formulas",
    "URL[,URL ...]": "a vision-language model behind OpenAI-compatible servers (see judge-server)",
}


def make_judge(name: str, options: Mapping[str, Any], repeats: int = 1) -> Judge:
    """The judge called ``name``.

    Args:
        name: one of :data:`NAMES`.
        options: for a server: ``model`` (or the environment's ``INTERBENCH_JUDGE_MODEL``; the only one served needs no
            name), ``api_key_env`` (the name of a variable; ``INTERBENCH_JUDGE_KEY`` if that is set) and the fields of
            :class:`interbench.judge.vlm.settings.JudgeSettings`.
        repeats: judgements of every dimension.

    Raises:
        UsageError: there is none of that name, or an option is unknown or wrong.
    """
    if name == "signals":
        from interbench.judge.signals.judge import Signals

        if options:
            raise UsageError(f"The judge 'signals' takes no options, but got {', '.join(options)}.")
        return Signals()
    if "://" in name:
        from interbench.judge.vlm.judge import VLMJudge
        from interbench.judge.vlm.settings import read_settings

        rest = dict(options)
        model = rest.pop("model", None) or os.environ.get(MODEL_VARIABLE)
        api_key_env = rest.pop("api_key_env", None) or (KEY_VARIABLE if KEY_VARIABLE in os.environ else None)
        return VLMJudge(name.split(","), model, api_key_env, read_settings({**rest, "repeats": repeats}))
    raise UsageError(
        f"There is no judge {name!r}; there are {', '.join(NAMES)}. A URL begins with http:// or https://."
    )
