"""One pool of decoding processes for all the tests of a session, whatever event loop each of them runs on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interbench.media.pool import MediaPool


class SharedMedia(MediaPool):
    """A :class:`MediaPool` with an event loop of its own: every test has another, and each new pool a new process."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop

    async def _call(self, task: str, path: Path, **arguments: Any) -> dict[str, Any]:
        answer = asyncio.run_coroutine_threadsafe(super()._call(task, path, **arguments), self._loop)
        return await asyncio.wrap_future(answer)


@contextlib.contextmanager
def shared_media() -> Iterator[MediaPool]:
    """Open until the end of the block; not to be closed by those who share it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="shared-media", daemon=True)
    thread.start()
    media = SharedMedia(loop)
    try:
        yield media
    finally:
        asyncio.run_coroutine_threadsafe(media.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
