"""Processor time that the harness itself spends per judge call, at 32 requests in flight, whatever the clips weigh.

    python -m benchmarks judge_overhead [--conversations 40] [--turns 2]

A stub server in a process of its own poses as vLLM and answers at once. The same conversations are judged with clips as
they are and with clips made heavier by ``--megabytes`` each, in alternation; figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from judge_kit import clip_facts, conversation, write_clip

from interbench.domain.dimensions import DIMENSIONS
from interbench.domain.records import ClipFacts, PlayedConversation
from interbench.judge.base import JudgeTask
from interbench.judge.vlm.judge import VLMJudge
from interbench.judge.vlm.settings import JudgeSettings

TASKS = [JudgeTask(dimension.key) for dimension in DIMENSIONS]
SHAPE = (48, 24, 512, 512)


@contextlib.contextmanager
def stub(*options: str) -> Iterator[str]:
    """A stub server as a process; its address."""
    argv = [sys.executable, "-m", "judge_stub", *options]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


def heavier(path: Path, target: Path, megabytes: int) -> ClipFacts:
    """A copy of a clip with a ``free`` box of that many megabytes, which players skip."""
    weight = megabytes * 2**20
    target.write_bytes(path.read_bytes() + weight.to_bytes(4, "big") + b"free" + bytes(weight - 8))
    return clip_facts(target, *SHAPE)


async def judge_all(judge: VLMJudge, conversations: list[PlayedConversation]) -> tuple[float, float]:
    """Processor and wall milliseconds per call."""
    slots = asyncio.Semaphore(judge.max_conversations)

    async def one(played: PlayedConversation) -> int:
        async with slots:
            scores = [verdict.score async for verdict in judge.judge(played, TASKS)]
        assert scores == [7.0] * 9
        return len(scores)

    cpu, wall = time.process_time(), time.perf_counter()
    calls = sum(await asyncio.gather(*(one(played) for played in conversations)))
    return 1000 * (time.process_time() - cpu) / calls, 1000 * (time.perf_counter() - wall) / calls


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--conversations", type=int, default=40)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=64)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, stub() as url:
        light = Path(temporary) / "light.mp4"
        clips = {"as they are": (light, write_clip(light, *SHAPE))}
        heavy = Path(temporary) / "heavy.mp4"
        clips[f"{arguments.megabytes} MiB heavier"] = (heavy, heavier(light, heavy, arguments.megabytes))
        judge = VLMJudge([url], settings=JudgeSettings(concurrency=32))
        await judge.start()
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in clips}
        for round_ in range(arguments.rounds + 1):
            for name, clip in clips.items():
                several = [
                    conversation([clip] * arguments.turns, scenario=f"{round_}-{number}")
                    for number in range(arguments.conversations)
                ]
                figures = await judge_all(judge, several)
                if round_:  # the first round warms up: connections, imports, the growing limit
                    spent[name].append(figures)
        most = judge.summary()["most_in_flight"]
        await judge.stop()
    print(f"{9 * arguments.conversations} calls a round, up to {most} in flight")
    for name, rounds in spent.items():
        cpu, wall = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"clips {name:>16}: {cpu:.2f} ms of processor time per call ({wall:.2f} ms of wall time, stub included)")


if __name__ == "__main__":
    asyncio.run(main())
