"""Transcribers on nodes: the head decodes and hands over sound, whoever is free writes down what is said."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from interbench.asr.base import Transcriber, Utterance
from interbench.asr.registry import make_transcriber
from interbench.base.errors import InterbenchError, NodeLostError, TranscriberError
from interbench.domain.records import Transcript
from interbench.pipeline.placement.link import Link
from interbench.pipeline.placement.standing import Standing

_LOSSES = 3
_START_S = 1800.0
_BATCH_S = 600.0
_KIND = "transcribers"


class Ear:
    """The actor: one transcriber."""

    def __init__(self) -> None:
        self._transcriber: Transcriber | None = None

    async def node(self) -> str:
        """Which node this is, by Ray's id."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    async def start(self, name: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make and start it; options travel in the call, because there may be keys among them."""
        try:
            self._transcriber = make_transcriber(name, options)
            await self._transcriber.start()
            return {
                "label": self._transcriber.label,
                "identity": dict(self._transcriber.identity()),
                "notes": list(self._transcriber.notes()),
                "batch_size": self._transcriber.batch_size,
            }
        except InterbenchError as error:
            return {"error": str(error)}

    async def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript] | Mapping[str, Any]:
        """Transcripts in order, or ``error`` with what stops the run."""
        if self._transcriber is None:
            return {"error": "the transcriber was not started"}
        try:
            return await self._transcriber.transcribe(batch)
        except InterbenchError as error:
            return {"error": str(error)}

    async def stop(self) -> None:
        """End it with what it has started."""
        if self._transcriber is not None:
            await self._transcriber.stop()


class PlacedTranscriber(Transcriber):
    """Transcribers on nodes, as one.

    What is lost with a node is given to another: a transcript costs nothing and is the same from each of them.

    Args:
        like: the same, not started, for what follows from its options.
        name, options: how it is made on the nodes.
        count: how many.
        link: starts an actor somewhere.
        standing: where what they do is counted, node by node.
        say: shows the user a line.
    """

    def __init__(
        self,
        like: Transcriber,
        name: str,
        options: Mapping[str, Any],
        count: int,
        link: Callable[[], Awaitable[Link]],
        standing: Standing,
        say: Callable[[str], None],
    ) -> None:
        self.label = like.label
        self.needs_audio = like.needs_audio
        self.batch_size = like.batch_size
        self.parallel = count
        self._name = name
        self._options = options
        self._link = link
        self._standing = standing
        self._say = say
        self._told: Mapping[str, Any] = {}
        self._free: asyncio.Queue[Link] = asyncio.Queue()
        self._left = 0

    def identity(self) -> Mapping[str, Any]:
        identity: Mapping[str, Any] = self._told["identity"]
        return identity

    def notes(self) -> Sequence[str]:
        return [str(note) for note in self._told["notes"]]

    async def start(self) -> None:
        # One after the other: the first trouble ends it, and what they load may be the same disk's.
        links: list[Link] = []
        try:
            for _ in range(self.parallel):
                links.append(await self._fresh())  # noqa: PERF401 - what has been started is ended if one fails
        except BaseException as error:
            for link in links:
                await link.end()
            if isinstance(error, NodeLostError):
                raise TranscriberError(f"The transcriber {self.label} can't be started on a node: {error}") from None
            raise
        for link in links:
            self._free.put_nowait(link)
        self._left = len(links)

    async def _fresh(self) -> Link:
        link = await self._link()
        told = await link.ask("start", self._name, self._options, takes_s=_START_S)
        if "error" in told:
            await link.end()
            # What was started before can be started: then it is the node that is at fault.
            kind = NodeLostError if self._told else TranscriberError
            raise kind(f"On the node {link.where}: {told['error']}")
        if self._told and told["identity"] != self._told["identity"]:
            await link.end()
            raise TranscriberError(
                f"The transcriber on the node {link.where} is not the one on the others: {told['identity']!r} instead "
                f"of {self._told['identity']!r}. Put the same models on all nodes."
            )
        self._told = self._told or told
        self._standing.of(link.where, _KIND).well += 1
        return link

    async def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        for _ in range(_LOSSES):
            link = await self._free.get()
            tally = self._standing.of(link.where, _KIND)
            tally.live += 1
            try:
                seconds = sum(0 if one.samples is None else len(one.samples) / 16_000 for one in batch)
                told = await link.ask("transcribe", list(batch), takes_s=_BATCH_S + 10 * seconds)
            except NodeLostError as lost:
                tally.well, tally.lost = tally.well - 1, tally.lost + 1
                await link.end()
                await self._replace(link, lost)
                continue
            except BaseException:
                self._free.put_nowait(link)
                raise
            finally:
                tally.live -= 1
            self._free.put_nowait(link)
            tally.done += len(batch)
            if isinstance(told, Mapping):
                raise TranscriberError(str(told["error"]))
            return list(told)
        raise TranscriberError(
            f"The transcriber {self.label} lost its node {_LOSSES} times over the same clips. Look after the nodes, "
            f"then give the same command again to go on."
        )

    async def _replace(self, link: Link, why: NodeLostError) -> None:
        self._say(f"transcriber: {why}")
        try:
            self._free.put_nowait(await self._fresh())
        except NodeLostError as lost:
            self._left -= 1
            if not self._left:
                raise TranscriberError(
                    f"No node is left for the transcriber {self.label}: {lost} What is done is in the run folder; give "
                    f"the same command again when there is one."
                ) from None

    async def stop(self) -> None:
        while not self._free.empty():
            link = self._free.get_nowait()
            with contextlib.suppress(NodeLostError, RuntimeError):
                await link.ask("stop", takes_s=10.0)
            await link.end()
