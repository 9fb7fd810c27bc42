"""Clients that leave in the middle of an answer, again and again: the server's memory and threads stay level."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from live_kit import until

LEFT = 1_000
SETTLED = 200
"""Disconnects after which libraries have all that they keep."""
MOST_GROWTH = 60 * 2**20
"""Bytes between then and the end. Measured: see docs/live.md."""
BODY = b"text=Tell+me+something+about+the+weather%2C+and+about+the+sea."


def resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def leave(port: int, name: str, after_s: float) -> None:
    """Ask for an answer, and close the connection before it is there."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        head = f"POST /v1/conversations/{name}/turns HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(BODY)}\r\n"
        connection.sendall(f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\n".encode() + BODY)
        time.sleep(after_s)


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and the C library in question is glibc")
def test_a_thousand_disconnects(tmp_path: Path) -> None:
    announcement = tmp_path / "announce.json"
    told = ["--port", "0", "--announce", str(announcement)]
    command = [sys.executable, "-m", "livetalk", "serve", "--size", "tiny", "--log-level", "warning", *told]
    environment = {name: value for name, value in os.environ.items() if name != "LIVETALK_TOKEN"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            assert until(announcement.exists, 120)
            url = json.loads(announcement.read_text())["url"]
            memory, threads = [], []
            chance = random.Random(7)
            with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
                assert until(lambda: client.get("/health").json()["status"] == "ready", 300)
                for number in range(LEFT + 1):
                    if number % SETTLED == 0:
                        time.sleep(6.0)  # what is free is handed back every five seconds, while nobody is answered
                        memory.append(resident(server.pid))
                        threads.append(sum(1 for _ in Path(f"/proc/{server.pid}/task").iterdir()))
                    name = client.post("/v1/conversations").json()["id"]
                    leave(int(url.rpartition(":")[2]), name, chance.uniform(0.01, 0.3))
                    assert client.delete(f"/v1/conversations/{name}").status_code == 204
            assert max(memory[1:]) - memory[1] <= MOST_GROWTH, [size // 2**20 for size in memory]
            assert max(threads[1:]) <= threads[1] + 2, threads
        finally:
            server.terminate()
