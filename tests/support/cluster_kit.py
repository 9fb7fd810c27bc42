"""What tests of clusters share: a real Ray of two local nodes, and systems that tell where and when they worked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import harness_kit

from interbench.base.child_guard import descendants
from interbench.domain.incidents import Incident, IncidentKind
from interbench.domain.persona import Persona
from interbench.systems.base import AvatarSystem, Conversation
from interbench.systems.capabilities import Capabilities
from interbench.systems.events import (
    Completed,
    Event,
    FirstSound,
    JsonValue,
    Media,
    Opening,
    ReplyText,
    Shows,
    Submitted,
    Submitting,
    TurnRequest,
    UserTurnEnd,
)

SUPPORT = Path(__file__).parent
STORE_BYTES = 80 * 2**20


class Varied(AvatarSystem):
    """Answers differently from scenario to scenario, or in one way: a broken file, a file, a stream, an exception."""

    capabilities = Capabilities(output="stream", reports_text=True, state="history", needs_reference=True)
    version = "3"

    def __init__(self, kind: int | None = None) -> None:
        self.kind = kind

    async def open(self, persona: Persona) -> Conversation:
        return _Varied(self.kind)


class _Varied(Conversation):
    def __init__(self, kind: int | None) -> None:
        self.kind = kind
        self.turns = 0

    def state(self) -> JsonValue:
        return {"turns": self.turns}

    async def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        self.turns += 1
        assert turn.reference is not None
        assert turn.portrait is None or turn.portrait.read_bytes()
        known = [past.clip is not None and past.clip.stat().st_size for past in turn.history]
        yield ReplyText(turn.reference.reply)
        # Of each at least one in the starter set.
        kind = sum(turn.scenario.encode()) % 4 if self.kind is None else self.kind
        detail: Mapping[str, JsonValue] = {"known": [bool(size) for size in known], "state": self.turns}
        if kind == 1:
            yield Completed(harness_kit.write_clip(turn.workdir / "a.mp4", shade=50 + turn.index), detail=detail)
        elif kind == 2:
            source = harness_kit.write_clip(turn.workdir / "source.mp4", shade=90 + turn.index, fragmented=True)
            data = source.read_bytes()
            for start in range(0, len(data), 4096):
                yield Media(data[start : start + 4096])
            yield Completed(detail=detail)
        elif kind == 3 and turn.index == 2:
            raise RuntimeError("the weights melted")
        else:
            path = harness_kit.write_clip(turn.workdir / "a.mp4", shade=120 + turn.index)
            if turn.index == 1 and kind == 0:
                path.write_bytes(path.read_bytes()[:500])
            yield Completed(path, detail=detail)


class Meets(AvatarSystem):
    """Answers its first turn only when as many processes as ``count`` are answering one; ``folder`` is where they meet.

    Of its conversations none can be taken up by another process.
    """

    capabilities = Capabilities(state="session", reports_text=True, max_concurrency=1)
    version = "1"

    def __init__(self, folder: str, count: int = 2, pause_s: float = 0.0) -> None:
        self.folder, self.count, self.pause_s = Path(folder), count, pause_s

    async def open(self, persona: Persona) -> Conversation:
        return _Meeting(self)


class _Meeting(Conversation):
    def __init__(self, system: Meets) -> None:
        self.system = system
        self.name = uuid.uuid4().hex

    async def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        with (self.system.folder / "turns").open("a") as log:
            log.write(f"{os.getpid()} {turn.scenario} {turn.index} {self.name}\n")
        (self.system.folder / f"here-{os.getpid()}").touch()
        while len(list(self.system.folder.glob("here-*"))) < self.system.count:  # noqa: ASYNC110 - others are processes
            await asyncio.sleep(0.01)
        await asyncio.sleep(self.system.pause_s)
        yield ReplyText("Well met.")
        path = harness_kit.write_clip(turn.workdir / "a.mp4", seconds=0.3, shade=100 + turn.index)
        yield Completed(path, detail={"conversation": self.name, "process": os.getpid()})


class Sleeps(AvatarSystem):
    """Takes its time and computes nothing: what is left is what a cluster costs."""

    capabilities = Capabilities(state="history", max_concurrency=1)
    version = "1"

    def __init__(self, clip: str, seconds: float = 1.0) -> None:
        self.clip, self.seconds = Path(clip), float(seconds)

    async def open(self, persona: Persona) -> Conversation:
        return _Sleeping(self)


class _Sleeping(Conversation):
    def __init__(self, system: Sleeps) -> None:
        self.system = system

    async def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        await asyncio.sleep(self.system.seconds)
        path = turn.workdir / "a.mp4"
        path.write_bytes(self.system.clip.read_bytes())
        yield Completed(path)


class Announces(AvatarSystem):
    """Announces a request that may cost money though it says nothing of it in advance; notes when it is sent."""

    capabilities = Capabilities(state="none")
    version = "1"

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    async def open(self, persona: Persona) -> Conversation:
        return _Announcing(self.folder)


class _Announcing(Conversation):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        yield Submitting(5.0, 0.5)
        with (self.folder / "sent").open("a") as log:
            log.write(f"{turn.scenario}/{turn.index}\n")
        yield Submitted(f"job-{turn.scenario}-{turn.index}")
        yield Completed(harness_kit.write_clip(turn.workdir / "a.mp4", seconds=0.3), cost_usd=0.5)


class OnAir(AvatarSystem):
    """Tells what a system tells that listens and speaks in real time, and computes where it is started."""

    capabilities = Capabilities(inputs=frozenset({"text", "audio"}), continuous=True, barge_in=True, reports_text=True)
    version = "1"

    async def open(self, persona: Persona) -> Conversation:
        return _OnAir()


class _OnAir(Conversation):
    async def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        yield ReplyText("I see.")
        await asyncio.sleep(0.2)
        yield UserTurnEnd(0.05)
        still = turn.workdir.joinpath("still.png")
        still.write_bytes(f"a face for {turn.scenario}".encode())
        yield Shows(turn.workdir.parent / "not-mine.png" if turn.index == 2 else still)
        yield FirstSound(0.01)
        yield Incident(IncidentKind.FREEZE, 0.1, 0.4, "as it was")
        yield Completed(harness_kit.write_clip(turn.workdir / "a.mp4"), ago_s=0.02)


class StartsOnce(Varied):
    """Can be started as often as ``folder`` has files; then its machine is at fault."""

    def __init__(self, folder: str) -> None:
        super().__init__(kind=1)
        self.folder = Path(folder)

    async def start(self) -> None:
        for left in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another took it
                left.unlink()
                return
        raise RuntimeError("no CUDA device")


class Opens(AvatarSystem):
    """Opens slowly, so that openings overlap, and answers with what it was opened for."""

    version = "1"

    async def open(self, persona: Persona) -> Conversation:
        await asyncio.sleep(0.05)
        return _Opened()


class _Opened(Conversation):
    async def prepare(self, opening: Opening) -> None:
        self.scenario = opening.scenario
        await asyncio.sleep(0.05)

    async def respond(self, turn: TurnRequest) -> AsyncIterator[Event]:
        yield ReplyText(f"{self.scenario} {turn.scenario}")
        await asyncio.sleep(0.01)
        yield Completed(harness_kit.write_clip(turn.workdir / "a.mp4", seconds=0.2))


@contextlib.contextmanager
def two_nodes() -> Iterator[Any]:
    """A Ray of this test alone: a head that also works, and one more node, ``second``."""
    with nodes_of_our_own(1, head_cpus=2) as cluster:
        cluster.second = cluster.workers[0]
        yield cluster


@contextlib.contextmanager
def nodes_of_our_own(count: int, *, head_cpus: int = 0) -> Iterator[Any]:
    """A Ray with ``count`` nodes beside its head, which works if it has CPUs; ended with all that is in it."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    # Systems of tests are found on the nodes as here, and nothing is reported to anybody.
    changed = {
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "OMP_NUM_THREADS": "1",
    }
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": head_cpus, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    # Nothing is scaled here, and nobody reads what workers print: two programs less to start.
    head |= {"no_monitor": True, "include_log_monitor": False}
    cluster: Any = Cluster()
    cluster.another = partial(_started, partial(cluster.add_node, num_cpus=2, object_store_memory=STORE_BYTES))
    try:
        _started(partial(cluster.add_node, **head))
        cluster.workers = [cluster.another() for _ in range(count)]
        yield cluster
    finally:
        # The other way round Ray raises ValueError.
        ray.shutdown()
        cluster.shutdown()
        for number, handler in kept.items():
            signal.signal(number, handler)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _started(start: Callable[[], Any]) -> Any:
    """A node. A raylet gives its own agents 15 s to start, which they may need more of on a busy machine: once more."""
    for _ in range(4):
        before = set(descendants(os.getpid()))
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            for pid in set(descendants(os.getpid())) - before:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    return start()


def kill_node(node: Any) -> None:
    """End a node at once, with all that runs on it."""
    raylet = node.all_processes["raylet"][0].process
    below = descendants(raylet.pid)
    raylet.kill()
    for pid in below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def judge_processes() -> list[int]:
    """The stubs of judges that nodes have started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if len(words) > 3 and words[1].endswith(b"cluster_kit.py") and words[2] == b"serve":
                found.append(int(folder.name))
    return found


def running(pid: int) -> bool:
    """Whether a process is alive."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state not in (b"Z", b"X")


def wait_for(condition: Any, what: str, limit_s: float = 120.0) -> Any:
    """What ``condition()`` gives as soon as it is true."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {limit_s:g} s for {what}")
        time.sleep(0.02)
    return found


def _judge() -> None:
    """``python cluster_kit.py serve MODEL --host H --port P ...``: the stub of a judge in the place of vLLM."""
    from judge_stub import StubJudge

    arguments = sys.argv[1:]
    host, port = (arguments[arguments.index(f"--{name}") + 1] for name in ("host", "port"))

    seconds = float(arguments[arguments.index("--seconds") + 1]) if "--seconds" in arguments else 0.0

    class There(StubJudge):
        async def _answer(self, *args: Any) -> bool:
            await asyncio.sleep(seconds)
            return await super()._answer(*args)

        async def open(self) -> None:
            self._gone = asyncio.Event()
            self._server = await asyncio.start_server(self._serve, host, int(port))

    async def serve() -> None:
        async with There(root=arguments[1]):
            print("serving", flush=True)
            await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    _judge()
