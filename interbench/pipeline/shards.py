"""Parts of a plan that are played apart, on machines that know nothing of one another, and merged afterwards.

Who plays what follows from the plan alone: whole scenarios, each in exactly one shard, dealt out the longest first to
the shard that has fewest turns. Every shard's manifest states the whole plan, so a merge knows what belongs together
and what is still missing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from interbench.base.errors import StoreError, UsageError
from interbench.scenarios.plan import PlannedScenario

_TEXT = re.compile(r"([1-9]\d{0,4})/([1-9]\d{0,4})")


def parse_shard(text: str) -> tuple[int, int]:
    """Number (from 1) and count of ``2/8``.

    Raises:
        UsageError: it is no shard.
    """
    found = _TEXT.fullmatch(text.strip())
    if found is None or int(found[1]) > int(found[2]):
        raise UsageError(f"The shard {text!r} is none: give its number and how many there are, from 1/8 to 8/8.")
    return int(found[1]), int(found[2])


def divide(turns: Sequence[int], count: int) -> list[int]:
    """The shard (from 1) of every scenario, by the number of its turns.

    No two shards differ by more turns than the longest scenario has, and by one at most where all are equally long.

    Raises:
        UsageError: there are more shards than scenarios.
    """
    if count > len(turns):
        raise UsageError(
            f"There are {count} shards and {len(turns)} scenarios, so some would have nothing to play. Take at most "
            f"{len(turns)} shards."
        )
    load, held, shards = [0] * count, [0] * count, [0] * len(turns)
    for index in sorted(range(len(turns)), key=lambda index: (-turns[index], index)):
        least = min(range(count), key=lambda number: (load[number], held[number], number))
        load[least] += turns[index]
        held[least] += 1
        shards[index] = least + 1
    return shards


@dataclass(frozen=True, slots=True)
class Sharding:
    """Which shards of which plan a run folder holds."""

    numbers: tuple[int, ...]
    """From 1; several where shards were merged."""
    of: int
    scenarios: tuple[str, ...]
    """Ids of the whole plan, in its order."""
    digest: str
    """Of the whole plan: its scenarios and personas, and the order."""

    @property
    def frozen(self) -> str:
        """For what may not change as long as a folder is added to."""
        numbers = ",".join(map(str, self.numbers))
        return f"{numbers}/{self.of} of {len(self.scenarios)} scenarios, plan {self.digest[:12]}"

    def record(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "numbers": list(self.numbers),
            "of": self.of,
            "scenarios": list(self.scenarios),
            "digest": self.digest,
        }

    @classmethod
    def read(cls, manifest: Mapping[str, Any], where: str) -> Self | None:
        """From a manifest; None if the run is no shard. ``where``: what messages call it.

        Raises:
            StoreError: the entry is damaged.
        """
        held = manifest.get("shard")
        if held is None:
            return None
        try:
            found = cls(
                tuple(sorted(int(number) for number in held["numbers"])),
                int(held["of"]),
                tuple(str(scenario) for scenario in held["scenarios"]),
                str(held["digest"]),
            )
        except (KeyError, TypeError, ValueError):
            found = None
        if (
            found is None
            or not found.numbers
            or len(set(found.numbers)) < len(found.numbers)
            or not 1 <= found.numbers[0] <= found.numbers[-1] <= found.of <= len(found.scenarios)
        ):
            raise StoreError(
                f"The manifest of {where} does not say rightly which shard it is. Restore manifest.json from a backup, "
                f"or play the shard again."
            )
        return found


def take_shard(planned_scenarios: Sequence[PlannedScenario], text: str) -> tuple[tuple[PlannedScenario, ...], Sharding]:
    """The scenarios of one shard of a plan, in the plan's order, and what its manifest says of it.

    Args:
        planned_scenarios: the whole plan.
        text: such as ``2/8``.

    Raises:
        UsageError: it is no shard, or there are more shards than scenarios.
    """
    number, count = parse_shard(text)
    shards = divide([len(planned.scenario.turns) for planned in planned_scenarios], count)
    own = tuple(planned for planned, shard in zip(planned_scenarios, shards, strict=True) if shard == number)
    ids = tuple(planned.scenario.id for planned in planned_scenarios)
    return own, Sharding((number,), count, ids, plan_digest(planned_scenarios))


def plan_digest(planned_scenarios: Sequence[PlannedScenario]) -> str:
    """SHA-256 over the scenarios of a plan with their personas, in order."""
    said = [
        [planned.scenario.id, planned.scenario.digest(), planned.persona.model_dump_json()]
        for planned in planned_scenarios
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
