"""A place for one turn at a time: a process for each turn, or one process that keeps its weights loaded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from interbench.base.errors import InterbenchError, SystemLoadError
from interbench.base.foreign import NotJsonError, mapped, number, parsed_json
from interbench.base.scratch import Scratch
from interbench.systems.recipes.model import FIELD, Recipe
from interbench.systems.recipes.process import Child, Follower
from interbench.systems.recipes.turn import Places, Prepared, TurnFacts, prepare, read_facts
from interbench.systems.recipes.view import NoClipError, Started, find_clip, is_whole_mp4, link_checkout

_POLL_S = 0.05
LOADING = read_facts(
    {
        "scenario": "loading",
        "turn": 1,
        "seed": 0,
        "prompt": "A person talks.",
        "script": "-",
        "speech": {"samples": 16000},
    }
)
"""Stands for a turn where a command is needed before there is one."""


class RenderError(InterbenchError):
    """A turn has no clip; ``code`` is kept in the record."""

    def __init__(self, code: str, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.transient = transient


@dataclass(frozen=True, slots=True)
class Setup:
    """What a lane is made with."""

    recipe: Recipe
    home: Path
    python: str
    env: dict[str, str]
    gpu: str | None
    seed: int
    """Of a process that is kept."""
    start_timeout_s: float


@dataclass(frozen=True, slots=True)
class Rendered:
    """A clip as the command left it."""

    clip: Path
    parts_s: dict[str, float] = field(default_factory=dict)
    detail: dict[str, float] = field(default_factory=dict)


class Lane(ABC):
    """Renders turns, one at a time."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    async def ready(self) -> None:
        """Wait until a turn can be taken. Not counted as latency.

        Raises:
            SystemLoadError: the process can't be started, or ends before it has loaded.
        """

    @abstractmethod
    async def render(self, facts: TurnFacts, workdir: Path) -> Rendered:
        """The clip of a turn; its portrait and speech lie in ``workdir``.

        Raises:
            RenderError, NoClipError: there is none.
            UnfitValueError: a value can't be handed to the system.
        """

    async def stop(self) -> None:
        """End all processes."""

    def places(self, workdir: Path, files: Path | None = None) -> Places:
        return Places(str(self.setup.home), str(workdir), self.setup.python, "" if files is None else str(files))

    def write_files(self, prepared: Prepared, folder: Path, leave: str = "") -> None:
        for name, text in prepared.files.items():
            if name != leave:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")


class OneShot(Lane):
    """A process for each turn, in a view of the checkout of its own. Loading counts as latency."""

    async def render(self, facts: TurnFacts, workdir: Path) -> Rendered:
        recipe = self.setup.recipe
        prepared = prepare(recipe, facts, self.places(workdir))
        link_checkout(recipe, self.setup.home, workdir, (f"{facts.stem}.png", f"{facts.stem}.wav", "command.log"))
        self.write_files(prepared, workdir)
        started = Started.now(workdir)
        child = Child(
            prepared.argv,
            cwd=workdir,
            log=workdir / "command.log",
            env={**prepared.env, **self.setup.env},
            gpu=self.setup.gpu,
        )
        began = time.monotonic()
        try:
            await child.start()
            status = await child.wait()
            said = child.last_words()
        finally:
            # All that it started ends with it, also where the turn is given up.
            await asyncio.shield(child.end())
        if status != 0:
            raise RenderError(f"exit_{status}", f"the command ended with status {status}: {said}")
        try:
            clip = find_clip(workdir, prepared.glob, prepared.without, started)
        except NoClipError as error:
            raise NoClipError(error.code, f"{error}; its last line: {said}") from None
        return Rendered(clip, {"rendered": round(time.monotonic() - began, 3)})


class Kept(Lane):
    """One process for many turns, its weights loaded before the first.

    A turn that is given up goes on in it, so that it costs no reload; the next one waits, before its clock starts,
    until it is done.
    """

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._child: Child | None = None
        self._scratch: Scratch | None = None
        self._pending: asyncio.Task[Rendered] | None = None
        self._answered = 0
        self.load_s = 0.0

    @property
    def folder(self) -> Path:
        assert self._scratch is not None
        return self._scratch.path

    async def ready(self) -> None:
        if self._pending is not None:
            # Whatever comes of a turn that was given up, its clip is nobody's any more. One that never ends is ended.
            ended, late = await asyncio.wait({self._pending}, timeout=self.setup.recipe.cost.timeout_s / 2)
            for task in ended:
                task.cancelled() or task.exception()
            if late:
                await self.stop()
            self._pending = None
        if self._child is not None and self._child.running:
            return
        await self.stop()
        began = time.monotonic()
        self._scratch = Scratch("kept")
        self._answered = 0
        try:
            async with asyncio.timeout(self.setup.start_timeout_s):
                self._child = await self._begin()
        except TimeoutError:
            await self.stop()
            raise SystemLoadError(
                f"{self.setup.recipe.name} has not loaded within {self.setup.start_timeout_s:g} s; give it longer with "
                f"start_timeout_s."
            ) from None
        except BaseException:
            await self.stop()
            raise
        self.load_s = time.monotonic() - began

    @abstractmethod
    async def _begin(self) -> Child:
        """The process, loaded."""

    @abstractmethod
    async def _work(self, facts: TurnFacts, workdir: Path, nth: int) -> Rendered:
        """Hand a turn to the process and wait for its clip."""

    async def render(self, facts: TurnFacts, workdir: Path) -> Rendered:
        if self._child is None or not self._child.running:
            await self.ready()
        nth, self._answered = self._answered, self._answered + 1
        self._pending = asyncio.create_task(self._work(facts, workdir, nth))
        # Being given up cancels the wait and not the work.
        rendered = await asyncio.shield(self._pending)
        self._pending = None
        detail = {"turns_before": nth, "load_s": round(self.load_s, 3)}
        return Rendered(rendered.clip, rendered.parts_s, {**rendered.detail, **detail})

    async def stop(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await pending
        child, self._child = self._child, None
        if child is not None:
            await asyncio.shield(child.end())
        scratch, self._scratch = self._scratch, None
        if scratch is not None:
            await asyncio.to_thread(scratch.remove)

    def _send(self, line: int, text: str, child: Child) -> None:
        """Write one request, whole or not at all; the pipe is empty, as there is one at a time."""
        data = text.encode()
        if len(data) > select.PIPE_BUF:
            raise RenderError("request_too_long", f"a request of {len(data)} bytes; at most {select.PIPE_BUF} fit")
        try:
            os.write(line, data)
        except OSError:
            raise RenderError(
                "worker_died", f"the process reads no more: {child.last_words()}", transient=True
            ) from None

    def _log(self) -> Path:
        return self.folder / "command.log"

    def _pipe(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path, 0o600)
        return path

    async def _opened(self, pipe: Path, child: Child) -> int:
        """The writing end of a pipe, once its reader is there: a model that reads its input has been loaded."""
        while True:
            try:
                return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                self._require(child, "before it had loaded")
            await asyncio.sleep(_POLL_S)

    def _require(self, child: Child, when: str) -> None:
        if not child.running:
            name = self.setup.recipe.name
            raise SystemLoadError(
                f"The process of {name} ended {when}, with status {child.status}: {child.last_words()}"
            )

    async def _until(self, done: Callable[[], bool], child: Child) -> None:
        """Wait until ``done``; one look more after the process has ended."""
        while not done():
            if not child.running:
                if done():
                    return
                raise RenderError(
                    "worker_died",
                    f"the process ended in the middle of a turn, with status {child.status}: {child.last_words()}",
                    transient=True,
                )
            await asyncio.sleep(_POLL_S)


class PipeLane(Kept):
    """Feeds an input file that is read line by line: a named pipe stands in for it."""

    _line = -1

    async def _begin(self) -> Child:
        recipe, keep = self.setup.recipe, self.setup.recipe.keep
        assert keep is not None
        link_checkout(recipe, self.setup.home, self.folder, ("command.log",))
        pipe = self._pipe(keep.file)
        facts = LOADING.model_copy(update={"seed": self.setup.seed})
        prepared = prepare(recipe, facts, self.places(self.folder))
        self.write_files(prepared, self.folder, leave=keep.file)
        self._said = Follower(self._log())
        child = Child(
            prepared.argv, cwd=self.folder, log=self._log(), env={**prepared.env, **self.setup.env}, gpu=self.setup.gpu
        )
        await child.start()
        try:
            self._line = await self._opened(pipe, child)
        except BaseException:
            await asyncio.shield(child.end())
            raise
        return child

    async def _work(self, facts: TurnFacts, workdir: Path, nth: int) -> Rendered:
        recipe, keep, child = self.setup.recipe, self.setup.recipe.keep, self._child
        assert keep is not None and child is not None
        facts = facts.model_copy(update={"seed": self.setup.seed})
        prepared = prepare(recipe, facts, self.places(self.folder, workdir), nth=nth, kept=True)
        started = Started.now(self.folder)
        self._said.lines()
        began = time.monotonic()
        self._send(self._line, prepared.files[keep.file], child)
        parts: dict[str, float] = {}

        def announced() -> bool:
            return any(keep.ready in line for line in self._said.lines())

        await self._until(announced, child)
        parts["rendered"] = round(time.monotonic() - began, 3)

        def written() -> bool:
            with contextlib.suppress(NoClipError):
                return is_whole_mp4(find_clip(self.folder, prepared.glob, prepared.without, started))
            return False

        await self._until(written, child)
        clip = find_clip(self.folder, prepared.glob, prepared.without, started)
        taken = workdir / "rendered.mp4"
        await asyncio.to_thread(shutil.move, clip, taken)
        return Rendered(taken, parts)

    async def stop(self) -> None:
        line, self._line = self._line, -1
        if line >= 0:
            os.close(line)
        await super().stop()


class ModuleLane(Kept):
    """Calls functions of a module of the checkout, in a process that has loaded its models once."""

    _line = -1

    async def _begin(self) -> Child:
        recipe, keep = self.setup.recipe, self.setup.recipe.keep
        assert keep is not None
        link_checkout(recipe, self.setup.home, self.folder, ("command.log", "requests", "answers"))
        pipe, answers = self._pipe("requests"), self.folder / "answers"
        answers.touch()
        self._answers = Follower(answers)
        spec = {name: getattr(keep, name) for name in ("module", "parse", "load", "render")}
        worker = str(Path(__file__).with_name("module_worker.py"))
        prepared = prepare(recipe, LOADING, self.places(self.folder))
        child = Child(
            [self.setup.python, worker, json.dumps(spec), str(pipe), str(answers)],
            cwd=self.folder,
            log=self._log(),
            env={**prepared.env, **self.setup.env},
            gpu=self.setup.gpu,
        )
        await child.start()
        try:
            self._line = await self._opened(pipe, child)
            error, _ = await self._ask("load", prepared, child)
        except RenderError as died:
            await asyncio.shield(child.end())
            raise SystemLoadError(f"{recipe.name} can't load its models: {died}") from None
        except BaseException:
            await asyncio.shield(child.end())
            raise
        if error:
            await asyncio.shield(child.end())
            raise SystemLoadError(f"{recipe.name} can't load its models: {error}")
        return child

    async def _work(self, facts: TurnFacts, workdir: Path, nth: int) -> Rendered:
        recipe, child = self.setup.recipe, self._child
        assert child is not None
        prepared = prepare(recipe, facts, self.places(workdir))
        self.write_files(prepared, workdir)
        started = Started.now(workdir)
        error, seconds = await self._ask("render", prepared, child)
        if error:
            raise RenderError("render_failed", error)
        clip = find_clip(workdir, prepared.glob, prepared.without, started)
        return Rendered(clip, {} if seconds is None else {"rendered": seconds})

    async def _ask(self, op: str, prepared: Prepared, child: Child) -> tuple[str, float | None]:
        """What went wrong, if anything, and how long it took."""
        argv = list(prepared.argv[_options_from(self.setup.recipe) :])
        self._send(self._line, json.dumps({"op": op, "argv": argv}) + "\n", child)
        answers: list[str] = []

        def answered() -> bool:
            answers.extend(self._answers.lines())
            return bool(answers)

        await self._until(answered, child)
        try:
            answer = mapped(parsed_json(answers[-1]))
        except NotJsonError:
            answer = {"error": "the worker's answer can't be read"}
        return str(answer.get("error") or ""), number(answer.get("seconds"))

    async def stop(self) -> None:
        line, self._line = self._line, -1
        if line >= 0:
            os.close(line)
        await super().stop()


def _options_from(recipe: Recipe) -> int:
    """Where the options begin in a command ``python SCRIPT OPTIONS``."""
    return next(index for index, argument in enumerate(recipe.argv) if argument == recipe.entry) + 1


def names_turn(recipe: Recipe) -> set[str]:
    """Placeholders of single turns in the command of a process that is kept; it is started before there is one."""
    return {name for argument in recipe.argv for name in FIELD.findall(argument)} & {
        *("portrait", "speech", "prompt", "script", "turn", "speech_s", "scenario", "stem"),
        *recipe.numbers,
    }
