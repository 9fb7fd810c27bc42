"""Error of windowed speech features against those of the whole clip, over left and right context.

    python -m benchmarks speech_windows speech.wav --checkpoint pretrained_checkpoints/wav2vec2 --out docs/

Without --checkpoint the encoder is wav2vec2-base with random weights; with --fixtures it is the tiny one of a fixture
folder. Writes `speech-windows-<name>.json` with every figure and `speech-windows.svg` with the curves of all such
files.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from livetalk.render.checkpoint import load_speech_encoder
from livetalk.render.config import block_frames
from livetalk.render.encoders.speech import FRAME_SAMPLES, Samples, SpeechEncoder, SpeechStream
from livetalk.sound.files import padded, read_audio
from livetalk.tools.parity import Fixtures
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

LEFTS = (0, 8, 16, 32, 48, 64, 96, 128)
RIGHTS = (0, 1, 2, 4, 8, 16, 32)
FIXED_LEFT, FIXED_RIGHT = 64, 4
#: Blocks left out of the average: in the first seconds little has been heard, whatever the window.
WARM_UP_BLOCKS = 8


def windowed(encoder: SpeechEncoder, samples: Samples, blocks: int, left: int, right: int) -> tuple[Tensor, float]:
    """Features of all blocks as a session would have them, and seconds per block."""
    stream = SpeechStream(encoder, left, right)
    parts, fed = [], 0
    began = time.perf_counter()
    for block in range(blocks):
        first, last = block_frames(block)
        while not stream.ready(first, last):
            stream.push(samples[fed : fed + FRAME_SAMPLES])
            fed += FRAME_SAMPLES
        parts.append(stream.features(first, last))
    return torch.cat(parts), (time.perf_counter() - began) / blocks


def relative_error(actual: Tensor, expected: Tensor, groups: int) -> float:
    """Root mean square of the difference over that of the expected features' change in time, averaged over layers."""
    errors = []
    for a, e in zip(actual.chunk(groups, dim=1), expected.chunk(groups, dim=1), strict=True):
        errors.append(((a - e).square().mean() / (e - e.mean(dim=0)).square().mean()).sqrt().item())
    return float(np.mean(errors))


def measure(encoder: SpeechEncoder, samples: Samples, contexts: Sequence[tuple[int, int]]) -> dict[str, object]:
    """Errors for every (left, right), against the released features and against the whole clip at the same times."""
    latents = len(samples) // FRAME_SAMPLES // 4
    blocks = (latents - 10) // 3  # leave 2.5 s at the end, so that every window finds its right context
    frames = block_frames(blocks - 1)[1] + 1
    released = encoder.whole_clip(samples, latents)[:frames]
    groups = released.shape[1] // encoder.model.config.hidden_size
    everything = len(samples) // FRAME_SAMPLES + 1
    unlimited = SpeechStream(encoder, everything, everything)
    unlimited.push(samples)
    unlimited.close()
    same_times = unlimited.features(0, frames - 1)
    skip = block_frames(WARM_UP_BLOCKS)[0]
    rows = []
    for left, right in contexts:
        features, seconds = windowed(encoder, samples, blocks, left, right)
        row = {
            "left": left,
            "right": right,
            "against_whole_clip": relative_error(features[skip:], same_times[skip:], groups),
            "against_release": relative_error(features[skip:], released[skip:], groups),
            "first_block": relative_error(features[:9], same_times[:9], groups),
            "ms_per_block": 1000 * seconds,
        }
        rows.append(row)
        print({key: round(value, 4) for key, value in row.items()}, flush=True)
    grid = relative_error(same_times[skip:], released[skip:], groups)
    return {"seconds": len(samples) / 16_000, "blocks": blocks, "time_grid_alone": grid, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("audio", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="wav2vec2-base folder in the Hugging Face layout")
    parser.add_argument("--fixtures", type=Path, help="fixture folder whose tiny wav2vec2 is used")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    if arguments.checkpoint:
        name, encoder = "published", load_speech_encoder(arguments.checkpoint, dtype=torch.float32)
    elif arguments.fixtures:
        name, encoder = "tiny-random", Fixtures(arguments.fixtures).speech
    else:
        torch.manual_seed(0)
        name, encoder = "base-random", SpeechEncoder(Wav2Vec2Model(Wav2Vec2Config()))
    samples = padded(read_audio(arguments.audio), int(arguments.seconds * 16_000))
    contexts = sorted({(left, FIXED_RIGHT) for left in LEFTS} | {(FIXED_LEFT, right) for right in RIGHTS})
    result = {"encoder": name, "torch": torch.__version__, **measure(encoder, samples, contexts)}
    (arguments.out / f"speech-windows-{name}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    found = [json.loads(path.read_text("utf-8")) for path in sorted(arguments.out.glob("speech-windows-*.json"))]
    (arguments.out / "speech-windows.svg").write_text(plot(found), "utf-8")


def plot(results: Sequence[dict[str, Any]]) -> str:
    """Two panels: error over left context, and over right context, one line per encoder."""
    colours = ("#1f5fa8", "#c2571a", "#3b7d3b")
    width, height, margin, gap = 760, 300, 56, 70
    panel = (width - 2 * margin - gap) / 2
    top = max(row["against_whole_clip"] for result in results for row in result["rows"]) * 1.05
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    panels = (
        ("left", f"left context in frames (right {FIXED_RIGHT})", "right", FIXED_RIGHT, LEFTS),
        ("right", f"right context in frames (left {FIXED_LEFT})", "left", FIXED_LEFT, RIGHTS),
    )
    for index, (axis, title, held, value, ticks) in enumerate(panels):
        x0, y0 = margin + index * (panel + gap), height - 60
        tall = y0 - 30

        def place(
            x: float, y: float, x0: float = x0, y0: float = y0, tall: float = tall, last: float = ticks[-1]
        ) -> str:
            return f"{x0 + panel * x / last:.1f},{y0 - tall * y / top:.1f}"

        parts.append(f'<path d="M{x0},{y0 - tall} V{y0} H{x0 + panel:.1f}" fill="none" stroke="#444"/>')
        parts.append(f'<text x="{x0 + panel / 2:.1f}" y="{y0 + 34}" text-anchor="middle">{title}</text>')
        for tick in ticks:
            x = place(tick, 0).split(",")[0]
            if tick == 0 or tick >= ticks[-1] / 9:
                parts.append(f'<text x="{x}" y="{y0 + 16}" text-anchor="middle" fill="#444">{tick}</text>')
        for step in range(5):
            level = top * step / 4
            y = place(0, level).split(",")[1]
            parts.append(f'<path d="M{x0},{y} h{panel:.1f}" stroke="#ddd"/>')
            parts.append(f'<text x="{x0 - 6}" y="{float(y) + 4:.1f}" text-anchor="end" fill="#444">{level:.2f}</text>')
        for number, result in enumerate(results):
            rows = sorted((row for row in result["rows"] if row[held] == value), key=lambda row: row[axis])
            line = " ".join(place(row[axis], row["against_whole_clip"]) for row in rows)
            colour = colours[number % len(colours)]
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [
                f'<circle cx="{point.split(",")[0]}" cy="{point.split(",")[1]}" r="3" fill="{colour}"/>'
                for point in line.split()
            ]
            if index == 1:
                line_y = 46 + 16 * number
                parts.append(f'<text x="{x0 + panel - 4:.1f}" y="{line_y}" text-anchor="end" fill="{colour}">'
                             f'{result["encoder"]}</text>')  # fmt: skip
    parts.append(f'<text x="{margin}" y="18">relative feature error against the whole clip</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    main()
