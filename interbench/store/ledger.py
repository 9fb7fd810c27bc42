"""The ledger of a run folder: its schema, opening it under the folder's lock, and reading and writing rows."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import TypeAdapter

from interbench.base.errors import RunLockedError, StoreError
from interbench.store.belonging import require_ledger, require_no_run
from interbench.store.lock import HeldError, lock_file
from interbench.store.trouble import explained, require_short

SCHEMA_VERSION = 2  # PRAGMA user_version below
_SCHEMA = """
PRAGMA user_version = 2;
CREATE TABLE exchanges (
    system TEXT, scenario TEXT, turn INTEGER, outcome TEXT NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (system, scenario, turn));
CREATE TABLE staged (
    system TEXT, scenario TEXT, turn INTEGER, path TEXT NOT NULL, record TEXT NOT NULL, state TEXT NOT NULL,
    PRIMARY KEY (system, scenario, turn));
CREATE TABLE conversations (
    system TEXT, scenario TEXT, state TEXT NOT NULL, PRIMARY KEY (system, scenario));
CREATE TABLE jobs (
    system TEXT, scenario TEXT, turn INTEGER, job_id TEXT, detail TEXT NOT NULL, open INTEGER NOT NULL,
    PRIMARY KEY (system, scenario, turn, job_id));
CREATE TABLE spending (
    id INTEGER PRIMARY KEY, system TEXT NOT NULL, scenario TEXT NOT NULL, turn INTEGER NOT NULL,
    charge TEXT NOT NULL, video_s REAL NOT NULL, usd REAL);
CREATE TABLE scripts (
    writer TEXT, scenario TEXT, turn INTEGER, record TEXT NOT NULL, PRIMARY KEY (writer, scenario, turn));
CREATE TABLE parts (scenario TEXT PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE identities (key TEXT PRIMARY KEY, kind TEXT NOT NULL, label TEXT NOT NULL, identity TEXT NOT NULL);
CREATE TABLE transcripts (
    system TEXT, scenario TEXT, turn INTEGER, transcriber TEXT, record TEXT NOT NULL,
    PRIMARY KEY (system, scenario, turn, transcriber));
CREATE TABLE verdicts (
    system TEXT, scenario TEXT, dimension TEXT, sample INTEGER, judge TEXT, conversation TEXT,
    score REAL, missing TEXT, record TEXT NOT NULL,
    PRIMARY KEY (system, scenario, dimension, sample, judge, conversation));
"""
_LATER_TABLES = """
CREATE TABLE IF NOT EXISTS belonging (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS copies (
    source TEXT, recipe INTEGER, path TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (source, recipe));
"""
"""Of the same schema, whose readers need not know them: a ledger of an earlier version gets them when it is written."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Key:
    """One turn of one scenario played by one system."""

    system: str
    scenario: str
    turn: int

    def __str__(self) -> str:
        return f"{self.system}/{self.scenario}/{self.turn}"


def identity_key(identity: Mapping[str, Any]) -> str:
    """Hash under which everything made with this identity is kept."""
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def slug(label: str) -> str:
    """A folder name for a system label; different labels never share one."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", label.lower()).strip("-.")[:60] or "system"
    if plain == label:
        return plain
    return f"{plain}-{hashlib.sha256(label.encode()).hexdigest()[:6]}"


class Ledger:
    """The ledger of an open run folder. Use as a context manager.

    Args:
        path: the folder.
        write: take the lock and create what is missing; otherwise the folder must exist and is only read.

    Raises:
        StoreError: the folder or its ledger can't be opened or read.
        RunLockedError: another process holds the lock.
    """

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path = path
        self._write = write
        self._lock: int | None = None
        self._db: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        try:
            with explained(self.path):
                require_short(self.ledger_path)
                if self._write:
                    self.path.mkdir(parents=True, exist_ok=True)
                    self._acquire()
                    require_ledger(self.path)
                elif not self.ledger_path.is_file():
                    require_ledger(self.path)
                    raise StoreError(
                        f"{self.path} is not a run folder: it has no ledger.sqlite. Give the folder that "
                        f"`interbench run` wrote (its --out)."
                    )
                self._db = self._connect()
                self._opened()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._lock is not None:
            shutil.rmtree(self.speech_folder, ignore_errors=True)
            os.close(self._lock)
            self._lock = None

    @property
    def ledger_path(self) -> Path:
        return self.path / "ledger.sqlite"

    @property
    def speech_folder(self) -> Path:
        """Where the users' speech lies in a form that systems are handed; removed when the folder is closed."""
        return self.path / "work" / ".speech"

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.json"

    def relative(self, path: Path) -> str:
        """``path`` as kept in the ledger: relative to the run folder."""
        return path.relative_to(self.path).as_posix()

    def _acquire(self) -> None:
        try:
            self._lock = lock_file(self.path / "lock")
        except HeldError as held:
            raise RunLockedError(
                f"Another process (pid {held}) is working on the run folder {self.path}. Wait until it ends, or give "
                f"this run a folder of its own with --out."
            ) from None

    @property
    def db(self) -> sqlite3.Connection:
        if self._db is None:
            raise RuntimeError("the run folder is not open")
        return self._db

    def _opened(self) -> None:
        """Called when it can be read and written, before anybody else does."""

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with explained(self.path):
            return self.db.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with explained(self.path):
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
            except BaseException:
                # A full disk makes SQLite roll back by itself.
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        new = not self.ledger_path.exists()
        if self._write:
            db = sqlite3.connect(self.ledger_path, isolation_level=None, timeout=30)
        else:
            # immutable=1 is not used: a reader may look at a run in progress.
            db = sqlite3.connect(f"{self.ledger_path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)
        try:
            if self._write:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=NORMAL")
            if self._write and not db.execute("SELECT name FROM sqlite_master").fetchone():
                if not new:
                    # Valid and without a table: what a kill while it was made leaves, or an emptied one.
                    require_no_run(self.path)
                db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
            (found,) = db.execute("PRAGMA user_version").fetchone()
            if found != SCHEMA_VERSION:
                raise StoreError(
                    f"The ledger of {self.path} has schema {found}, this version of interbench reads schema "
                    f"{SCHEMA_VERSION}. Open it with the version that wrote it (see manifest.json)."
                    if found
                    else f"The ledger of {self.path} is empty: what was played is no longer in it. Restore "
                    f"ledger.sqlite from a backup."
                )
            if self._write:
                db.executescript(f"BEGIN; {_LATER_TABLES} COMMIT;")
        except BaseException:
            db.close()
            raise
        return db

    def _parse(self, adapter: TypeAdapter[_T], record: str) -> _T:
        try:
            return adapter.validate_json(record)
        except ValueError as error:
            raise StoreError(
                f"The ledger of {self.path} holds a record that can't be read ({str(error).splitlines()[0]}). It was "
                f"written by another version or damaged; open it with the version named in manifest.json."
            ) from error


def condition(**conditions: Any) -> tuple[str, list[Any]]:
    """A WHERE clause over the columns whose value is given, and its values; empty if none is."""
    given = {name: value for name, value in conditions.items() if value is not None}
    if not given:
        return "", []
    return " WHERE " + " AND ".join(f"{name} = ?" for name in given), list(given.values())
