"""What tests of live systems share: a set whose user interrupts, and systems that say what a live stream does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import harness_kit
import numpy as np
from typer.testing import CliRunner

from interbench.base.errors import InterbenchError
from interbench.cli.main import app
from interbench.domain.incidents import Incident, IncidentKind
from interbench.domain.persona import Persona
from interbench.domain.records import Exchange
from interbench.media.pool import encode_audio
from interbench.report.run_records import read_records
from interbench.systems.base import AvatarSystem, Conversation
from interbench.systems.capabilities import Capabilities
from interbench.systems.events import (
    Completed,
    Event,
    FirstSound,
    JsonValue,
    ProgressReport,
    ReplyText,
    TimedOut,
    TurnRequest,
    UserTurnEnd,
)


def write_line(path: Path) -> Path:
    """Four tenths of a second of sound, and silence that no longer belongs to the line."""
    sound = 0.2 * np.sin(np.arange(12_800) / 9)
    sound[6_400:] = 0
    encode_audio(sound.astype(np.float32), 16_000, path)
    return path


def write_interrupted_set(folder: Path, *, turns: int = 3, after_s: float = 0.5, interrupting: int = 2) -> Path:
    """One conversation with spoken turns; turn ``interrupting`` begins ``after_s`` into the answer before (0: none)."""
    harness_kit.write_set(folder, count=1, turns=turns)
    told = json.loads((folder / "scenarios.jsonl").read_text())
    (folder / "audio").mkdir()
    write_line(folder / "audio/line.wav")
    for turn in told["turns"]:
        turn["audio"] = "audio/line.wav"
    if interrupting:
        told["turns"][interrupting - 1]["barge_in_s"] = after_s
    (folder / "scenarios.jsonl").write_text(json.dumps(told) + "\n")
    return folder


def command(
    system: str, options: Mapping[str, Any], scenarios: Path, out: Path, *more: str, verb: str = "run"
) -> list[str]:
    """``interbench run`` of one system with these options."""
    config = out.parent / f"{out.name}.toml"
    table = {"spec": system, **options}
    config.write_text("[system.live]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in table.items()))
    chosen = ["--systems", "live", "--scenarios", str(scenarios), "--out", str(out), "--config", str(config)]
    return [sys.executable, "-m", "interbench", verb, "--transcriber", "given", *chosen, *more]


def run(
    system: str, options: Mapping[str, Any], scenarios: Path, out: Path, *more: str, verb: str = "run"
) -> dict[int, Exchange]:
    """Play a set's only conversation by the verb, in this process; its exchanges by turn."""
    status, said = invoked(command(system, options, scenarios, out, *more, verb=verb))
    assert status in (0, 4), said  # 4: nothing of what was left came to a good end
    return exchanges(out)


def invoked(argv: Sequence[str]) -> tuple[int, str]:
    """Exit status of a command of :func:`command`, and what it said, without a process of its own."""
    done = CliRunner().invoke(app, list(argv[3:]))
    if isinstance(done.exception, InterbenchError):
        return done.exception.exit_code, f"{done.output}{done.exception}"
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def kill_once(argv: Sequence[str], so: Callable[[], bool]) -> None:
    """Start a command of :func:`command`, and kill it as soon as that is so."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    try:
        until(lambda: so() or process.poll() is not None, 120)
        assert process.poll() is None, "it ended before"
    finally:
        process.kill()
        process.wait()


def exchanges(out: Path) -> dict[int, Exchange]:
    return {exchange.turn: exchange for exchange in read_records(out).exchanges}


def environment() -> dict[str, str]:
    here = str(Path(__file__).parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}


class Attentive(AvatarSystem):
    """Yields what a live system yields, in the order in which it happens; the second turn interrupts the first."""

    version = "1"
    capabilities = Capabilities(continuous=True, barge_in=True, reports_text=True)

    async def open(self, persona: Persona) -> Conversation:
        return _Attentive()


class Unstoppable(Attentive):
    """The same, but nobody can interrupt it."""

    capabilities = Capabilities(continuous=True, reports_text=True)


class _Attentive(Conversation):
    def __init__(self) -> None:
        self._cut = False

    async def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        yield ProgressReport(note="the user's line is played")
        yield UserTurnEnd(ago_s=0.25 if turn.index == 2 else 0.0)
        if turn.index == 3:
            yield Incident(IncidentKind.NO_ANSWER)
            yield TimedOut("nothing was heard")
            return
        yield FirstSound()
        yield ReplyText("The answer is blue.")
        clip = harness_kit.write_clip(turn.workdir / "a.mp4", quiet_s=0.2)
        yield Incident(IncidentKind.FREEZE, 0.3, 0.5)
        yield Incident(IncidentKind.FREEZE, 1.3, 0.7, "until the end")
        cut, self._cut = self._cut, turn.barge_in is not None
        detail: dict[str, JsonValue] = {}
        if cut:
            detail["barge_in"] = {"done": True, "after_s": 0.5, "time_to_silence_s": 0.3, "remembered": "The answer"}
        yield Completed(clip, detail, ago_s=0.01)


def until(true: Callable[[], bool], limit_s: float) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
