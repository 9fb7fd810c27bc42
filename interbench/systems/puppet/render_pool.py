"""The workers that all puppets of a process share.

What a worker draws once per persona serves every variant of the puppet, so that five systems in one run need no more
processes, memory or first drawings than one. Each system lives on an event loop of its own, hence so does the
pool.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

from interbench.base.workers import WorkerPool, python_worker

_START_LIMIT_S = 60.0
_open: dict[int, RenderPool] = {}
_guard = threading.Lock()


class RenderPool:
    """``workers`` rendering processes; got with :meth:`enter`, given back with :meth:`leave`."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._users = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="interbench-puppet", daemon=True)
        self._thread.start()
        self._pool = asyncio.run_coroutine_threadsafe(self._make(), self._loop).result()

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    async def _make(self) -> WorkerPool:
        return WorkerPool(python_worker("interbench.systems.puppet.worker"), self._workers)

    @classmethod
    def enter(cls, workers: int) -> RenderPool:
        """The render pool with this many workers, opened if nobody uses it yet."""
        with _guard:
            render_pool = _open.get(workers)
            if render_pool is None:
                render_pool = _open[workers] = cls(workers)
            render_pool._users += 1
            return render_pool

    async def leave(self) -> None:
        """End the workers if nobody else uses them."""
        with _guard:
            self._users -= 1
            if self._users:
                return
            del _open[self._workers]
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._pool.close(), self._loop))
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)

    async def warm_up(self) -> None:
        """Start every worker."""
        await asyncio.gather(*(self.call({}, _START_LIMIT_S) for _ in range(self._workers)))

    async def call(self, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:  # noqa: ASYNC109 - the worker is killed at the limit
        """As :meth:`WorkerPool.call`, from any event loop."""
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(self._pool.call(request, timeout), self._loop)
        )
