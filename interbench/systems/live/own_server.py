"""A ``livetalk serve`` of our own: started for a run, watched, and ended with it.

The server is a process, in whatever environment has livetalk and torch; nothing of it is imported here.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from interbench.base.child_guard import guarded
from interbench.base.errors import SystemLoadError
from interbench.base.gpus import find_gpus
from interbench.base.remote import Secret, base_url
from interbench.base.scratch import Scratch

TOKEN = "LIVETALK_TOKEN"  # noqa: S105 - the name of an environment variable
PUBLISHED, SMALL = "1.3B", "mini"
NEEDS_NO_GPU = (SMALL, "mid", "tiny")
"""Sizes that a processor is enough for."""
CHECKPOINTS, CHECKPOINTS_VARIABLE = Path("pretrained_checkpoints"), "LIVETALK_CHECKPOINTS"
"""Where `livetalk serve` looks for the published model; twins of livetalk.render.options."""
_NEEDED = ("livetalk", "torch", "diffusers", "fastapi", "uvicorn")
_INSTALL = "pip install 'interbench[livetalk]'"
_END_S = 6.0
_TAIL_LINES = 12


def default_command() -> list[str]:
    """The command line of livetalk in this very environment.

    Raises:
        SystemLoadError: what it needs is not installed here.
    """
    if missing := _not_installed():
        raise SystemLoadError(
            f"livetalk can't be started here, because {', '.join(missing)} is not installed: {_INSTALL}. If it is "
            f"installed in another environment, name its program in the settings file ([system.livetalk] command = "
            f'["/path/to/livetalk"]), or start `livetalk serve` there and give its address with --set livetalk.url=URL.'
        )
    return [sys.executable, "-P", "-m", "livetalk"]


def lacking_here() -> str:
    """What a server with its default options lacks here, and how to get it; empty for nothing."""
    if missing := _not_installed():
        return f"it needs {', '.join(missing)} ({_INSTALL})"
    found = importlib.util.find_spec("livetalk")
    folders = () if found is None else found.submodule_search_locations or ()
    bundled = Path("render") / SMALL / "card.json"
    if default_size() == SMALL and not any((Path(folder) / bundled).exists() for folder in folders):
        return "the livetalk that is installed has no small model, and no checkpoints and GPU for the other are here"
    return ""


def _not_installed() -> list[str]:
    return [name for name in _NEEDED if importlib.util.find_spec(name) is None]


def default_size(options: Sequence[str] = ()) -> str:
    """The size of a server that was not told one: the published model where it could run, else the small one that
    comes with livetalk.

    Args:
        options: further ones of ``livetalk serve``.
    """
    if "--checkpoints" in options:
        return PUBLISHED
    there = bool(os.environ.get(CHECKPOINTS_VARIABLE)) or CHECKPOINTS.exists()
    return PUBLISHED if there and ("--device" in options or find_gpus()) else SMALL


def check_gpu(size: str) -> None:
    """See that this machine can run a server of that size.

    Raises:
        SystemLoadError: it has no GPU.
    """
    if size not in NEEDS_NO_GPU and not find_gpus():
        raise SystemLoadError(
            f"livetalk needs a server, and none of size {size} can be started here without an NVIDIA GPU. Start "
            f"`livetalk serve` on a machine that has one and give its address with --set livetalk.url=URL, or take "
            f"--set livetalk.size={SMALL}, the small model that comes with it and runs anywhere."
        )


class OwnServer:
    """One server process with its log.

    Args:
        command: the livetalk program.
        size: of the model.
        options: further options of ``livetalk serve``.
    """

    def __init__(self, command: Sequence[str], size: str, options: Sequence[str]) -> None:
        self._token = secrets.token_urlsafe(32)
        self.token = Secret.of(self._token)
        self._options = ["--size", size, *options]
        self._command = list(command)
        self._scratch = Scratch("livetalk")
        self._process: subprocess.Popen[bytes] | None = None
        self.log = self._scratch.path / "server.log"

    def __str__(self) -> str:
        return shlex.join(["livetalk", "serve", *self._options])

    async def start(self, limit_s: float) -> str:
        """Start the process, for the first time or again; its address once it listens.

        Raises:
            SystemLoadError: it can't be started, ended, or does not listen in time.
        """
        await self._end()
        announcement = self._scratch.path / "announce.json"
        announcement.unlink(missing_ok=True)
        argv = [*self._command, "serve", "--host", "127.0.0.1", "--port", "0"]
        argv += ["--announce", str(announcement), *self._options]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - does not wait
                guarded(argv),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, TOKEN: self._token},
                start_new_session=True,
            )
        deadline = time.monotonic() + limit_s
        while not announcement.exists():
            self.check()
            if time.monotonic() > deadline:
                raise SystemLoadError(f"`{self}` does not listen after {limit_s:g} s. {self.last_words()}")
            await asyncio.sleep(0.05)
        return self._address(announcement)

    def _address(self, announcement: Path) -> str:
        try:
            return base_url(str(json.loads(announcement.read_text(encoding="utf-8"))["url"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SystemLoadError(
                f"`{self}` announced itself with something that is not its address ({type(error).__name__}). Is "
                f"`{shlex.join(self._command)}` the livetalk of this version of interbench?"
            ) from None

    @property
    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def check(self) -> None:
        """
        Raises:
            SystemLoadError: the server has ended; with its last words.
        """
        if self.ended:
            raise SystemLoadError(self.obituary())

    def obituary(self) -> str:
        """Why the server, which has ended, did so, as far as it says."""
        status = None if self._process is None else self._process.returncode
        return f"`{self}` ended with status {status}. {self.last_words()}"

    def last_words(self) -> str:
        """The end of the log, and where to find the rest, which from now on stays."""
        self._scratch.keep()
        lines = self.log.read_bytes()[-8000:].decode(errors="replace").rstrip().splitlines()[-_TAIL_LINES:]
        said = "\n".join(["Its last words:", *(f"    {line}" for line in lines)]) if lines else "It said nothing."
        return f"{said}\nAll of its output is in {self.log}."

    async def stop(self) -> None:
        """End the server and whatever it has started. The log stays if something went wrong."""
        if self._process is not None and self.ended:
            self._scratch.keep()
        await self._end()
        await asyncio.to_thread(self._scratch.remove)

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(_end_group, process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for number, patience_s in ((signal.SIGTERM, _END_S), (signal.SIGKILL, None)):
        # It leads a process group, which may have members when it is gone itself.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
    assert process.stdin is not None
    process.stdin.close()
