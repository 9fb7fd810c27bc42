"""How long a table of a million scores takes: reading the CSV, pooling, with and without intervals.

    python -m benchmarks table_million [--rows 1000000]

Two files are made, one with scores from 1 to 10 as judges give them, one with continuous scores; each step is repeated
and the median printed. "whole process" starts a fresh interpreter, so that imports count.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from interbench.report.tables import build_table, render
from interbench.stats import KEYS, Expected, compare, read_scores

SYSTEMS = 10
WHOLE = """
import sys
from pathlib import Path
from interbench.report.tables import render, table_from_csv
render(table_from_csv([Path(sys.argv[1])], intervals=sys.argv[2] == "yes"), "json")
"""


def write_scores(path: Path, rows: int, *, continuous: bool) -> None:
    rng = np.random.default_rng(0)
    scenarios = -(-rows // (SYSTEMS * len(KEYS)))
    shape = (SYSTEMS, scenarios, len(KEYS))
    values = rng.normal(60, 15, shape) if continuous else rng.integers(1, 11, shape)
    with path.open("w", encoding="utf-8") as file:
        file.write("system,scenario,dimension,score\n")
        for s in range(SYSTEMS):
            file.writelines(
                f"system-{s},scenario-{c:06d},{key},{value}\n"
                for c in range(scenarios)
                for key, value in zip(KEYS, values[s, c].tolist(), strict=True)
            )


def median_seconds(action: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("judge", "continuous"):
            path = Path(folder, f"{kind}.csv")
            write_scores(path, arguments.rows, continuous=kind == "continuous")
            scores = read_scores([path])
            plan = Expected.from_scores(scores)
            with_intervals = build_table(scores, expected=plan)
            replicates = with_intervals.resampling.replicates if with_intervals.resampling else 0
            print(f"{kind}: {len(scores):,} scores, {path.stat().st_size / 1e6:.0f} MB, {replicates} replicates")
            steps: dict[str, Callable[[], object]] = {
                "read": partial(read_scores, [path]),
                "table without intervals": partial(build_table, scores, expected=plan, intervals=False),
                "table with intervals": partial(build_table, scores, expected=plan),
                "render json": partial(render, with_intervals, "json"),
                "compare two systems": partial(compare, scores, scores.systems[0], scores.systems[1]),
                "whole process, no intervals": partial(
                    subprocess.run, [sys.executable, "-c", WHOLE, str(path), "no"], check=True
                ),
                "whole process, intervals": partial(
                    subprocess.run, [sys.executable, "-c", WHOLE, str(path), "yes"], check=True
                ),
            }
            for name, action in steps.items():
                print(f"  {name:<28} {median_seconds(action, arguments.repeats):6.2f} s")


if __name__ == "__main__":
    main()
