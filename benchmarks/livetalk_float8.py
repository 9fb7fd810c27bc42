"""Measure what 8-bit linear layers change in the transformer's output, against the same weights without them.

python -m benchmarks livetalk_float8 [--size 1.3B] [--device cuda] [--checkpoints FOLDER] [--blocks 8]
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
from livetalk.render.checkpoint import CheckpointFiles, load_dit
from livetalk.render.config import FRAMES_PER_BLOCK, size
from livetalk.render.model import CausalDiT, random_state
from livetalk.render.model.block import BlockGenerator
from livetalk.render.model.float8 import quantize_layers


def compare(name: str, device: str, weights: Path | None, blocks: int) -> None:
    """Print, per block, the relative error of one forward's flow and of the session's latents."""
    chosen = size(name)
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    if weights:
        dit = load_dit(CheckpointFiles.under(weights).dit, dtype=dtype, device=device)
    else:
        state = random_state(chosen.dit, dtype=dtype, device=device)
        dit = CausalDiT.from_state(chosen.dit, state, dtype=dtype, device=device)
    models = dit, quantize_layers(copy.deepcopy(dit))
    sessions = [BlockGenerator(model, chosen.stream) for model in models]
    draw = torch.Generator(device).manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw, device=device)

    context, reference = random(1, 512, chosen.dit.text_dim), random(*sessions[0].reference.shape).unsqueeze(2)
    for session in sessions:
        session.start(context, reference)
    for b in range(blocks):
        audio = random(*sessions[0].audio.shape)
        noise = random(*sessions[0].noise.shape)
        exact, coarse = (session.denoise(audio, noise) for session in sessions)
        with torch.inference_mode():
            flows = [session.flow(noise[0].to(dtype), 0) for session in sessions]
        print(f"block {b}: flow {_relative(*flows):.4f}, latents {_relative(exact, coarse):.4f} (rms, relative)")
        for session in sessions:
            session.clean()
    print(f"{FRAMES_PER_BLOCK * blocks} latent frames, size {name}, {dtype}, weights {weights or 'random'}")


def _relative(exact: torch.Tensor, coarse: torch.Tensor) -> float:
    difference = (coarse.double() - exact.double()).square().mean().sqrt()
    return (difference / exact.double().square().mean().sqrt()).item()


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
