"""Judging overlaps playing: the whole run against the longer of its two stages, both of equal speed.

    python -m benchmarks judge_overlap [--scenarios 24] [--pause 0.25]

The system makes a real small MP4 per turn after a pause; the judge is the real client against a stub server that takes
its time. The judge's pause is set so that judging alone takes as long as playing alone.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from harness_kit import write_set
from judge_overhead import stub

from interbench.asr.given import Given
from interbench.base.progress import make_progress
from interbench.judge.registry import make_judge
from interbench.pipeline.config import load_settings
from interbench.pipeline.run import ALL_STAGES, Stage, execute, make_plan

IN_FLIGHT = 4


def timed(folder: Path, scenarios: Path, pause: float, url: str, stages: Sequence[Stage]) -> float:
    """Seconds that the stages take on a run folder."""
    settings = load_settings(
        {
            "out": folder,
            "scenarios": str(scenarios),
            "systems": ("harness_kit:Good",),
            "system": {"harness_kit:Good": {"pause_s": pause}},
            "concurrency": 2,
        }
    )
    judge = make_judge(url, {"concurrency": IN_FLIGHT, "verify_frames": False})
    with make_progress(quiet=True) as progress:
        start = time.perf_counter()
        summary = asyncio.run(
            execute(make_plan(settings), transcriber=Given(), judge=judge, progress=progress, stages=stages)
        )
        seconds = time.perf_counter() - start
    assert not summary.missing, summary
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenarios", type=int, default=24)
    parser.add_argument("--pause", type=float, default=0.25)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        scenarios = write_set(folder / "set", arguments.scenarios)
        playing = 0.0
        with stub("--plain") as url:
            playing = timed(folder / "alone", scenarios, arguments.pause, url, ("drive",))
        # Nine calls a conversation, so many at a time: the pause that makes judging as long as playing.
        pause = playing * IN_FLIGHT / (9 * arguments.scenarios)
        with stub("--plain", "--seconds", f"{pause:.4f}") as url:
            judging = timed(folder / "alone", scenarios, arguments.pause, url, ("transcribe", "judge"))
            whole = timed(folder / "whole", scenarios, arguments.pause, url, ALL_STAGES)
    print(f"playing alone {playing:.1f} s, judging alone {judging:.1f} s, the whole run {whole:.1f} s")
    print(f"The whole run takes {whole / max(playing, judging):.2f} times the longer of the two.")


if __name__ == "__main__":
    main()
