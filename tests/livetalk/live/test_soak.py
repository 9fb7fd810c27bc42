"""A long conversation: nothing grows, nothing drifts, nothing breaks."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from known import known
from livetalk.live.turns import Outcome, UserTurn
from livetalk.thinkers.base import Question
from livetalk.video.fragments import FragmentWriter
from session_kit import Step, TellingThinker, make_engine, pocket_models, read, speech

SETTLED = 40
"""Turns after which all that is kept is there: window, anchors, the bounded memory, libraries' own caches."""


def tensor_bytes() -> int:
    """Of every tensor that lives, each storage counted once."""
    storages = {}
    for thing in gc.get_objects():
        if type(thing) in (torch.Tensor, torch.nn.Parameter) and thing.device.type == "cpu":
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.parametrize("turns", [61, pytest.param(200, marks=pytest.mark.soak)])
async def test_many_turns(monkeypatch: pytest.MonkeyPatch, turns: int) -> None:
    blocks = 0
    write = FragmentWriter.write

    def checked(writer: FragmentWriter, frames: Any, sound: Any) -> bytes:
        nonlocal blocks
        blocks += 1
        assert frames.std() > 1.0 and np.isfinite(sound).all()
        return write(writer, frames, sound)

    monkeypatch.setattr(FragmentWriter, "write", checked)
    thinker = TellingThinker()
    engine = make_engine(pocket_models(), thinker, capacity=1, history_chars=400, history_audio_s=5.0)
    await engine.start()
    session = await engine.open()
    generator = known(session._context).performer.generator
    sound = np.full(16_000, 0.01, np.float32)
    tensors, objects, memory = [], [], []
    forgotten, silent = Question("", (), None, None), list[Step]()
    for turn in range(turns):
        thinker.answers.append([speech(0.3, turn % 7)])
        answer = session.respond(UserTurn(text=f"Question {turn}.", audio=sound))
        if turn % 10 == 9:  # now and then the user breaks in, and now and then the client is gone
            await anext(answer)
            await (session.interrupt(0.1) if turn % 20 == 9 else answer.aclose())
        else:
            await read(answer)
        thinker.questions[-1] = forgotten  # the thinker's own notes are no part of this
        thinker.answers[-1] = silent
        if turn >= SETTLED and turn % 20 == 0:
            gc.collect()
            tensors.append(tensor_bytes())
            objects.append(len(gc.get_objects()))
            memory.append(resident_bytes())
    outcomes = {outcome: sum(record.outcome is outcome for record in session.records) for outcome in Outcome}
    assert outcomes[Outcome.completed] >= 0.9 * turns and outcomes[Outcome.failed] == 0
    assert blocks >= 0.9 * turns and generator.block >= 0.9 * turns
    assert torch.isfinite(generator.cache.k).all() and torch.isfinite(generator.cache.v).all()
    assert generator.cache.end > generator.stream.window, "the window has rolled, again and again"
    assert max(tensors) - min(tensors) <= 0.02 * min(tensors), tensors
    # A record of a few strings for each turn, and nothing else.
    assert objects[-1] - objects[0] <= 10 * (turns - SETTLED), objects
    assert memory[-1] - memory[0] <= 16 * 2**20, memory
    assert len(session._memory.messages()) < 40
    await engine.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("livetalk-")]
    assert len(asyncio.all_tasks()) == 1
