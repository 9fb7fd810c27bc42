"""Which judge a name on the command line means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interbench.base.registry import Registry
from interbench.judge.base import Judge

JUDGES: Registry[Judge] = Registry(
    "judge",
    Judge,  # type: ignore[type-abstract]
    "interbench.judges",
    {"signals": "interbench.judge.signals.judge:Signals"},
    address="interbench.judge.vlm.judge:VLMJudge",
)


def make_judge(name: str, options: Mapping[str, Any], repeats: int = 1) -> Judge:
    """The judge called ``name``.

    Args:
        name: a name of :data:`JUDGES`, ``module:Class``, or the URL(s) of servers, comma-separated.
        options: by the names of its constructor's parameters.
        repeats: judgements of every dimension; told to a judge whose constructor takes ``repeats``.

    Raises:
        UsageError: there is none of that name, or an option is unknown or wrong.
    """
    return JUDGES.make(name, options, given={"repeats": repeats})
