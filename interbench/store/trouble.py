"""Errors of disks and databases, in words that say what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from interbench.base.errors import StoreError

MIN_FREE_BYTES = 2**20
_LONGEST_LEDGER = 500
"""Bytes of a ledger's path: SQLite opens none of 512 and more, and its own files beside it have longer names."""


def require_short(ledger: Path) -> None:
    """Refuse a run folder whose path SQLite can't open.

    Raises:
        StoreError: naming its length.
    """
    length = len(os.fsencode(ledger.absolute()))
    if length > _LONGEST_LEDGER:
        raise StoreError(
            f"The path of the run folder is too long: its ledger's has {length} bytes and SQLite opens at most "
            f"{_LONGEST_LEDGER}. Give --out a shorter path."
        )


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn errors of the file system and the database into messages that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        # A full disk is "full" to SQLite only where it is not "disk I/O error".
        if "full" in str(error) or out_of_room(path):
            raise disk_full(path) from error
        if "readonly" in str(error):
            raise StoreError(
                f"The ledger in {path} can't be written: {error}. Check the folder's permissions."
            ) from error
        raise StoreError(
            f"The ledger in {path} can't be read or written ({error}). The clips under media/ are untouched. Restore "
            f"ledger.sqlite from a backup, or give the run a new folder with --out."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(path) from error
        name = f" ({error.filename})" if error.filename else ""
        if error.errno == errno.ENAMETOOLONG:
            raise StoreError(
                f"The path of a file in the run folder {path} is too long{name}. Give --out a shorter path."
            ) from error
        raise StoreError(
            f"The run folder {path} can't be used: {error.strerror or error}{name}. Check that it exists and that you "
            f"may write to it."
        ) from error


def out_of_room(path: Path) -> bool:
    """Whether the disk of ``path`` is so full that a failure is to be blamed on it."""
    existing = next((folder for folder in (path, *path.parents) if folder.exists()), Path("/"))
    return shutil.disk_usage(existing).free < MIN_FREE_BYTES


def disk_full(path: Path) -> StoreError:
    """What to raise when there is no room left where ``path`` lies."""
    return StoreError(
        f"The disk that holds {path} is full. Everything recorded so far is safe: free some space and give the same "
        f"command again to go on."
    )


def require_room(path: Path) -> None:
    """Blame a failure on the disk if it is full: it says nothing about whoever failed.

    Raises:
        StoreError: there is no room left where ``path`` lies.
    """
    if out_of_room(path):
        raise disk_full(path)
