"""What a cluster costs per conversation, and how much faster a run is on 1, 2 and 4 local nodes of a real Ray.

    python -m benchmarks scale_out [--nodes 1 2 4] [--conversations 24] [--turns 3] [--seconds 1.0] [--json]

The system sleeps and copies a clip, one conversation at a time, so that the processors of one machine are enough for
several nodes; what is left beside sleeping is what playing costs, here and through a cluster. Times go from the first
conversation's beginning to the last one's end: starting nodes and actors is not in them. The head's processor time is
that between the end of the first turn and the end of the last one: joining the cluster is not in it. The cluster is
started and ended by this script. On a machine that does other work answers have to be long beside what that work holds
up: --seconds 5 and more, as long as a live avatar's answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness_kit
from cluster_kit import nodes_of_our_own

from interbench.asr.given import Given
from interbench.base.progress import PlainProgress
from interbench.judge.signals.judge import Signals
from interbench.pipeline.config import Settings
from interbench.pipeline.run import execute, make_plan
from interbench.store.run_folder import Run


def play(root: Path, out: str, seconds: float, address: str | None, renderers: int) -> dict[str, float]:
    """Play once: seconds from the first turn to the last, and processor time of this process."""
    settings = Settings.model_validate(
        {
            "out": root / out,
            "scenarios": str(root / "set"),
            "systems": ("sleeps=cluster_kit:Sleeps",),
            "system": {"sleeps": {"clip": str(root / "clip.mp4"), "seconds": seconds}},
            "cluster": address,
            "renderers": None if address is None else renderers,
            "concurrency": 1,
        }
    )
    clock = _Clock()
    asyncio.run(execute(make_plan(settings), transcriber=Given(), judge=Signals(), progress=clock, stages=("drive",)))
    with Run(root / out, write=False) as run:
        played = run.exchanges()
    assert len(played) > 1
    assert all(one.completed for one in played), [one.message for one in played if not one.completed]
    if address is None:
        took = clock.last - clock.first + played[0].timings.complete_s  # type: ignore[union-attr]
    else:
        log = [json.loads(line) for line in (root / out / "logs/cluster.jsonl").read_text().splitlines()]
        began = min(event["t"] for event in log if event["what"] == "lease")
        took = max(event["t"] for event in log if event["what"] == "release") - began
    transport = [float(one.detail.get("transport_s", 0.0)) for one in played]
    cpu = (clock.last_cpu - clock.first_cpu) / (len(played) - 1)
    return {"took_s": took, "cpu_per_turn_s": cpu, "transport_s": sum(transport) / len(transport)}


class _Clock(PlainProgress):
    """When the first and the last turn were done, and what processor time this process had taken by then."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.last = self.first_cpu = self.last_cpu = 0.0

    def advance(self, stage: str, note: str = "") -> None:
        self.last, self.last_cpu = time.monotonic(), time.process_time()
        if not self.first:
            self.first, self.first_cpu = self.last, self.last_cpu

    def stands(self, name: str, line: str) -> None:
        """Not told here."""

    def say(self, message: str) -> None:
        """Nor this."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--conversations", type=int, default=24)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found: dict[str, Any] = {"processors": os.cpu_count(), "seconds": chosen.seconds}
    with tempfile.TemporaryDirectory(prefix="interbench-scale-") as folder:
        root = Path(folder)
        harness_kit.write_set(root / "set", count=chosen.conversations, turns=chosen.turns)
        harness_kit.write_clip(root / "clip.mp4")
        here = found["here"] = play(root, "here", chosen.seconds, None, 1)
        for count in chosen.nodes:
            with nodes_of_our_own(count) as cluster:
                there = play(root, f"nodes-{count}", chosen.seconds, cluster.address, count)
            there["speed_up"] = here["took_s"] / there["took_s"]
            found[f"nodes_{count}"] = there
    if chosen.json:
        print(json.dumps(found, indent=1))
        return
    conversations, slept = chosen.conversations, chosen.conversations * chosen.turns * chosen.seconds
    print(f"{conversations} conversations of {chosen.turns} turns, an answer takes {chosen.seconds:g} s: {slept:g} s")
    print(
        f"{'':>12}{'s':>8}{'speed-up':>10}{'beside answers, s/conversation':>32}{'transport, ms/turn':>20}"
        f"{'head CPU, ms/turn':>19}"
    )
    for name in ("here", *(f"nodes_{count}" for count in chosen.nodes)):
        one = found[name]
        count = int(name.partition("_")[2] or 1)
        beside = (one["took_s"] * count - slept) / conversations
        print(
            f"{name.replace('_', ' '):>12}{one['took_s']:8.1f}{one.get('speed_up', 1.0):10.2f}{beside:32.2f}"
            f"{one['transport_s'] * 1000:20.0f}{one['cpu_per_turn_s'] * 1000:19.1f}"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
