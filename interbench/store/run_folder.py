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

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from interbench.domain.records import Charge, Exchange
from interbench.scenarios.plan import PlannedScenario
from interbench.store.belonging import SUFFIXES, Belonging, mark_media, require_whole
from interbench.store.charges import Charges, Job
from interbench.store.clips import ClipProblem, clip_problem
from interbench.store.heard_and_judged import HeardAndJudged
from interbench.store.ledger import SCHEMA_VERSION, Key, condition, identity_key, slug
from interbench.store.manifest import read_manifest, write_manifest
from interbench.store.trouble import explained
from interbench.systems.events import JsonValue

FACES = "faces"
"""Folder beside a conversation's clips, of the face that was really shown."""

__all__ = ["SCHEMA_VERSION", "Job", "Key", "Run", "Staged", "identity_key", "slug"]

_PLANNED = TypeAdapter(PlannedScenario)
_EXCHANGE = TypeAdapter(Exchange)
_READERS = 4
_ASIDE = "aside "
"""Begins the name of a note in the ledger that clips are to be moved away."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A clip that its system has finished but the harness has not yet checked."""

    exchange: Exchange
    path: Path
    state: JsonValue


class Run(Charges, HeardAndJudged):
    """An open run folder. Use as a context manager.

    Args:
        path: the folder.
        write: take the lock and create what is missing; otherwise the folder must exist and is only read.

    Raises:
        StoreError: the folder or its ledger can't be opened or read.
        RunLockedError: another process holds the lock.
    """

    @property
    def run_id(self) -> str:
        """What the run is called; its folder may be moved."""
        return self._belonging()["run_id"]

    # -- belonging together -------------------------------------------------------------------------------------------

    def _opened(self) -> None:
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

    # -- planned scenarios ---------------------------------------------------------------------------------------------

    def record_planned(self, planned: PlannedScenario) -> None:
        """Keep a scenario as it is played, so that later stages need nothing but this folder."""
        values = (planned.scenario.id, _PLANNED.dump_json(planned).decode())
        self._execute(
            "INSERT INTO parts VALUES (?, ?) ON CONFLICT (scenario) DO UPDATE SET record = excluded.record", values
        )

    def planned_scenarios(self) -> tuple[PlannedScenario, ...]:
        """The scenarios of the run, in the order in which they were planned."""
        return tuple(
            self._parse(_PLANNED, record) for (record,) in self._execute("SELECT record FROM parts ORDER BY rowid")
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

    def face_path(self, system: str, scenario: str) -> Path:
        """Where the still of a face lies that a system showed instead of the persona's."""
        return self.path / "media" / slug(system) / scenario / FACES / "face.png"

    def keep_face(self, system: str, scenario: str, still: Path) -> None:
        """Keep that still; it is moved."""
        place = self.face_path(system, scenario)
        with explained(self.path):
            place.parent.mkdir(parents=True, exist_ok=True)
            still.replace(place)

    def speech_path(self, scenario: str, turn: int, digest: str) -> Path:
        """Where the sound of a turn's reply lies that systems without a voice are given; ``digest`` (hexadecimal) is of
        all that it depends on."""
        return self.path / "speech" / scenario / f"{turn}-{digest[:16]}.wav"

    def exchanges(self, system: str | None = None, scenario: str | None = None) -> list[Exchange]:
        """Recorded exchanges, ordered by system, scenario and turn."""
        where, values = condition(system=system, scenario=scenario)
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
