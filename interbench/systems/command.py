"""Systems that are a command line: one process per turn, or one persistent worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from interbench.base.errors import SystemLoadError
from interbench.base.workers import WorkerError, WorkerPool
from interbench.domain.persona import Persona
from interbench.systems.base import AvatarSystem, Conversation
from interbench.systems.events import Completed, Event, Failed, JsonValue, ReplyText, TurnRequest

PLACEHOLDERS = (
    *("text", "mood", "audio", "portrait", "output", "workdir", "seed", "history", "persona", "turn", "scenario"),
)
_FIELD = re.compile(r"\{([a-z_]*)\}")


class CommandSystem(AvatarSystem):
    """Runs a command for every turn; the file it writes is the answer.

    Args:
        argv: the command as a list. In each argument ``{text}`` (the user's words), ``{audio}`` (their speech, a path),
            ``{portrait}`` (reference image), ``{persona}`` (path of a JSON file), ``{history}`` (path of a JSON file
            with the earlier turns), ``{mood}`` (how the user feels), ``{output}`` (where the clip has to be),
            ``{workdir}``, ``{seed}``, ``{turn}`` and ``{scenario}`` are replaced; nothing goes through a shell. A turn
            without audio or portrait replaces them by an empty string.
        output: name of the file the command writes, inside the working folder of the turn.
        reply_text: name of a file in which the command leaves what the avatar says, if it knows.
        timeout_s: after this many seconds the command and all it started are killed.
        cwd: where the command runs; the turn's working folder if not given.
        env: variables added to the environment.
    """

    def __init__(
        self,
        argv: Sequence[str] = (),
        *,
        output: str = "reply.mp4",
        reply_text: str | None = None,
        timeout_s: float = 600.0,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        version: str = "unknown",
    ) -> None:
        if isinstance(argv, str) or not argv:
            raise SystemLoadError(
                "A command system needs its command as a list, e.g. in the settings file: "
                '[system.mine] spec = "command", argv = ["python", "render.py", "{text}", "{output}"].'
            )
        for argument in argv:
            for name in _FIELD.findall(argument):
                if name not in PLACEHOLDERS:
                    raise SystemLoadError(
                        f"The command template uses {{{name}}}, which is not known; there are "
                        + ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
                        + "."
                    )
        if Path(output).name != output:
            raise SystemLoadError(f"output = {output!r} must be a plain file name inside the turn's working folder.")
        self.argv = tuple(argv)
        self.output = output
        self.reply_text = reply_text
        self.timeout_s = timeout_s
        self.cwd = cwd
        self.env = dict(env or {})
        self._version = version

    @property
    def version(self) -> str:
        return self._version

    def settings(self) -> Mapping[str, JsonValue]:
        return {"argv": list(self.argv), "output": self.output, "cwd": self.cwd}

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.env}

    async def open(self, persona: Persona) -> Conversation:
        return _CommandConversation(self, persona)


class _CommandConversation(Conversation):
    def __init__(self, system: CommandSystem, persona: Persona) -> None:
        self._system = system
        self._persona = persona

    async def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        system = self._system
        argv = fill(system.argv, self._persona, turn, turn.workdir / system.output)
        log = turn.workdir / "command.log"
        with log.open("wb") as sink:
            try:
                process = await asyncio.create_subprocess_exec(
                    *argv,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                    cwd=system.cwd or turn.workdir,
                    env=system.environment(),
                    start_new_session=True,
                )
            except OSError as error:
                yield Failed("not_started", f"the command {argv[0]!r} can't be started: {error.strerror or error}")
                return
            try:
                async with asyncio.timeout(system.timeout_s):
                    code = await process.wait()
            except TimeoutError:
                yield Failed(
                    "command_timeout", f"the command did not end within {system.timeout_s:g} s", transient=True
                )
                return
            finally:
                # The command leads its own process group, so whatever it left behind goes with it.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)
                if process.returncode is None:
                    await process.wait()
        if code != 0:
            yield Failed(f"exit_{code}", f"the command ended with status {code}: {_tail(log)}")
            return
        if system.reply_text is not None:
            with contextlib.suppress(FileNotFoundError):
                yield ReplyText(
                    (turn.workdir / system.reply_text).read_text(encoding="utf-8", errors="replace").strip()
                )
        yield Completed(turn.workdir / system.output)


class WorkerSystem(AvatarSystem):
    """A persistent command that answers turn after turn, so that loading weights is not counted as latency.

    The worker reads one JSON object per line from standard input and writes one per line to standard output.
    A turn is ``{"op": "respond", "conversation": id, "persona": {...}, "turn": {...}, "output": path}`` and its answer
    ``{"text": what the avatar says or null}`` once the file at ``output`` is complete, or ``{"error": message}``.
    Before the first turn comes ``{"op": "start"}``, answered by ``{"version": ...}`` when the worker is ready, and
    after the last turn of a conversation ``{"op": "close", "conversation": id}``.

    Args:
        argv: command line of the worker.
        workers: processes running at the same time; a conversation is not bound to one.
        start_timeout_s: for loading weights.
        timeout_s: for one turn.
    """

    def __init__(
        self,
        argv: Sequence[str] = (),
        *,
        workers: int = 1,
        start_timeout_s: float = 1800.0,
        timeout_s: float = 600.0,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        if isinstance(argv, str) or not argv:
            raise SystemLoadError('A worker system needs its command as a list, e.g. argv = ["python", "worker.py"].')
        self.argv = tuple(argv)
        self.timeout_s = timeout_s
        self._start_timeout_s = start_timeout_s
        self._workers = workers
        environment = {**os.environ, **env} if env else None
        self.pool = WorkerPool(self.argv, workers, env=environment, cwd=None if cwd is None else Path(cwd))
        self._version = "unknown"
        self._count = 0

    @property
    def version(self) -> str:
        return self._version

    def settings(self) -> Mapping[str, JsonValue]:
        return {"argv": list(self.argv)}

    async def start(self) -> None:
        # One request each, at the same time, reaches every worker of the pool.
        answers = await asyncio.gather(
            *(self.pool.call({"op": "start"}, self._start_timeout_s) for _ in range(self._workers))
        )
        self._version = str(answers[0].get("version", "unknown"))

    async def stop(self) -> None:
        await self.pool.close()

    async def open(self, persona: Persona) -> Conversation:
        self._count += 1
        return _WorkerConversation(self, persona, f"c{self._count}")


class _WorkerConversation(Conversation):
    def __init__(self, system: WorkerSystem, persona: Persona, key: str) -> None:
        self._system = system
        self._persona = persona
        self._key = key

    async def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        output = turn.workdir / "reply.mp4"
        request = {
            "op": "respond",
            "conversation": self._key,
            "persona": self._persona.model_dump(mode="json"),
            "turn": turn_json(turn),
            "output": str(output),
        }
        try:
            answer = await self._system.pool.call(request, self._system.timeout_s)
        except WorkerError as error:
            yield Failed(error.code, str(error), transient=error.code in ("timeout", "worker_died"))
            return
        text = answer.get("text")
        if text is not None:
            yield ReplyText(str(text))
        yield Completed(output)

    async def close(self) -> None:
        with contextlib.suppress(WorkerError):
            await self._system.pool.call({"op": "close", "conversation": self._key}, self._system.timeout_s)


def fill(argv: Sequence[str], persona: Persona, turn: TurnRequest, output: Path) -> list[str]:
    """The command line of one turn. Values are inserted whole into their argument and never read as templates."""
    values: dict[str, Any] = {
        "text": turn.text,
        "audio": turn.audio or "",
        "portrait": turn.portrait or "",
        "output": output,
        "workdir": turn.workdir,
        "seed": turn.seed,
        "turn": turn.index,
        "scenario": turn.scenario,
        "mood": turn.mood,
    }
    if any("{persona}" in argument for argument in argv):
        path = turn.workdir / "persona.json"
        path.write_text(persona.model_dump_json(), encoding="utf-8")
        values["persona"] = path
    if any("{history}" in argument for argument in argv):
        path = turn.workdir / "history.json"
        path.write_text(json.dumps(turn_json(turn)["history"], ensure_ascii=False), encoding="utf-8")
        values["history"] = path
    return [_FIELD.sub(lambda match: str(values[match[1]]), argument) for argument in argv]


def turn_json(turn: TurnRequest) -> dict[str, Any]:
    """A turn as plain JSON types; paths become strings."""
    fields = asdict(turn)
    fields.pop("reference")
    text: str = json.dumps(fields, default=str)
    result: dict[str, Any] = json.loads(text)
    return result


def _tail(log: Path) -> str:
    lines = log.read_bytes()[-4000:].decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"
