"""What a new conversation needs before its first block: made in threads of their own, in nobody's way."""

from __future__ import annotations

import asyncio
import gc
import io
import threading
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from livetalk.live.engine import Engine, LiveSettings
from livetalk.live.turns import UserTurn
from livetalk.render.config import StreamConfig
from livetalk.render.encoders.text import TextEncoder
from livetalk.render.pipeline import Models
from livetalk.thinkers.script import ScriptedThinker
from PIL import Image
from torch import Tensor

STREAM = StreamConfig(4, 4, position="bounded")


class Notes:
    """Threads that something was done in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.threads: list[str] = []
        work = getattr(owner, name)

        def noted(*given: Any, **options: Any) -> Any:
            self.threads.append(threading.current_thread().name)
            return work(*given, **options)

        monkeypatch.setattr(owner, name, noted)


class HeldEncoder(TextEncoder):
    """Takes its time with every prompt but the first."""

    def __init__(self, encoder: TextEncoder, begun: threading.Event, go_on: threading.Event, first: bool) -> None:
        self._encoder, self._begun, self._go_on, self._first = encoder, begun, go_on, first

    def __call__(self, prompt: str) -> Tensor:
        if not self._first:
            self._begun.set()
            assert self._go_on.wait(60), "nobody let it go on"
        return self._encoder(prompt)


def picture(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (shade, 90, 120)).save(file, "PNG")
    return file.getvalue()


async def test_pictures_are_encoded_in_one_thread(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cuDNN has planned for a thread is known to no other."""
    encoded = Notes(monkeypatch, models.vae, "encode_image")
    engine = Engine(models, LiveSettings(STREAM, capacity=3), ScriptedThinker(("Yes.",)))
    await engine.start()
    try:
        for shade in range(3):
            await engine.open(image=picture(40 * shade))
    finally:
        await engine.stop()
    assert len(encoded.threads) == 4 and set(encoded.threads) == {"livetalk-pictures"}


async def test_all_conversations_share_one_set_of_streams(models: Models) -> None:
    engine = Engine(models, LiveSettings(STREAM, capacity=3), ScriptedThinker(("Yes.",)))
    await engine.start()
    try:
        assert len({id(performer._streams) for performer in engine._performers}) == 1
    finally:
        await engine.stop()


async def test_a_new_prompt_is_in_nobody_s_way(models: Models) -> None:
    """While it is encoded others open, answer and end, and the device keeps what it has set aside for them."""
    begun, go_on = threading.Event(), threading.Event()
    made: list[None] = []

    def text() -> TextEncoder:
        made.append(None)
        return HeldEncoder(models.text(), begun, go_on, first=len(made) == 1)

    engine = Engine(replace(models, text=text), LiveSettings(STREAM, capacity=3), ScriptedThinker(("Yes.",)))
    await engine.start()
    try:
        waiting = asyncio.create_task(engine.open(prompt="A dog at sea."))
        await asyncio.to_thread(begun.wait, 60)
        assert begun.is_set()
        session = await engine.open(image=picture(10))
        pieces = [piece async for piece in session.respond(UserTurn(text="Well?"))]
        assert pieces and session.records[-1].outcome == "completed"
        assert not waiting.done()
        go_on.set()
        assert (await waiting).id != session.id
        again = await engine.open(prompt="A dog at sea.")
        assert len(made) == 2 and again.id
    finally:
        go_on.set()
        await engine.stop()


@pytest.mark.parametrize("others", [0, 1])
async def test_memory_is_given_back_to_the_device_only_while_nobody_is_at_work(
    models: Models, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    kept = []
    encode = Models.encode_prompt

    def noting(self: Models, prompt: str, *, give_back: bool = True) -> Tensor:
        kept.append(give_back)
        return encode(self, prompt, give_back=give_back)

    monkeypatch.setattr(Models, "encode_prompt", noting)
    engine = Engine(models, LiveSettings(STREAM, capacity=2), ScriptedThinker(("Yes.",)))
    await engine.start()
    try:
        for _ in range(others):
            await engine.open()
        await engine.open(prompt="A dog at sea.")
    finally:
        await engine.stop()
    assert kept == [True, others == 0]


@pytest.mark.parametrize("cycle", [False, True])
def test_a_text_encoder_is_gone_once_the_prompt_is_encoded(models: Models, cycle: bool) -> None:
    made = []

    def text() -> TextEncoder:
        encoder = models.text()
        if cycle:
            encoder.model.__dict__["held by"] = encoder
        made.append(weakref.ref(encoder.model))
        return encoder

    gc.disable()  # of its own accord it may come at any moment, or not
    try:
        replace(models, text=text).encode_prompt("A dog at sea.")
        assert [encoder() for encoder in made] == [None]
    finally:
        gc.enable()


async def test_an_engine_that_was_stopped_can_start_again(models: Models) -> None:
    engine = Engine(models, LiveSettings(STREAM, capacity=1), ScriptedThinker(("Yes.",)))
    for _ in range(2):
        await engine.start()
        assert (await engine.open(prompt="Another.")).id
        await engine.stop()
    assert torch.backends.cudnn.benchmark is False
