"""How clips come from a node to the head's disk: in pieces through the actor, a shared folder, or an object store.

Whichever way, what arrives is compared with the size and the SHA-256 that were found on the node. What a node handed
over and the head never took is removed when the run is taken up again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from interbench.base.errors import ClusterError, NodeLostError
from interbench.store.trouble import disk_full

CHUNK = 4 * 2**20
"""Bytes that travel at a time through an actor."""
_LOOK_S = 0.02
_FULL = (errno.ENOSPC, errno.EDQUOT)


class NoRoomError(Exception):
    """There is no room where a clip is to be written."""


@dataclass(frozen=True, slots=True)
class Way:
    """How clips travel."""

    kind: Literal["chunks", "folder", "store"] = "chunks"
    root: str = ""
    """The shared folder, or the URI in the object store."""
    prefix: str = ""
    """Begins the names of everything that one run hands over."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """How to reach the object store, keys included: they travel in calls and are written nowhere."""

    def name(self, suffix: str) -> str:
        return f"{self.prefix}{uuid.uuid4().hex}{suffix}"


def parse_way(text: str | None, run_id: str) -> Way:
    """The way that a setting names: nothing, a folder, or a URI that fsspec knows.

    Raises:
        ClusterError: there is no such folder, or the store can't be reached.
    """
    prefix = f"interbench-{run_id[:12]}-"
    if not text:
        return Way(prefix=prefix)
    if "://" not in text:
        folder = Path(text).expanduser()
        if not folder.is_absolute() or not folder.is_dir():
            raise ClusterError(f"Clips can't come through {text!r}: give an absolute folder that all machines see.")
        return Way("folder", str(folder), prefix)
    protocol = text.partition("://")[0]
    try:
        import fsspec

        fsspec.get_filesystem_class(protocol)
    except (ImportError, ValueError) as error:
        raise ClusterError(
            f"Clips can't come through {text}: {error}. Install what it needs on all machines, such as s3fs for s3:// "
            f"or gcsfs for gs://."
        ) from None
    return Way("store", text.rstrip("/"), prefix, dict(fsspec.config.conf.get(protocol, {})))


def _store(way: Way) -> Any:
    import fsspec

    # Instances are kept by fsspec for each thread and each set of options, lists of folders with them.
    return fsspec.filesystem(way.root.partition("://")[0], use_listings_cache=False, **way.options)


def hand_over(way: Way, source: Path, name: str) -> None:
    """Put a file where the head finds it; blocks.

    Raises:
        NoRoomError: the folder is full.
        OSError: anything else; what a store raises is turned into this.
    """
    try:
        if way.kind == "folder":
            part = Path(way.root) / f"{name}.part"
            try:
                with source.open("rb") as read, part.open("xb") as written:
                    shutil.copyfileobj(read, written, CHUNK)
                    written.flush()
                    os.fsync(written.fileno())
                part.rename(Path(way.root) / name)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        elif way.kind == "store":
            _store(way).put_file(str(source), f"{way.root}/{name}")
    except OSError as error:
        if error.errno in _FULL:
            raise NoRoomError(way.root) from None
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from None


@dataclass(frozen=True, slots=True)
class Handed:
    """A file as its node describes it."""

    name: str
    """Its own name, of which the suffix counts."""
    size: int
    sha256: str
    key: str = ""
    """What it is called in the shared folder or store."""
    data: bytes | None = field(default=None, repr=False)
    """All of it, if it is small enough to come along."""


async def take(
    way: Way, handed: Handed, target: Path, read: Callable[[int], Awaitable[bytes]], visible_s: float
) -> None:
    """Bring a file to ``target`` and see that it is the one that its node described.

    Args:
        read: the bytes of the file from an offset, at most :data:`CHUNK`, where it comes in pieces.
        visible_s: how long it may take to be seen.

    Raises:
        NodeLostError: it does not arrive, or not as it was.
        StoreError: the disk of ``target`` is full.
    """
    try:
        if way.kind == "chunks":
            await _pieces(handed, target, read)
        else:
            fetch = _from_folder if way.kind == "folder" else _from_store
            await asyncio.to_thread(fetch, way, handed, target, visible_s)
        found = await asyncio.to_thread(_digest, target)
    except OSError as error:
        if error.errno in _FULL:
            raise disk_full(target) from error
        raise NodeLostError(f"A clip can't be brought here through {way.root or 'its actor'}: {error}.") from None
    if found != (handed.size, handed.sha256):
        raise NodeLostError(f"A clip did not arrive as its node had it: {found[0]} bytes instead of {handed.size}.")


async def _pieces(handed: Handed, target: Path, read: Callable[[int], Awaitable[bytes]]) -> None:
    with target.open("wb") as file:
        if handed.data is not None:
            file.write(handed.data)
            return
        while file.tell() < handed.size:
            piece = await read(file.tell())
            if not piece:
                return
            file.write(piece)


def _from_folder(way: Way, handed: Handed, target: Path, visible_s: float) -> None:
    source = Path(way.root) / handed.key
    deadline = time.monotonic() + visible_s
    while True:
        # Listing the folder makes a network file system look again where it remembers that there was nothing.
        with contextlib.suppress(OSError):
            os.listdir(way.root)  # noqa: PTH208
        if source.exists() and source.stat().st_size == handed.size:
            break
        if time.monotonic() > deadline:
            raise OSError(f"{handed.key} is not seen there after {visible_s:g} s")
        time.sleep(_LOOK_S)
    shutil.copyfile(source, target)
    source.unlink(missing_ok=True)


def _from_store(way: Way, handed: Handed, target: Path, visible_s: float) -> None:
    store, source = _store(way), f"{way.root}/{handed.key}"
    deadline = time.monotonic() + visible_s
    while True:
        try:
            store.get_file(source, str(target))
            break
        except FileNotFoundError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_S)
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"{type(error).__name__}: {error}") from None
    with contextlib.suppress(Exception):  # it is swept later
        store.rm_file(source)


def _digest(path: Path) -> tuple[int, str]:
    total, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            total.update(block)
            size += len(block)
    return size, total.hexdigest()


def sweep(way: Way) -> int:
    """Remove what was handed over by earlier invocations of a run and never taken; how many files that were."""
    removed = 0
    if way.kind == "folder":
        for left in Path(way.root).glob(f"{way.prefix}*"):
            with contextlib.suppress(OSError):
                left.unlink()
                removed += 1
    elif way.kind == "store":
        store = _store(way)
        with contextlib.suppress(FileNotFoundError):
            for left in store.glob(f"{way.root}/{way.prefix}*"):
                store.rm_file(left)
                removed += 1
    return removed
