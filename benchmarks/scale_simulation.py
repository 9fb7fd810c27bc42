"""How long a run takes on 8 to 512 GPUs, simulated from the service times of a run folder, or from predicted ones.

    python -m benchmarks scale_simulation [RUN] [--gpus 8 16 ...] [--systems 2] [--repeats 3] [--head-ms 15] [--json]

Events are those of a run on a cluster: the longest conversation goes first to the renderer that has the fewest, a turn
ends when the one head has dealt with it, a conversation that is complete goes to the judge's server that rendezvous
hashing with bounded loads says, and each server judges one after the other at its rate. Divisions of the GPUs into
renderers and judges are tried in steps of a fortieth, and the best is shown.

With RUN the times of the turns are those that it measured (`complete_s`), and --judge-s is to be given. Without it they
are PREDICTED: the reference replies of the set `all` as long as they take to say, plus --think-s, and the rate of the
judge that docs/reproduce.md predicts.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from interbench.judge.vlm.schedule import server_of, server_with_room
from interbench.scenarios.sets import load_set
from interbench.store.run_folder import Run
from interbench.systems.prompting import speaking_s

DIMENSIONS = 9


@dataclass(frozen=True)
class Load:
    """What is to be done."""

    turns: Sequence[Sequence[float]]
    """Seconds of each turn of each conversation."""
    judge_s: float
    """Seconds of one judge's server per conversation."""


@dataclass(frozen=True)
class Took:
    total_s: float
    played_s: float
    """When the last conversation had been played."""
    head: float
    """Share of the time that the head was busy, while conversations were played."""


def simulate(load: Load, renderers: int, judges: int, *, at_once: int, head_s: float, bounded: bool = True) -> Took:
    """Play and judge ``load``.

    Args:
        renderers, judges: how many there are.
        at_once: conversations that a renderer has.
        head_s: of the head's one processor per turn.
        bounded: whether a judge's server that has much more than its share is passed over.
    """
    waiting = sorted(range(len(load.turns)), key=lambda index: -len(load.turns[index]))
    waiting.reverse()
    order = itertools.count()
    events: list[tuple[float, int, int, int, int]] = []  # when, tie, conversation, turn, renderer
    head_free = head_busy = played = 0.0
    judge_free, names = [0.0] * judges, [f"judge-{number}" for number in range(judges)]
    done = 0.0
    for slot in range(renderers * at_once):
        if waiting:
            index = waiting.pop()
            heapq.heappush(events, (load.turns[index][0], next(order), index, 0, slot % renderers))
    while events:
        now, _, index, turn, renderer = heapq.heappop(events)
        # One thread deals with the ends of turns, one after the other.
        head_free = max(head_free, now) + head_s
        head_busy += head_s
        played = max(played, head_free)
        if turn + 1 < len(load.turns[index]):
            heapq.heappush(events, (head_free + load.turns[index][turn + 1], next(order), index, turn + 1, renderer))
            continue
        if judges:
            live = [max(0, math.ceil((free - head_free) / load.judge_s)) for free in judge_free]
            server = (server_with_room if bounded else _hash_alone)(str(index), names, live)
            judge_free[server] = max(judge_free[server], head_free) + load.judge_s
            done = max(done, judge_free[server])
        if waiting:
            following = waiting.pop()
            heapq.heappush(events, (head_free + load.turns[following][0], next(order), following, 0, renderer))
    return Took(max(done, played), played, head_busy / played if played else 0.0)


def _hash_alone(key: str, servers: Sequence[str], live: Sequence[int]) -> int:
    return server_of(key, servers)


def predicted(systems: int, think_s: float, judge_s: float) -> Load:
    """From the set ``all``: an answer takes as long as it is heard, and what comes before."""
    scenarios = load_set("all").scenarios
    turns = [[think_s + speaking_s(len(turn.reply.split())) for turn in scenario.turns] for scenario in scenarios]
    return Load(turns * systems, judge_s)


def measured(folder: Path, judge_s: float) -> Load:
    """From a run that was played."""
    found: dict[tuple[str, str], list[float]] = {}
    with Run(folder, write=False) as run:
        for one in run.exchanges():
            if one.timings is not None and not one.timings.resumed:
                found.setdefault((one.system, one.scenario), []).append(one.timings.complete_s)
    return Load(list(found.values()), judge_s)


def best(load: Load, gpus: int, per_renderer: int, at_once: int, head_s: float, bounded: bool) -> tuple[Took, int, int]:
    """The best division of ``gpus``, with how many renderers and judges it has."""
    found: tuple[Took, int, int] | None = None
    steps = sorted({max(1, round(gpus * share / 40)) for share in range(1, 40)})
    for judges in steps:
        renderers = (gpus - judges) // per_renderer
        if renderers < 1:
            continue
        took = simulate(load, renderers, judges, at_once=at_once, head_s=head_s, bounded=bounded)
        if found is None or took.total_s < found[0].total_s:
            found = (took, renderers, judges)
    assert found is not None
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 16, 32, 64, 128, 256, 512])
    parser.add_argument("--systems", type=int, default=2, help="predicted: systems in the run")
    parser.add_argument("--repeats", type=int, default=3, help="judgements of every dimension")
    parser.add_argument("--verdicts-per-minute", type=float, default=9.0, help="of one judge's server")
    parser.add_argument("--judge-s", type=float, help="seconds of one judge's server per conversation, instead")
    parser.add_argument("--think-s", type=float, default=1.0, help="predicted: before an answer is heard")
    parser.add_argument("--gpus-per-renderer", type=int, default=2, help="thinker and renderer")
    parser.add_argument("--at-once", type=int, default=2, help="conversations per renderer")
    parser.add_argument("--head-ms", type=float, default=15.0, help="of the head's processor per turn")
    parser.add_argument("--hash-alone", action="store_true", help="judges by rendezvous hash without a bound")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    judge_s = chosen.judge_s or 60 * DIMENSIONS * chosen.repeats / chosen.verdicts_per_minute
    run: Path | None = chosen.run
    load = predicted(chosen.systems, chosen.think_s, judge_s) if run is None else measured(run, judge_s)
    rows = []
    for gpus in chosen.gpus:
        took, renderers, judges = best(
            load, gpus, chosen.gpus_per_renderer, chosen.at_once, chosen.head_ms / 1000, not chosen.hash_alone
        )
        rows.append(
            {
                "gpus": gpus,
                "renderers": renderers,
                "judges": judges,
                "minutes": took.total_s / 60,
                "gpu_hours": gpus * took.total_s / 3600,
                "head": took.head,
            }
        )
    if chosen.json:
        print(json.dumps(rows, indent=1))
        return
    turns = sum(map(len, load.turns))
    kind = "PREDICTED service times" if chosen.run is None else f"service times of {chosen.run}"
    print(f"{len(load.turns)} conversations, {turns} turns, {judge_s:.0f} s of a judge each; {kind}")
    print("| GPUs | renderers | judges | minutes | speed-up over the first | GPU hours | head busy |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        print(
            f"| {row['gpus']} | {row['renderers']} | {row['judges']} | {row['minutes']:.1f} | "
            f"{rows[0]['minutes'] / row['minutes']:.1f} | {row['gpu_hours']:.1f} | {100 * row['head']:.1f} % |"
        )


if __name__ == "__main__":
    main()
