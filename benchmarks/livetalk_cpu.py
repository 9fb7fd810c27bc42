"""Time livetalk's loop against the published loop's way of working, in one process, block by block in alternation.

    python -m benchmarks livetalk_cpu [--size mid] [--blocks 5] [--prompt 128] [--threads 1] [--json]

Both get the same weights and inputs and must agree. Figures are medians over the blocks after the window has filled;
CPU time is the process's own, which a busy machine disturbs less than the clock on the wall.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
from livetalk.render.config import FRAMES_PER_BLOCK, size
from livetalk.render.model import CausalDiT, random_state
from livetalk.render.model.block import BlockGenerator
from livetalk_published_loop import PublishedLoop


def compare(name: str, blocks: int, prompt: int) -> dict[str, Any]:
    """Seconds per block of both loops once the window is full, and their largest difference."""
    chosen = size(name)
    config, stream = chosen.dit, chosen.stream
    state = random_state(config, seed=0)
    published = PublishedLoop(config, state, stream)
    ours = BlockGenerator(CausalDiT.from_state(config, state), stream)
    draw = torch.Generator().manual_seed(1)
    latent = (FRAMES_PER_BLOCK, config.out_dim, stream.latent_height, stream.latent_width)
    reference = torch.randn((1, config.out_dim, 1, *latent[2:]), generator=draw)
    context = torch.zeros((1, 512, config.text_dim))
    context[:, :prompt].normal_(generator=draw)
    with torch.inference_mode():
        ours.start(context, reference)
    filling = stream.window // FRAMES_PER_BLOCK
    spent: dict[str, list[np.ndarray]] = {"published": [], "livetalk": []}
    difference = 0.0
    for b in range(filling + blocks):
        noise = torch.randn((stream.steps, *latent), generator=draw)
        audio = torch.randn((config.audio_injections, FRAMES_PER_BLOCK, config.dim), generator=draw)
        began = _now()
        theirs = published.block(
            b,
            noise[0].transpose(0, 1)[None],
            noise[1:].transpose(1, 2)[:, None],
            reference,
            audio[:, :, None, None],
            context,
        )
        between = _now()
        latents = ours.denoise(audio, noise)
        ours.clean()
        ended = _now()
        difference = max(difference, (theirs[0].transpose(0, 1) - latents).abs().max().item())
        if b >= filling:
            spent["published"].append(between - began)
            spent["livetalk"].append(ended - between)
    wall, cpu = ({loop: float(np.median([s[i] for s in times])) for loop, times in spent.items()} for i in range(2))
    return {
        "size": name,
        "threads": torch.get_num_threads(),
        "blocks": blocks,
        "prompt_rows": prompt,
        "wall_s_per_block": wall,
        "cpu_s_per_block": cpu,
        "wall_ratio": wall["published"] / wall["livetalk"],
        "cpu_ratio": cpu["published"] / cpu["livetalk"],
        "max_difference": difference,
    }


def _now() -> np.ndarray:
    """Wall and CPU seconds."""
    return np.array((time.perf_counter(), time.process_time()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="mid")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=128, help="text rows that are not padding, of 512")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = compare(options.size, options.blocks, options.prompt)
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(
        f"{result['size']}, {options.threads} thread(s), medians of {options.blocks} blocks "
        f"with a full window, prompt of {options.prompt} rows"
    )
    for clock in ("wall", "cpu"):
        seconds = result[f"{clock}_s_per_block"]
        print(
            f"{clock:>4}: published {seconds['published']:.3f} s, livetalk {seconds['livetalk']:.3f} s per block, "
            f"ratio {result[f'{clock}_ratio']:.3f}"
        )
    print(f"largest difference of the latents {result['max_difference']:.1e}")


if __name__ == "__main__":
    main()
