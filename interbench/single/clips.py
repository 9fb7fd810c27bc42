"""Sets of clips that lie in folders."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from interbench.base.errors import MediaError, UsageError
from interbench.media.pool import MediaPool
from interbench.single.base import Clip
from interbench.store.belonging import SUFFIXES

_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is to be a clip."""

    id: str
    path: Path
    source: str


def find_clips(folder: Path) -> dict[str, list[Found]]:
    """Clips by the name of their system: one for each folder with clips within ``folder``, else ``folder`` itself.

    Raises:
        UsageError: there are none, or two have the same name.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.")
    own = _in(folder)
    if own:
        return {folder.resolve().name: own}
    inside = {child.name: clips for child in sorted(folder.iterdir()) if child.is_dir() and (clips := _in(child))}
    if not inside:
        raise UsageError(
            f"{folder} holds no clips ({', '.join(sorted(SUFFIXES))}), nor folders with clips, one for each system."
        )
    return inside


def _in(folder: Path) -> list[Found]:
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and path.is_file()]
    ids = [path.stem for path in files]
    for id_ in ids:
        if ids.count(id_) > 1:
            raise UsageError(
                f"{folder} holds several clips called {id_}; a clip is known by its name without the ending."
            )
    return [Found(path.stem, path, path.stem) for path in files]


async def look_at(found: Iterable[Found], media: MediaPool) -> list[Clip]:
    """The clips, decoded once from end to end; one that can't be is kept with its problem."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def look(one: Found) -> Clip:
        async with turn:
            try:
                return Clip(one.id, one.path, one.source, await media.inspect(one.path))
            except MediaError as error:
                return Clip(one.id, one.path, one.source, None, error.code)

    return list(await asyncio.gather(*(look(one) for one in found)))


def partners(own: Sequence[Clip], references: Sequence[Clip]) -> tuple[list[Clip], list[Clip]]:
    """References of the same ids as ``own``, in its order, and the references that are left.

    Where no id is shared all references are taken, and none is left: the two sets are then compared unpaired.
    """
    by_id: Mapping[str, Clip] = {clip.id: clip for clip in references}
    mine = [by_id[clip.id] for clip in own if clip.id in by_id]
    if not mine:
        return list(references), []
    taken = {clip.id for clip in own}
    return mine, [clip for clip in references if clip.id not in taken]
