"""``interbench`` as a process of its own that need not import again what the one before it has imported.

Most verbs take a tenth of a second; starting Python with all that they import takes more than one. So one process
imports it and waits, and each call is a fork of it, with the arguments, folder, environment and streams of the call,
that runs the program from its first line to its exit status. What is about starting Python (options of the interpreter,
what ``--help`` imports, signals that come while it starts) is tested by starting Python.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

_IMPORTED = (
    "av",
    "interbench.audit.plan",
    "interbench.cli.commands",
    "interbench.cli.list_verb",
    "interbench.cli.set_verbs",
    "interbench.judge.signals.judge",
    "interbench.report.html",
    "interbench.systems.puppet.system",
)
_process: subprocess.Popen[bytes] | None = None


def interbench(
    *arguments: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    safe_path: bool = False,
    without: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """What ``python -m interbench ARGUMENTS`` comes to, in the folder ``cwd`` with the environment ``env``.

    ``safe_path``: as with ``python -P``, and as the installed command has it, the folder is not on the path.
    ``without``: modules that can't be imported, as where they are not installed.
    """
    process = _running()
    assert process.stdin is not None and process.stdout is not None
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        told: dict[str, Any] = {"arguments": arguments, "cwd": str(cwd or Path.cwd()), "env": dict(env or os.environ)}
        told |= {"safe_path": safe_path, "without": without}
        process.stdin.write(json.dumps(told | {"out": out.name, "err": err.name}).encode() + b"\n")
        process.stdin.flush()
        status = int(process.stdout.readline())
        said = (out.read().decode(), err.read().decode())
    return subprocess.CompletedProcess(["interbench", *arguments], status, *said)


def _running() -> subprocess.Popen[bytes]:
    """The process that waits; it ends when nobody can ask it any more."""
    global _process
    if _process is None:
        given = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [sys.executable, __file__]
        _process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=given)
        atexit.register(_end, _process)
    return _process


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    process.wait()
    process.stdout.close()


def _serve() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # what is there stays: looking at it would copy it, too
    # Whoever is forked has no hand in the conversation with the tests.
    asked, answers = os.dup(0), os.dup(1)
    _lead(os.devnull, 0, os.O_RDONLY)
    _lead(os.devnull, 1, os.O_WRONLY)
    with os.fdopen(asked, "rb", buffering=0) as requests:
        for request in requests:
            child = os.fork()
            if not child:
                os.close(answers)
                _become(json.loads(request))
            _, status = os.waitpid(child, 0)
            os.write(answers, b"%d\n" % os.waitstatus_to_exitcode(status))


def _become(told: Mapping[str, Any]) -> NoReturn:
    """The program, as if Python had just been started with it.

    It ends as Python ends it, but takes nothing apart: in a fork that would copy all that was imported.
    """
    from interbench.__main__ import main

    _lead(told["out"], 1, os.O_WRONLY)
    _lead(told["err"], 2, os.O_WRONLY)
    os.chdir(told["cwd"])
    os.environ.clear()
    os.environ.update(told["env"])
    # As `-m` has it: the current folder first, in the place of that of this file.
    here = [] if told["safe_path"] else [told["cwd"]]
    sys.path[:1] = [*here, *filter(None, told["env"].get("PYTHONPATH", "").split(os.pathsep))]
    for name in told["without"]:
        assert name not in sys.modules
        sys.modules[name] = None  # type: ignore[assignment]
    sys.argv = ["interbench", *told["arguments"]]
    status = 0
    try:
        main()
    except SystemExit as left:
        assert left.code is None or isinstance(left.code, int), left.code
        status = left.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _lead(path: str, number: int, flags: int) -> None:
    opened = os.open(path, flags | os.O_APPEND)
    os.dup2(opened, number)
    os.close(opened)


if __name__ == "__main__":
    _serve()
