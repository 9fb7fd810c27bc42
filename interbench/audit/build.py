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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interbench.asr.given import Given
from interbench.audit.conditions import BASE, SHAM, WORDS
from interbench.audit.effects import Condition
from interbench.audit.plan import applies
from interbench.audit.takes import Conversation, Material, Scene, Spoken, Take, make_scene
from interbench.audit.texts import Measured
from interbench.base.errors import MediaError, StoreError, UsageError
from interbench.base.progress import Progress
from interbench.domain.catalogue import Catalogue
from interbench.domain.records import ClipFacts, Exchange, Outcome, Transcript
from interbench.media.pool import MediaPool
from interbench.store.run_folder import Key, Run

_Made = tuple[Path, ClipFacts, dict[str, Any]]
"""A clip that is there, its facts, and what was done to it."""
_DONORS = ("jumps", "taken", "voice")
"""What is measured against a donor."""
TOLERANCE = 0.2
"""How far what is measured on a result may lie from its aim."""
_SPARE = 1.3
_WORKERS = 2
_TRANSCRIBER = Given()
_OF_WORDS = ("share", "ratio")
_SHARPER = -12
"""Of the copies from which a thinned audit is made: so much finer than the edits of them, in steps of the quantizer."""
_MOST_REFUSED = 0.5
"""Share of the conversations of a condition whose edits may miss their aim before the catalogue is what is wrong."""
_NEAREST = {
    "jumps": 0.51,
    "delta_e": 2.3,
    "length_s": 0.2,
    "blank": 0.05,
    "pitch": 0.2,
    "shift_ms": 12.0,
    "gain_db": 0.2,
    "held": 0.06,
    "held_s": 0.2,
    "period_s": 0.26,
    "zoom": 0.011,
}
"""Steps in which a measure goes, where 20 % of a small aim would be less: frames, cuts, milliseconds; of colours what
people just notice."""


class MissedAimError(Exception):
    """What an edit has come to is not what it was to come to."""


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
    refused: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Conversations by condition, with the reason, whose edit missed its aim by more than 20 %: they are not judged."""
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
        self._entries = {entry.name for entry in catalogue}
        self._done: dict[str, _Made] = {}
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._words: dict[str, list[Measured]] = defaultdict(list)
        self._turns: dict[str, list[Measured]] = defaultdict(list)
        self._shams: dict[str, Path] = {}
        self._copies: dict[str, Path] = {}
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
            UsageError: most edits of a condition missed their aim by more than 20 %: the catalogue lies.
            StoreError: a clip of the base can't be edited.
        """
        for exchange in self._run.exchanges():
            self._held[Key(exchange.system, exchange.scenario, exchange.turn)] = exchange
            edit = exchange.detail.get("edit", {})
            if edit.get("key") and exchange.clip and exchange.facts:
                self._keep(str(edit["key"]), self._run.path / exchange.clip, exchange.facts, dict(edit))
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
        self._check(conditions)
        return self.built

    async def _scene(self, condition: Condition, conversation: Conversation, progress: Progress) -> None:
        scene = make_scene(self._catalogue, condition, conversation, self._material)
        if scene is None:
            self.built.unfit[condition.name] += 1
        else:
            try:
                # All clips before any is written down: a conversation is whole under a condition, or not there.
                clips = [
                    await self._made(condition, conversation, turn, take)
                    for turn, take in zip(conversation.turns, scene.takes, strict=True)
                ]
            except MissedAimError as missed:
                self.built.refused[condition.name].append(f"{conversation.id}: {missed}")
            else:
                for turn, take, clip in zip(conversation.turns, scene.takes, clips, strict=True):
                    async with self._slots:
                        await self._take(condition, conversation, turn, take, clip)
                self._count(condition, conversation, scene)
                self.built.planned[condition.name].append(conversation.id)
        progress.advance("edit")

    async def _made(self, condition: Condition, conversation: Conversation, turn: Spoken, take: Take) -> _Made | None:
        """The clip of a take; None where it is in the run already."""
        if self._recorded(Key(label_of(self._base, condition.name), conversation.id, turn.exchange.turn)):
            return None
        async with self._slots:
            return await self._clip(take, turn)

    def _recorded(self, key: Key) -> Exchange | None:
        held = self._held.get(key)
        if held is None or held.clip is None or not (self._run.path / held.clip).exists():
            return None
        return held if key in self._run.transcripts(self.transcriber, key.system, key.scenario) else None

    def _count(self, condition: Condition, conversation: Conversation, scene: Scene) -> None:
        """What the ledger holds against the control's, turn by turn, and how far words were changed."""
        if scene.words is not None:
            self._words[condition.name].append(scene.words)
        if not scene.places:
            return

        def told(name: str) -> dict[int, tuple[str, str]]:
            label = label_of(self._base, name)
            return {
                e.turn: (e.facts.sha256, e.reply_text or "")
                for e in self._run.exchanges(label, conversation.id)
                if e.facts is not None
            }

        own, control = told(condition.name), told(condition.control or BASE)
        if control:
            changed = sum(own[turn] != control.get(turn) for turn in own)
            self._turns[condition.name].append(Measured(changed, len(scene.places)))

    async def _take(
        self, condition: Condition, conversation: Conversation, turn: Spoken, take: Take, made: _Made | None
    ) -> None:
        key = Key(label_of(self._base, condition.name), conversation.id, turn.exchange.turn)
        words = turn.transcript.text if take.words is None else take.words
        if made is None:
            self._note(condition, dict(self._held[key].detail.get("edit", {})))
            return
        source, facts, edit = made
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

    async def _clip(self, take: Take, turn: Spoken) -> _Made:
        if not take.op:
            self.built.linked += 1
            return take.clip, take.facts, {"clip": take.facts.sha256}
        async with self._making[take.key]:
            known = self._done.get(take.key)
            if known is not None and known[0].exists():
                self.built.linked += 1
                return known
            target = self._folder() / f"{take.key}.{take.more.get('container', 'mp4')}"
            more = dict(take.more)
            thin: dict[str, Any] = {name: more.pop(name) for name in ("fps", "side") if name in more}
            clip, donor = take.clip, take.donor
            try:
                if thin:
                    clip = await self._thinned(take.clip, take.facts.sha256, thin)
                    donor = None if donor is None else await self._thinned(donor, take.donor_sha256, thin)
                facts = await self._media.edit(clip, target, take.op, take.value, donor=donor, **more)
                value = await self._measured(take, target, clip, donor, turn)
            except MediaError as error:
                if error.code == "unmeasured":
                    raise MissedAimError(str(error)) from None
                raise StoreError(f"An edit can't be made ({take.op}): {error}") from None
            self.built.encoded += 1
            edit = {"clip": take.facts.sha256, "key": take.key, "op": take.op, "op_value": take.value, **take.more}
            if take.donor_sha256:
                edit["donor"] = take.donor_sha256
            if value is not None:
                edit["measured"] = {"what": take.measured, "value": round(value, 4), "aim": take.aim}
            return self._keep(take.key, target, facts, edit)

    def _folder(self) -> Path:
        folder = (self._run.path / "work" / ".edits").absolute()
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _keep(self, key: str, path: Path, facts: ClipFacts, edit: dict[str, Any]) -> _Made:
        if edit.get("op") == "sham" and not edit.get("crf") and edit.get("container", "mp4") == "mp4":
            self._shams.setdefault(str(edit["clip"]), path)
        return self._done.setdefault(key, (path, facts, edit))

    async def _thinned(self, clip: Path, sha256: str, thin: dict[str, Any]) -> Path:
        """A finer copy of a clip with fewer and smaller frames, of which all its edits are made: each of them decodes
        only these."""
        name = f"{sha256}-{'-'.join(f'{value:g}' for value in thin.values())}"
        async with self._making[name]:
            if name not in self._copies:
                target = self._folder() / f"{name}.mp4"
                await self._media.edit(clip, target, "sham", crf=_SHARPER, **thin)
                self._copies[name] = target
        return self._copies[name]

    async def _measured(self, take: Take, target: Path, clip: Path, donor: Path | None, turn: Spoken) -> float | None:
        """What the result has come to; against the control, which has been through the same encoder, and the control
        against the clip as it was played."""
        if not take.measured:
            return None
        control = take.op == "sham" and take.measured == "delta_e"
        before = take.clip if control else self._shams.get(take.facts.sha256, clip)
        value = await self._media.measure(target, before, take.measured, donor if take.measured in _DONORS else None)
        _require_aim(take, value, turn)
        return value

    def _note(self, condition: Condition, edit: dict[str, Any]) -> None:
        # What a defect leaves as it is stays the control's.
        control = edit.get("op") == "sham" and self._catalogue[condition.entry].edit["op"] != "sham"
        if (measured := edit.get("measured")) and not control:
            self.built.measured[condition.name].append(float(measured["value"]))

    def _check(self, conditions: Sequence[Condition]) -> None:
        """Words and turns are counted over all conversations of a condition: one alone has too few places for a share.

        Raises:
            UsageError: a condition is not what the catalogue says.
        """
        self.built.measured |= check_words(self._catalogue, conditions, self._words)
        for condition in conditions:
            if condition.entry not in self._entries:
                continue
            name, entry = condition.name, self._catalogue[condition.entry]
            refused = self.built.refused.get(name, [])
            if refused and len(refused) > _MOST_REFUSED * (len(refused) + len(self.built.planned.get(name, []))):
                raise UsageError(
                    f"{name} missed its aim in {len(refused)} conversations ({refused[0]}): the catalogue lies for "
                    f"these, and what a judge makes of them would say nothing. Leave its dimension out (--only), or "
                    f"report it with a clip."
                )
            if entry.measured == "turns" and self._turns[name]:
                self.built.measured[name] = [_share(name, 1.0, self._turns[name], "touches")]


def foresee_words(catalogue: Catalogue, conditions: Sequence[Condition], material: Material) -> None:
    """Count what is said and written before anything is played or encoded: what misses its aim is told at once.

    Raises:
        UsageError: a condition is not what the catalogue says.
    """
    words: dict[str, list[Measured]] = defaultdict(list)
    for number, conversation in enumerate(material.base):
        for condition in conditions:
            if applies(condition, number, len(material.base)):
                scene = make_scene(catalogue, condition, conversation, material)
                if scene is not None and scene.words is not None:
                    words[condition.name].append(scene.words)
    check_words(catalogue, conditions, words)


def check_words(
    catalogue: Catalogue, conditions: Sequence[Condition], words: Mapping[str, Sequence[Measured]]
) -> dict[str, list[float]]:
    """How far words were changed under each condition, over all its conversations.

    Raises:
        UsageError: a condition is not what the catalogue says.
    """
    known, found = {entry.name for entry in catalogue}, {}
    for condition in conditions:
        name = condition.name
        if condition.entry not in known or not words.get(name):
            continue
        if catalogue[condition.entry].measured in _OF_WORDS:
            found[name] = [_share(name, condition.value, words[name], "changes")]
        else:
            # A weak conversation is a part of one, whatever is said or written into it.
            found[name] = [_share(name, catalogue["partial"].strengths[-1], words[name], "keeps")]
    return found


def _share(name: str, aim: float, counts: Sequence[Measured], does: str) -> float:
    """What was changed of all. A conversation has a whole number of places, some of which go together: it may lie one
    beside its aim, and so few conversations are not held to 20 %."""
    of = sum(one.of for one in counts)
    value = sum(one.done for one in counts) / max(1e-9, of)
    if abs(value - aim) > max(TOLERANCE * aim, len(counts) ** 0.5 / max(1.0, of)):
        raise UsageError(
            f"{name} {does} {value:.2f} of what it says it {does} {aim:g} of, over {len(counts)} conversations: "
            f"the catalogue lies for these. Take more scenarios (--scenarios), or leave its dimension out (--only)."
        )
    return value


def _require_aim(take: Take, value: float, turn: Spoken) -> None:
    allowed = max(TOLERANCE * abs(take.aim), _NEAREST.get(take.measured, 0.0))
    # Below this nothing is left to be heard, however much.
    if take.measured == "gain_db" and take.aim <= -100 and value <= -60:
        return
    if abs(value - take.aim) > allowed:
        raise MissedAimError(
            f"turn {turn.exchange.turn} of {turn.exchange.system} was to come to {take.aim:g} ({take.measured}, by "
            f"{take.op}) and came to {value:.3g}"
        )


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
