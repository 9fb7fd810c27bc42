"""Several run folders made into one: rows as they are, clips linked or copied, a folder made whole or not at all.

What is merged is a *conversation*, everything that the ledgers hold of one system's playing of one scenario. Two
folders may hold the same one only if they hold the same of it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

from interbench.base.errors import IncomparableError, RunLockedError, StoreError
from interbench.store.clips import clip_problem
from interbench.store.manifest import read_manifest
from interbench.store.run_folder import FACES, Key, Run, slug
from interbench.store.trouble import explained

Row = tuple[Any, ...]
Conversation = tuple[str, str]
"""Label of a system and id of a scenario."""

_CONVERSATIONS = {
    "exchanges": ("system, scenario, turn, outcome, record", "turn"),
    "staged": ("system, scenario, turn, path, record, state", "turn"),
    "conversations": ("system, scenario, state", "rowid"),
    "jobs": ("system, scenario, turn, job_id, detail, open", "rowid"),
    # Without the row's number, which every ledger gives anew.
    "spending": ("system, scenario, turn, charge, video_s, usd", "id"),
    "transcripts": ("system, scenario, turn, transcriber, record", "turn, transcriber"),
    "verdicts": (
        "system, scenario, dimension, sample, judge, conversation, score, missing, record",
        "dimension, sample, judge, conversation",
    ),
}
"""Tables with rows of conversations: their columns, and the order of a conversation's rows."""
_SHARED = {
    "scripts": ("writer, scenario, turn, record", "scenario, turn, writer", 3),
    "parts": ("scenario, record", "rowid", 1),
    "identities": ("key, kind, label, identity", "rowid", 1),
    "copies": ("source, recipe, path, record", "source, recipe", 2),
}
"""Tables with rows of several conversations: columns, order, how many of the columns are the key."""
_NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class Source:
    """A run folder that is to be merged, as far as its ledger and manifest go."""

    path: Path
    manifest: Mapping[str, Any]
    conversations: Mapping[Conversation, Mapping[str, tuple[Row, ...]]]
    """Rows by table."""
    shared: Mapping[str, Mapping[Row, Row]]
    """Rows by table and key, in order."""

    @classmethod
    def read(cls, run: Run) -> Self:
        """All rows of an open run.

        Raises:
            StoreError: nothing was planned there, or it can't be read.
        """
        manifest = read_manifest(run.manifest_path)
        if manifest is None:
            raise StoreError(f"{run.path} has no manifest.json, so nothing was planned there yet.")
        conversations: dict[Conversation, dict[str, tuple[Row, ...]]] = {}
        shared: dict[str, dict[Row, Row]] = {}
        with explained(run.path):
            tables = {name for (name,) in run.db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for table, (columns, order) in _CONVERSATIONS.items():
                rows = run.db.execute(f"SELECT {columns} FROM {table} ORDER BY system, scenario, {order}")  # noqa: S608
                for row in rows:
                    of = conversations.setdefault((row[0], row[1]), {})
                    of[table] = (*of.get(table, ()), row)
            for table, (columns, order, key) in _SHARED.items():
                # A ledger of an earlier version has no table of copies.
                query = f"SELECT {columns} FROM {table} ORDER BY {order}"  # noqa: S608
                shared[table] = {row[:key]: row for row in run.db.execute(query)} if table in tables else {}
        found = cls(run.path, manifest, conversations, shared)
        found._require_sound({planned.scenario.id for planned in run.planned_scenarios()})
        return found

    def _require_sound(self, scenarios: Collection[str]) -> None:
        """Refuse a ledger by which files would be read or written elsewhere than in the run folder."""
        strange = [key for key in self.conversations if key[1] not in scenarios]
        strange += [
            key
            for key, of in self.conversations.items()
            for row in of.get("staged", ())
            if PurePosixPath(row[3]).parts[:3] != ("work", slug(key[0]), key[1]) or ".." in PurePosixPath(row[3]).parts
        ]
        if strange or {key[0] for key in self.shared["parts"]} != set(scenarios):
            raise StoreError(
                f"The ledger of {self.path} is damaged: it holds scenarios or paths that don't fit together. Restore "
                f"ledger.sqlite from a backup, or leave the folder out."
            )

    def require_same(self, other: Source) -> None:
        """See that what both hold is the same.

        Raises:
            IncomparableError: naming the first conversation that differs, and in what.
        """
        for key in sorted(set(self.conversations) & set(other.conversations)):
            own, others = self.conversations[key], other.conversations[key]
            differing = [table for table in _CONVERSATIONS if own.get(table, ()) != others.get(table, ())]
            if differing:
                raise IncomparableError(
                    f"{self.path} and {other.path} both hold the conversation {'/'.join(key)}, and not the same of it: "
                    f"their {' and '.join(differing)} differ. Leave one of the folders out."
                )


def content(sources: Sequence[Source]) -> str:
    """SHA-256 over all that sources without a conversation in common hold, in whatever folders and order it lies."""
    rows = sorted([*key, *sorted(of.items())] for source in sources for key, of in source.conversations.items())
    other = {
        table: sorted({key: row for source in sources for key, row in source.shared[table].items()}.items())
        for table in _SHARED
    }
    return hashlib.sha256(json.dumps([rows, other]).encode()).hexdigest()


@contextlib.contextmanager
def unchanging(path: Path) -> Iterator[Run]:
    """A run folder open for reading while nobody may write to it.

    Raises:
        RunLockedError: a process is working on it.
        StoreError: it is no run folder, or can't be read.
    """
    with contextlib.ExitStack() as stack:
        try:
            lock = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            pass  # nobody has ever worked on it, or it was copied without its lock
        except OSError as error:
            raise StoreError(f"The run folder {path} can't be read: {error.strerror or error}.") from error
        else:
            stack.callback(os.close, lock)
            _lock(lock, fcntl.LOCK_SH, f"A process is working on the run folder {path}. Wait until it ends.")
        yield stack.enter_context(Run(path, write=False))


def _lock(descriptor: int, kind: int, why_not: str) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise RunLockedError(why_not) from None


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that becomes ``out`` at the end, in one step; of an error nothing is left.

    What a merge that was killed has left is removed first.

    Raises:
        StoreError: ``out`` is there and not empty, or can't be made.
        RunLockedError: another process is making it.
    """
    out = out.absolute()
    building = out.with_name(f".{out.name}.merging")
    lock_path = out.with_name(f".{out.name}.merging.lock")
    with explained(out.parent):
        require_free(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _lock(lock, fcntl.LOCK_EX, f"Another process is merging into {out}. Wait until it ends.")
        if not lock_path.exists() or os.fstat(lock).st_ino != lock_path.stat().st_ino:
            raise RunLockedError(f"Another process has just merged into {out}. Give the same command again.")
        with explained(out.parent):
            if building.exists():
                shutil.rmtree(building)
            building.mkdir()
        try:
            yield building
            with explained(out.parent):
                require_free(out)
                _sync(building)
                building.rename(out)
                _sync(out.parent)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        finally:
            lock_path.unlink(missing_ok=True)
    finally:
        os.close(lock)


def require_free(out: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        StoreError: naming it.
    """
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise StoreError(f"{out} is there and not empty. A merge makes a new folder: give another --out.")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class Files:
    """How many files a merge has taken over."""

    linked: int = 0
    copied: int = 0


def fill(target: Run, sources: Sequence[Source], scenarios: Sequence[str]) -> Files:
    """Write rows and files of sources that hold no conversation twice into a new run folder.

    Args:
        target: open for writing, and empty.
        sources: in the order in which their rows shall stand.
        scenarios: ids in the order in which they were planned.

    Raises:
        StoreError: a clip is not the one that was recorded, or a path does not lie where it should.
    """
    files = Files()
    planned: dict[Row, Row] = {}
    with explained(target.path):
        target.db.execute("BEGIN IMMEDIATE")
        for source in sources:
            for table, (columns, _, _) in _SHARED.items():
                if table == "parts":
                    planned |= source.shared[table]
                else:
                    _insert(target, table, columns, source.shared[table].values(), keep_first=True)
        by_id = {key[0]: row for key, row in planned.items()}
        _insert(target, "parts", _SHARED["parts"][0], [by_id[one] for one in scenarios if one in by_id])
        for source in sources:
            for table, (columns, _) in _CONVERSATIONS.items():
                rows = [row for of in source.conversations.values() for row in of.get(table, ())]
                _insert(target, table, columns, rows)
        target.db.execute("COMMIT")
    for source in sources:
        for system, scenario in source.conversations:
            _take_clips(source, target, system, scenario, files)
            _take_tree(source.path, target.path, Path("work") / slug(system) / scenario, files)
        for (scenario,) in source.shared["parts"]:
            _take_tree(source.path, target.path, Path("speech") / scenario, files)
        _take_tree(source.path, target.path, Path("copies"), files)
    return files


def _insert(target: Run, table: str, columns: str, rows: Iterable[Row], *, keep_first: bool = False) -> None:
    places = ", ".join("?" * len(columns.split(", ")))
    how = "INSERT OR IGNORE" if keep_first else "INSERT"
    target.db.executemany(f"{how} INTO {table} ({columns}) VALUES ({places})", list(rows))


def _take_clips(source: Source, target: Run, system: str, scenario: str, files: Files) -> None:
    for exchange in target.exchanges(system, scenario):
        if exchange.clip is None:
            continue
        place = Path(exchange.clip)
        if target.clip_path(Key(system, scenario, exchange.turn), place.suffix).relative_to(target.path) != place:
            raise StoreError(
                f"The ledger of {source.path} says that a clip lies at {exchange.clip!a}, where none does."
            )
        held = source.path / place
        if held.is_file() and not held.is_symlink():
            _link(held, target.path / place, files)
        problem = None if exchange.facts is None else clip_problem(target.path / place, exchange.facts)
        if problem is not None:
            raise StoreError(f"In {source.path}: {problem.message}")
    for beside in ("superseded", FACES):
        _take_tree(source.path, target.path, Path("media") / slug(system) / scenario / beside, files, link=True)


def _take_tree(source: Path, target: Path, folder: Path, files: Files, *, link: bool = False) -> None:
    """Take over the plain files below a folder; links are left behind, and what is there already stays."""
    with explained(source):
        for top, _, names in os.walk(source / folder):
            for name in sorted(names):
                held = Path(top) / name
                place = target / held.relative_to(source)
                if not stat.S_ISREG(held.lstat().st_mode) or place.exists():
                    continue
                if link:
                    _link(held, place, files)
                else:
                    _copy(held, place, files)


def _link(held: Path, place: Path, files: Files) -> None:
    """Give a file that is never written again a second name; a copy where the file system can't."""
    with explained(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(held, place)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            files.linked += 1
            return
    _copy(held, place, files)


def _copy(held: Path, place: Path, files: Files) -> None:
    with explained(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(held, place)
        with place.open("rb") as file:
            os.fsync(file.fileno())
        files.copied += 1
