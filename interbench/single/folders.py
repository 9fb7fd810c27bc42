"""`interbench single --clips`: folders of clips that are there already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from interbench.base.errors import UsageError
from interbench.base.progress import Progress
from interbench.media.pool import MediaPool
from interbench.single.clips import find_clips, look_at
from interbench.single.measure import Choice, SingleTable, fill
from interbench.single.rows import plan_rows
from interbench.store.measures import Measures


async def measure_folders(
    clips: Path, reference: Path | None, choices: Sequence[Choice], out: Path, progress: Progress, *, seed: int = 0
) -> SingleTable:
    """The table of the systems whose clips lie in ``clips``.

    Args:
        clips: as :func:`interbench.single.clips.find_clips` takes it.
        reference: a folder of real clips.
        choices: the metrics.
        out: where what was measured is kept.
        progress: is told how far it is.
        seed: of what is drawn.

    Raises:
        UsageError: there are no clips.
    """
    systems = find_clips(clips)
    real = None if reference is None else find_clips(reference)
    if real is not None and len(real) > 1:
        raise UsageError(f"{reference} holds several folders of clips; give the one with the real ones.")
    async with MediaPool(size=2) as media:
        looked = {label: await look_at(found, media) for label, found in systems.items()}
        references = None if real is None else await look_at(next(iter(real.values())), media)
        rows = plan_rows(looked, references, seed=seed)
        with Measures(out) as measures:
            return await fill(rows, choices, media=media, measures=measures, progress=progress, seed=seed)
