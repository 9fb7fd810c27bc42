"""The cluster that a run is played on: its nodes, and who works where."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

from interbench.asr.base import Transcriber
from interbench.base.errors import ClusterError, IncomparableError, NodeLostError, UsageError
from interbench.base.options import options_of
from interbench.base.progress import Progress
from interbench.base.registry import IMPORT_FROM
from interbench.judge.base import Judge
from interbench.judge.vlm.judge import VLMJudge
from interbench.pipeline.placement.connect import Node, actor, differences, hello, joined, nodes, on
from interbench.pipeline.placement.ears import Ear, PlacedTranscriber
from interbench.pipeline.placement.event_log import EventLog
from interbench.pipeline.placement.fleet import Fleet, Makers, Seat
from interbench.pipeline.placement.judge_server import JudgeServer, JudgeServerOptions
from interbench.pipeline.placement.judges import JudgeMakers, JudgeSeat, PlacedJudge
from interbench.pipeline.placement.link import Link
from interbench.pipeline.placement.placed import PlacedSystem
from interbench.pipeline.placement.renderer import Order, Renderer
from interbench.pipeline.placement.server_log import KeptLog
from interbench.pipeline.placement.standing import Standing
from interbench.pipeline.placement.transfer import Way, parse_way, sweep
from interbench.pipeline.placement.wishes import Wishes
from interbench.store.manifest import versions
from interbench.store.run_folder import Run
from interbench.systems.base import AvatarSystem
from interbench.systems.host import Host
from interbench.systems.registry import SystemSpec

_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_MANY = 1000
"""Calls that an actor has under way at a time: a conversation never waits for another's turn to end."""
_TELL_S = 1.0


class Cluster:
    """A cluster that this process has joined. Use as an asynchronous context manager.

    Args:
        wishes: what is wanted of it.
        run: the run folder, open for writing.
        progress: is told how every node stands.
    """

    def __init__(self, wishes: Wishes, run: Run, progress: Progress) -> None:
        self.wishes = wishes
        self.nodes: list[Node] = []
        self.way = Way()
        self.log = EventLog(run.path / "logs" / "cluster.jsonl")
        self.standing = Standing()
        self._run = run
        self._progress = progress
        self._say = progress.say
        self._stack = contextlib.ExitStack()
        self._told: dict[str, Mapping[str, Any]] = {}
        """What nodes have said of themselves, by their ids."""
        self._unlike: set[str] = set()
        self._teller: asyncio.Task[None] | None = None
        self._logs: dict[str, KeptLog] = {}

    async def __aenter__(self) -> Self:
        try:
            self._stack.enter_context(joined(self.wishes.address))
            self.way = parse_way(self.wishes.clips_via, self._run.run_id)
            await asyncio.to_thread(sweep, self.way)
            self.nodes = await asyncio.to_thread(nodes)
            await self._acquaint()
            self._teller = asyncio.create_task(self._tell())
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._teller is not None:
            self._teller.cancel()
            await asyncio.wait({self._teller})
        for node, line in self.standing.lines().items():
            self._progress.stands(node, "")
            self._say(line)
        self.log.close()
        self._stack.close()

    @property
    def workers(self) -> list[Node]:
        """Nodes that do work: those with a CPU to their name, which a head of its own has not."""
        alike = [node for node in self.nodes if node.id not in self._unlike]
        return [node for node in alike if node.cpus > 0 or node.gpus > 0] or alike

    async def _acquaint(self) -> None:
        """Hear what every node is like, and refuse those that would give other results.

        Raises:
            ClusterError: a node differs, or does not answer.
        """
        await asyncio.gather(*map(self._hear, self.workers))

    async def _look(self) -> None:
        """See which nodes are alive. What has joined since and would give other results gets no work."""
        self.nodes = await asyncio.to_thread(nodes)
        for node in [node for node in self.workers if node.id not in self._told]:
            try:
                await self._hear(node)
            except ClusterError as error:
                self._unlike.add(node.id)
                self._say(f"A node that has joined gets no work. {error}")

    async def _hear(self, node: Node) -> None:
        about = await self._hello(node)
        if different := differences(versions(), about["versions"]):
            raise ClusterError(
                f"The node {node.name} would not give the results that this machine does: {'; '.join(different)}. "
                f"Install the same everywhere, such as one image or one environment on a shared disk."
            )
        self._told[node.id] = about

    async def _hello(self, node: Node) -> Mapping[str, Any]:
        patience = self.wishes.patience
        try:
            return await hello(node, patience.start_s + patience.answer_s)
        except (NodeLostError, RuntimeError) as error:
            raise ClusterError(
                f"The node {node.name} can't be used: {error} Is interbench installed there, as here?"
            ) from None

    def record(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "nodes": [
                {
                    "name": node.name,
                    "gpus": self._told[node.id]["gpus"] if node.id in self._told else [],
                    "host": dict(self._told[node.id]["host"]) if node.id in self._told else {},
                }
                for node in self.workers
            ],
            "ray": next((about["ray"] for about in self._told.values()), ""),
            "versions": versions(),
            "clips": self.way.kind,
        }

    # -- transcribers and judges --------------------------------------------------------------------------------------

    def transcriber(self, own: Transcriber, name: str, options: Mapping[str, Any]) -> Transcriber:
        """The transcriber of the run, on nodes where it computes."""
        count, gpus = self.wishes.ears or (1, 0.0)
        if not (count and own.needs_audio and own.works_here):
            return own

        async def link() -> Link:
            return await self._anywhere(Ear, num_gpus=gpus, num_cpus=0 if gpus else 1)

        return PlacedTranscriber(own, name, options, count, link, self.standing, self._say)

    def judge(self, make: Callable[[str], Judge]) -> PlacedJudge:
        """The judge of the run, served on nodes.

        Args:
            make: the judge of the server at an address.

        Raises:
            UsageError: an option of its servers is unknown or wrong.
        """
        assert self.wishes.judge_servers is not None
        count, gpus = self.wishes.judge_servers
        known = options_of(JudgeServerOptions, "judge_server", error=UsageError)
        options = JudgeServerOptions(**known.check(self.wishes.judge_server))

        def made(url: str) -> VLMJudge:
            judge = make(url)
            assert isinstance(judge, VLMJudge)
            return judge

        def keep(seat: JudgeSeat, data: bytes) -> None:
            assert seat.link is not None
            self._log(f"{seat.link.where}-{seat.name}", data)

        async def link(seat: JudgeSeat) -> Link:
            return await self._judge_link(seat, int(gpus))

        async def free(seat: JudgeSeat) -> None:
            await asyncio.to_thread(_remove_group, seat)

        makers = JudgeMakers(link, made, free, keep)
        return PlacedJudge(count, int(gpus), options, makers, self.wishes.patience, self.standing)

    async def _judge_link(self, seat: JudgeSeat, gpus: int) -> Link:
        """A fresh actor for a judge's server, its GPUs on one node (STRICT_PACK)."""
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        seat.group = placement_group([{"GPU": gpus} if gpus else {"CPU": 1}], strategy="STRICT_PACK")
        strategy = PlacementGroupSchedulingStrategy(seat.group, placement_group_bundle_index=0)
        return await self._anywhere(JudgeServer, num_gpus=gpus, num_cpus=0 if gpus else 1, scheduling_strategy=strategy)

    async def _anywhere(self, cls: type, **options: Any) -> Link:
        """An actor on whichever node Ray finds room, which may take as long as a node may be away."""
        link = Link(actor(cls, max_concurrency=_MANY, **options), "a node with room", self.wishes.patience)
        try:
            where = await link.ask("node", takes_s=self.wishes.patience.node_s)
        except BaseException:
            await link.end()
            raise
        await self._look()
        if where in self._unlike:
            await link.end()
            raise NodeLostError("Ray found room only on a node that would give other results.")
        link.where = next((node.name for node in self.nodes if node.id == where), str(where)[:6])
        return link

    # -- renderers ----------------------------------------------------------------------------------------------------

    def count(self, spec: SystemSpec, like: AvatarSystem, sharers: int) -> int:
        """How many renderers a system has.

        Args:
            sharers: systems of the run that need GPUs, which they share alike.

        Raises:
            ClusterError: there is not one GPU for it.
        """
        if self.wishes.renderers is not None:
            wanted = self.wishes.renderers
        elif not like.gpus:
            return len(self.workers)
        else:
            wanted = int(self._free_gpus() // (like.gpus * sharers))
        most = int(sum(node.gpus for node in self.nodes) // like.gpus) if like.gpus else wanted
        if like.gpus and not 1 <= wanted <= most:
            raise ClusterError(
                f"{spec.label} needs {like.gpus:g} GPU(s) for each renderer, and the cluster has room for {most} with "
                f"{self._free_gpus():g} of its GPUs free, for {sharers} such system(s). Play fewer systems at a time, "
                f"or say fewer --renderers."
            )
        return wanted

    def _free_gpus(self) -> float:
        import ray

        return float(ray.available_resources().get("GPU", 0))

    async def fleet(
        self,
        spec: SystemSpec,
        like: AvatarSystem,
        count: int,
        admit: Callable[[Seat, PlacedSystem], None],
    ) -> Fleet:
        """The renderers of a system, of which one is well.

        Args:
            like: the system, not started.
            count: see :meth:`count`.
            admit: sees that what one makes may stand in the run, and gives the seat its player.
        """
        order = Order(spec, self.way, os.environ.get(IMPORT_FROM, ""))
        first: list[Mapping[str, Any]] = []

        def alike(seat: Seat, system: PlacedSystem) -> None:
            facts = {name: system.facts[name] for name in ("version", "settings", "spec")}
            first.append(facts)
            if facts != first[0]:
                differing = [name for name in facts if facts[name] != first[0][name]]
                raise IncomparableError(
                    f"The renderers of {spec.label} are not alike: {seat.name} has "
                    f"{', '.join(f'{name} {facts[name]!r} instead of {first[0][name]!r}' for name in differing)}. "
                    f"Their answers would not be comparable."
                )
            admit(seat, system)

        def host(link: Link) -> Host:
            return Host(lambda: PlacedSystem(link, order, like, self.wishes.start_s, self.wishes.open_s))

        async def link(seat: Seat) -> Link:
            return await self._renderer(seat, like.gpus)

        fleet = Fleet(
            spec.label,
            count,
            self.wishes.concurrency,
            Makers(link, host, alike, partial(self._keep, spec.label)),
            self.wishes.patience,
            self.log,
            self.standing,
            self._say,
        )
        try:
            await fleet.start()
        except BaseException:
            await fleet.stop()
            raise
        return fleet

    async def _renderer(self, seat: Seat, gpus: float) -> Link:
        """A fresh renderer; Ray finds the GPU, and where none is needed nodes have them in turn."""
        await self._look()
        patience = self.wishes.patience
        if gpus:
            return await self._anywhere(Renderer, num_gpus=gpus)
        workers = self.workers
        if not workers:
            raise NodeLostError("No node of the cluster is alive.")
        node = workers[(seat.number + seat.losses) % len(workers)]
        made = actor(Renderer, scheduling_strategy=on(node), max_concurrency=_MANY)
        link = Link(made, node.name, patience, self.wishes.delay_s)
        try:
            await link.ask("node", takes_s=patience.start_s)
        except BaseException:
            await link.end()
            raise
        return link

    def _keep(self, label: str, seat: Seat, data: bytes) -> None:
        where = "node" if seat.link is None else seat.link.where
        self._log(f"{where}-{label}-{seat.number}", data)

    def _log(self, name: str, data: bytes) -> None:
        """What a server says, into the run folder."""
        if data:
            path = self._run.path / "logs" / f"{_NO_NAME.sub('-', name)[:150]}.log"
            self._logs.setdefault(str(path), KeptLog(path)).write(data)

    async def _tell(self) -> None:
        """Show how far every node is."""
        while True:
            for node, line in self.standing.lines().items():
                self._progress.stands(node, line)
            await asyncio.sleep(_TELL_S)


def _remove_group(seat: JudgeSeat) -> None:
    from ray.util.placement_group import remove_placement_group

    group, seat.group = seat.group, None
    if group is not None:
        with contextlib.suppress(Exception):  # Ray may be gone, and the group with it
            remove_placement_group(group)
