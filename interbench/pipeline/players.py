"""Who plays the conversations of one system: a host of this machine, or renderers on the nodes of a cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

from interbench.drive.driver import Driver
from interbench.pipeline.placement.fleet import Fleet
from interbench.scenarios.plan import PlannedScenario
from interbench.systems.host import Host


class Players(Protocol):
    """Gives out places for conversations."""

    def place(self, planned: PlannedScenario) -> contextlib.AbstractAsyncContextManager[Driver]:
        """Who plays this conversation, as soon as there is room for it.

        Raises:
            StrandedError: there will be none.
        """

    async def stop(self) -> None:
        """Release everything."""


class PlayersHere:
    """One started system in this process.

    Args:
        host: where it runs.
        driver: plays it.
        own: how many conversations it takes.
        everywhere: how many all systems of this process take together.
    """

    def __init__(self, host: Host, driver: Driver, own: asyncio.Semaphore, everywhere: asyncio.Semaphore) -> None:
        self._host = host
        self._driver = driver
        self._own = own
        self._everywhere = everywhere

    @contextlib.asynccontextmanager
    async def place(self, planned: PlannedScenario) -> AsyncIterator[Driver]:
        async with self._own, self._everywhere:
            yield self._driver

    async def stop(self) -> None:
        await self._host.stop()


class PlayersThere:
    """Renderers of a cluster."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    @contextlib.asynccontextmanager
    async def place(self, planned: PlannedScenario) -> AsyncIterator[Driver]:
        async with self._fleet.seat(planned.scenario.id, len(planned.scenario.turns)) as seat:
            driver: Driver = seat.player
            yield driver

    async def stop(self) -> None:
        await self._fleet.stop()
