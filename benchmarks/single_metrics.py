"""Time the measuring itself: clips per second of each metric, and the memory it takes, with weights by formula.

    python -m benchmarks single_metrics [--clips 3] [--seconds 5] [--size 512] [--metrics fid,fvd,sync,iqa]
        [--threads 2] [--json]

Clips are made: a textured picture that moves, with sound. Each metric measures them one after the other as the verb
does, decoding in the media workers included. Memory is the highest resident size of this process so far, and how much
it grew from the first clip to the last: with ``--clips 1000 --size 64 --metrics fid`` it should stay flat.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from media_inspect import make_clip

from interbench.media.pool import MediaPool
from interbench.single.clips import Found, look_at
from interbench.single.metrics.sync import Sync
from interbench.single.registry import METRICS

OPTIONS: dict[str, dict[str, Any]] = {
    "fid": {"weights": "formula"},
    "fvd": {"weights": "formula", "variant": "stylegan-v"},
    "sync": {"weights": "formula", "detector": "formula"},
    "iqa": {"weights": "formula"},
    "ase": {"weights": "formula"},
    "lips": {"face": "128,96,384,416"},
}


def resident_mib() -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def measure(folder: Path, names: list[str], count: int, seconds: float, size: int) -> dict[str, dict[str, float]]:
    path = make_clip(folder / "clip.mp4", seconds, size)
    found: dict[str, dict[str, float]] = {}
    async with MediaPool(size=2) as media:
        (clip,) = await look_at([Found("clip", path, "clip")], media)
        for name in names:
            metric = METRICS.make(name, OPTIONS.get(name, {}))
            await metric.start()
            sizes = []
            await metric.measure(clip, media)  # what is loaded on first use is no part of it
            began = time.perf_counter()
            for _ in range(count):
                await metric.measure(clip, media)
                sizes.append(resident_mib())
            taken = time.perf_counter() - began
            found[name] = {
                "clips per second": count / taken,
                "seconds per clip": taken / count,
                "resident MiB": sizes[-1],
                "grown MiB": sizes[-1] - sizes[0],
            }
            if isinstance(metric, Sync):
                found[name]["faces"] = float(bool((await metric.measure(clip, media)).values))
            await metric.stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--metrics", default="fid,fvd,sync,iqa")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    names = [name for name in arguments.metrics.split(",") if name]
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(Path(folder), names, arguments.clips, arguments.seconds, arguments.size))
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, values in figures.items():
        print(f"{name:6}" + "".join(f"  {what} {value:9.3f}" for what, value in values.items()))


if __name__ == "__main__":
    main()
