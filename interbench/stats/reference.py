"""Frozen pools: keep a pool's mu and sigma, so that adding a system does not move the others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from interbench.base import termination
from interbench.base.errors import ReferencePoolError
from interbench.domain.dimensions import no_such_dimension
from interbench.stats.pooling import Moments, Pool
from interbench.stats.scores import KEYS

_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class JudgeLabel(BaseModel):
    """Who made the scores."""

    model_config = _STRICT

    name: str = Field(min_length=1)
    """As shown, e.g. ``Qwen3-VL-30B-A3B-Instruct``."""
    identity: str = ""
    """Fingerprint of everything that could change a verdict (model, settings, prompts); empty if unknown."""
    comparable: bool = True
    """False for the offline judge: its figures must not be set beside a vision-language model's."""
    mode: str = ""
    """Of which reading of the rubrics its verdicts are, e.g. ``published``; empty if unknown, or without rubrics."""

    def same_as(self, other: JudgeLabel) -> bool:
        """Whether scores by the two may stand in one pool."""
        return (self.name, self.identity) == (other.name, other.identity)


class FrozenMoments(BaseModel):
    """Of one dimension."""

    model_config = _STRICT

    mu: float
    sigma: float = Field(ge=0)
    """Population standard deviation."""
    n: int = Field(ge=1)
    """Scores it was computed from."""


class ReferencePool(BaseModel):
    """A pool as a file."""

    model_config = _STRICT

    schema_version: Literal["interbench.reference/1"] = Field("interbench.reference/1", alias="schema")
    systems: tuple[str, ...] = Field(min_length=1)
    scenarios: tuple[str, ...] = Field(min_length=1)
    judge: JudgeLabel | None
    """None if the scores came without the name of their judge."""
    dimensions: dict[str, FrozenMoments] = Field(min_length=1)

    @model_validator(mode="after")
    def _known(self) -> ReferencePool:
        if unknown := [key for key in self.dimensions if key not in KEYS]:
            raise ValueError(no_such_dimension(unknown[0]))
        return self

    @classmethod
    def from_pool(cls, pool: Pool, judge: JudgeLabel | None) -> ReferencePool:
        """Raises :class:`~interbench.base.errors.ReferencePoolError` for a pool without a single score."""
        if not pool.moments:
            raise ReferencePoolError("A pool without a single score can't become a reference; judge something first.")
        return cls(
            systems=pool.systems,
            scenarios=pool.scenarios,
            judge=judge,
            dimensions={key: FrozenMoments(mu=m.mu, sigma=m.sigma, n=m.n) for key, m in pool.moments.items()},
        )

    @classmethod
    def read(cls, path: Path) -> ReferencePool:
        """Raises :class:`~interbench.base.errors.ReferencePoolError` if it can't be read or breaks the schema."""
        advice = "Write it anew from the scores of the reference pool."
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ReferencePoolError(f"The reference {path} can't be read: {error.strerror or error}.") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"])) or "the file"
            why = first["msg"].removeprefix("Value error, ")
            raise ReferencePoolError(f"The reference {path} is not valid: {field}: {why}. {advice}") from error

    def write(self, path: Path) -> None:
        """Replaces the file at once or not at all. Raises :class:`~interbench.base.errors.ReferencePoolError`."""
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        text = self.model_dump_json(by_alias=True, indent=2) + "\n"
        try:
            with termination.undivided():
                draft.write_text(text, encoding="utf-8")
                draft.replace(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise ReferencePoolError(f"The reference {path} can't be written: {error.strerror or error}.") from error

    @property
    def pool(self) -> Pool:
        return Pool(
            self.systems, self.scenarios, {key: Moments(m.mu, m.sigma, m.n) for key, m in self.dimensions.items()}
        )

    def check(self, judge: JudgeLabel | None, scored: list[str]) -> None:
        """Refuse scores that this reference can't pool: another judge's, or on dimensions (``scored``) it lacks.

        A judge unknown on either side is let through; the table says so. Raises
        :class:`~interbench.base.errors.ReferencePoolError`.
        """
        if judge and self.judge and not judge.same_as(self.judge):
            raise ReferencePoolError(
                f"The reference was made with the judge {_full(self.judge)}, the scores with {_full(judge)}. "
                "Percentiles never mix two judges: use a reference written from scores of the same judge and settings."
            )
        if lacking := [key for key in scored if key not in self.dimensions]:
            raise ReferencePoolError(
                f"The reference knows nothing of {', '.join(lacking)}, which the scores hold. Write a reference from a "
                "pool that was judged on these dimensions too."
            )


def _full(judge: JudgeLabel) -> str:
    return f"{judge.name} ({judge.identity})" if judge.identity else judge.name
