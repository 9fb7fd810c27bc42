"""The cluster that a run is played on: its nodes, and who works where."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from interbench.base.errors import ClusterError, IncomparableError, NodeLostError
from interbench.base.registry import IMPORT_FROM
from interbench.pipeline.placement.connect import Node, NodeProbe, actor, differences, joined, nodes, on
from interbench.pipeline.placement.event_log import EventLog
from interbench.pipeline.placement.fleet import Fleet, Makers, Seat
from interbench.pipeline.placement.link import Link
from interbench.pipeline.placement.placed import PlacedSystem
from interbench.pipeline.placement.renderer import Order, Renderer
from interbench.pipeline.placement.server_log import KeptLog
from interbench.pipeline.placement.transfer import Way, parse_way, sweep
from interbench.pipeline.placement.wishes import Wishes
from interbench.store.manifest import versions
from interbench.store.run_folder import Run
from interbench.systems.base import AvatarSystem
from interbench.systems.host import Host
from interbench.systems.registry import SystemSpec

_MANY = 1000
"""Calls that an actor has under way at a time: a conversation never waits for another's turn to end."""
_TELL_S = 60.0


class Cluster:
    """A cluster that this process has joined. Use as an asynchronous context manager.

    Args:
        wishes: what is wanted of it.
        run: the run folder, open for writing.
        say: shows the user a line.
    """

    def __init__(self, wishes: Wishes, run: Run, say: Callable[[str], None]) -> None:
        self.wishes = wishes
        self.nodes: list[Node] = []
        self.way = Way()
        self.log = EventLog(run.path / "logs" / "cluster.jsonl")
        self._run = run
        self._say = say
        self._stack = contextlib.ExitStack()
        self._told: dict[str, Mapping[str, Any]] = {}
        self._fleets: list[Fleet] = []
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
        for fleet in self._fleets:
            self._say(fleet.line())
        self.log.close()
        self._stack.close()

    @property
    def workers(self) -> list[Node]:
        """Nodes that do work: those with a CPU to their name, which a head of its own has not."""
        return [node for node in self.nodes if node.cpus > 0 or node.gpus > 0] or self.nodes

    async def _acquaint(self) -> None:
        """Hear what every node is like, and refuse those that would give other results.

        Raises:
            ClusterError: a node differs, or does not answer.
        """
        told = await asyncio.gather(*(self._hello(node) for node in self.workers))
        own = versions()
        for node, about in zip(self.workers, told, strict=True):
            if different := differences(own, about["versions"]):
                raise ClusterError(
                    f"The node {node.name} would not give the results that this machine does: {'; '.join(different)}. "
                    f"Install the same everywhere, such as one image or one environment on a shared disk."
                )
            self._told[node.id] = about

    async def _hello(self, node: Node) -> Mapping[str, Any]:
        link = Link(actor(NodeProbe, scheduling_strategy=on(node)), node.name, self.wishes.patience)
        try:
            about: Mapping[str, Any] = await link.ask("hello", takes_s=self.wishes.patience.start_s)
        except (NodeLostError, RuntimeError) as error:
            raise ClusterError(
                f"The node {node.name} can't be used: {error} Is interbench installed there, as here?"
            ) from None
        finally:
            await link.end()
        return about

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
            Makers(link, host, alike, self._keep),
            self.wishes.patience,
            self.log,
            self._say,
        )
        self._fleets.append(fleet)
        try:
            await fleet.start()
        except BaseException:
            await fleet.stop()
            raise
        return fleet

    async def _renderer(self, seat: Seat, gpus: float) -> Link:
        """A fresh renderer; Ray finds the GPU, and where none is needed nodes have them in turn."""
        self.nodes = await asyncio.to_thread(nodes)
        patience = self.wishes.patience
        if gpus:
            made = actor(Renderer, num_gpus=gpus, max_concurrency=_MANY)
            link = Link(made, "a node with a free GPU", patience, self.wishes.delay_s)
            where = await link.ask("node", takes_s=patience.node_s)
            link.where = next((node.name for node in self.nodes if node.id == where), str(where)[:6])
            return link
        workers = self.workers
        if not workers:
            raise NodeLostError("No node of the cluster is alive.")
        node = workers[(seat.number + seat.losses) % len(workers)]
        made = actor(Renderer, scheduling_strategy=on(node), max_concurrency=_MANY)
        link = Link(made, node.name, patience, self.wishes.delay_s)
        await link.ask("node", takes_s=patience.start_s)
        return link

    def _keep(self, seat: Seat, data: bytes) -> None:
        """What the server of a renderer says, into the run folder."""
        if data:
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", seat.name.partition("@")[2])
            path = self._run.path / "logs" / f"{name}-{seat.number}.log"
            self._logs.setdefault(str(path), KeptLog(path)).write(data)

    async def _tell(self) -> None:
        """Say now and then how far everybody is."""
        said: Sequence[str] = ()
        while True:
            await asyncio.sleep(_TELL_S)
            lines = [fleet.line() for fleet in self._fleets]
            if lines != said:
                for line in lines:
                    self._say(line)
            said = lines
