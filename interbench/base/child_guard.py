"""Runs a command that must not outlive whoever started it: ``python -m interbench.base.child_guard COMMAND ...``.

The keeper's standard input is a pipe that its parent holds open and never writes to. When the parent ends, however it
ends, the pipe closes; the keeper then ends the command and everything that the command has started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

from interbench.base.workers import python_worker

GRACE_S = 10.0
"""How long the command may take to end by itself."""


def guarded(command: list[str]) -> list[str]:
    """The command line that keeps ``command``; start it with a pipe as standard input, in a session of its own."""
    return [*python_worker("interbench.base.child_guard"), *command]


def main() -> int:
    """Run the command of the command line; its exit status, as a shell gives it."""
    # A handler, not SIG_IGN, which the command would inherit: the group is signalled as a whole, and the keeper stays
    # until its command has ended.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.stderr.write(f"{sys.argv[1]} can't be started: {error.strerror or error}\n")
        return 127
    orphaned = threading.Event()

    def watch() -> None:
        while os.read(0, 4096):
            pass
        orphaned.set()
        os.killpg(0, signal.SIGTERM)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    status = process.wait()
    if orphaned.is_set():
        os.killpg(0, signal.SIGKILL)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    sys.exit(main())
