"""What people said of a run: ``ratings.sqlite`` in its folder, with a lock of its own.

The run's ledger stays untouched, so a judge may be at work while people rate. Every answer is on the disk before it is
acknowledged. Raters are numbers: there is no name, no address and no mail in it.

    run/
      ratings.sqlite    the study, who is shown what, and the answers
      ratings.lock      held by the one process that may write
      ratings/          study.json, which can be published, and the clips under names that tell nothing
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import TypeAdapter

from interbench.base.errors import RunLockedError, StoreError
from interbench.domain.ratings import WHOLE, Answer, Closing, Showing
from interbench.store.lock import HeldError, lock_file
from interbench.store.trouble import disk_full, out_of_room

SCHEMA_VERSION = 1
_SCHEMA = f"""
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE study (id TEXT PRIMARY KEY, settings TEXT NOT NULL, secret TEXT NOT NULL);
CREATE TABLE raters (rater TEXT PRIMARY KEY, name_hash TEXT UNIQUE);
CREATE TABLE showings (showing TEXT PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE assignments (rater TEXT, position INTEGER, showing TEXT NOT NULL, PRIMARY KEY (rater, position));
CREATE TABLE answers (
    rater TEXT, showing TEXT, dimension TEXT, revision INTEGER, value REAL, choice TEXT, skipped TEXT NOT NULL,
    seconds REAL NOT NULL, played REAL NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (rater, showing, dimension, revision));
CREATE TABLE closings (rater TEXT PRIMARY KEY, record TEXT NOT NULL);
"""
_SHOWING = TypeAdapter(Showing)
_CLOSING = TypeAdapter(Closing)


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A study as it is kept."""

    id: str
    settings: str
    """JSON."""
    secret: str
    """From which opaque names and the raters' tokens are made."""


class Ratings:
    """The open ratings of a run. Use as a context manager.

    Args:
        run: the run folder.
        write: take the lock and create what is missing; otherwise it is only read.

    Raises:
        StoreError: it can't be opened or read, or there is none to read.
        RunLockedError: another process holds the lock.
    """

    def __init__(self, run: Path, *, write: bool) -> None:
        self.run = run
        self._write = write
        self._lock: int | None = None
        self._db: sqlite3.Connection | None = None

    @staticmethod
    def path(run: Path) -> Path:
        """Where the ratings of a run lie."""
        return run / "ratings.sqlite"

    @property
    def folder(self) -> Path:
        """For the published settings and the clips."""
        return self.run / "ratings"

    def __enter__(self) -> Self:
        path = self.path(self.run)
        try:
            with self._explained():
                if self._write:
                    self._acquire()
                    # A study is made in another thread where an event loop runs already; never in two at once.
                    self._db = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
                    self._db.execute("PRAGMA journal_mode=WAL")
                    # An answer that was acknowledged outlives the power as well as the process.
                    self._db.execute("PRAGMA synchronous=FULL")
                    if not self._db.execute("SELECT name FROM sqlite_master").fetchone():
                        self._db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
                elif not self.run.is_dir():
                    raise StoreError(f"There is no folder {self.run}. Give the one that `interbench run` wrote.")
                elif not path.is_file():
                    raise StoreError(f"{self.run} has no ratings. Make a study of it: interbench rate {self.run}")
                else:
                    self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)
                (found,) = self._db.execute("PRAGMA user_version").fetchone()
            if found != SCHEMA_VERSION:
                raise StoreError(
                    f"{path} has schema {found}, this version of interbench reads schema {SCHEMA_VERSION}. Open it "
                    f"with the version that wrote it, or restore it from a backup."
                )
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
            os.close(self._lock)
            self._lock = None

    def _acquire(self) -> None:
        try:
            self._lock = lock_file(self.run / "ratings.lock")
        except HeldError as held:
            raise RunLockedError(
                f"Another process (pid {held}) serves or writes the ratings of {self.run}. One server serves all "
                f"raters; end it before you start another or import ratings."
            ) from None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if "full" in str(error) or out_of_room(self.run):
                raise disk_full(self.run) from error
            raise StoreError(
                f"The ratings in {self.path(self.run)} can't be read or written ({error}). Check the folder's "
                f"permissions, or restore the file from a backup."
            ) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise disk_full(self.run) from error
            raise StoreError(
                f"The ratings of {self.run} can't be used: {error.strerror or error}. Check that the run folder exists "
                f"and that you may write to it."
            ) from error

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if self._db is None:
            raise RuntimeError("the ratings are not open")
        with self._explained():
            return self._db.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db is not None and self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._execute("COMMIT")

    # -- the study ----------------------------------------------------------------------------------------------------

    def study(self) -> StudyRecord | None:
        """The study of this run; None if none was made yet."""
        rows = self._execute("SELECT id, settings, secret FROM study")
        return StudyRecord(*rows[0]) if rows else None

    def begin(self, study: StudyRecord, showings: Sequence[Showing], assignments: Mapping[str, Sequence[str]]) -> None:
        """Keep a new study, whole or not at all: what is shown, and to each rater which showings in which order."""
        with self._transaction():
            self._execute("INSERT INTO study VALUES (?, ?, ?)", (study.id, study.settings, study.secret))
            for showing in showings:
                self._execute("INSERT INTO showings VALUES (?, ?)", (showing.id, _SHOWING.dump_json(showing).decode()))
            for rater, order in assignments.items():
                self._execute("INSERT INTO raters VALUES (?, NULL)", (rater,))
                for position, showing_id in enumerate(order):
                    self._execute("INSERT INTO assignments VALUES (?, ?, ?)", (rater, position, showing_id))

    def showings(self) -> dict[str, Showing]:
        """By id."""
        rows = self._execute("SELECT showing, record FROM showings ORDER BY rowid")
        try:
            return {name: _SHOWING.validate_json(record) for name, record in rows}
        except ValueError as error:
            raise StoreError(
                f"{self.path(self.run)} holds a record that can't be read ({str(error).splitlines()[0]}). It was "
                f"written by another version or damaged; restore it from a backup."
            ) from error

    def raters(self) -> list[str]:
        """Ids of all places for raters, in order, taken or not."""
        return [rater for (rater,) in self._execute("SELECT rater FROM raters ORDER BY rowid")]

    def order(self, rater: str) -> list[str]:
        """Ids of the showings of one rater, in their order."""
        rows = self._execute("SELECT showing FROM assignments WHERE rater = ? ORDER BY position", (rater,))
        return [showing for (showing,) in rows]

    def named(self, name_hash: str) -> str | None:
        """The place that a rater of this hashed name has; None if there is none yet."""
        rows = self._execute("SELECT rater FROM raters WHERE name_hash = ?", (name_hash,))
        return rows[0][0] if rows else None

    def take_place(self, name_hash: str) -> str | None:
        """Give the first place that nobody has named or answered from to this name; None if all are taken."""
        rows = self._execute(
            "UPDATE raters SET name_hash = ? WHERE rowid = (SELECT MIN(rowid) FROM raters WHERE name_hash IS NULL "
            "AND rater NOT IN (SELECT rater FROM answers)) RETURNING rater",
            (name_hash,),
        )
        return rows[0][0] if rows else None

    # -- answers ------------------------------------------------------------------------------------------------------

    def record(self, answers: Sequence[Answer]) -> int:
        """Keep answers; gives how many are new. One that is there already, by its revision, is left as it is."""
        new = 0
        with self._transaction():
            for a in answers:
                new += len(
                    self._execute(
                        "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING 1",
                        (a.rater, a.showing, a.dimension, a.revision, a.value, a.choice, a.skipped, a.seconds,
                         a.played, a.at),
                    )
                )  # fmt: skip
        return new

    def answers(self, rater: str | None = None, *, latest: bool = True) -> list[Answer]:
        """In the order in which they came; with ``latest`` only the highest revision of each."""
        rows = self._execute(
            "SELECT rater, showing, dimension, revision, value, choice, skipped, seconds, played, at FROM answers "
            "WHERE ?1 IS NULL OR rater = ?1 ORDER BY rowid",
            (rater,),
        )
        answers = [Answer(*row) for row in rows]
        if not latest:
            return answers
        last: dict[tuple[str, str, str], Answer] = {}
        for answer in answers:
            key = (answer.rater, answer.showing, answer.dimension)
            if key not in last or last[key].revision < answer.revision:
                last[key] = answer
        return list(last.values())

    def done(self, rater: str) -> set[str]:
        """Ids of the showings that a rater has closed."""
        rows = self._execute("SELECT DISTINCT showing FROM answers WHERE rater = ? AND dimension = ?", (rater, WHOLE))
        return {showing for (showing,) in rows}

    def close(self, closing: Closing) -> None:
        """Keep what a rater says at the end; the last word counts."""
        record = _CLOSING.dump_json(closing).decode()
        self._execute("INSERT OR REPLACE INTO closings VALUES (?, ?)", (closing.rater, record))

    def closings(self) -> list[Closing]:
        return [_CLOSING.validate_json(record) for (record,) in self._execute("SELECT record FROM closings")]
