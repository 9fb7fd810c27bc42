"""The system through its seam: a real worker process, real files."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from interbench.base.errors import SystemLoadError
from interbench.base.workers import python_worker
from interbench.domain.persona import Persona, Voice
from interbench.systems.events import Completed, Failed, ReferenceReply, ReplyText, TurnRequest
from interbench.systems.puppet import Puppet
from interbench.systems.puppet.defects import DEFECTS
from interbench.systems.registry import SystemSpec

Turn = Callable[..., TurnRequest]


TOGETHER = pytest.mark.asyncio(loop_scope="module")
"""Tests that share a puppet, and so the event loop on which its worker was started."""


@pytest.fixture
def reference(reference: ReferenceReply) -> ReferenceReply:
    """A reply of a second, where it does not matter which."""
    return replace(reference, reply="It is 330 metres tall.")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def puppet() -> AsyncIterator[Puppet]:
    system = Puppet(workers=1)
    await system.start()
    yield system
    await system.stop()


async def events(system: Puppet, persona: Persona, turn: TurnRequest) -> list[Any]:
    conversation = await system.open(persona)
    found = [event async for event in conversation.respond(turn)]
    await conversation.close()
    return found


@TOGETHER
async def test_a_turn_yields_its_text_and_then_its_clip(
    puppet: Puppet, maya: Persona, turn: Turn, reference: ReferenceReply, decode: Callable[[Path], Any]
) -> None:
    request = turn(reference)
    text, done = await events(puppet, maya, request)
    assert text == ReplyText(reference.reply)
    assert isinstance(done, Completed)
    assert done.path is not None
    assert done.path.parent == request.workdir
    assert [path.name for path in request.workdir.iterdir()] == [done.path.name]
    assert len(decode(done.path).frames) == done.detail["frames"]


@TOGETHER
async def test_the_event_loop_keeps_turning_while_a_clip_is_rendered(
    puppet: Puppet, maya: Persona, turn: Turn, reference: ReferenceReply
) -> None:
    task = asyncio.create_task(events(puppet, maya, turn(reference)))
    turns = 0
    while not task.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert isinstance((await task)[-1], Completed)
    assert turns > 10


@TOGETHER
async def test_a_reply_that_cannot_be_spoken_fails_and_the_next_one_works(
    puppet: Puppet, maya: Persona, turn: Turn, reference: ReferenceReply
) -> None:
    mute = maya.model_copy(update={"voice": Voice(variant="en-us+nobody")})
    failed = (await events(puppet, mute, turn(reference, index=1)))[-1]
    assert isinstance(failed, Failed)
    assert "no voice variant 'nobody'" in failed.message
    assert isinstance((await events(puppet, maya, turn(reference, index=2)))[-1], Completed)


async def test_a_turn_without_a_reference_says_so(maya: Persona, turn: Turn) -> None:
    (failed,) = await events(Puppet(workers=1), maya, turn(None))
    assert isinstance(failed, Failed)
    assert failed.code == "no_reference"


async def test_a_defect_reports_what_it_really_says(maya: Persona, turn: Turn, reference: ReferenceReply) -> None:
    system = Puppet("off-topic", workers=1)
    text, done = await events(system, maya, turn(reference))
    await system.stop()
    assert text == ReplyText(reference.off_topic_reply)
    assert isinstance(done, Completed)


def test_variants_are_listed_and_unknown_ones_refused() -> None:
    assert set(Puppet.variants()) == set(DEFECTS)
    for name in ("amnesiac", "drift", "frozen", "wrong-mood", "off-topic", "partial", "contradict", "broadcast",
                 "out-of-sync", "silent", "blank", "broken"):  # fmt: skip
        assert Puppet(name).settings() == {"variant": name}
    with pytest.raises(SystemLoadError, match="no variant 'nice'; it has: amnesiac"):
        Puppet("nice")
    with pytest.raises(SystemLoadError, match="at least one worker"):
        Puppet(workers=0)


def test_the_registry_finds_the_puppet_and_its_variants() -> None:
    system = SystemSpec.parse("puppet:frozen").factory()()
    assert isinstance(system, Puppet)
    assert system.variant == "frozen"


def test_the_worker_answers_bad_requests_and_ends_with_its_input() -> None:
    lines = ["{}", "not json", json.dumps({"path": "/nowhere"}), "[]", "{}"]
    done = subprocess.run(
        python_worker("interbench.systems.puppet.worker"),
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [("error" in answer) for answer in answers] == [False, True, True, False, False]


def test_portraits_are_written_by_a_command(tmp_path: Path, maya: Persona) -> None:
    (tmp_path / "personas.jsonl").write_text(maya.model_dump_json() + "\n")
    argv = [sys.executable, "-m", "interbench.systems.puppet.portraits", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "portraits" / "maya.png").is_file()
    missing = subprocess.run([*argv[:-1], str(tmp_path / "x")], capture_output=True, text=True, timeout=60, check=False)
    assert missing.returncode == 2
    assert "can't be read" in missing.stderr
