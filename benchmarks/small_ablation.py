"""The paper's ablation at a small size: pictures by Fréchet distances, lips by correlation and lag.

    python -m benchmarks small_ablation CLIPS MODEL CHECKPOINTS=LABEL ... [--people 30]

Each of CHECKPOINTS is a transformer's file or a run, rendered with MODEL's encoders and decoder, block by block as a
server does, for people that were not trained on, with their puppets' speech. What is compared with the puppets' own
clips, with an interval by bootstrap over people:

* FD latents: Fréchet distance of MODEL's autoencoder's latents, the mean of each channel over a 3 by 3 grid (144
  numbers for every latent frame). No Inception: nothing of the figure may be compared with a published FID.
* FD motion: the same of differences between latent frames.
* mouth: correlation of the mouth's opening with the puppet's at lag 0, and with another clip's at its best lag.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from livetalk.render.options import ModelOptions
from livetalk.training.clips import Clip, Clips
from livetalk.training.weights import open_weights
from rich.console import Console
from rich.table import Table
from small_model import LAGS, Frames, Small, correlation, opening

from interbench.stats.frechet import frechet_distance

GRID = 3
REPLICATES = 400
Features = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """Of one model: what was measured of each person."""

    latents: list[Features]
    mouth: list[float]
    other: list[float]


def features(small: Small, frames: Frames) -> Features:
    """[latent frames, 144] of a clip [T,H,W,3]; T is cut to 4k+1."""
    count = 4 * ((len(frames) - 1) // 4) + 1
    pixels = torch.from_numpy(frames[:count]).permute(3, 0, 1, 2)[None].float().div(127.5).sub(1)
    with torch.inference_mode():
        latents = small.models.vae.encode_clip(pixels)[0].transpose(0, 1)  # [F,16,h,w]
    return torch.nn.functional.adaptive_avg_pool2d(latents, GRID).flatten(1).double().numpy()


def measure(small: Small, people: Sequence[Clip]) -> Row:
    row = Row([], [], [])
    for index, one in enumerate(people):
        made = small.rendered(one.frames[0], one.samples, one.caption)
        row.latents.append(features(small, made)[1:])
        other = people[(index + 1) % len(people)]
        row.mouth.append(correlation(opening(one.frames, one.frames), opening(made, one.frames), 0))
        wanted, got = opening(other.frames, other.frames), opening(made, one.frames)
        row.other.append(max(correlation(wanted, got, lag) for lag in range(-LAGS, LAGS + 1)))
    return row


def interval(of: Callable[[npt.NDArray[np.intp]], float], count: int) -> tuple[float, float, float]:
    """A figure of all people, and 95 % of those of people drawn anew."""
    rng = np.random.default_rng(0)
    drawn = [of(rng.integers(0, count, count)) for _ in range(REPLICATES)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return of(np.arange(count)), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("students", nargs="+", metavar="CHECKPOINTS=LABEL")
    parser.add_argument("--people", type=int, default=30)
    options = parser.parse_args()
    choice = ModelOptions(size="mini", checkpoints=options.model, device="cpu").choose()
    models, stream = choice.load(), replace(choice.size.stream, position="bounded")
    people = Clips(options.clips).unseen[-options.people :]
    puppets = [features(Small(models, stream), one.frames)[1:] for one in people]
    table = Table("", "FD latents", "FD motion", "mouth", "mouth, another's")
    for text in options.students:
        source, _, label = text.partition("=")
        weights = open_weights(source, choice.size.dit, options.model)
        dit = type(models.dit).from_state(choice.size.dit, dict(weights), dtype=choice.dtype, device="cpu")
        row = measure(Small(replace(models, dit=dit), stream), people)

        def distance(who: npt.NDArray[np.intp], row: Row = row, *, moving: bool) -> float:
            made, wanted = ([np.diff(x[i], axis=0) if moving else x[i] for i in who] for x in (row.latents, puppets))
            return frechet_distance(np.concatenate(made), np.concatenate(wanted))

        figures = (
            interval(lambda who: distance(who, moving=False), len(people)),
            interval(lambda who: distance(who, moving=True), len(people)),
            interval(lambda who, row=row: float(np.mean(np.array(row.mouth)[who])), len(people)),  # type: ignore[misc]
            interval(lambda who, row=row: float(np.mean(np.array(row.other)[who])), len(people)),  # type: ignore[misc]
        )
        table.add_row(label or source, *(f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in figures))
        print(f"{label or source}: done", file=sys.stderr, flush=True)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
