"""Run a command beside busy loops of normal priority, which end when it ends, however it ends.

python tests/support/busy.py LOOPS COMMAND ...

`make test-loaded` is `make test` so. The command takes this process's place, so it is the loops' parent and gets every
signal itself; a loop that finds itself with another parent ends.
"""

from __future__ import annotations

import os
import subprocess
import sys

_LOOP = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
while os.getppid() == int(sys.argv[1]):
    for _ in range(100_000):
        pass
"""


def main() -> None:
    loops, command = int(sys.argv[1]), sys.argv[2:]
    for _ in range(loops):
        subprocess.Popen([sys.executable, "-S", "-c", _LOOP, str(os.getpid())], stdin=subprocess.DEVNULL)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
