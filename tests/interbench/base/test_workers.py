"""Processes that are started and given up."""

from __future__ import annotations

import asyncio
import os
import select
import sys

import pytest

from interbench.base.workers import spawn

STARTED = "import sys, time; sys.stdout.write('x'); sys.stdout.flush(); time.sleep(1000)"
LEADS = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STARTED!r}])"
LIMIT_S = 120.0


def readable(pipe: int, limit_s: float) -> bool:
    return bool(select.select([pipe], [], [], limit_s)[0])


def test_who_is_cancelled_while_a_process_starts_leaves_nothing_of_it() -> None:
    """On a busy machine the process may have started another before the event loop hears of the first."""
    reader, writer = os.pipe()

    async def give_up() -> None:
        starting = asyncio.ensure_future(spawn(sys.executable, "-c", LEADS, stdout=writer))
        # The loop stands still from the fork on, until the process has started another.
        for limit_s in (0.0, 1.0, 1.0, LIMIT_S):
            await asyncio.sleep(0)
            if readable(reader, limit_s):
                break
        assert os.read(reader, 10) == b"x" and not starting.done()
        os.close(writer)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    asyncio.run(give_up())
    assert readable(reader, LIMIT_S) and os.read(reader, 1) == b"", "somebody still has the other end"
    os.close(reader)


def test_what_cannot_be_started_is_an_error_of_the_system() -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(spawn("/nowhere/at-all"))
