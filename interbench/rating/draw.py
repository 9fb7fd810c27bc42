"""Drawing a study: which conversations and pairs, which checks, and to whom what in which order."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from interbench.base.errors import UsageError
from interbench.domain.ratings import Kind, Showing, ShownClip, Side
from interbench.rating.blocks import Extra, Sides, assign, insert, spread
from interbench.rating.checks import GrossDefect, Spoilable, Take, fitting
from interbench.rating.clips import Cut
from interbench.rating.material import Material, Name
from interbench.rating.rubric import rated_dimensions
from interbench.rating.settings import StudySettings

_ALL_PAIRS = 4
"""Systems up to which all pairs of a scenario are compared; of more, each meets two others in each scenario."""


def opaque(secret: str, *told: str, size: int = 16) -> str:
    """A name that nobody without the secret can tell anything from."""
    return hmac.new(secret.encode(), json.dumps(told).encode(), hashlib.sha256).hexdigest()[:size]


@dataclass
class Draft:
    """A study in the making; everything is drawn by ``rng``, in a fixed order."""

    settings: StudySettings
    material: Material
    secret: str
    rng: random.Random
    showings: dict[str, Showing] = field(default_factory=dict)
    cuts: dict[str, Cut] = field(default_factory=dict)
    """By name of the clip."""

    def add(
        self,
        kind: Kind,
        sides: Sequence[tuple[Name, Sequence[Take]]],
        dimensions: Sequence[str],
        *,
        salt: str = "",
        **facts: Any,
    ) -> str:
        """A showing of these conversations, put together from these takes, made once; gives its id."""
        told = [
            [*name, self.material.played[name].digest, *((t.system, t.scenario, t.turn, t.edit) for t in takes)]
            for name, takes in sides
        ]
        showing = opaque(self.secret, kind.value, salt, json.dumps(told))
        if showing not in self.showings:
            shown = tuple(self._side(showing, number, *side) for number, side in enumerate(sides))
            self.showings[showing] = Showing(showing, kind, shown, tuple(dimensions), **facts)
        return showing

    def _side(self, showing: str, number: int, name: Name, takes: Sequence[Take]) -> Side:
        of = self.material.played[name]
        clips = []
        for turn, take in enumerate(takes):
            clip = self.material.played[take.system, take.scenario].clips[take.turn - 1]
            file = opaque(self.secret, showing, str(number), str(turn)) + ".mp4"
            self.cuts[file] = Cut(clip.path, clip.facts.sha256, take.edit)
            clips.append(ShownClip(file, clip.facts.duration_s, of.clips[turn].user_text, clip.said))
        return Side(*name, of.digest, tuple(clips))

    def whole(self, name: Name) -> tuple[Name, tuple[Take, ...]]:
        """A conversation as it was played."""
        return name, tuple(Take(*name, turn + 1) for turn in range(len(self.material.played[name].clips)))

    def scenarios(self) -> list[str]:
        """As many as make the conversations asked for, of all systems each; in the run's order.

        Raises:
            UsageError: fewer conversations are asked for than there are systems.
        """
        systems, all_ = self.material.systems, self.material.scenarios
        count = min(self.settings.items // len(systems), len(all_))
        if not count:
            raise UsageError(
                f"{self.settings.items} conversations are fewer than the {len(systems)} systems of this run, and every "
                f"system is rated on the same scenarios. Ask for at least --items {len(systems)}."
            )
        drawn = set(self.rng.sample(range(len(all_)), count))
        return [scenario for index, scenario in enumerate(all_) if index in drawn]

    def orders(self, items: Sequence[Name]) -> list[list[str]]:
        """What each rater is shown, ids of showings in order: without sound, with sound, pairs."""
        settings = self.settings
        blocks: list[list[int]] = [[] for _ in range(settings.raters)]
        paired, pairs, silent = blocks, [], set[int]()
        if settings.absolute:
            blocks = self._assigned([system for system, _ in items])
            silent = set(self.rng.sample(range(len(items)), round(settings.silent * len(items))))
        if settings.pairs:
            pairs = self._pairs(items)
            paired = self._assigned([frozenset((a[0], b[0])) for a, b in pairs])
        sides = Sides(self.rng)
        orders = []
        for rater in range(settings.raters):
            without = self._silent([items[i] for i in blocks[rater] if i in silent])
            last = self.showings[without[-1]].scenario if without else ""
            with_sound = self._rated([items[i] for i in blocks[rater]], rater, last)
            orders.append(without + with_sound + self._compared([pairs[i] for i in paired[rater]], rater, sides))
        return orders

    def _assigned(self, kinds: Sequence[Any]) -> list[list[int]]:
        return assign(kinds, self.settings.raters, self.settings.per_item, self.settings.common, self.rng)

    def _silent(self, items: Sequence[Name]) -> list[str]:
        """Before the same with sound: who has heard a conversation does not forget what was said."""
        visual = [key for key in self.settings.asked if rated_dimensions()[key].group == "visual"]
        if not visual:
            return []
        order = spread([scenario for _, scenario in items], self.rng)
        return [self.add(Kind.ITEM, [self.whole(items[i])], visual, salt="silent", sound=False) for i in order]

    def _rated(self, items: Sequence[Name], rater: int, last: str) -> list[str]:
        asked = self.settings.asked
        order = spread([scenario for _, scenario in items], self.rng, last)
        main = [self.add(Kind.ITEM, [self.whole(items[i])], asked) for i in order]
        extras = []
        for number, first in enumerate(self._to_repeat(main)):
            name = (first.sides[0].system, first.scenario)
            salt = f"{rater}/{number}"
            again = self.add(Kind.REPEAT, [self.whole(name)], asked, salt=salt, repeats=first.id)
            extras.append(Extra(again, first.scenario, first.id))
        for number, (defect, name, takes) in enumerate(self._spoilt(items, asked)):
            facts: dict[str, Any] = {"defect": defect.key, "aims": defect.aims}
            spoilt = self.add(Kind.DEFECT, [(name, takes)], asked, salt=f"{rater}/{number}", **facts)
            extras.append(Extra(spoilt, name[1]))
        for number in range(self.settings.instructed if items else 0):
            name = self.rng.choice(items)
            # Neither end of the scale: those are also what who does not look presses.
            answer = str(self.rng.randint(*_inner(asked)))
            salt = f"{rater}/{number}"
            told = self.add(Kind.INSTRUCTED, [self.whole(name)], asked, salt=salt, instructed=answer)
            extras.append(Extra(told, name[1]))
        return insert(main, {s: self.showings[s].scenario for s in main}, extras, self.rng)

    def _compared(self, pairs: Sequence[tuple[Name, Name]], rater: int, sides: Sides) -> list[str]:
        asked = self.settings.pair_dimensions
        order = spread([a[1] for a, _ in pairs], self.rng)
        main = []
        for a, b in (pairs[i] for i in order):
            shown = (a, b) if sides.left_first(rater, a[0], b[0]) else (b, a)
            main.append(self.add(Kind.PAIR, [self.whole(name) for name in shown], asked))
        extras = []
        for number, first in enumerate(self._to_repeat(main)):
            turned = [(side.system, side.scenario) for side in reversed(first.sides)]
            salt = f"{rater}/{number}"
            again = self.add(Kind.REPEAT, [self.whole(n) for n in turned], asked, salt=salt, repeats=first.id)
            extras.append(Extra(again, first.scenario, first.id))
        single = list(dict.fromkeys(name for pair in pairs for name in pair))
        for number, (defect, name, takes) in enumerate(self._spoilt(single, asked, len(main))):
            left = self.rng.random() < 0.5
            both = [self.whole(name), (name, takes)] if left else [(name, takes), self.whole(name)]
            facts: dict[str, Any] = {"defect": defect.key, "aims": defect.aims}
            facts["instructed"] = "left" if left else "right"
            spoilt = self.add(Kind.DEFECT, both, asked, salt=f"{rater}/{number}", **facts)
            extras.append(Extra(spoilt, name[1]))
        return insert(main, {s: self.showings[s].scenario for s in main}, extras, self.rng)

    def _to_repeat(self, main: Sequence[str]) -> list[Showing]:
        """Of the first half, so that there is room between."""
        early = list(main[: -(-len(main) // 2)])
        count = min(_how_many(self.settings.repeats, len(main)), len(early))
        return [self.showings[name] for name in self.rng.sample(early, count)]

    def _spoilt(
        self, items: Sequence[Name], asked: Sequence[str], shown: int | None = None
    ) -> Iterable[tuple[GrossDefect, Name, tuple[Take, ...]]]:
        """Conversations with gross defects, each of another kind as far as there are."""
        wanted = _how_many(self.settings.defects, len(items) if shown is None else shown)
        defects = fitting(asked)
        self.rng.shuffle(defects)
        found = 0
        for defect in itertools.chain.from_iterable(itertools.repeat(defects, wanted)):
            for name in self.rng.sample(items, len(items)):
                takes = defect.takes(self._spoilable(name))
                if found < wanted and takes is not None:
                    found += 1
                    yield defect, name, takes
                    break

    def _spoilable(self, name: Name) -> Spoilable:
        own = self.material.played[name]
        others = [
            (of.scenario, of.persona, len(of.clips))
            for of in self.material.played.values()
            if of.system == own.system and of.scenario != own.scenario
        ]
        return Spoilable(own.system, own.scenario, len(own.clips), tuple(others), own.persona)

    def _pairs(self, items: Sequence[Name]) -> list[tuple[Name, Name]]:
        """Per scenario all pairs of systems, or, of many systems, a ring: each then meets two others."""
        pairs: list[tuple[Name, Name]] = []
        for scenario in dict.fromkeys(scenario for _, scenario in items):
            there = [name for name in items if name[1] == scenario]
            if len(there) <= _ALL_PAIRS:
                pairs += itertools.combinations(there, 2)
            else:
                ring = self.rng.sample(there, len(there))
                pairs += zip(ring, [*ring[1:], ring[0]], strict=True)
        return pairs


def _how_many(share: float, shown: int) -> int:
    """Checks for a block of so many: at least one, unless none are wanted."""
    return max(1, round(share * shown)) if share and shown else 0


def _inner(asked: Sequence[str]) -> tuple[int, int]:
    questions = [rated_dimensions()[key] for key in asked]
    return max(q.low for q in questions) + 1, min(q.high for q in questions) - 1
