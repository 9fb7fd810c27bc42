"""A run that is killed leaves no process of a checkout behind, and the same command goes on where it was."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import harness_kit
import pytest
from checkouts import BEYOND, SIX, make_checkout, read_log
from PIL import Image

from interbench.base.child_guard import descendants, end_tree, guarded
from interbench.store.run_folder import Run

EACH = [pytest.param(name, marks=() if name == "omniavatar-1.3b" else pytest.mark.soak) for name in (*SIX, *BEYOND)]


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for an event; the limit is for a machine that hangs."""
    limit = time.monotonic() + 300
    while not true():
        assert time.monotonic() < limit, what
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see processes of other sessions")
@pytest.mark.parametrize("name", EACH)
def test_killed_and_resumed(tmp_path: Path, name: str) -> None:
    folder = harness_kit.write_set(tmp_path / "set", count=1, turns=3)
    Image.new("RGB", (64, 64)).save(folder / "tess.png")
    (folder / "personas.jsonl").write_text(json.dumps({**harness_kit.PERSONA, "portrait": "tess.png"}) + "\n")
    home, log = make_checkout(tmp_path / "checkout", name), tmp_path / "log"
    config = tmp_path / "run.toml"
    config.write_text(
        f'scenarios = "{folder}"\nout = "{tmp_path / "run"}"\nsystems = ["{name}"]\nwords_options = {{ words = 1 }}\n'
        f'transcriber = "given"\n[system."{name}"]\nhome = "{home}"\nenv = {{ STANDIN_LOG = "{log}" }}\n'
    )
    command = [sys.executable, "-m", "interbench", "drive", "--config", str(config), "--quiet"]

    def played() -> int:
        with contextlib.suppress(Exception), Run(tmp_path / "run", write=False) as run:
            return len(run.exchanges())
        return 0

    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: played() >= 1 or first.poll() is not None, "no turn was played")
    first.kill()
    first.wait()
    pids = {entry["pid"] for entry in read_log(log)}
    until(lambda: not any(map(runs, pids)), f"processes of the checkout go on: {pids}")
    held = played()
    assert held >= 1
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with Run(tmp_path / "run", write=False) as run:
        exchanges = run.exchanges()
    assert [e.outcome.value for e in exchanges] == ["completed"] * 3
    assert len({e.detail["speech"]["sha256"] for e in exchanges}) >= 1


FLEEING = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see processes of other sessions")
@pytest.mark.parametrize("how", ["harness ends", "harness ends it", "command ends"])
def test_nothing_that_a_command_has_started_outlives_it(how: str) -> None:
    """Also what has a session of its own, as torchrun gives its workers."""
    code = FLEEING.replace("time.sleep(600)\n", "") if how == "command ends" else FLEEING
    keeper = subprocess.Popen(
        guarded([sys.executable, "-c", code]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert keeper.stdin is not None and keeper.stdout is not None
    fled = int(keeper.stdout.readline())
    if how == "harness ends":
        assert fled in descendants(keeper.pid)
        keeper.stdin.close()
    elif how == "harness ends it":
        end_tree(keeper.pid)
    until(lambda: not runs(fled), "it goes on")
    keeper.wait()
    if how != "harness ends":
        keeper.stdin.close()
    keeper.stdout.close()


def test_a_keeper_gives_the_status_of_its_command_and_keeps_our_python_out() -> None:
    code = "import sys; sys.exit(7)"
    environment = {**os.environ, "PYTHONPATH": "/nowhere/at/all"}
    done = subprocess.Popen(
        guarded([sys.executable, "-c", code]), stdin=subprocess.PIPE, env=environment, start_new_session=True
    )
    assert done.wait() == 7
    assert done.stdin is not None
    done.stdin.close()
    ended = subprocess.Popen(
        guarded([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]),
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    assert ended.wait() == 128 + signal.SIGKILL
    assert ended.stdin is not None
    ended.stdin.close()
