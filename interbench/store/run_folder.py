"""A run's folder: manifest, ledger and media files. The only owner of state.

    run/
      manifest.json    settings and versions, frozen (see interbench.store.manifest)
      ledger.sqlite    one row per thing done
      media/           clips, one folder per system and scenario
      copies/          plain copies of clips that not every judge could read
      work/            unfinished clips; nothing in it counts
      lock             held by the one process that may write

Work still to do is what the plan asks for minus what the ledger holds, so any process may be killed at any moment. A
clip goes through three steps: *staged* (the system says it is complete; the row points into ``work/``), checked and
renamed into ``media/``, *recorded*. After a kill in between, :meth:`Run.staged` tells what to finish.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import TypeAdapter

from interbench.base.errors import RunLockedError, StoreError
from interbench.domain.records import Charge, ClipFacts, Exchange, Script, Spend, Transcript, Verdict
from interbench.scenarios.plan import PlannedScenario
from interbench.store.belonging import SUFFIXES, Belonging, mark_media, require_ledger, require_no_run, require_whole
from interbench.store.clips import ClipProblem, clip_problem
from interbench.store.lock import HeldError, lock_file
from interbench.store.manifest import read_manifest, write_manifest
from interbench.store.trouble import explained, require_short
from interbench.systems.events import JsonValue

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

_PART = TypeAdapter(PlannedScenario)
_EXCHANGE = TypeAdapter(Exchange)
_FACTS = TypeAdapter(ClipFacts)
_SCRIPT = TypeAdapter(Script)
_TRANSCRIPT = TypeAdapter(Transcript)
_VERDICT = TypeAdapter(Verdict)
T = TypeVar("T")
_READERS = 4
_ASIDE = "aside "
"""Begins the name of a note in the ledger that clips are to be moved away."""


@dataclass(frozen=True, slots=True)
class Key:
    """One turn of one scenario played by one system."""

    system: str
    scenario: str
    turn: int

    def __str__(self) -> str:
        return f"{self.system}/{self.scenario}/{self.turn}"


@dataclass(frozen=True, slots=True)
class Staged:
    """A clip that its system has finished but the harness has not yet checked."""

    exchange: Exchange
    path: Path
    state: JsonValue


@dataclass(frozen=True, slots=True)
class Job:
    """A remote job that was submitted and whose end is not recorded."""

    key: Key
    job_id: str
    detail: Mapping[str, Any]


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


class Run:
    """An open run folder. Use as a context manager.

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
                self._require_whole()
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
    def run_id(self) -> str:
        """What the run is called; its folder may be moved."""
        return self._belonging()["run_id"]

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

    def _acquire(self) -> None:
        try:
            self._lock = lock_file(self.path / "lock")
        except HeldError as held:
            raise RunLockedError(
                f"Another process (pid {held}) is working on the run folder {self.path}. Wait until it ends, or give "
                f"this run a folder of its own with --out."
            ) from None

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

    @property
    def db(self) -> sqlite3.Connection:
        if self._db is None:
            raise RuntimeError("the run folder is not open")
        return self._db

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

    # -- belonging together -------------------------------------------------------------------------------------------

    def _require_whole(self) -> None:
        """See that manifest and media are those of this ledger; give a ledger without an id one."""
        values = self._belonging()
        if self._write:
            self._finish_setting_aside(values)
        ledger = Belonging(
            run_id=values.get("run_id"),
            revision=int(values.get("revision", 0)),
            planned=bool(self._execute("SELECT 1 FROM parts LIMIT 1")),
            clips=frozenset(self._known_clips() if self._write else ()),
        )
        require_whole(self.path, ledger, write=self._write)
        if self._write:
            (self.path / "media").mkdir(exist_ok=True)
            (self.path / "work").mkdir(exist_ok=True)
            run_id = ledger.run_id or uuid.uuid4().hex
            self._execute("INSERT OR IGNORE INTO belonging VALUES ('run_id', ?)", (run_id,))
            mark_media(self.path, run_id)

    def _known_clips(self) -> Iterator[str]:
        for (clip,) in self._execute("SELECT json_extract(record, '$.clip') FROM exchanges"):
            if clip is not None:
                yield clip
        for system, scenario, turn, path in self._execute("SELECT system, scenario, turn, path FROM staged"):
            yield self.relative(self.clip_path(Key(system, scenario, turn), Path(path).suffix.lower()))

    def _belonging(self) -> dict[str, str]:
        if not self._execute("SELECT 1 FROM sqlite_master WHERE name = 'belonging'"):
            return {}
        return dict(self._execute("SELECT name, value FROM belonging"))

    def keep_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest, if it changed, as the next revision of the one that belongs to this ledger."""
        values = self._belonging()
        held = read_manifest(self.manifest_path) or {}
        own = {name: held.get(name) for name in ("run_id", "revision")}
        if held == {**manifest, **own} and own["run_id"] == values["run_id"]:
            return
        revision = int(values.get("revision", 0)) + 1
        # The ledger first: a kill in between leaves a manifest that is one behind, which is known from an older ledger.
        # And on the disk, so that a power failure can't turn that round.
        self._execute("PRAGMA synchronous=FULL")
        self._execute("INSERT OR REPLACE INTO belonging VALUES ('revision', ?)", (str(revision),))
        self._execute("PRAGMA synchronous=NORMAL")
        write_manifest(self.manifest_path, {**manifest, "run_id": values["run_id"], "revision": revision})

    # -- parts ------------------------------------------------------------------------------------------------------

    def record_part(self, part: PlannedScenario) -> None:
        """Keep a scenario as it is played, so that later stages need nothing but this folder."""
        values = (part.scenario.id, _PART.dump_json(part).decode())
        self._execute(
            "INSERT INTO parts VALUES (?, ?) ON CONFLICT (scenario) DO UPDATE SET record = excluded.record", values
        )

    def parts(self) -> tuple[PlannedScenario, ...]:
        """The scenarios of the run, in the order in which they were planned."""
        return tuple(
            self._parse(_PART, record) for (record,) in self._execute("SELECT record FROM parts ORDER BY rowid")
        )

    # -- exchanges ----------------------------------------------------------------------------------------------------

    def _work_path(self, key: Key) -> Path:
        return self.path / "work" / slug(key.system) / key.scenario / str(key.turn)

    def clear_work(self, key: Key) -> None:
        """Remove a turn's unfinished files."""
        shutil.rmtree(self._work_path(key), ignore_errors=True)

    def workdir(self, key: Key) -> Path:
        """A fresh, empty folder for one turn's unfinished files."""
        path = self._work_path(key)
        with explained(self.path):
            if path.exists():
                shutil.rmtree(path)
            path.mkdir(parents=True)
        return path

    def clip_path(self, key: Key, suffix: str) -> Path:
        """Where a turn's clip finally lies."""
        if suffix not in SUFFIXES:
            suffix = ".mp4"
        return self.path / "media" / slug(key.system) / key.scenario / f"{key.turn}{suffix}"

    def speech_path(self, scenario: str, turn: int, digest: str) -> Path:
        """Where the sound of a turn's reply lies that systems without a voice are given; ``digest`` (hexadecimal) is of
        all that it depends on."""
        return self.path / "speech" / scenario / f"{turn}-{digest[:16]}.wav"

    def relative(self, path: Path) -> str:
        """``path`` as kept in the ledger: relative to the run folder."""
        return path.relative_to(self.path).as_posix()

    def exchanges(self, system: str | None = None, scenario: str | None = None) -> list[Exchange]:
        """Recorded exchanges, ordered by system, scenario and turn."""
        where, values = _where(system=system, scenario=scenario)
        rows = self._execute(f"SELECT record FROM exchanges{where} ORDER BY system, scenario, turn", values)  # noqa: S608
        return [self._parse(_EXCHANGE, record) for (record,) in rows]

    def clip_problems(self, exchanges: Sequence[Exchange]) -> dict[Key, ClipProblem]:
        """Which clips are no longer those that were recorded. Reads them all."""
        recorded = [(Key(e.system, e.scenario, e.turn), self.path / e.clip, e.facts) for e in exchanges if e.clip]
        with ThreadPoolExecutor(_READERS) as readers:
            found = readers.map(lambda one: None if one[2] is None else clip_problem(one[1], one[2]), recorded)
            return {key: problem for (key, *_), problem in zip(recorded, found, strict=True) if problem is not None}

    def stage(self, exchange: Exchange, path: Path, state: JsonValue) -> None:
        """Note that a system has finished a clip, before the harness checks it."""
        record = _EXCHANGE.dump_json(exchange).decode()
        values = (exchange.system, exchange.scenario, exchange.turn, self.relative(path), record, json.dumps(state))
        self._execute("INSERT OR REPLACE INTO staged VALUES (?, ?, ?, ?, ?, ?)", values)

    def staged(self, system: str, scenario: str) -> list[Staged]:
        """What was staged and not recorded because the process was killed in between."""
        rows = self._execute(
            "SELECT record, path, state FROM staged WHERE system = ? AND scenario = ? ORDER BY turn", (system, scenario)
        )
        return [
            Staged(self._parse(_EXCHANGE, record), self.path / path, json.loads(state)) for record, path, state in rows
        ]

    def unstage(self, key: Key) -> None:
        """Forget a staged clip that no longer exists."""
        self._execute(
            "DELETE FROM staged WHERE system = ? AND scenario = ? AND turn = ?", (key.system, key.scenario, key.turn)
        )

    def adopt(self, key: Key, source: Path) -> Path:
        """Move a checked clip to its final place; atomic, and harmless if it was already done."""
        target = self.clip_path(key, source.suffix.lower())
        with explained(self.path):
            target.parent.mkdir(parents=True, exist_ok=True)
            if source != target:
                with source.open("rb") as file:
                    os.fsync(file.fileno())
                source.replace(target)
        return target

    def record(self, exchange: Exchange, state: JsonValue = None, *, keep_jobs: bool = False) -> None:
        """Write a turn's end into the ledger: from now on it is done.

        ``keep_jobs``: its job may go on, so it stays among the open ones, and a retry of the turn takes it up.
        """
        key = (exchange.system, exchange.scenario, exchange.turn)
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO exchanges VALUES (?, ?, ?, ?, ?)",
                (*key, exchange.outcome.value, _EXCHANGE.dump_json(exchange).decode()),
            )
            db.execute("DELETE FROM staged WHERE system = ? AND scenario = ? AND turn = ?", key)
            if not keep_jobs:
                db.execute("UPDATE jobs SET open = 0 WHERE system = ? AND scenario = ? AND turn = ?", key)
            db.execute(
                "INSERT OR REPLACE INTO conversations VALUES (?, ?, ?)",
                (exchange.system, exchange.scenario, json.dumps(state)),
            )

    def conversation_state(self, system: str, scenario: str) -> JsonValue:
        """The adapter's state after the last recorded turn."""
        rows = self._execute("SELECT state FROM conversations WHERE system = ? AND scenario = ?", (system, scenario))
        state: JsonValue = json.loads(rows[0][0]) if rows else None
        return state

    def discard(self, system: str, scenario: str, from_turn: int = 1) -> None:
        """Take back turns from ``from_turn`` on with their transcripts; clips are kept aside.

        Verdicts stay, because they are kept under the digest of the conversation they were given on.

        For conversations that can only be played from their beginning again, and for turns the user wants retried.
        """
        key = (system, scenario, from_turn)
        with self._transaction() as db:
            for table in ("exchanges", "staged", "transcripts"):
                db.execute(f"DELETE FROM {table} WHERE system = ? AND scenario = ? AND turn >= ?", key)  # noqa: S608
            # The answer of a later turn's job would belong to a conversation that no longer exists.
            db.execute("UPDATE jobs SET open = 0 WHERE system = ? AND scenario = ? AND turn > ?", key)
            db.execute(
                "UPDATE spending SET charge = ? WHERE system = ? AND scenario = ? AND turn > ? AND charge = ?",
                (Charge.POSSIBLE, *key, Charge.RESERVED),
            )
            name = _ASIDE + json.dumps([system, scenario])
            db.execute("INSERT OR REPLACE INTO belonging VALUES (?, ?)", (name, str(from_turn)))
        self._finish_setting_aside({name: str(from_turn)})

    def _finish_setting_aside(self, values: Mapping[str, str]) -> None:
        """Move away the clips of turns that were taken back, also if a kill came between."""
        for name, from_turn in values.items():
            if not name.startswith(_ASIDE):
                continue
            system, scenario = json.loads(name.removeprefix(_ASIDE))
            with explained(self.path):
                folder = self.path / "media" / slug(system) / scenario
                for clip in sorted(folder.glob("*")):
                    if clip.is_file() and clip.stem.isdigit() and int(clip.stem) >= int(from_turn):
                        aside = folder / "superseded"
                        aside.mkdir(exist_ok=True)
                        clip.replace(aside / f"{clip.stem}-{len(list(aside.iterdir())) + 1}{clip.suffix}")
            self._execute("DELETE FROM belonging WHERE name = ?", (name,))

    # -- jobs ---------------------------------------------------------------------------------------------------------

    def submitted(self, key: Key, job_id: str, detail: Mapping[str, JsonValue]) -> None:
        """Remember a remote job before anything else happens, because it may cost money."""
        values = (key.system, key.scenario, key.turn, job_id, json.dumps(detail, default=str))
        self._execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, 1)", values)

    def open_jobs(self, system: str | None = None, scenario: str | None = None) -> list[Job]:
        """Jobs whose end is not recorded, oldest first."""
        where, values = _where(system=system, scenario=scenario, open=1)
        rows = self._execute(
            f"SELECT system, scenario, turn, job_id, detail FROM jobs{where} ORDER BY rowid",  # noqa: S608
            values,
        )
        return [Job(Key(*row[:3]), row[3], json.loads(row[4])) for row in rows]

    def close_job(self, key: Key, job_id: str) -> None:
        """Give a job up: it is not taken up again, and what it may have cost stays counted."""
        values = (key.system, key.scenario, key.turn, job_id)
        with self._transaction() as db:
            db.execute("UPDATE jobs SET open = 0 WHERE system = ? AND scenario = ? AND turn = ? AND job_id = ?", values)
            db.execute(
                "UPDATE spending SET charge = ? WHERE system = ? AND scenario = ? AND turn = ? AND charge = ?",
                (Charge.POSSIBLE, *values[:3], Charge.RESERVED),
            )

    # -- money --------------------------------------------------------------------------------------------------------

    def reserve(self, key: Key, video_s: float, usd: float | None) -> None:
        """Set money aside for a request that is about to be sent."""
        values = (key.system, key.scenario, key.turn, Charge.RESERVED, video_s, usd)
        self._execute(
            "INSERT INTO spending (system, scenario, turn, charge, video_s, usd) VALUES (?, ?, ?, ?, ?, ?)", values
        )

    def settle(self, key: Key, charge: Charge, usd: float | None = None, video_s: float | None = None) -> float | None:
        """Say what became of the turn's last request; gives its cost, as reserved where ``usd`` is None.

        Args:
            video_s: seconds charged for, if they are others than were reserved.

        Raises:
            ValueError: an amount is negative or no number; nothing is changed.
        """
        if any(amount is not None and not 0 <= amount < math.inf for amount in (usd, video_s)):
            raise ValueError(f"no amounts: {usd!r} USD, {video_s!r} s")
        rows = self._execute(
            "UPDATE spending SET charge = ?, usd = COALESCE(?, usd), video_s = COALESCE(?, video_s) WHERE id = "
            "(SELECT MAX(id) FROM spending WHERE system = ? AND scenario = ? AND turn = ?) RETURNING usd",
            (charge, usd, video_s, key.system, key.scenario, key.turn),
        )
        return rows[0][0] if rows else usd

    def spending(self, key: Key | None = None) -> list[Spend]:
        """Every request that may have cost money, oldest first; of one turn if ``key`` is given."""
        where, values = _where(**({} if key is None else asdict(key)))
        rows = self._execute(
            f"SELECT system, scenario, turn, charge, video_s, usd FROM spending{where} ORDER BY id",  # noqa: S608
            values,
        )
        return [Spend(row[0], row[1], row[2], Charge(row[3]), row[4], row[5]) for row in rows]

    # -- scripts ------------------------------------------------------------------------------------------------------

    def record_script(self, writer: str, scenario: str, turn: int, script: Script) -> None:
        """Keep what the avatars say in a turn, under the writer's identity."""
        values = (writer, scenario, turn, _SCRIPT.dump_json(script).decode())
        self._execute("INSERT OR REPLACE INTO scripts VALUES (?, ?, ?, ?)", values)

    def scripts(self, writer: str, scenario: str) -> dict[int, Script]:
        """What a writer has written for a scenario, by turn."""
        rows = self._execute("SELECT turn, record FROM scripts WHERE writer = ? AND scenario = ?", (writer, scenario))
        return {turn: self._parse(_SCRIPT, record) for turn, record in rows}

    # -- plain copies -------------------------------------------------------------------------------------------------

    def copy_path(self, source: str) -> Path:
        """Where the plain copy of the clip with this SHA-256 lies."""
        return self.path / "copies" / f"{source}.mp4"

    def record_copy(self, source: str, recipe: int, facts: ClipFacts) -> None:
        """Keep what is known of the plain copy of a clip; its file lies at :meth:`copy_path`."""
        values = (source, recipe, self.relative(self.copy_path(source)), _FACTS.dump_json(facts).decode())
        self._execute("INSERT OR REPLACE INTO copies VALUES (?, ?, ?, ?)", values)

    def copies(self, recipe: int) -> dict[str, ClipFacts]:
        """Facts of the plain copies made by this recipe, by the SHA-256 of the clip that each was made from."""
        rows = self._execute("SELECT source, record FROM copies WHERE recipe = ? ORDER BY source", (recipe,))
        return {source: self._parse(_FACTS, record) for source, record in rows}

    # -- transcripts and verdicts -------------------------------------------------------------------------------------

    def identify(self, kind: str, label: str, identity: Mapping[str, Any]) -> str:
        """Register who makes transcripts or verdicts; gives the key under which they are kept."""
        key = identity_key(identity)
        values = (key, kind, label, json.dumps(identity, sort_keys=True, default=str))
        self._execute("INSERT OR IGNORE INTO identities VALUES (?, ?, ?, ?)", values)
        return key

    def identities(self, kind: str) -> dict[str, tuple[str, dict[str, Any]]]:
        """Key → (label, identity) of every transcriber or judge that left something here, oldest first."""
        rows = self._execute("SELECT key, label, identity FROM identities WHERE kind = ? ORDER BY rowid", (kind,))
        return {key: (label, json.loads(identity)) for key, label, identity in rows}

    def record_transcript(self, key: Key, transcriber: str, transcript: Transcript) -> None:
        values = (key.system, key.scenario, key.turn, transcriber, _TRANSCRIPT.dump_json(transcript).decode())
        self._execute("INSERT OR REPLACE INTO transcripts VALUES (?, ?, ?, ?, ?)", values)

    def transcripts(
        self, transcriber: str, system: str | None = None, scenario: str | None = None
    ) -> dict[Key, Transcript]:
        where, values = _where(transcriber=transcriber, system=system, scenario=scenario)
        rows = self._execute(
            f"SELECT system, scenario, turn, record FROM transcripts{where} ORDER BY system, scenario, turn",  # noqa: S608
            values,
        )
        return {Key(*row[:3]): self._parse(_TRANSCRIPT, row[3]) for row in rows}

    def record_verdict(self, verdict: Verdict, judge: str, conversation: str) -> None:
        """Keep a verdict under the judge's identity and the digest of the conversation it saw."""
        values = (
            verdict.system,
            verdict.scenario,
            verdict.dimension,
            verdict.sample,
            judge,
            conversation,
            verdict.score,
            None if verdict.missing is None else verdict.missing.value,
            _VERDICT.dump_json(verdict).decode(),
        )
        self._execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def verdicts(self, judge: str, system: str | None = None, scenario: str | None = None) -> list[tuple[str, Verdict]]:
        """(conversation digest, verdict) pairs of one judge, ordered."""
        where, values = _where(judge=judge, system=system, scenario=scenario)
        rows = self._execute(
            f"SELECT conversation, record FROM verdicts{where} ORDER BY system, scenario, dimension, sample",  # noqa: S608
            values,
        )
        return [(conversation, self._parse(_VERDICT, record)) for conversation, record in rows]

    def _parse(self, adapter: TypeAdapter[T], record: str) -> T:
        try:
            return adapter.validate_json(record)
        except ValueError as error:
            raise StoreError(
                f"The ledger of {self.path} holds a record that can't be read ({str(error).splitlines()[0]}). It was "
                f"written by another version or damaged; open it with the version named in manifest.json."
            ) from error


def _where(**conditions: Any) -> tuple[str, list[Any]]:
    given = {name: value for name, value in conditions.items() if value is not None}
    if not given:
        return "", []
    return " WHERE " + " AND ".join(f"{name} = ?" for name in given), list(given.values())
