"""What comes from browsers and packs is foreign: checked against the study before it becomes an answer."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints, ValidationError

from interbench.base.errors import UsageError
from interbench.domain.ratings import WHOLE, Answer, Closing, Showing
from interbench.rating.page import SKIP_REASONS
from interbench.rating.rubric import rated_dimensions
from interbench.rating.study import Study
from interbench.stats.arena import Choice

Name = Annotated[str, StringConstraints(max_length=64)]
_MOST_REVISIONS = 100_000
_MOST_SECONDS = 30 * 24 * 3600.0


class GivenAnswer(BaseModel):
    """An answer as a page sends it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    showing: Name
    dimension: Name
    revision: int = Field(ge=1, le=_MOST_REVISIONS, strict=True)
    value: int | None = Field(None, strict=True)
    choice: Name | None = None
    skipped: Name = ""
    seconds: float = Field(0.0, ge=0, le=_MOST_SECONDS)
    played: float = Field(0.0, ge=0, le=1)
    at: Name = ""


class GivenClosing(BaseModel):
    """What a page sends at the end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recognised: StrictBool
    note: Annotated[str, StringConstraints(max_length=2000)] = ""


def read_closing(rater: str, data: Any) -> Closing:
    """Raises :class:`~interbench.base.errors.UsageError` for what is none."""
    try:
        given = GivenClosing.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"This is no closing word: {_first(error)}.") from None
    return Closing(rater, given.recognised, given.note.encode("utf-8", "replace").decode())


def read_answer(study: Study, rater: str, assigned: dict[str, Showing], data: Any, *, now: bool) -> Answer:
    """An answer of ``rater``, to whom the showings ``assigned`` are shown.

    Args:
        now: stamp it with this machine's time of day instead of believing the sender's.

    Raises:
        UsageError: it is malformed, of a showing or dimension that is not asked, outside the scale, or given before
            enough was played.
    """
    try:
        given = GivenAnswer.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"This is no answer: {_first(error)}.") from None
    showing = assigned.get(given.showing)
    if showing is None:
        raise UsageError(f"Nothing called {given.showing!a} is shown to this rater.")
    if given.skipped and (given.dimension != WHOLE or given.skipped not in SKIP_REASONS):
        raise UsageError(f"{given.skipped!a} is no reason to skip a conversation.")
    if given.dimension == WHOLE:
        if given.value is not None or given.choice is not None:
            raise UsageError("What closes a conversation has no value.")
    else:
        _require_asked(showing, given)
    if not given.skipped and given.played < study.settings.played:
        raise UsageError(
            f"Only {100 * given.played:.0f} % of it was played, and {100 * study.settings.played:.0f} % must be before "
            "it can be rated."
        )
    at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds") if now else given.at
    value = None if given.value is None else float(given.value)
    return Answer(
        rater,
        given.showing,
        given.dimension,
        given.revision,
        value,
        given.choice,
        given.skipped,
        given.seconds,
        given.played,
        at,
    )


def _require_asked(showing: Showing, given: GivenAnswer) -> None:
    if given.dimension not in showing.dimensions:
        raise UsageError(f"{given.dimension!a} is not asked of {showing.id}.")
    if len(showing.sides) == 2:
        if given.choice not in get_args(Choice) or given.value is not None:
            raise UsageError(f"Of two, the answer is one of {', '.join(get_args(Choice))}.")
        return
    question = rated_dimensions()[given.dimension]
    if given.value is None or given.choice is not None or not question.low <= given.value <= question.high:
        raise UsageError(
            f"{given.dimension} is rated with a whole number from {question.low} to {question.high}, not {given.value}."
        )


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
