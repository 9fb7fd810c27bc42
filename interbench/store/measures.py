"""What metrics found in clips, by the clip's hash and the metric's identity: measured once, whoever asks.

One SQLite file in a folder. A clip that was measured is never measured again under the same identity, whatever row of
whatever table it is in, so any process may be killed at any moment.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from interbench.base.errors import StoreError
from interbench.store.run_folder import identity_key
from interbench.store.trouble import explained

NAME = "measures.sqlite"
_VERSION = 1
_SCHEMA = f"""
PRAGMA user_version = {_VERSION};
CREATE TABLE metrics (key TEXT PRIMARY KEY, identity TEXT NOT NULL);
CREATE TABLE measures (
    clip TEXT, metric TEXT, record TEXT NOT NULL, rows INTEGER, width INTEGER, features BLOB,
    PRIMARY KEY (clip, metric));
"""


@dataclass(frozen=True, slots=True)
class Record:
    """What a metric found in a clip."""

    values: Mapping[str, float]
    missing: str
    detail: Mapping[str, Any]
    features: npt.NDArray[np.float32] | None


class Measures:
    """The file in ``folder``, open. Use as a context manager.

    Raises:
        StoreError: it can't be opened, or was written by another version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._db: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self.folder / NAME, isolation_level=None, timeout=30)
            try:
                db.execute("PRAGMA journal_mode=WAL")
                if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
                    db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
                (version,) = db.execute("PRAGMA user_version").fetchone()
                if version != _VERSION:
                    raise StoreError(
                        f"{self.folder / NAME} was written by another version of interbench (schema {version}); remove "
                        f"it, and everything is measured again."
                    )
            except BaseException:
                db.close()
                raise
        self._db = db
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    @property
    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            raise RuntimeError("the measures are not open")
        return self._db

    def identify(self, identity: Mapping[str, Any]) -> str:
        """Register a metric; gives the key under which its records are kept."""
        key = identity_key(identity)
        values = (key, json.dumps(identity, sort_keys=True, default=str))
        with explained(self.folder):
            self._open.execute("INSERT OR IGNORE INTO metrics VALUES (?, ?)", values)
        return key

    def get(self, clip: str, metric: str) -> Record | None:
        """What was found in the clip of this SHA-256; None if it was not measured yet."""
        with explained(self.folder):
            row = self._open.execute(
                "SELECT record, rows, width, features FROM measures WHERE clip = ? AND metric = ?", (clip, metric)
            ).fetchone()
        if row is None:
            return None
        record = json.loads(row[0])
        features = None if row[3] is None else np.frombuffer(row[3], np.float32).reshape(row[1], row[2])
        return Record(record["values"], record["missing"], record["detail"], features)

    def put(self, clip: str, metric: str, record: Record) -> None:
        """Keep what was found."""
        text = json.dumps(
            {"values": dict(record.values), "missing": record.missing, "detail": dict(record.detail)}, default=str
        )
        features = record.features
        packed: tuple[Any, ...] = (None, None, None)
        if features is not None:
            packed = (*features.shape, np.ascontiguousarray(features, np.float32).tobytes())
        with explained(self.folder):
            self._open.execute(
                "INSERT OR REPLACE INTO measures VALUES (?, ?, ?, ?, ?, ?)", (clip, metric, text, *packed)
            )
