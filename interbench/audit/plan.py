"""What an audit is going to do, counted before anything starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from interbench.audit.base import QUICK_SCENARIOS, SCENARIOS, Base
from interbench.audit.conditions import make_conditions
from interbench.audit.effects import Condition
from interbench.audit.power import NOISE, Power, power_table
from interbench.audit.takes import QUICK_FPS, QUICK_SIDE, Conversation, Material, make_scene, played_as
from interbench.base.errors import UsageError
from interbench.domain.catalogue import Catalogue, Kind
from interbench.domain.dimensions import dimension
from interbench.judge.base import Judge

REPEATS, SHAM_REPEATS = 3, 5
"""Judgements of every conversation, and of the sham control, from which repeatability is read."""
FEW = 24
"""With fewer scenarios most untouched cells stay undecided."""
_ALL_STRENGTHS_UP_TO = 12


@dataclass(frozen=True, slots=True)
class Options:
    """What an audit is asked for."""

    scenarios: int = SCENARIOS
    repeats: int = REPEATS
    only: tuple[str, ...] = ()
    quick: bool = False
    seed: int = 0
    system: str | None = None
    cold: bool = False
    """The judge's servers were started anew just before, which can't be asked of every server."""

    @classmethod
    def make(
        cls,
        *,
        scenarios: int | None,
        repeats: int | None,
        only: Sequence[str],
        quick: bool,
        seed: int,
        system: str | None,
        cold: bool = False,
    ) -> Options:
        """With the defaults of a whole or a quick audit.

        Raises:
            UsageError: a number or a dimension can't be.
        """
        for key in only:
            dimension(key)
        wanted = scenarios if scenarios is not None else QUICK_SCENARIOS if quick else SCENARIOS
        times = repeats if repeats is not None else 1 if quick else REPEATS
        if wanted < 1 or not 1 <= times <= 100 or seed < 0:
            raise UsageError("An audit takes 1 scenario or more, 1 to 100 judgements of each, and a seed of 0 or more.")
        if cold and quick:
            raise UsageError("A quick audit judges nothing twice, so that --cold has nothing to compare with.")
        return cls(wanted, times, tuple(only), quick, seed, system, cold)

    @property
    def sham_repeats(self) -> int:
        return self.repeats if self.quick else max(SHAM_REPEATS, self.repeats)

    @property
    def judgements(self) -> int:
        """Most of one conversation: of the sham, and once more with nothing in the judge's caches."""
        return self.repeats if self.quick else self.sham_repeats + 1

    def frozen(self) -> dict[str, Any]:
        """What must stay as it is as long as a folder is added to."""
        return {"scenarios": self.scenarios, "only": list(self.only), "quick": self.quick, "seed": self.seed}


def conditions_for(catalogue: Catalogue, judge: Judge, base: Base, options: Options) -> tuple[Condition, ...]:
    return make_conditions(
        catalogue,
        judge.dimensions,
        quick=options.quick,
        only=options.only,
        hears="sound" in judge.channels,
        played=base.puppet and not options.quick,
    )


def thin(judge: Judge, options: Options) -> tuple[float | None, int | None]:
    """Frames a second, and pixels along the longer side, that are encoded at most; None for the clip's own.

    A judge that asks a model sees clips in their own size.
    """
    if not options.quick:
        return None, None
    return QUICK_FPS, None if tokens_per_clip(judge) is not None else QUICK_SIDE


def applies(condition: Condition, number: int, total: int) -> bool:
    """Whether scenario ``number`` (from 0) of ``total`` is tried: weaker strengths take half of many."""
    weaker = condition.kind is Kind.DEFECT and condition.strength < condition.strongest
    return not weaker or total <= _ALL_STRENGTHS_UP_TO or number < math.ceil(total / 2)


@dataclass(frozen=True)
class Counts:
    """How much it is."""

    scenarios: int
    missing: int
    """Of these, to be played first."""
    spoilt: int
    """Conversations that the base plays with a defect of its own."""
    conditions: int
    clips: int
    """To be encoded."""
    verdicts: int
    prompt_tokens: int | None
    """Sent to a vision-language judge; None for another."""
    computed_tokens: int | None
    """Of these computed anew, where a server keeps the conversation for its dimensions."""
    answer_tokens: int | None


def count(
    catalogue: Catalogue,
    conditions: Sequence[Condition],
    used: Sequence[Conversation],
    missing: int,
    judge: Judge,
    options: Options,
) -> Counts:
    """Clips, verdicts and tokens; scenarios still to be played count like the mean of those that are there."""
    material = Material(tuple(used), {}, *thin(judge, options))
    clips: set[str] = set()
    entries, variants = {entry.name: entry for entry in catalogue}, set[str]()
    conversations, turns = 0, 0
    for number, conversation in enumerate(used):
        for condition in conditions:
            if not applies(condition, number, len(used) + missing):
                continue
            entry = entries.get(condition.entry)
            if entry is not None and entry.played:
                # It is there once the base has played it.
                variants.add(played_as(entry, condition.strength))
                conversations += 1
                turns += len(conversation.turns)
                continue
            scene = make_scene(catalogue, condition, conversation, material)
            if scene is not None:
                clips |= {take.key for take in scene.takes if take.op}
                conversations += 1
                turns += len(scene.takes)
    grow = (len(used) + missing) / max(1, len(used))
    conversations, turns = round(conversations * grow), round(turns * grow)
    more = max(0, options.judgements - options.repeats) * (len(used) + missing)
    judgements = conversations * options.repeats + more
    verdicts = judgements * len(judge.dimensions)
    per_clip = tokens_per_clip(judge)
    if per_clip is None:
        prompt = computed = answer = None
    else:
        video = turns * per_clip * options.repeats
        prompt = video * len(judge.dimensions) + verdicts * _TEXT_TOKENS
        computed = video + verdicts * _RUBRIC_TOKENS
        answer = verdicts * _ANSWER_TOKENS
    return Counts(
        len(used) + missing,
        missing,
        len(variants) * (len(used) + missing),
        len(conditions),
        round(len(clips) * grow),
        verdicts,
        prompt,
        computed,
        answer,
    )


_TEXT_TOKENS, _RUBRIC_TOKENS, _ANSWER_TOKENS = 1800, 600, 400
"""Of a judgement: text beside the videos, of it the rubric, and an answer: rounded up from the bundled prompts."""
_PATCH, _FRAMES_A_TOKEN = 32, 2


def tokens_per_clip(judge: Judge) -> int | None:
    """Visual tokens of one clip for a vision-language judge (Qwen3-VL: one per 2 frames of 32x32 pixels)."""
    settings = getattr(judge, "settings", None)
    view = getattr(settings, "view", None)
    if view is None:
        return None
    frames, size = int(view.frames), int(view.size)
    return math.ceil(frames / _FRAMES_A_TOKEN) * (size // _PATCH) ** 2


def power_for(scenarios: int, repeats: int, noise: Sequence[float] = NOISE, *, trials: int = 40) -> tuple[Power, ...]:
    """What this many scenarios decide, beside a quick and a whole audit's."""
    designs = dict.fromkeys([(scenarios, repeats), (QUICK_SCENARIOS, 1), (SCENARIOS, REPEATS)])
    return power_table([design for design in designs if design[0] > 1], noise, trials=trials)


def plan_lines(counts: Counts, conditions: Sequence[Condition], options: Options, judge: Judge) -> list[str]:
    """For people."""
    kinds = {kind: sum(c.kind is kind for c in conditions) for kind in Kind}
    lines = [
        f"scenarios   {counts.scenarios}"
        + (f", {counts.missing} of them to be played first" if counts.missing else ""),
        *([f"played      {counts.spoilt} conversations with a defect of its own"] if counts.spoilt else []),
        f"conditions  {counts.conditions}: {kinds[Kind.DEFECT]} of defects, {kinds[Kind.NUISANCE]} nuisances, "
        f"{counts.conditions - kinds[Kind.DEFECT] - kinds[Kind.NUISANCE]} probes and controls",
        f"clips       {counts.clips} to be encoded; the others are links",
        f"verdicts    {counts.verdicts} by {judge.label} ({len(judge.dimensions)} columns, {options.repeats} each)",
    ]
    if counts.prompt_tokens is not None and counts.computed_tokens is not None and counts.answer_tokens is not None:
        lines += [
            f"tokens      {counts.prompt_tokens / 1e6:,.0f} million of prompts, of which "
            f"{counts.computed_tokens / 1e6:,.0f} million are computed where a server keeps a conversation for its "
            f"dimensions; about "
            f"{counts.answer_tokens / 1e6:,.1f} million of answers",
            "hours       (computed / prefill tokens per second + answers / decoded tokens per second) / 3600",
        ]
    return lines


def power_lines(table: Sequence[Power]) -> list[str]:
    """The table for people."""
    lines = [
        "What scenarios and judgements can decide (simulated; noise: standard deviation of one judgement):",
        f"{'scenarios x judgements':>24} {'noise':>6} {'clean':>7} {'1.5 found':>10} {'false leak':>11}",
    ]
    lines += [
        f"{f'{row.scenarios} x {row.repeats}':>24} {row.noise:>6.1f} {row.clean:>7.0%} {row.detected:>10.0%} "
        f"{row.leaks:>11.0%}"
        for row in table
    ]
    return lines


def few_line(scenarios: int, options: Options) -> str:
    """What can't be decided with so few; empty if there are enough."""
    if scenarios >= FEW:
        return ""
    return (
        f"With {scenarios} scenario{'' if scenarios == 1 else 's'}: "
        + (
            "nothing can be decided (6 are the least); "
            if scenarios < 6
            else "that something does not fall stays undecided in most cells; large falls can be detected; "
        )
        + "a whole audit takes 48."
    )
