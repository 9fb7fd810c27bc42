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
from typing import Any, Literal

from interbench.base.errors import SystemLoadError
from interbench.base.foreign import number, whole
from interbench.base.workers import Cancel, WorkerError, WorkerPool, spawn
from interbench.domain.persona import Persona
from interbench.systems.base import AvatarSystem, Conversation
from interbench.systems.events import Completed, Event, Failed, JsonValue, ReplyText, TurnRequest
from interbench.systems.prompting import picture_prompt

PLACEHOLDERS = (
    *("text", "mood", "audio", "script", "speech", "prompt", "portrait", "output", "workdir", "seed", "history"),
    *("persona", "turn", "scenario", "deadline_s"),
)
_FIELD = re.compile(r"\{([a-z_]*)\}")
_TELLING = ("script", "speech")
"""Placeholders for which somebody has to make up the reply."""


class CommandSystem(AvatarSystem):
    """Runs a command for every turn; the file it writes is the answer.

    Args:
        argv: the command as a list. In each argument ``{text}`` (the user's words), ``{mood}`` (how the user
            feels), ``{audio}`` (the user's speech, a path), ``{script}`` (the words of the reply), ``{speech}`` (the
            reply spoken, a WAV file), ``{prompt}`` (what the picture shows, in words), ``{portrait}`` (reference
            image), ``{persona}`` (path of a JSON file), ``{history}`` (path of a JSON file with the earlier turns),
            ``{output}`` (where the clip has to be),
            ``{workdir}``, ``{seed}``, ``{turn}``, ``{scenario}`` and ``{deadline_s}`` (seconds that the turn may take)
            are replaced; nothing goes through a shell. A turn without audio or portrait replaces them by an empty
            string. A program that moves a face to a sound wants ``{speech}``: with ``{audio}`` its avatar repeats the
            user.
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

    @property
    def takes_script(self) -> bool:
        return any(f"{{{name}}}" in argument for argument in self.argv for name in _TELLING)

    @property
    def takes_speech(self) -> bool:
        return any("{speech}" in argument for argument in self.argv)

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
                process = await spawn(
                    *argv,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=sink,
                    stderr=sink,
                    cwd=system.cwd or turn.workdir,
                    env=system.environment(),
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
        said = turn.script if system.takes_script else None
        if system.reply_text is not None:
            with contextlib.suppress(FileNotFoundError):
                said = (turn.workdir / system.reply_text).read_text(encoding="utf-8", errors="replace").strip()
        if said is not None:
            yield ReplyText(said)
        yield Completed(turn.workdir / system.output)


class WorkerSystem(AvatarSystem):
    """A persistent command that answers turn after turn, so that loading weights is not counted as latency.

    The worker reads one JSON object per line from standard input and writes one per line to standard output.
    A turn is ``{"op": "respond", "conversation": id, "persona": {...}, "turn": {...}, "output": path}`` and its answer
    ``{"text": what the avatar says or null}`` once the file at ``output`` is complete, or ``{"error": message}``.
    Before the first turn comes ``{"op": "start"}``, answered by ``{"version": ...}`` when the worker is ready, and
    after the last turn of a conversation ``{"op": "close", "conversation": id}``.

    ``turn`` holds what the placeholders of a command name, ``script``, ``speech``, ``prompt`` and ``deadline_s`` among
    them. An answer may carry ``render_s``, ``load_s`` (seconds) and ``frames``. At the turn's deadline comes
    ``{"op": "cancel"}``: a worker that answers the turn and then this within ``grace_s``, with whatever it likes, keeps
    running and its weights stay loaded; one that does not is killed.

    Args:
        argv: command line of the worker.
        needs: ``script`` and ``speech``, if the words of the reply and their sound are to be given.
        grace_s: how long a worker that was told to cancel may take to answer.
        workers: processes running at the same time; a conversation is not bound to one.
        start_timeout_s: for loading weights.
        timeout_s: for one turn.
    """

    def __init__(
        self,
        argv: Sequence[str] = (),
        *,
        workers: int = 1,
        needs: Sequence[Literal["script", "speech"]] = (),
        start_timeout_s: float = 1800.0,
        timeout_s: float = 600.0,
        grace_s: float = 2.0,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        if isinstance(argv, str) or not argv:
            raise SystemLoadError('A worker system needs its command as a list, e.g. argv = ["python", "worker.py"].')
        self.argv = tuple(argv)
        self.timeout_s = timeout_s
        self._start_timeout_s = start_timeout_s
        self._workers = workers
        self._needs = frozenset(needs)
        environment = {**os.environ, **env} if env else None
        self.pool = WorkerPool(
            self.argv,
            workers,
            env=environment,
            cwd=None if cwd is None else Path(cwd),
            cancel=Cancel({"op": "cancel"}, grace_s),
        )
        self._version = "unknown"
        self._count = 0

    @property
    def version(self) -> str:
        return self._version

    @property
    def takes_script(self) -> bool:
        return bool(self._needs)

    @property
    def takes_speech(self) -> bool:
        return "speech" in self._needs

    def settings(self) -> Mapping[str, JsonValue]:
        return {"argv": list(self.argv), **({"needs": sorted(self._needs)} if self._needs else {})}

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
            "turn": turn_json(turn, self._persona),
            "output": str(output),
        }
        try:
            answer = await self._system.pool.call(request, min(self._system.timeout_s, turn.deadline_s))
        except WorkerError as error:
            yield Failed(error.code, str(error), transient=error.code in ("timeout", "worker_died"))
            return
        text = answer.get("text", turn.script if self._system.takes_script else None)
        if text is not None:
            yield ReplyText(str(text))
        parts = {
            name: seconds
            for name, key in (("loaded", "load_s"), ("rendered", "render_s"))
            if (seconds := number(answer.get(key))) is not None
        }
        yield Completed(output, {"parts_s": parts} if parts else {}, frames=whole(answer.get("frames")))

    async def close(self) -> None:
        with contextlib.suppress(WorkerError):
            await self._system.pool.call({"op": "close", "conversation": self._key}, self._system.timeout_s)


def fill(argv: Sequence[str], persona: Persona, turn: TurnRequest, output: Path) -> list[str]:
    """The command line of one turn. Values are inserted whole into their argument and never read as templates."""
    values: dict[str, Any] = {
        "text": turn.text,
        "audio": turn.audio or "",
        "script": turn.script or "",
        "speech": turn.speech or "",
        "prompt": picture_prompt(persona),
        "deadline_s": f"{turn.deadline_s:g}",
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
        path.write_text(json.dumps(turn_json(turn, persona)["history"], ensure_ascii=False), encoding="utf-8")
        values["history"] = path
    return [_FIELD.sub(lambda match: str(values[match[1]]), argument) for argument in argv]


def turn_json(turn: TurnRequest, persona: Persona) -> dict[str, Any]:
    """A turn as plain JSON types; paths become strings. ``prompt`` says in words what the picture shows."""
    fields = asdict(turn) | {"prompt": picture_prompt(persona)}
    fields.pop("reference")
    text: str = json.dumps(fields, default=str)
    result: dict[str, Any] = json.loads(text)
    return result


def _tail(log: Path) -> str:
    lines = log.read_bytes()[-4000:].decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"
