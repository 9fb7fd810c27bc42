"""Which kind of lane a recipe asks for."""

from __future__ import annotations

from interbench.systems.recipes.lane import Lane, ModuleLane, OneShot, PipeLane, Setup
from interbench.systems.recipes.server_lane import ServerLane

_KEPT: dict[str, type[Lane]] = {"fifo": PipeLane, "module": ModuleLane, "server": ServerLane}


def make_lane(setup: Setup, *, keep: bool) -> Lane:
    """A lane as the recipe allows it: with its weights kept, if it can and is to."""
    how = setup.recipe.keep
    return OneShot(setup) if how is None or not keep else _KEPT[how.kind](setup)
