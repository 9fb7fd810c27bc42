"""Time livetalk's loop against the published loop's way of working, in one process, block by block in alternation.

    python -m benchmarks livetalk_cpu [--size mid] [--pairs 7] [--prompt 128] [--threads 1] [--json]

Both get the same weights and inputs and must agree. Once the window has filled, a pair is one block of each, one right
after the other, and the next pair the other way round, so that a machine which slows down slows both. The figure is the
median of the pairs' ratios. CPU time is the process's own, which a busy machine disturbs less than the clock on the
wall.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from livetalk.render.config import FRAMES_PER_BLOCK, size
from livetalk.render.model import CausalDiT, random_state
from livetalk.render.model.block import BlockGenerator
from livetalk_published_loop import PublishedLoop

LIMIT = 2e-5
"""Largest difference of a latent in float32, as parity has it."""


def compare(name: str, pairs: int, prompt: int) -> dict[str, Any]:
    """Seconds per block of both loops once the window is full, pair by pair, and their largest difference."""
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
    for b in range(filling + pairs):
        noise = torch.randn((stream.steps, *latent), generator=draw)
        audio = torch.randn((config.audio_injections, FRAMES_PER_BLOCK, config.dim), generator=draw)

        def theirs(block: int = b, noise: torch.Tensor = noise, audio: torch.Tensor = audio) -> torch.Tensor:
            latents = published.block(
                block,
                noise[0].transpose(0, 1)[None],
                noise[1:].transpose(1, 2)[:, None],
                reference,
                audio[:, :, None, None],
                context,
            )
            return latents[0].transpose(0, 1)

        def own(noise: torch.Tensor = noise, audio: torch.Tensor = audio) -> torch.Tensor:
            latents = ours.denoise(audio, noise)
            ours.clean()
            return latents

        loops: list[tuple[str, Callable[[], torch.Tensor]]] = [("published", theirs), ("livetalk", own)]
        made = {}
        for loop, work in loops if b % 2 else reversed(loops):
            began = _now()
            made[loop] = work()
            if b >= filling:
                spent[loop].append(_now() - began)
        difference = max(difference, (made["published"] - made["livetalk"]).abs().max().item())
    wall, cpu = ({loop: [float(s[i]) for s in times] for loop, times in spent.items()} for i in range(2))
    return {
        "size": name,
        "threads": torch.get_num_threads(),
        "pairs": pairs,
        "prompt_rows": prompt,
        "wall_s_per_block": wall,
        "cpu_s_per_block": cpu,
        "wall_ratio": _ratio(wall),
        "cpu_ratio": _ratio(cpu),
        "max_difference": difference,
        "within_parity": difference <= LIMIT,
    }


def _ratio(seconds: dict[str, list[float]]) -> float:
    """Median over the pairs."""
    return float(np.median(np.divide(seconds["published"], seconds["livetalk"])))


def _now() -> np.ndarray:
    """Wall and CPU seconds."""
    return np.array((time.perf_counter(), time.process_time()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="mid")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--prompt", type=int, default=128, help="text rows that are not padding, of 512")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = compare(options.size, options.pairs, options.prompt)
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(
        f"{result['size']}, {options.threads} thread(s), {options.pairs} alternated pairs of blocks "
        f"with a full window, prompt of {options.prompt} rows"
    )
    for clock in ("wall", "cpu"):
        medians = {loop: float(np.median(times)) for loop, times in result[f"{clock}_s_per_block"].items()}
        print(
            f"{clock:>4}: published {medians['published']:.3f} s, livetalk {medians['livetalk']:.3f} s per block, "
            f"median ratio {result[f'{clock}_ratio']:.3f}"
        )
    held = "within" if result["within_parity"] else "BEYOND"
    print(f"largest difference of the latents {result['max_difference']:.1e}, {held} the limit of {LIMIT:g}")


if __name__ == "__main__":
    main()
