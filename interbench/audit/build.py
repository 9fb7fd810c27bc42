"""Writes an audit's run folder: the base's conversations, once per condition.

An audit is an ordinary run: one system per condition, named ``BASE~CONDITION``. The base's folder is only read. Clips
that a condition does not touch are hard links, so that they keep their SHA-256 and are decoded, judged and cached once.
Scenario by scenario; killed at any moment, the same command goes on.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interbench.asr.given import Given
from interbench.audit.conditions import BASE, SHAM, WORDS
from interbench.audit.effects import Condition
from interbench.audit.plan import applies
from interbench.audit.takes import Conversation, Material, Spoken, Take, make_scene
from interbench.audit.texts import Measured
from interbench.base.errors import MediaError, StoreError, UsageError
from interbench.base.progress import Progress
from interbench.domain.catalogue import Catalogue
from interbench.domain.records import ClipFacts, Exchange, Outcome, Transcript
from interbench.media.pool import MediaPool
from interbench.store.run_folder import Key, Run

TOLERANCE = 0.2
"""How far what is measured on a result may lie from its aim."""
_SPARE = 1.3
_WORKERS = 2
_TRANSCRIBER = Given()
_NEAREST = {
    "jumps": 0.51,
    "shift_ms": 12.0,
    "gain_db": 0.2,
    "held": 0.06,
    "held_s": 0.2,
    "period_s": 0.26,
    "zoom": 0.011,
}
"""Steps in which a measure goes, where 20 % of a small aim would be less: frames, cuts, milliseconds."""


def label_of(base: str, condition: str) -> str:
    """What a condition is called as a system of the audit's run."""
    return base if condition == BASE else f"{base}~{condition}"


@dataclass(slots=True)
class Built:
    """What was made."""

    planned: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Scenarios by condition."""
    unfit: Counter[str] = field(default_factory=Counter)
    """How many scenarios do not fit a condition."""
    encoded: int = 0
    linked: int = 0
    measured: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """What was measured on results, by condition."""


class Builder:
    """Makes the conversations of an audit.

    Args:
        run: the audit's folder, open for writing.
        base: label of the base.
        catalogue: what is done.
        material: what it is done to.
        media: encodes and measures.
    """

    def __init__(self, run: Run, base: str, catalogue: Catalogue, material: Material, media: MediaPool) -> None:
        self._run = run
        self._base = base
        self._catalogue = catalogue
        self._material = material
        self._media = media
        self.transcriber = run.identify("transcriber", _TRANSCRIBER.label, _TRANSCRIBER.identity())
        self._done: dict[str, tuple[Path, ClipFacts, dict[str, Any]]] = {}
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._words: dict[str, list[Measured]] = defaultdict(list)
        self._held: dict[Key, Exchange] = {}
        self._slots = asyncio.Semaphore(2 * _WORKERS)
        self.built = Built()

    def need(self, conditions: Sequence[Condition]) -> None:
        """Refuse to begin where the disk has no room for what is to be encoded.

        Raises:
            StoreError: telling how much it takes.
        """
        there = {e.detail["edit"]["key"] for e in self._run.exchanges() if e.detail.get("edit", {}).get("key")}
        wanted = {
            take.key: take.facts.bytes
            for number, conversation in enumerate(self._material.base)
            for condition in conditions
            if applies(condition, number, len(self._material.base))
            and (scene := make_scene(self._catalogue, condition, conversation, self._material)) is not None
            for take in scene.takes
            if take.op and take.key not in there
        }
        needed, free = round(_SPARE * sum(wanted.values())), shutil.disk_usage(self._run.path).free
        if needed > free:
            raise StoreError(
                f"The edited clips take about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free at "
                f"{self._run.path}. Free some space, or give another place with --out."
            )

    async def build(self, conditions: Sequence[Condition], progress: Progress) -> Built:
        """Make all that is not there yet.

        Raises:
            UsageError: an edit missed its aim by more than 20 %: the catalogue lies.
            StoreError: a clip of the base can't be edited.
        """
        for exchange in self._run.exchanges():
            self._held[Key(exchange.system, exchange.scenario, exchange.turn)] = exchange
            edit = exchange.detail.get("edit", {})
            if edit.get("key") and exchange.clip and exchange.facts:
                self._done.setdefault(edit["key"], (self._run.path / exchange.clip, exchange.facts, dict(edit)))
        total = len(self._material.base)
        progress.total("edit", sum(applies(c, number, total) for number in range(total) for c in conditions))
        for number, conversation in enumerate(self._material.base):
            self._run.record_planned(conversation.planned)
            # The controls first: what an edit has come to is measured against them.
            ranked = sorted(conditions, key=lambda condition: condition.entry not in (BASE, WORDS, SHAM))
            tasks = [self._scene(c, conversation, progress) for c in ranked if applies(c, number, total)]
            controls = sum(c.entry in (BASE, WORDS, SHAM) for c in ranked)
            for group in (tasks[:controls], tasks[controls:]):
                await asyncio.gather(*group)
        self._check_words(conditions)
        return self.built

    async def _scene(self, condition: Condition, conversation: Conversation, progress: Progress) -> None:
        scene = make_scene(self._catalogue, condition, conversation, self._material)
        if scene is None:
            self.built.unfit[condition.name] += 1
        else:
            self.built.planned[condition.name].append(conversation.id)
            if scene.words is not None:
                self._words[condition.name].append(scene.words)
            for turn, take in zip(conversation.turns, scene.takes, strict=True):
                async with self._slots:
                    await self._take(condition, conversation, turn, take)
        progress.advance("edit")

    async def _take(self, condition: Condition, conversation: Conversation, turn: Spoken, take: Take) -> None:
        key = Key(label_of(self._base, condition.name), conversation.id, turn.exchange.turn)
        words = turn.transcript.text if take.words is None else take.words
        held = self._held.get(key)
        if held is not None and held.clip is not None and (self._run.path / held.clip).exists():
            self._note(condition, dict(held.detail.get("edit", {})))
            if key in self._run.transcripts(self.transcriber, key.system, key.scenario):
                return
        source, facts, edit = await self._clip(take, turn)
        self._note(condition, edit)
        work = self._run.workdir(key)
        draft = work / f"clip{source.suffix}"
        await asyncio.to_thread(_link, source, draft)
        detail = {
            "edit": {
                "condition": condition.name,
                "entry": condition.entry,
                "strength": condition.strength,
                "value": condition.value,
                "lips_follow_words": take.words is None,
                "from": f"{turn.exchange.system}/{turn.exchange.scenario}/{turn.exchange.turn}",
                **edit,
            }
        }
        exchange = Exchange(
            key.system,
            key.scenario,
            key.turn,
            Outcome.COMPLETED,
            clip=self._run.relative(self._run.clip_path(key, draft.suffix)),
            facts=facts,
            reply_text=words,
            detail=detail,
            variant=turn.exchange.variant,
            guard=turn.exchange.guard,
            line_source=turn.exchange.line_source,
        )
        transcript = turn.transcript if take.words is None else Transcript(words, flags=("authored",))
        # Before it is moved, so that a kill in between leaves no clip that the ledger does not know.
        self._run.stage(exchange, draft, None)
        self._run.adopt(key, draft)
        self._run.record_transcript(key, self.transcriber, transcript)
        self._run.record(exchange)
        self._run.clear_work(key)

    async def _clip(self, take: Take, turn: Spoken) -> tuple[Path, ClipFacts, dict[str, Any]]:
        if not take.op:
            self.built.linked += 1
            return take.clip, take.facts, {"clip": take.facts.sha256}
        async with self._making[take.key]:
            known = self._done.get(take.key)
            if known is not None and known[0].exists():
                self.built.linked += 1
                return known
            folder = self._run.path / "work" / ".edits"
            folder.mkdir(parents=True, exist_ok=True)
            target = (folder / f"{take.key}.{take.more.get('container', 'mp4')}").absolute()
            try:
                facts = await self._media.edit(take.clip, target, take.op, take.value, donor=take.donor, **_told(take))
                value = await self._measured(take, target, facts, turn)
            except MediaError as error:
                raise StoreError(f"An edit can't be made ({take.op}): {error}") from None
            self.built.encoded += 1
            edit = {"clip": take.facts.sha256, "key": take.key, "op": take.op, "op_value": take.value, **take.more}
            if take.donor_sha256:
                edit["donor"] = take.donor_sha256
            if value is not None:
                edit["measured"] = {"what": take.measured, "value": round(value, 4), "aim": take.aim}
            self._done[take.key] = (target, facts, edit)
            return self._done[take.key]

    async def _measured(self, take: Take, target: Path, facts: ClipFacts, turn: Spoken) -> float | None:
        """What the result has come to; against the control, which has been through the same encoder."""
        if not take.measured:
            return None
        sham = next(
            (
                path
                for path, _, edit in self._done.values()
                if edit.get("op") == "sham" and edit.get("clip") == take.facts.sha256 and not edit.get("crf")
            ),
            take.clip,
        )
        value = await self._media.measure(target, sham, take.measured)
        _require_aim(take, value, turn)
        return value

    def _note(self, condition: Condition, edit: dict[str, Any]) -> None:
        if measured := edit.get("measured"):
            self.built.measured[condition.name].append(float(measured["value"]))

    def _check_words(self, conditions: Sequence[Condition]) -> None:
        """Words are counted over all conversations of a condition: one alone has too few places for a share."""
        for condition in conditions:
            counts = self._words[condition.name]
            if not counts or not self._catalogue[condition.entry].measured:
                continue
            value = sum(one.done for one in counts) / max(1e-9, sum(one.of for one in counts))
            self.built.measured[condition.name] = [value]
            if abs(value - condition.value) > TOLERANCE * condition.value:
                raise UsageError(
                    f"{condition.name} changes {value:.2f} of what it says it changes {condition.value:g} of, over "
                    f"{len(counts)} conversations: the catalogue lies for these. Take more scenarios (--scenarios), or "
                    f"leave its dimension out (--only)."
                )


def _require_aim(take: Take, value: float, turn: Spoken) -> None:
    allowed = max(TOLERANCE * abs(take.aim), _NEAREST.get(take.measured, 0.0))
    # Below this nothing is left to be heard, however much.
    if take.measured == "gain_db" and take.aim <= -100 and value <= -60:
        return
    if abs(value - take.aim) > allowed:
        where = f"{turn.exchange.system}/{turn.exchange.scenario}/{turn.exchange.turn}"
        raise UsageError(
            f"The edit {take.op} of {where} was to come to {take.aim:g} ({take.measured}) and came to {value:.3g}: the "
            f"catalogue lies for this clip, and what a judge makes of it would say nothing. Leave the dimension out "
            f"(--only), or report it with the clip."
        )


def _told(take: Take) -> dict[str, Any]:
    return dict(take.more)


def _link(source: Path, target: Path) -> None:
    """A hard link, or a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def cleared(run: Run) -> None:
    """Remove what is left of the making; the edited clips lie in their places by now."""
    for entry in (run.path / "work").iterdir():
        if entry != run.speech_folder:
            shutil.rmtree(entry, ignore_errors=True)
