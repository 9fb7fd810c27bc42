"""Which small model a machine without a GPU renders in time: widths of autoencoder and transformer, pictures' sides.

python -m benchmarks small_sizes [--blocks 4] [--only 12/192x8/96 ...]

Weights are random, which is the same arithmetic. A row is `livetalk bench` of size `mini` with these dimensions in
place of its own; what reaches 24 frames/s leaves room for encoding and a server at 16.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from livetalk.render.config import SIZES, SPATIAL_STRIDE, Size
from livetalk.render.options import ModelOptions, SpeedOptions
from livetalk.tools.bench import measure

PLANNED = ("8/192x8/96", "12/128x6/96", "12/192x8/96", "12/256x10/96", "16/192x8/96", "8/192x8/128", "12/192x8/128")
"""Width of the autoencoder / width x layers of the transformer / side of the picture in pixels."""


def planned(text: str) -> Size:
    """`mini` with other dimensions."""
    autoencoder, transformer, side = text.split("/")
    dim, layers = map(int, transformer.split("x"))
    mini = SIZES["mini"]
    latent = int(side) // SPATIAL_STRIDE
    return replace(
        mini,
        name=text,
        dit=replace(mini.dit, dim=dim, num_layers=layers, ffn_dim=10 * dim // 3),
        vae=replace(mini.vae, dim=int(autoencoder)),
        stream=replace(mini.stream, latent_height=latent, latent_width=latent),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--only", nargs="*", default=PLANNED, metavar="WIDTH/WIDTHxLAYERS/SIDE")
    options = parser.parse_args()
    print("| autoencoder | transformer | pixels | denoise + clean | decode | frames/s | first frames |")
    print("|---|---|---|---|---|---|---|")
    for text in options.only:
        SIZES[text] = planned(text)
        choice = ModelOptions(size=text, device="cpu").choose(random_by_default=True)
        found = measure(choice, replace(choice.size.stream, position="bounded"), SpeedOptions(), options.blocks)
        autoencoder, transformer, side = text.split("/")
        print(
            f"| {autoencoder} | {transformer.replace('x', ' × ')} | {side} "
            f"| {found.denoise_ms + found.clean_ms:.0f} ms | {found.decode_ms:.0f} ms "
            f"| {found.frames_per_second:.1f} | {found.first_frames_ms:.0f} ms |",
            flush=True,
        )


if __name__ == "__main__":
    main()
