"""From the ratings of a run to verdicts, rated tables and votes: what people said, in the words of judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from interbench.domain.ratings import WHOLE, Answer, Closing, Kind, Showing
from interbench.domain.records import Missing, Verdict
from interbench.rating.checks import Diligence, diligence
from interbench.rating.material import Name, shown_digests
from interbench.rating.study import Study, require_study
from interbench.stats import JudgeLabel
from interbench.stats.agreement import Rated
from interbench.stats.arena import Vote
from interbench.store.ratings import Ratings
from interbench.store.run_folder import Run

PEOPLE = "people"
"""Label of the judge that all raters together are."""


@dataclass(frozen=True)
class Said:
    """Everything that people said of a run."""

    study: Study
    raters: tuple[str, ...]
    """Who has closed anything."""
    showings: Mapping[str, Showing]
    assigned: Mapping[str, tuple[str, ...]]
    """By rater of the study, whether they came or not: ids of what they are shown."""
    answers: Mapping[tuple[str, str], Mapping[str, Answer]]
    """By rater and showing that they have closed: the latest, by dimension."""
    diligence: Mapping[str, Diligence]
    """By rater of :attr:`raters`."""
    closings: tuple[Closing, ...]
    digests: Mapping[Name, str] = field(default_factory=dict)
    """Of the conversations as they are in the run now."""

    @property
    def kept(self) -> tuple[str, ...]:
        """The raters whom the study's rule does not leave out."""
        return tuple(rater for rater in self.raters if not self.diligence[rater].out)

    @property
    def stale(self) -> int:
        """Conversations of the study that were played anew since: what was said of them counts no more."""
        sides = {(side.system, side.scenario): side.digest for s in self.showings.values() for side in s.sides}
        return sum(self.digests.get(name) != digest for name, digest in sides.items())

    def current(self, showing: Showing) -> bool:
        """Whether the run still holds what was shown."""
        return all(self.digests.get((side.system, side.scenario)) == side.digest for side in showing.sides)


def read_ratings(path: Path) -> Said:
    """Everything that people said of the run at ``path``.

    Raises:
        StoreError: it has no ratings, or they can't be read.
        UsageError: no study was made yet.
    """
    with Ratings(path, write=False) as ratings:
        study = require_study(ratings)
        showings = ratings.showings()
        everybody = ratings.raters()
        assigned = {rater: tuple(ratings.order(rater)) for rater in everybody}
        answers: dict[tuple[str, str], dict[str, Answer]] = {}
        for answer in ratings.answers():
            answers.setdefault((answer.rater, answer.showing), {})[answer.dimension] = answer
        closings = ratings.closings()
    closed = {key: of for key, of in answers.items() if WHOLE in of and key[1] in showings}
    raters = tuple(rater for rater in everybody if any(key[0] == rater for key in closed))
    middle = sum(study.scale) / 2
    stood = {
        rater: diligence(
            rater,
            showings,
            [answer for key, of in closed.items() if key[0] == rater for answer in of.values()],
            study.settings.rule,
            middle,
        )
        for rater in raters
    }
    with Run(path, write=False) as run:
        digests = shown_digests(run.planned_scenarios(), run.exchanges())
    return Said(study, raters, showings, assigned, closed, stood, tuple(closings), digests)


def people_label(said: Said) -> JudgeLabel:
    """The raters as a judge."""
    return JudgeLabel(name=PEOPLE, identity=said.study.id[:12], comparable=True)


def people_verdicts(said: Said, raters: Sequence[str], *, sound: bool = True) -> list[Verdict]:
    """A verdict per rater, conversation and dimension; ``sample`` is the rater's number.

    What is assigned and not closed yet is no verdict; what was skipped is one without a score. Conversations that can't
    be shown are verdicts without a score of nobody's, so that they stay in every count.
    """
    everybody = list(said.assigned)
    verdicts = []
    for rater in raters:
        for name in said.assigned[rater]:
            showing = said.showings[name]
            if showing.kind is not Kind.ITEM or showing.sound is not sound or not said.current(showing):
                continue
            given = said.answers.get((rater, name))
            if given is None:
                continue
            side, sample = showing.sides[0], everybody.index(rater)
            for key in showing.dimensions:
                answer = given.get(key)
                skipped = given[WHOLE].skipped
                evidence = {"rater": rater, "sound": sound, "seconds": round(given[WHOLE].seconds, 1)}
                if answer is None or answer.value is None or skipped:
                    verdict = Verdict(side.system, side.scenario, key, sample, missing=Missing.SKIPPED,
                                      reasons=skipped, evidence=evidence)  # fmt: skip
                else:
                    verdict = Verdict(side.system, side.scenario, key, sample, answer.value, evidence=evidence)
                verdicts.append(verdict)
    for lost in said.study.facts["left_out"] if sound and said.study.settings.absolute else ():
        verdicts += [
            Verdict(lost["system"], lost["scenario"], key, missing=Missing.INCOMPLETE, reasons=lost["why"])
            for key in said.study.settings.asked
        ]
    # As the ledger orders those of other judges.
    return sorted(verdicts, key=lambda v: (v.system, v.scenario, v.dimension, v.sample))


def planned(said: Said) -> dict[str, list[str]]:
    """Scenarios of the study by system: what people are asked to rate, whether it can be shown or not."""
    return {system: list(said.study.facts["scenarios"]) for system in said.study.facts["systems"]}


def rated_tables(
    said: Said, raters: Sequence[str], judged: Mapping[tuple[str, str, str], float], *, sound: bool = True
) -> dict[str, Rated]:
    """By dimension what these raters gave, beside a judge's scores (system, scenario, dimension)."""
    verdicts = [v for v in people_verdicts(said, raters, sound=sound) if v.score is not None]
    everybody = list(said.assigned)
    tables = {}
    for key in said.study.settings.asked if said.study.settings.absolute else ():
        of_key = [v for v in verdicts if v.dimension == key]
        names = list(dict.fromkeys((v.system, v.scenario) for v in of_key))
        systems = [name for name in said.study.facts["systems"] if any(name == s for s, _ in names)]
        scenarios = [name for name in said.study.facts["scenarios"] if any(name == c for _, c in names)]
        if not names:
            continue
        values = np.full((len(raters), len(names)), np.nan)
        places = {name: number for number, name in enumerate(names)}
        rows = {everybody.index(rater): number for number, rater in enumerate(raters)}
        for v in of_key:
            assert v.score is not None
            values[rows[v.sample], places[v.system, v.scenario]] = v.score
        tables[key] = Rated(
            tuple(systems),
            tuple(scenarios),
            tuple(raters),
            np.array([systems.index(s) for s, _ in names], np.int32),
            np.array([scenarios.index(c) for _, c in names], np.int32),
            values,
            np.array([judged.get((*name, key), np.nan) for name in names]),
        )
    return tables


def people_votes(said: Said, raters: Sequence[str], key: str) -> list[Vote]:
    """What these raters chose in one dimension; without checks, repeats and what was skipped."""
    votes = []
    for (rater, name), given in said.answers.items():
        showing = said.showings[name]
        answer = given.get(key)
        if rater not in raters or showing.kind is not Kind.PAIR or given[WHOLE].skipped or not said.current(showing):
            continue
        if answer is not None and answer.choice is not None:
            left, right = showing.sides
            votes.append(Vote(showing.scenario, left.system, right.system, answer.choice))  # type: ignore[arg-type]
    return votes


def judge_votes(votes: Sequence[Vote], judged: Mapping[tuple[str, str, str], float], key: str) -> list[Vote]:
    """What a judge's scores say of the same pairs, as often; pairs that it did not score on both sides are left out."""
    found = []
    for vote in votes:
        left, right = (judged.get((system, vote.scenario, key)) for system in (vote.left, vote.right))
        if left is not None and right is not None:
            choice = "tie" if left == right else "left" if left > right else "right"
            found.append(Vote(vote.scenario, vote.left, vote.right, choice))  # type: ignore[arg-type]
    return found
