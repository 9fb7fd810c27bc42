"""``livetalk train autoencoder``, ``speech``, ``teacher`` and ``assemble``: networks of one's own, from clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from livetalk.base.flags import Flag
from livetalk.cli.train_runs import Shown
from livetalk.render.config import SIZES

if TYPE_CHECKING:
    from livetalk.training.loop import Habits, Outcome

MINI = "mini"

OwnSize: TypeAlias = Annotated[str, Flag("Of the networks.", choices=tuple(SIZES))]
ClipFolder: TypeAlias = Annotated[Path, typer.Argument(help="Folder of clips, as examples/mini/draw.py draws them.")]
Begin: TypeAlias = Annotated[
    str | None, Flag("A run, or a checkpoint in it, whose average it begins as.", default="random weights")
]


@dataclass(frozen=True, slots=True)
class OwnHabits:
    """Beside the training; may be changed when a run goes on."""

    save_every: Annotated[int, Flag("Steps between checkpoints.", minimum=1)] = 100
    keep: Annotated[int, Flag("Checkpoints that stay.", minimum=1)] = 2

    def chosen(self) -> Habits:
        """As the loop takes them."""
        from livetalk.training.checkpoints import Kept
        from livetalk.training.loop import Habits

        return Habits(self.save_every, Kept(self.keep))


def autoencoder(
    clips: ClipFolder,
    out: Annotated[Path, Flag("The run's folder; one that holds the same run goes on.")],
    habits: OwnHabits,
    size: OwnSize = MINI,
    phase: Annotated[
        Literal["images", "clips"], Flag("Pictures, first and long; then clips, which teach what lies between them.")
    ] = "images",
    init: Begin = None,
    steps: Annotated[int | None, Flag("Updates.", minimum=1, default="4000")] = None,
    batch: Annotated[int | None, Flag("Pictures or clips of one update.", minimum=1, default="8; 2 clips")] = None,
    crop: Annotated[
        int | None, Flag("Pixels along each side of what an update sees; 0 for all.", minimum=0, default="48")
    ] = None,
    frames: Annotated[int | None, Flag("Of a clip, 4k+1.", minimum=1, default="9")] = None,
    learning_rate: Annotated[float | None, Flag("AdamW's.", minimum=0, default="2e-3; 1e-3 for clips")] = None,
    seed: Annotated[int, Flag("Of all that is drawn.", minimum=0, maximum=2**63 - 1)] = 0,
) -> None:
    """Train a Wan autoencoder of a small size.

    Call it again to go on; SIGTERM saves and ends it.
    """
    from livetalk.render.config import size as named_size
    from livetalk.training.autoencoder import AutoencoderSettings, train_autoencoder

    found = AutoencoderSettings(phase=phase)
    if phase == "clips":
        found = replace(found, batch=2, adam=replace(found.adam, learning_rate=1e-3))
    found = replace(found, **_given(steps=steps, batch=batch, crop=crop, frames=frames))
    found = replace(found, adam=replace(found.adam, **_given(learning_rate=learning_rate)))
    with Shown("autoencoder", also=("psnr", "psnr/unseen")) as shown:
        outcome = train_autoencoder(
            clips, out, named_size(size), found, init=init, seed=seed, habits=habits.chosen(), told=shown.told
        )
    _conclude(out, outcome)


def _conclude(out: Path, outcome: Outcome) -> None:
    state = "complete" if outcome.complete else "told to end; call the same again to go on"
    typer.echo(f"{out}: step {outcome.step} of {outcome.steps}, {state}{_last(outcome.measured)}")


def _last(measured: Mapping[str, float]) -> str:
    shown = [f"{name} {value:.2f}" for name, value in measured.items() if name.startswith(("psnr", "loss"))]
    return f"; {', '.join(shown)}" if shown else ""


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
