"""Remote jobs and money in the ledger: what was submitted and is not known to have ended, what it may have cost."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from interbench.domain.records import Charge, Spend
from interbench.store.ledger import Key, Ledger, condition
from interbench.systems.events import JsonValue


@dataclass(frozen=True, slots=True)
class Job:
    """A remote job that was submitted and whose end is not recorded."""

    key: Key
    job_id: str
    detail: Mapping[str, Any]


class Charges(Ledger):
    """The ledger's jobs and money."""

    # -- jobs ---------------------------------------------------------------------------------------------------------

    def submitted(self, key: Key, job_id: str, detail: Mapping[str, JsonValue]) -> None:
        """Remember a remote job before anything else happens, because it may cost money."""
        values = (key.system, key.scenario, key.turn, job_id, json.dumps(detail, default=str))
        self._execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, 1)", values)

    def open_jobs(self, system: str | None = None, scenario: str | None = None) -> list[Job]:
        """Jobs whose end is not recorded, oldest first."""
        where, values = condition(system=system, scenario=scenario, open=1)
        rows = self._execute(
            f"SELECT system, scenario, turn, job_id, detail FROM jobs{where} ORDER BY rowid",  # noqa: S608
            values,
        )
        return [Job(Key(*row[:3]), row[3], json.loads(row[4])) for row in rows]

    def close_job(self, key: Key, job_id: str) -> None:
        """Give a job up: it is not taken up again, and what it may have cost stays counted."""
        values = (key.system, key.scenario, key.turn, job_id)
        with self._transaction() as db:
            db.execute("UPDATE jobs SET open = 0 WHERE system = ? AND scenario = ? AND turn = ? AND job_id = ?", values)
            db.execute(
                "UPDATE spending SET charge = ? WHERE system = ? AND scenario = ? AND turn = ? AND charge = ?",
                (Charge.POSSIBLE, *values[:3], Charge.RESERVED),
            )

    # -- money --------------------------------------------------------------------------------------------------------

    def reserve(self, key: Key, video_s: float, usd: float | None) -> None:
        """Set money aside for a request that is about to be sent."""
        values = (key.system, key.scenario, key.turn, Charge.RESERVED, video_s, usd)
        self._execute(
            "INSERT INTO spending (system, scenario, turn, charge, video_s, usd) VALUES (?, ?, ?, ?, ?, ?)", values
        )

    def settle(self, key: Key, charge: Charge, usd: float | None = None, video_s: float | None = None) -> float | None:
        """Say what became of the turn's last request; gives its cost, as reserved where ``usd`` is None.

        Args:
            video_s: seconds charged for, if they are others than were reserved.

        Raises:
            ValueError: an amount is negative or no number; nothing is changed.
        """
        if any(amount is not None and not 0 <= amount < math.inf for amount in (usd, video_s)):
            raise ValueError(f"no amounts: {usd!r} USD, {video_s!r} s")
        rows = self._execute(
            "UPDATE spending SET charge = ?, usd = COALESCE(?, usd), video_s = COALESCE(?, video_s) WHERE id = "
            "(SELECT MAX(id) FROM spending WHERE system = ? AND scenario = ? AND turn = ?) RETURNING usd",
            (charge, usd, video_s, key.system, key.scenario, key.turn),
        )
        return rows[0][0] if rows else usd

    def spending(self, key: Key | None = None) -> list[Spend]:
        """Every request that may have cost money, oldest first; of one turn if ``key`` is given."""
        where, values = condition(**({} if key is None else asdict(key)))
        rows = self._execute(
            f"SELECT system, scenario, turn, charge, video_s, usd FROM spending{where} ORDER BY id",  # noqa: S608
            values,
        )
        return [Spend(row[0], row[1], row[2], Charge(row[3]), row[4], row[5]) for row in rows]
