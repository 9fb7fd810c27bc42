"""The settings of a study: a file that can be published, with nothing in it that would unblind or name a rater."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from interbench.base.errors import StoreError, UsageError
from interbench.domain.dimensions import no_such_dimension
from interbench.rating.rubric import rated_dimensions

Mode = Literal["absolute", "pairs", "both"]
SCHEMA = "interbench.study/1"
OVERALL = "OIE"
"""What pairs are compared in, unless others are asked for."""


class Rule(BaseModel):
    """Who is left out, fixed before anybody rates; results are shown with and without."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    failed_checks: int = Field(2, ge=1, description="Out if as many of the checks failed.")
    retest: float = Field(2.5, gt=0, description="Out if hidden repeats differ by more than this on average.")
    hurry: float = Field(0.5, gt=0, description="Out if the median time is below this share of the play time.")


class StudySettings(BaseModel):
    """What a study is made with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode = "absolute"
    items: int = Field(60, ge=1, le=10_000, description="Conversations to be rated, of all systems together.")
    raters: int = Field(3, ge=1, le=1000, description="Places for raters.")
    per_item: int = Field(3, ge=1, le=1000, description="Raters of each conversation or pair.")
    dimensions: tuple[str, ...] = ()
    """Asked of each conversation; empty for all that have a rubric."""
    pair_dimensions: tuple[str, ...] = (OVERALL,)
    """Asked of each pair."""
    common: float = Field(0.15, ge=0, le=1, description="Share of what is shown that all raters get.")
    silent: float = Field(0.2, ge=0, le=1, description="Share of the conversations also asked without sound.")
    defects: float = Field(2 / 30, ge=0, le=1, description="Gross defects per conversation shown.")
    repeats: float = Field(1 / 15, ge=0, le=1, description="Hidden repeats per conversation shown.")
    instructed: int = Field(1, ge=0, le=10, description="Conversations with the answer written beside them.")
    played: float = Field(0.9, ge=0, le=1, description="Share that must have been played before it can be rated.")
    seed: int = Field(0, ge=0)
    rule: Rule = Rule()

    @model_validator(mode="after")
    def _sensible(self) -> StudySettings:
        known = rated_dimensions()
        for key in (*self.dimensions, *self.pair_dimensions):
            if key not in known:
                raise ValueError(no_such_dimension(key) + ", of those that people are asked for")
        for keys in (self.dimensions, self.pair_dimensions):
            if len(set(keys)) < len(keys):
                raise ValueError("a dimension is named twice")
        if not self.pair_dimensions:
            raise ValueError("pairs need a dimension to be compared in")
        if self.per_item > self.raters:
            raise ValueError(
                f"{self.per_item} raters per conversation are asked for and there are places for {self.raters}; ask "
                "for more --raters or a lower --per-item"
            )
        return self

    @property
    def absolute(self) -> bool:
        """Whether conversations are rated on the scale."""
        return self.mode in ("absolute", "both")

    @property
    def pairs(self) -> bool:
        """Whether pairs are compared."""
        return self.mode in ("pairs", "both")

    @property
    def asked(self) -> tuple[str, ...]:
        """Keys of the dimensions that are asked of each conversation."""
        return self.dimensions or tuple(rated_dimensions())


def make_settings(given: dict[str, Any], base: StudySettings | None = None) -> StudySettings:
    """Settings from what was given; what is None is as in ``base``.

    Raises:
        UsageError: a value can't be used.
    """
    told = {name: value for name, value in given.items() if value is not None}
    if "raters" in told and "per_item" not in told:
        told["per_item"] = min(int(told["raters"]), (base or StudySettings()).per_item)
    try:
        return StudySettings.model_validate({**(base.model_dump() if base else {}), **told})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        text = str(first["msg"]).removeprefix("Value error, ")
        raise UsageError(f"The study can't be made: {f'{where}: ' if where else ''}{text}.") from None


def read_settings(path: Path) -> StudySettings:
    """The settings of a published study.

    Raises:
        UsageError: it is no such file.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} can't be read as a study ({error}). Give the study.json of one.") from None
    if not isinstance(held, dict) or held.get("schema") != SCHEMA or not isinstance(held.get("settings"), dict):
        raise UsageError(f"{path} is no study of this version ({SCHEMA}). Give the study.json of one.")
    return make_settings(held["settings"])


def stored_settings(text: str, where: Path) -> StudySettings:
    """Settings as they are kept with the ratings.

    Raises:
        StoreError: they were written by another version.
    """
    try:
        return StudySettings.model_validate_json(text)
    except ValidationError as error:
        raise StoreError(
            f"The study in {where} can't be read ({error.errors()[0]['msg']}). Open it with the version that made it."
        ) from None
