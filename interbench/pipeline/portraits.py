"""Portraits are decoded before the first turn: a photograph that is none would fail every turn that needs it."""

from __future__ import annotations

from collections.abc import Sequence

from interbench.base.errors import MediaError, ScenarioError
from interbench.media.pool import MediaPool
from interbench.scenarios.plan import PlannedScenario


async def check_portraits(planned_scenarios: Sequence[PlannedScenario], media: MediaPool) -> None:
    """Decode the portrait of every persona that these scenarios have.

    Raises:
        ScenarioError: naming each that can't be used.
    """
    portraits = {planned.portrait: planned.persona.id for planned in planned_scenarios if planned.portrait is not None}
    problems = []
    for path, persona in portraits.items():
        try:
            await media.portrait(path)
        except MediaError as error:
            problems.append(f"of {persona}, {error}")
    if problems:
        raise ScenarioError(
            f"A portrait can't be used, so nothing was played: {'; '.join(problems)} Replace it; `interbench validate` "
            f"checks a whole set, with --personas those of your own."
        )
