"""Time what the harness does to every clip, beside bare decoding of the same file in the same process.

    python -m benchmarks media_inspect [CLIP] [--seconds 8] [--size 512] [--repeats 15] [--json]

Without CLIP one is made: H.264 + AAC, 25 frames per second, a textured picture that moves. `inspect` decodes all
picture and sound, finds the length of the first frame's bytes and hashes the file, in a worker process; `bare` only
decodes the picture. They take turns, so that a busy machine disturbs both alike; figures are medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import av
import numpy as np

from interbench.media.pool import MediaPool

FPS, RATE = 25, 48_000


def make_clip(path: Path, seconds: float, size: int) -> Path:
    random = np.random.default_rng(0)
    texture = random.integers(0, 255, (size // 16 + 1, size // 16 + 1, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    tone = (0.2 * np.sin(np.arange(round(seconds * RATE)) * 0.05)).astype(np.float32)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "20"})
        video.width, video.height, video.pix_fmt = size, size, "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        for index in range(round(seconds * FPS)):
            picture = np.roll(texture, index % 16, axis=1)[:size, :size].copy()
            picture[size // 3 : size // 2, size // 3 : size // 2] = (index * 5) % 256
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        sound.sample_rate = RATE
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    return path


async def bare(path: Path) -> None:
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for _ in container.decode(video=0):
            pass


async def measure(path: Path, repeats: int) -> dict[str, float]:
    async with MediaPool() as pool:
        started = time.perf_counter()
        facts = await pool.inspect(path)
        spent: dict[str, list[float]] = {"start and first inspect": [time.perf_counter() - started]}
        tasks: dict[str, Callable[[], Awaitable[object]]] = {
            "bare": lambda: bare(path),
            "inspect": lambda: pool.inspect(path),
            "audio": lambda: pool.audio(path),
            "12 frames of 64x64": lambda: pool.frames(path, 12, (64, 64)),
        }
        for _ in range(repeats):
            for name, task in tasks.items():
                began = time.perf_counter()
                await task()
                spent.setdefault(name, []).append(time.perf_counter() - began)
    medians = {name: statistics.median(times) for name, times in spent.items()}
    return {"seconds of clip": facts.duration_s, "frames": facts.frames, **medians}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.clip or make_clip(Path(folder) / "clip.mp4", arguments.seconds, arguments.size)
        figures = asyncio.run(measure(path, arguments.repeats))
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:24} {value:8.3f}{'' if name == 'frames' else ' s'}")
    print(f"{'inspect / bare':24} {figures['inspect'] / figures['bare']:8.2f}")


if __name__ == "__main__":
    main()
