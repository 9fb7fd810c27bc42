"""The clips of a study: copies under names that tell nothing, each source copied once."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from interbench.base.errors import MediaError
from interbench.domain.ratings import Defect


@dataclass(frozen=True, slots=True)
class Cut:
    """What a clip is made from."""

    source: Path
    sha256: str
    edit: Defect = ""


async def make_clips(folder: Path, cuts: Mapping[str, Cut], tell: Callable[[str], None]) -> None:
    """Make the clips called by the keys of ``cuts`` in ``folder``, anew.

    Raises:
        MediaError: a clip can't be copied; the message names it.
    """
    from interbench.media.pool import MediaPool  # whoever only reads ratings decodes nothing

    await asyncio.to_thread(_emptied, folder)
    made: dict[tuple[str, Defect], Path] = {}
    sources = {(cut.sha256, cut.edit): cut for cut in cuts.values()}
    tell(f"Making {len(sources)} clips that tell nothing of where they come from.")
    async with MediaPool() as media:
        for name, cut in cuts.items():
            target = folder / name
            first = made.get((cut.sha256, cut.edit))
            if first is None:
                try:
                    await media.blind_copy(cut.source, target.absolute(), cut.edit)
                except MediaError as error:
                    raise MediaError(error.code, f"No clip for raters can be made: {error}") from None
                made[cut.sha256, cut.edit] = target
            else:
                same_file(first, target)
            # When a file was made says in which order, and nothing else should.
            os.utime(target, (0, 0))


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def same_file(source: Path, target: Path) -> None:
    """``source`` under another name, without another copy where the file system can."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
