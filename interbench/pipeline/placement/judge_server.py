"""A server of the judge on a node: the actor that starts it, watches it and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from interbench.base.child_guard import guarded
from interbench.base.errors import GpuError, InterbenchError, JudgeError
from interbench.base.gpus import Gpu, find_gpus
from interbench.base.scratch import Scratch
from interbench.judge.vlm.frames import Sampling
from interbench.judge.vlm.serve import command, find_vllm
from interbench.pipeline.placement.server_log import LogTail

KEY = "VLLM_API_KEY"
_LOOK_S = 0.2
_END_S = 10.0


@dataclass(frozen=True, slots=True)
class JudgeServerOptions:
    """How the judge is served on nodes.

    Args:
        model: another checkpoint than the one that fits the GPU.
        context: of this checkpoint, in tokens.
        extra: further arguments for vLLM; they win over ours.
        command: the vLLM program, if it is not installed beside interbench.
        ready_s: until a server must answer; the first start loads the weights.
    """

    model: str | None = None
    context: int = 262_144
    extra: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    ready_s: float = 3600.0


class JudgeServer:
    """The actor: one server, as a process that ends with this one."""

    def __init__(self) -> None:
        self._scratch = Scratch("judge")
        self._process: subprocess.Popen[bytes] | None = None
        self._tail = LogTail()
        self._url = ""

    async def node(self) -> str:
        """Which node this is, by Ray's id."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    async def start(self, options: JudgeServerOptions, gpus: int, sampling: Sampling, key: str) -> Mapping[str, Any]:
        """Start the server; ``url`` once it is healthy, or ``error``.

        Args:
            key: whoever asks the server has to show it; it came in the call and goes into the server's environment.
        """
        try:
            address, port = _address(), _free_port()
            argv = self._command(options, gpus, sampling, address, port)
            self._url = f"http://{address}:{port}"
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: ASYNC220 - does not wait
                    guarded(argv),
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, KEY: key, "VLLM_NO_USAGE_STATS": "1"},
                    start_new_session=True,
                )
            await self._healthy(options.ready_s)
        except (InterbenchError, OSError) as error:
            return {"error": str(error)}
        return {"url": self._url}

    @property
    def _log(self) -> Any:
        return self._scratch.path / "server.log"

    def _command(
        self, options: JudgeServerOptions, gpus: int, sampling: Sampling, address: str, port: int
    ) -> list[str]:
        try:
            own = find_gpus()
        except GpuError as error:
            raise JudgeError(str(error)) from None
        if gpus and not own:
            raise JudgeError("Ray counts GPUs here that the driver does not know.")
        program = list(options.command) or [find_vllm()]
        extra = [*(["--tensor-parallel-size", str(gpus)] if gpus > 1 else []), *options.extra]
        argv = command(
            own[0] if own else Gpu(0, "none", None),
            sampling=sampling,
            model=options.model,
            context=options.context,
            host=address,
            port=port,
            extra=extra,
        )
        return [*program, *argv[1:]]

    async def _healthy(self, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        async with httpx.AsyncClient(timeout=5.0, trust_env=False) as client:
            while True:
                assert self._process is not None
                if (status := self._process.poll()) is not None:
                    raise JudgeError(f"The judge's server ended with status {status}: {self._last_words()}")
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(f"{self._url}/health")).status_code == 200:
                        return
                if time.monotonic() > deadline:
                    raise JudgeError(f"The judge's server is not healthy after {limit_s:.0f} s: {self._last_words()}")
                await asyncio.sleep(_LOOK_S)

    def _last_words(self) -> str:
        lines = self._log.read_bytes()[-64_000:].decode(errors="replace").strip().splitlines()
        causes = [line for line in lines if "Error" in line and "See root cause above" not in line]
        return str((causes or lines or ["it said nothing"])[-1]).strip()

    async def news(self) -> Mapping[str, Any]:
        """Whether it still runs (``ended`` says why not), and what it has said since the last call."""
        status = None if self._process is None else self._process.poll()
        ended = "" if status is None else f"it ended with status {status}: {self._last_words()}"
        return {"ended": ended, "log": await asyncio.to_thread(self._tail.read, self._log)}

    async def process(self) -> int:
        """The server's process, for whoever looks after it."""
        return 0 if self._process is None else self._process.pid

    async def stop(self) -> None:
        """End the server."""
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(_end, process)
        await asyncio.to_thread(self._scratch.remove)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number, patience_s in ((signal.SIGTERM, _END_S), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)


def _address() -> str:
    import ray

    return str(ray.util.get_node_ip_address())


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("", 0))
        port: int = trial.getsockname()[1]
    return port
