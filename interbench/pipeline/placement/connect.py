"""Joining a Ray cluster, and what there is to know of its nodes."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import signal
import socket
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interbench.base.errors import ClusterError, GpuError
from interbench.base.gpus import find_gpus
from interbench.pipeline.placement.link import answered, first_line
from interbench.pipeline.placement.transfer import NoRoomError, Way, hand_over
from interbench.store.manifest import host, versions

_ADDRESS = re.compile(r"auto|[A-Za-z0-9_.-]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")
_CLIENT = (
    "The address {address} is one of Ray Client (ray://). Through it every call and every clip would take a second "
    "journey by a proxy, which owns the actors in the place of the run: when the run is killed they stay, and when the "
    "proxy is, nobody tells. Start the run on a machine of the cluster and give --cluster auto, or HOST:PORT of Ray's "
    "head (by default port 6379)."
)
PROBE = 4096
"""Bytes of the file by which a shared folder or store is tried."""


def check_address(text: str) -> str:
    """The address of a cluster.

    Raises:
        ClusterError: it is none, or one of Ray Client.
    """
    text = text.strip()
    if text.startswith("ray://"):
        raise ClusterError(_CLIENT.format(address=text))
    if not _ADDRESS.fullmatch(text):
        raise ClusterError(f"The cluster's address {text!r} is none: give auto, or HOST:PORT of Ray's head.")
    return text


@contextlib.contextmanager
def joined(address: str) -> Iterator[None]:
    """This process is one of the cluster's drivers; what it has started there ends with it.

    Where it is one already, as in a notebook, it stays one.

    Raises:
        ClusterError: Ray is not installed, there is no cluster, or it has other versions of Ray or Python.
    """
    address = check_address(address)
    # What Ray would do by itself: send the environment of `uv run` to all nodes.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # And what it will do by itself in a later version; until then it warns of it whenever it is joined.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        with _signals_kept():
            import ray
    except ImportError as error:
        raise ClusterError(
            f"Ray is not installed here ({error}): pip install 'interbench[ray]', on all machines alike."
        ) from None
    if ray.is_initialized():
        yield
        return
    told = os.environ.get("RAY_ADDRESS", "")
    if address == "auto" and told.startswith("ray://"):
        raise ClusterError(_CLIENT.format(address=f"{told} in RAY_ADDRESS"))
    try:
        with _signals_kept():
            ray.init(
                address,
                namespace=f"interbench-{uuid.uuid4().hex}",
                log_to_driver=False,
                configure_logging=False,
                logging_level=logging.ERROR,
            )
    except Exception as error:
        raise ClusterError(
            f"The cluster at {address} can't be joined: {first_line(error)}. Start Ray on its machines (`ray start "
            f"--head`, then `ray start --address HEAD:6379` on the others), with one version of Ray and Python."
        ) from None
    try:
        yield
    finally:
        with _signals_kept():
            ray.shutdown()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; who ends this program is decided in :mod:`interbench.base.termination`."""
    heeded = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in heeded.items():
            if signal.getsignal(number) is not handler:
                with contextlib.suppress(ValueError, TypeError):  # another thread may not set them
                    signal.signal(number, handler)


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster that is alive."""

    id: str
    name: str
    address: str
    cpus: float
    gpus: float


def nodes() -> list[Node]:
    """The nodes that are alive; blocks for a moment."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    names = [str(node.get("NodeName") or node["NodeManagerAddress"]) for node in alive]
    return sorted(
        (
            Node(
                id=str(node["NodeID"]),
                # Several on one machine have its name.
                name=name if names.count(name) == 1 else f"{name}-{node['NodeID'][:6]}",
                address=str(node["NodeManagerAddress"]),
                cpus=float(node["Resources"].get("CPU", 0)),
                gpus=float(node["Resources"].get("GPU", 0)),
            )
            for node, name in zip(alive, names, strict=True)
        ),
        key=lambda node: node.name,
    )


def on(node: Node) -> Any:
    """Ray's word for: there and nowhere else."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node.id, soft=False)


def actor(cls: type, **options: Any) -> Any:
    """Start an actor as all of ours are: it goes with this process, and nothing of it is repeated by Ray."""
    import ray

    chosen = {"max_restarts": 0, "max_task_retries": 0, "num_cpus": 0, **options}
    return ray.remote(cls).options(**chosen).remote()


async def hello(node: Node, limit_s: float) -> Mapping[str, Any]:
    """What a node says of itself, see :func:`about`.

    Asked as a task, whose process an actor of the run then has; Ray does not repeat it.

    Raises:
        NodeLostError: it does not answer.
    """
    import ray

    task = ray.remote(about).options(num_cpus=0, max_retries=0, scheduling_strategy=on(node))
    answer: Mapping[str, Any] = await answered(task.remote, "hello", node.name, limit_s)
    return answer


def about() -> Mapping[str, Any]:
    """Of the machine that this runs on: versions, GPUs and space."""
    import ray

    try:
        gpus = [gpu.name for gpu in find_gpus()]
    except GpuError as error:
        gpus = [f"unknown: {error}"]
    session = Path(str(ray.worker.global_worker.node.get_session_dir_path()))
    return {
        "hostname": socket.gethostname(),
        "versions": versions(),
        "ray": ray.__version__,
        "host": host(),
        "gpus": gpus,
        "session": str(session),
        "session_free": shutil.disk_usage(session).free,
        "shared_free": _free(Path("/dev/shm")),  # noqa: S108 - where Ray's objects lie
    }


def _free(folder: Path) -> int | None:
    return shutil.disk_usage(folder).free if folder.is_dir() else None


class NodeProbe:
    """An actor that tries how calls and clips travel."""

    async def echo(self, data: bytes) -> bytes:
        """The same again."""
        return data

    async def put(self, way: Way, name: str, data: bytes) -> str:
        """Write a probe file where clips are to go; what is wrong, empty if nothing."""
        from interbench.base.scratch import Scratch

        with Scratch("probe") as scratch:
            source = scratch.path / "probe"
            source.write_bytes(data)
            try:
                hand_over(way, source, name)
            except (NoRoomError, OSError) as error:
                return f"{type(error).__name__}: {error}"
        return ""


def differences(own: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """How the versions of a node differ from those of this machine."""
    return [
        f"{name} is {other.get(name, 'not installed')} there and {own.get(name, 'not installed')} here"
        for name in sorted(own.keys() | other.keys())
        if own.get(name) != other.get(name)
    ]
