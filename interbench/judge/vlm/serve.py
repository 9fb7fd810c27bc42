"""Starting vLLM as the judge: the right checkpoint and flags for the GPUs that are there, one server per GPU.

Several servers rather than one over several GPUs: the model needs only one, and whole conversations then stay in one
prefix cache (:func:`interbench.judge.vlm.schedule.server_of`). Sizes: weights 62 GB in bfloat16 and 32 GB in FP8; 256K
tokens of keys and values are 24 GiB.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import httpx

from interbench.base import termination
from interbench.base.errors import GpuError, JudgeError, UsageError
from interbench.base.gpus import Gpu
from interbench.base.gpus import find_gpus as gpus_here
from interbench.base.scratch import Scratch
from interbench.judge.vlm.frames import PER_PROMPT, Sampling
from interbench.judge.vlm.settings import MODEL

MODEL_FP8 = f"{MODEL}-FP8"
CONTEXT = 262_144
_SMALL_CONTEXT = 65_536
_PUBLISHED_GPU = Gpu(0, "NVIDIA H200", 140.0)
_POLL_S = 0.5
_GRACE_S = 10.0
"""How long servers that are told to end may take."""
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised, not bound by default
"""Addresses that mean all of this machine's, and the one of them to dial from here."""


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """How one server is started."""

    argv: list[str]
    url: str
    env: Mapping[str, str] = field(default_factory=dict)
    """Beside the inherited environment."""

    def shell(self) -> str:
        """The command as one would type it."""
        return shlex.join([*(["env"] if self.env else []), *(f"{k}={v}" for k, v in self.env.items()), *self.argv])


def find_judge_gpus() -> list[Gpu]:
    """The GPUs that judges may run on, see :func:`interbench.base.gpus.find_gpus`.

    Raises:
        JudgeError: the driver's tool is there but fails.
    """
    try:
        return gpus_here()
    except GpuError as error:
        raise JudgeError(str(error)) from None


def find_vllm() -> str:
    """The ``vllm`` program of this installation, else the one on the path.

    Raises:
        JudgeError: there is none.
    """
    beside = Path(sys.executable).with_name("vllm")
    found = str(beside) if beside.exists() else shutil.which("vllm")
    if found is None:
        raise JudgeError(
            "vLLM is not installed here. Install it with `pip install 'interbench[judge]'` on a Linux machine with an "
            "NVIDIA GPU, or start any OpenAI-compatible server elsewhere and give its URL to --judge."
        )
    return found


def common_flags(sampling: Sampling, media: Path | None, videos: int = PER_PROMPT["video"]) -> list[str]:
    """The flags that decide what the judge sees and how its work is shared, on any hardware.

    Args:
        sampling: frames and pixels.
        media: folder whose files the server may read; None: clips must be sent as data.
        videos: most videos in a prompt.
    """
    media_io, processor = sampling.server_settings()
    flags = ["--limit-mm-per-prompt", json.dumps({**PER_PROMPT, "video": videos})]
    flags += ["--media-io-kwargs", json.dumps(media_io), "--mm-processor-kwargs", json.dumps(processor)]
    if media is not None:
        flags += ["--allowed-local-media-path", str(media.resolve())]
    flags += ["--mm-processor-cache-gb", "16", "--max-num-batched-tokens", "16384", "--max-num-seqs", "32"]
    return [*flags, "--enable-prompt-tokens-details", "--generation-config", "vllm"]


def command(
    gpu: Gpu,
    *,
    sampling: Sampling | None = None,
    media: Path | None = None,
    model: str | None = None,
    context: int = CONTEXT,
    host: str = "127.0.0.1",
    port: int = 8000,
    extra: Sequence[str] = (),
    vllm: str = "vllm",
) -> list[str]:
    """The command line of one server on one GPU.

    Args:
        model: another checkpoint than the one that fits the GPU, with ``context``.
        extra: further arguments for vLLM; they win over ours.

    Raises:
        JudgeError: the judge does not fit the GPU.
    """
    if model is None:
        model, context = _fitting(gpu)
    dtype = [] if model.upper().endswith("FP8") else ["--dtype", "bfloat16"]
    return [
        *(vllm, "serve", model, "--host", host, "--port", str(port), *dtype),
        *("--max-model-len", str(context), "--gpu-memory-utilization", "0.92"),
        *common_flags(sampling or Sampling(), media),
        *extra,
    ]


def _fitting(gpu: Gpu) -> tuple[str, int]:
    """Checkpoint and context for a GPU, by arithmetic from the sizes above."""
    leave_out = "or leave this GPU out by setting CUDA_VISIBLE_DEVICES to the others."
    if gpu.memory_gib is None:
        raise JudgeError(
            f"The GPU {gpu.index} ({gpu.name}) does not tell how much memory it has, so the checkpoint that fits it "
            f"can't be chosen. Name one with --model, {leave_out}"
        )
    if gpu.memory_gib >= 120:
        return MODEL, CONTEXT
    if gpu.memory_gib >= 70:
        return MODEL_FP8, CONTEXT
    if gpu.memory_gib >= 44:
        return MODEL_FP8, _SMALL_CONTEXT
    raise JudgeError(
        f"The judge {MODEL_FP8} does not fit the GPU {gpu.index} ({gpu.name}, {gpu.memory_gib:.0f} GiB): it needs one "
        f"of at least 48 GB. Name a smaller Qwen3-VL checkpoint with --model (its verdicts are then not comparable to "
        f"the published protocol's), {leave_out}"
    )


def plan(
    gpus: Sequence[Gpu],
    *,
    sampling: Sampling | None = None,
    media: Path | None = None,
    model: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    extra: Sequence[str] = (),
    vllm: str = "vllm",
) -> list[ServerPlan]:
    """One server per GPU, on consecutive ports from ``port``; the other arguments as for :func:`command`.

    All serve one checkpoint with one context, which fit the smallest GPU: servers that differ are different judges.

    Raises:
        JudgeError: there is no GPU, or the judge does not fit one.
        UsageError: there are no such ports.
    """
    if not gpus:
        raise JudgeError(
            "No NVIDIA GPU was found, and the judge needs one of at least 48 GB. Start the server on a machine that "
            "has one and give its URL to --judge, or use --judge signals, which needs none and scores only what can "
            "be measured."
        )
    if not 0 < port <= 65_536 - len(gpus):
        raise UsageError(f"--port {port} leaves no room for {len(gpus)} server(s); ports go from 1 to 65535.")
    context = CONTEXT
    if model is None:
        model, context = min((_fitting(gpu) for gpu in gpus), key=lambda fit: (fit[0] == MODEL, fit[1]))
    return [
        ServerPlan(
            command(
                gpu,
                sampling=sampling,
                media=media,
                model=model,
                context=context,
                host=host,
                port=port + number,
                extra=extra,
                vllm=vllm,
            ),
            f"http://{_dialled(host)}:{port + number}",
            # The driver's tool counts GPUs by their slots; CUDA by itself would count from the fastest.
            {
                "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
                "CUDA_VISIBLE_DEVICES": str(gpu.index),
                "VLLM_NO_USAGE_STATS": "1",
            },
        )
        for number, gpu in enumerate(gpus)
    ]


def _dialled(host: str) -> str:
    """What to write into a URL to reach, from this machine, a server that listens at ``host``."""
    host = _EVERYWHERE.get(host, host)
    return f"[{host}]" if ":" in host else host


def check_ports(host: str, ports: Sequence[int]) -> None:
    """See that nothing listens there yet: a server of before would be taken for the one that is being started.

    Raises:
        JudgeError: a port is taken or may not be opened, or ``host`` is no address of this machine.
    """
    for port in ports:
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, socket.SOCK_STREAM) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise JudgeError(
                    f"Port {port} is in use already, perhaps by a judge's server of before. Give that one's URL to "
                    f"--judge, end it, or choose another port with --port."
                ) from None
            raise JudgeError(
                f"No server can listen at {host}, port {port} ({error.strerror}). Check --host and --port."
            ) from None


class Servers:
    """Running servers. Use as a context manager; leaving it ends them.

    Args:
        plans: what to start.
        logs: folder for their output, ``server-<port>.log``; None for a temporary one, see :meth:`keep_logs`.
    """

    def __init__(self, plans: Sequence[ServerPlan], logs: Path | None = None) -> None:
        self.plans = list(plans)
        self._scratch: Scratch | None = None
        if logs is None:
            self._scratch = Scratch("judge")
            logs = self._scratch.path
        self.logs = logs
        self._processes: list[subprocess.Popen[bytes]] = []
        self._files: list[IO[bytes]] = []

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        try:
            for one in self.plans:
                log = self.log(one).open("ab")
                self._files.append(log)
                self._processes.append(
                    subprocess.Popen(
                        one.argv,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env={**os.environ, **one.env},
                        start_new_session=True,
                    )
                )
        except BaseException as error:
            self._end()
            if isinstance(error, OSError):
                raise JudgeError(
                    f"{one.argv[0]} can't be started ({error.strerror}); check the installation."
                ) from None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        try:
            self._signal(signal.SIGTERM)
            deadline = time.monotonic() + _GRACE_S
            for process in self._processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.1, deadline - time.monotonic()))
        finally:
            self.kill()
            for file in self._files:
                file.close()

    def keep_logs(self) -> None:
        """Leave the folder with the output to the user, also if it is a temporary one."""
        if self._scratch is not None:
            self._scratch.keep()

    def log(self, one: ServerPlan) -> Path:
        """Where a server's output goes."""
        return self.logs / f"server-{one.url.rsplit(':', 1)[-1]}.log"

    def kill(self) -> None:
        """End all servers at once, without asking."""
        self._signal(signal.SIGKILL)
        for process in self._processes:
            process.wait()

    def _signal(self, number: int) -> None:
        # A server leads a process group: its workers go with it, also if it is already gone itself.
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    def wait_healthy(self, limit_s: float, tell: Callable[[str], None] | None = None) -> None:
        """Return when all servers answer.

        Raises:
            JudgeError: one ended, or is not healthy in time; with the end of its output.
            Terminated: this program was told to end.
        """
        deadline = time.monotonic() + limit_s
        waiting = list(zip(self.plans, self._processes, strict=True))
        while waiting:
            for one, process in list(waiting):
                _heed()
                if process.poll() is not None:
                    raise self._ended(one, process)
                if _healthy(one.url):
                    waiting.remove((one, process))
                    if tell is not None:
                        tell(one.url)
            if waiting and time.monotonic() > deadline:
                raise JudgeError(
                    f"The judge's server at {waiting[0][0].url} is not healthy after {limit_s:.0f} s. Its output is in "
                    f"{self.log(waiting[0][0])}."
                )
            if waiting:
                time.sleep(_POLL_S)

    def wait(self) -> None:
        """Return never, but raise :class:`JudgeError` when a server ends, ``Terminated`` when this program is to."""
        while True:
            _heed()
            for one, process in zip(self.plans, self._processes, strict=True):
                if process.poll() is not None:
                    raise self._ended(one, process)
            time.sleep(_POLL_S)

    def _ended(self, one: ServerPlan, process: subprocess.Popen[bytes]) -> JudgeError:
        lines = self.log(one).read_bytes()[-64_000:].decode(errors="replace").strip().splitlines()
        causes = [line for line in lines if "Error" in line and "See root cause above" not in line]
        errors = causes or lines or ["it said nothing"]
        return JudgeError(
            f"The judge's server at {one.url} ended with status {process.returncode}: {errors[-1].strip()}. All of its "
            f"output is in {self.log(one)}."
        )


def _heed() -> None:
    if termination.told():
        raise termination.Terminated


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def run(
    *,
    media: Path,
    sampling: Sampling | None = None,
    model: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    extra: Sequence[str] = (),
    only_print: bool = False,
    limit_s: float = 3600.0,
    tell: Callable[[str], None] = print,
) -> None:
    """Start servers for all GPUs, say where they are, and keep them until a signal tells the program to end.

    Args:
        media: folder with the runs; the servers may read clips from it.
        sampling: what the judge is set to show; None for the published settings.
        only_print: only say the commands; without a GPU, those for one H200.
        limit_s: until all must be healthy; the first start downloads the weights.
        tell: how to say something.

    Raises:
        JudgeError: no GPU, no vLLM, or a server that does not start.
    """
    gpus = find_judge_gpus()
    if only_print and not gpus:
        tell(f"# No NVIDIA GPU was found here; this is for one {_PUBLISHED_GPU.name}.")
        gpus = [_PUBLISHED_GPU]
    vllm = "vllm" if only_print or not gpus else find_vllm()
    plans = plan(gpus, sampling=sampling, media=media, model=model, host=host, port=port, extra=extra, vllm=vllm)
    if only_print:
        for one in plans:
            tell(one.shell())
        return
    check_ports(host, range(port, port + len(plans)))
    media.mkdir(parents=True, exist_ok=True)
    servers = Servers(plans)
    healthy = interrupted = False
    try:
        # Between starting and ending servers there is no place to stop at: `wait_healthy` and `wait` look for the wish.
        with termination.handed_over(lambda: None, _GRACE_S + 10.0), servers:
            tell(f"Starting {len(plans)} judge server(s); output goes to {servers.logs}.")
            servers.wait_healthy(limit_s, lambda url: tell(f"healthy: {url}"))
            healthy = True
            tell(f"--judge {','.join(one.url for one in plans)}")
            if host in _EVERYWHERE:
                tell(f"From other machines, put {socket.gethostname()} in the place of {_dialled(host)}.")
            servers.wait()
    except termination.Terminated:
        interrupted = True
        if healthy:
            tell("The judge's servers have been stopped.")
        else:
            tell(f"The judge's servers have been stopped before they were healthy. Their output is in {servers.logs}.")
    finally:
        if not (healthy and interrupted):
            servers.keep_logs()
