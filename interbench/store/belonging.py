"""Whether the parts of a run folder belong together: manifest, ledger and media of one run, none missing or old.

Each part carries the run's id, and manifest and ledger the number of the manifest's revision: the ledger's is raised
first, so after a kill the manifest may lie one behind, never ahead. Run folders of versions without an id are taken as
they are and get one when they are next written to.

Starting a run afresh beside what is left of an old one would pay for everything again, or play over clips that nobody
could get back; so whatever is missing or does not fit is refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interbench.base.errors import StoreError

LEDGER, MANIFEST, MEDIA = "ledger.sqlite", "manifest.json", "media"
_MARK = ".run-id"
"""File in the media folder that holds the run's id."""
SUFFIXES = (".mp4", ".webm", ".mkv", ".mov", ".ts")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Belonging:
    """What a ledger knows of the run that it belongs to."""

    run_id: str | None
    """None: written by a version without ids."""
    revision: int
    """Of the manifest that was written last."""
    planned: bool
    """Whether scenarios are recorded in it, which happens only after a manifest was written."""
    clips: frozenset[str]
    """Clips that it knows, relative to the run folder."""


def require_ledger(path: Path) -> None:
    """Refuse a folder in which other parts of a run lie without their ledger.

    Raises:
        StoreError: the ledger is missing or empty, and the manifest or clips are there.
    """
    ledger = path / LEDGER
    if not ledger.exists() or not ledger.stat().st_size:
        require_no_run(path)


def require_no_run(path: Path) -> None:
    """Refuse a folder in which a manifest or clips lie; its ledger holds nothing.

    Raises:
        StoreError: naming what is there.
    """
    ledger = path / LEDGER
    left = [MANIFEST] if (path / MANIFEST).exists() else []
    if next(clips_in(path), None) is not None:
        left.append("clips under media/")
    if left:
        state = "is empty" if ledger.exists() else "is missing"
        are = "is" if left == [MANIFEST] else "are"
        raise StoreError(
            f"The ledger of {path} {state}, though {' and '.join(left)} {are} there: it held what was played and paid "
            f"for, and playing without it would do both again. Restore {LEDGER} from a backup, or give the run a new "
            f"folder with --out."
        )


def require_whole(path: Path, ledger: Belonging, *, write: bool) -> None:
    """Refuse a run folder whose parts don't belong together.

    Args:
        ledger: what the ledger says.
        write: whether it is going to be added to; a reader may see a run in progress, whose parts differ in age.

    Raises:
        StoreError: a part is missing, of another run or older than the others; the message says which.
    """
    manifest = _manifest(path / MANIFEST)
    if manifest is None:
        if ledger.revision or ledger.planned:
            raise StoreError(
                f"The manifest of {path} is missing, though the ledger holds a run that had one. Restore {MANIFEST} "
                f"from a backup, or give the run a new folder with --out."
            )
    elif "run_id" in manifest:
        _require_same(path, ledger, manifest, write=write)
    mark = _read_mark(path)
    if mark is not None and ledger.run_id is not None and mark != ledger.run_id:
        raise StoreError(
            f"The clips under {path / MEDIA} belong to another run than the ledger beside them. Put the media folder "
            f"of this run back, or give the run a new folder with --out."
        )
    if write:
        _require_known(path, ledger.clips)


def _require_same(path: Path, ledger: Belonging, manifest: dict[str, Any], *, write: bool) -> None:
    advice = (
        f"Restore {MANIFEST}, {LEDGER} and {MEDIA}/ as they were at one time, or give the run a new folder with --out."
    )
    if ledger.run_id is None:
        raise StoreError(f"The ledger of {path} is older than the manifest beside it. {advice}")
    if manifest["run_id"] != ledger.run_id:
        raise StoreError(f"Manifest and ledger of {path} belong to different runs. {advice}")
    revision = manifest.get("revision")
    if not write or not isinstance(revision, int):
        return
    if revision > ledger.revision:
        raise StoreError(
            f"The ledger of {path} is older than the manifest beside it: what was played and paid for in between is "
            f"not in it. {advice}"
        )
    if revision < ledger.revision - 1:
        raise StoreError(f"The manifest of {path} is older than the ledger beside it. {advice}")


def _require_known(path: Path, known: Collection[str]) -> None:
    if known and not (path / MEDIA).is_dir():
        raise StoreError(
            f"The clips of {path} are missing: the ledger knows {len(known)} and there is no folder {MEDIA}/. Restore "
            f"it from a backup, or give the run a new folder with --out. (`interbench table` needs no clips.)"
        )
    strange = [clip for clip in clips_in(path) if clip not in known]
    if strange:
        more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
        raise StoreError(
            f"The ledger of {path} does not know clips that lie under {MEDIA}/: {', '.join(strange[:_SHOWN])}{more}. "
            f"It is older than they are, or they were put there by hand; going on would play over them. Restore the "
            f"ledger that belongs to them, move them elsewhere, or give the run a new folder with --out."
        )


def clips_in(path: Path) -> Iterator[str]:
    """The clips of a run folder, relative to it, in order; those set aside by a retry are not among them."""
    media = path / MEDIA
    for clip in sorted(media.glob("*/*/*")):
        if clip.suffix in SUFFIXES and clip.stem.isdigit() and not clip.is_dir():
            yield clip.relative_to(path).as_posix()


def mark_media(path: Path, run_id: str) -> None:
    """Write the run's id beside its clips."""
    if _read_mark(path) != run_id:
        (path / MEDIA / _MARK).write_text(run_id + "\n", encoding="utf-8")


def _read_mark(path: Path) -> str | None:
    try:
        return (path / MEDIA / _MARK).read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def _manifest(path: Path) -> dict[str, Any] | None:
    """The manifest as far as it can be read: whoever needs what is in it says what is wrong with it."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return {}
    return manifest if isinstance(manifest, dict) else {}
