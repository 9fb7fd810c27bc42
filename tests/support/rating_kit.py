"""Runs to be rated: real clips of systems with names that must not be seen, played and judged by the real pipeline."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import harness_kit

import interbench
from interbench.cli.main import main
from interbench.domain.persona import Persona
from interbench.domain.records import Missing, PlayedConversation, Verdict
from interbench.judge.base import Judge, JudgeTask
from interbench.systems.capabilities import Capabilities
from interbench.systems.clip import ClipSystem, Reply
from interbench.systems.events import TurnRequest

SYSTEMS = ("kestrel-9", "osprey-4", "harrier-7")
"""Labels that occur nowhere else, so that a search for them finds only what gives them away."""
CLIP_S = 0.5


class Merlin(Judge):
    """A judge of two dimensions, that people rate as well: its scores depend on the names alone."""

    label = "merlin"

    def identity(self) -> Mapping[str, Any]:
        return {"judge": "merlin"}

    async def judge(self, conversation: PlayedConversation, tasks: Sequence[JudgeTask]) -> AsyncIterator[Verdict]:
        for task in tasks:
            named = f"{conversation.system}/{conversation.scenario.id}/{task.dimension}"
            told: dict[str, Any] = {"score": 3.0 + zlib.crc32(named.encode()) % 6}
            if task.dimension not in ("MVC", "SR"):
                told = {"missing": Missing.NOT_MEASURABLE, "reasons": "it judges two dimensions"}
            yield Verdict(conversation.system, conversation.scenario.id, task.dimension, task.sample, **told)


class Coloured(ClipSystem):
    """Answers with a clip of a shade of its own, and says the reference reply."""

    capabilities = Capabilities(reports_text=True, needs_reference=True, state="history", seedable=True)
    version = "1"

    def __init__(self, shade: int = 100, breaks: str = "") -> None:
        self._shade = int(shade)
        self._breaks = breaks

    def render(self, persona: Persona, turn: TurnRequest, output: Path) -> Reply:
        if self._breaks == turn.scenario:
            raise RuntimeError("no answer to this one")
        harness_kit.write_clip(output, seconds=CLIP_S, shade=self._shade + 5 * turn.index)
        assert turn.reference is not None
        return Reply(turn.reference.reply)


def write_set(folder: Path, count: int, turns: int) -> Path:
    """A scenario set in ``folder`` with two persons, whose conversations take turns."""
    harness_kit.write_set(folder, count, turns)
    scenarios = [harness_kit.scenario(n, turns) | {"persona": ("tess", "omar")[n % 2]} for n in range(1, count + 1)]
    (folder / "scenarios.jsonl").write_text("".join(json.dumps(s) + "\n" for s in scenarios))
    other = harness_kit.PERSONA | {"id": "omar", "name": "Omar", "gender": "male"}
    (folder / "personas.jsonl").write_text("".join(json.dumps(p) + "\n" for p in (harness_kit.PERSONA, other)))
    return folder


def play(
    root: Path, *, systems: Iterable[str] = SYSTEMS, scenarios: int = 4, turns: int = 2, breaks: Mapping[str, str] = {}
) -> Path:
    """A run in ``root`` of these systems, judged in two dimensions; its folder. ``breaks``: scenarios lost."""
    options = {name: {"shade": 40 + 50 * n, "breaks": breaks.get(name, "")} for n, name in enumerate(systems)}
    interbench.run(
        [f"{name}=rating_kit:Coloured" for name in options],
        out=root / "run",
        scenarios=str(write_set(root / "set", scenarios, turns)),
        transcriber="given",
        judge="rating_kit:Merlin",
        system=options,
    )
    return root / "run"


@dataclass(frozen=True, slots=True)
class Done:
    """What a verb came to."""

    returncode: int
    stdout: str
    stderr: str


def cli(*arguments: str | Path) -> Done:
    """A verb as a user calls it, within this process: starting Python takes longer than most verbs."""
    out, err, before, status = io.StringIO(), io.StringIO(), sys.argv, 0
    sys.argv = ["interbench", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.argv = before
    return Done(status, out.getvalue(), err.getvalue())


class Server:
    """``interbench rate RUN`` as a process; ``links`` by rater, once it listens."""

    def __init__(self, run: Path, *options: str, port: int = 0) -> None:
        command = [sys.executable, "-u", "-m", "interbench", "rate", str(run), "--port", str(port), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.links: dict[str, str] = {}

    def __enter__(self) -> Self:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            rater, _, link = line.strip().partition(": http")
            if link:
                self.links[rater] = "http" + link
            if line.startswith("Ctrl-C"):
                return self
        assert self.process.stderr is not None
        said = self.process.stderr.read()
        self.__exit__(None, None, None)
        raise AssertionError(said)

    @property
    def port(self) -> int:
        return int(next(iter(self.links.values())).split("/")[2].rpartition(":")[2])

    def kill(self) -> None:
        """At once, with nothing written any more."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """As who is told to end; gives the exit status. (What a shell starts in the background ignores SIGINT.)"""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def settings_of(run: Path) -> dict[str, Any]:
    """The study's published file."""
    held: dict[str, Any] = json.loads((run / "ratings" / "study.json").read_text(encoding="utf-8"))
    return held
