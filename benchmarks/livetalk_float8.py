"""Measure what 8-bit linear layers change in the transformer's output, against the same weights without them.

python -m benchmarks livetalk_float8 [--size 1.3B] [--device cuda] [--checkpoints FOLDER] [--blocks 8]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from livetalk.render.checkpoint import CheckpointFiles, load_dit
from livetalk.render.config import FRAMES_PER_BLOCK, size
from livetalk.render.model import CausalDiT, random_state
from livetalk.tools.float8_error import measure


def compare(name: str, device: str, weights: Path | None, blocks: int) -> None:
    """Print, per block, the relative error of one forward's flow and of the session's latents."""
    chosen = size(name)
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    if weights:
        dit = load_dit(CheckpointFiles.under(weights).dit, dtype=dtype, device=device)
    else:
        state = random_state(chosen.dit, dtype=dtype, device=device)
        dit = CausalDiT.from_state(chosen.dit, state, dtype=dtype, device=device)
    for error in measure(dit, chosen.stream, blocks):
        print(f"block {error.block}: flow {error.flow:.4f}, latents {error.latents:.4f} (rms, relative)")
    print(f"{FRAMES_PER_BLOCK * blocks} latent frames, size {name}, {dtype}, weights {weights or 'random'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="1.3B")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--blocks", type=int, default=8)
    options = parser.parse_args()
    compare(options.size, options.device, options.checkpoints, options.blocks)


if __name__ == "__main__":
    main()
