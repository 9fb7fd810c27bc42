"""Whether a cluster can be used, found out in a minute and without starting a model."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interbench.base.errors import ClusterError, NodeLostError
from interbench.base.remote import is_loopback
from interbench.base.scratch import Scratch
from interbench.pipeline.findings import Finding
from interbench.pipeline.placement.connect import PROBE, Node, NodeProbe, actor, differences, hello, joined, nodes, on
from interbench.pipeline.placement.link import Link, Patience
from interbench.pipeline.placement.transfer import Handed, Way, parse_way, take
from interbench.store.manifest import versions
from interbench.store.mounts import mount_of

_ROUNDS = 20
_SESSION_BYTES = 10 * 2**30
_SHARED_BYTES = 2**30
_CHECK = Patience(answer_s=20.0, start_s=30.0, visible_s=20.0)
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class _Heard:
    node: Node
    about: Mapping[str, Any]
    round_trip_s: float
    mebibyte_s: float
    probe: str
    """What is wrong with the way of clips; empty if nothing."""
    visible_s: float


async def check_cluster(address: str, clips_via: str | None = None, out: Path | None = None) -> list[Finding]:
    """What there is to say of a cluster, node by node.

    Args:
        address: ``auto`` or ``HOST:PORT``.
        clips_via: how clips are to come from the nodes.
        out: the run folder that is meant.

    Raises:
        ClusterError: it can't be joined, or an address is none.
    """
    findings: list[Finding] = []
    with joined(address):
        way = parse_way(clips_via, f"{os.getpid():012d}")
        found = await asyncio.to_thread(nodes)
        findings.append(Finding("ok", _spoken(found)))
        results = await asyncio.gather(*(_ask(node, way) for node in found), return_exceptions=True)
        for node, heard in zip(found, results, strict=True):
            if isinstance(heard, _Heard):
                findings += _of_node(heard, way)
            elif isinstance(heard, (ClusterError, NodeLostError, RuntimeError)):
                findings.append(Finding("wrong", f"{node.name}: {heard} Is interbench installed there, as here?"))
            elif heard is not None:
                raise heard
        findings += _auth(found)
    if out is not None and (mount := mount_of(out)) is not None and mount.network:
        findings.append(
            Finding(
                "wrong",
                f"{out} lies on {mount.point} ({mount.kind}), a network file system: the ledger needs a disk of this "
                f"machine. Give --out another folder.",
            )
        )
    return findings


def _spoken(found: list[Node]) -> str:
    gpus, cpus = sum(node.gpus for node in found), sum(node.cpus for node in found)
    return f"{len(found)} node(s) alive, {gpus:g} GPU(s) and {cpus:g} CPU(s) by Ray's count"


@contextlib.asynccontextmanager
async def _probe(node: Node) -> AsyncIterator[Link]:
    link = Link(actor(NodeProbe, scheduling_strategy=on(node)), node.name, _CHECK)
    try:
        yield link
    finally:
        await link.end()


async def _ask(node: Node, way: Way) -> _Heard:
    async with _probe(node) as link:
        about = await hello(node, _CHECK.start_s + _CHECK.answer_s)
        await link.ask("echo", b"", takes_s=_CHECK.start_s)
        began = time.monotonic()
        for _ in range(_ROUNDS):
            await link.ask("echo", b"")
        round_trip = (time.monotonic() - began) / _ROUNDS
        began = time.monotonic()
        await link.ask("echo", bytes(_MIB))
        mebibyte = (time.monotonic() - began) / 2
        problem, visible = await _carry(link, way)
        return _Heard(node, about, round_trip, mebibyte, problem, visible)


async def _carry(link: Link, way: Way) -> tuple[str, float]:
    """Try the way of clips with a small file: what is wrong, and how long it took to be seen here."""
    if way.kind == "chunks":
        return "", 0.0
    from interbench.pipeline.placement.turn import digest

    data, name = os.urandom(PROBE), way.name(".probe")
    if problem := await link.ask("put", way, name, data, takes_s=_CHECK.visible_s):
        return str(problem), 0.0
    began = time.monotonic()

    async def none(offset: int) -> bytes:
        return b""

    with Scratch("probe") as scratch:
        try:
            handed = Handed("probe", PROBE, digest(data), key=name)
            await take(way, handed, scratch.path / "probe", none, _CHECK.visible_s)
        except NodeLostError as lost:
            return str(lost), 0.0
    return "", time.monotonic() - began


def _of_node(heard: _Heard, way: Way) -> list[Finding]:
    about, name = heard.about, heard.node.name
    gpus = ", ".join(about["gpus"]) or "no GPU"
    found = [
        Finding(
            "ok",
            f"{name} ({about['hostname']}): {gpus}; round trip {heard.round_trip_s * 1000:.1f} ms, a mebibyte in "
            f"{heard.mebibyte_s * 1000:.0f} ms",
        )
    ]
    if different := differences(versions(), about["versions"]):
        found.append(Finding("wrong", f"{name}: other versions: {'; '.join(different)}. Install the same everywhere."))
    if heard.node.gpus > len(about["gpus"]):
        found.append(
            Finding("wrong", f"{name}: Ray counts {heard.node.gpus:g} GPU(s), the driver knows {len(about['gpus'])}.")
        )
    free = about["session_free"]
    if free < _SESSION_BYTES:
        found.append(
            Finding(
                "note",
                f"{name}: {free / 2**30:.1f} GiB free where Ray keeps logs and spills objects ({about['session']}); "
                f"start it with --temp-dir on a larger disk.",
            )
        )
    shared = about["shared_free"]
    if shared is not None and shared < _SHARED_BYTES:
        found.append(Finding("note", f"{name}: {shared / 2**20:.0f} MiB free in /dev/shm; Ray falls back to the disk."))
    if heard.probe:
        found.append(Finding("wrong", f"{name}: clips can't come through {way.root}: {heard.probe}"))
    elif way.kind != "chunks":
        found.append(Finding("ok", f"{name}: a file came through {way.root} in {heard.visible_s * 1000:.0f} ms"))
    return found


def _auth(found: list[Node]) -> list[Finding]:
    """Whoever reaches a port of Ray can run anything on its machines."""
    open_to = [node.address for node in found if not is_loopback(f"http://{node.address}")]
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "token" or not open_to:
        return []
    return [
        Finding(
            "note",
            "Ray lets in whoever reaches its ports, and a Ray port is a shell: keep them in a private network, or "
            "start all nodes with RAY_AUTH_MODE=token (`ray get-auth-token --generate`).",
        )
    ]
