"""What writers, transcribers and judges left in the ledger, each under the identity of who made it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from interbench.domain.records import ClipFacts, Script, Transcript, Verdict
from interbench.store.ledger import Key, Ledger, condition, identity_key

_FACTS = TypeAdapter(ClipFacts)
_SCRIPT = TypeAdapter(Script)
_TRANSCRIPT = TypeAdapter(Transcript)
_VERDICT = TypeAdapter(Verdict)


class HeardAndJudged(Ledger):
    """The ledger's scripts, plain copies, transcripts and verdicts."""

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
        where, values = condition(transcriber=transcriber, system=system, scenario=scenario)
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
        where, values = condition(judge=judge, system=system, scenario=scenario)
        rows = self._execute(
            f"SELECT conversation, record FROM verdicts{where} ORDER BY system, scenario, dimension, sample",  # noqa: S608
            values,
        )
        return [(conversation, self._parse(_VERDICT, record)) for conversation, record in rows]
