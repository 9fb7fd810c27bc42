"""Votes between pairs of answers as expected win rates: Bradley-Terry with an effect of the side.

The probability that the left one of a pair wins is sigma(theta_left - theta_right + gamma). A tie counts half a win for
each; "both bad" is a tie, counted besides. Parameters have a small ridge penalty, so that a fit exists always; whether
it means anything is told by the graph of who beat whom, which is looked at first: only within a strongly connected
part of it are systems compared (Ford 1957). Intervals are a bootstrap over whole scenarios.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from interbench.stats.ranking import Estimate, scenario_draws
from interbench.stats.scores import FloatArray

Choice = Literal["left", "right", "tie", "both_bad"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
RIDGE = 0.01
_STEPS = 50
_WON: Mapping[Choice, float] = {"left": 1.0, "right": 0.0, "tie": 0.5, "both_bad": 0.5}


@dataclass(frozen=True, slots=True)
class Vote:
    """One choice between two systems' answers to one scenario, seen on the left and on the right."""

    scenario: str
    left: str
    right: str
    choice: Choice


@dataclass(frozen=True, slots=True)
class Standing:
    """One system in the arena."""

    system: str
    win_rate: Estimate
    """Expected against the other systems it is compared with, in percent: 50 is the middle."""
    strength: float | None
    """Its theta, of mean 0 over those systems."""
    votes: int
    wins: int
    losses: int
    ties: int


@dataclass(frozen=True)
class Arena:
    """Votes, and what follows from them."""

    standings: tuple[Standing, ...]
    """Best first within each component, in the order of :attr:`components`."""
    components: tuple[tuple[str, ...], ...]
    """Systems that can be compared with one another; more than one: not with those of another."""
    votes: int
    ties: int
    both_bad: int
    side: Estimate
    """Probability that the left one of two equal ones wins, in percent."""
    left_share: float | None
    """Share of left among the votes that are no ties, in percent."""
    triads: int
    """Triples of systems of which each pair has a majority."""
    intransitive: int
    """Of these, the ones in which the majorities go in a circle."""

    @property
    def connected(self) -> bool:
        """Whether all systems can be compared."""
        return len(self.components) == 1


def fit_arena(votes: Sequence[Vote], systems: Sequence[str], *, replicates: int = 2000, seed: int = 0) -> Arena:
    """Win rates of ``systems`` by these votes, which are between them."""
    names = tuple(systems)
    index = {name: number for number, name in enumerate(names)}
    scenarios = tuple(dict.fromkeys(vote.scenario for vote in votes))
    won = np.zeros((len(scenarios), len(names), len(names), 2))
    for vote in votes:
        cell = won[scenarios.index(vote.scenario), index[vote.left], index[vote.right]]
        cell += (_WON[vote.choice], 1 - _WON[vote.choice])
    beaten = won[..., 0].sum(axis=0) + won[..., 1].sum(axis=0).T
    components = _components(beaten, names)
    drawn = scenario_draws(max(1, len(scenarios)), replicates, seed)[: len(scenarios)]
    rates: dict[str, tuple[Estimate, float | None]] = {}
    side = Estimate.missing("no votes")
    for component in components:
        members = [index[name] for name in component]
        own = np.einsum("slrk,sb->blrk", won[:, members][:, :, members], drawn)
        if len(members) < 2 or not own[0].any():
            rates |= {name: (Estimate.missing("not comparable"), None) for name in component}
            continue
        theta, gamma = _fit(own)
        expected = _win_rates(theta)
        rates |= {name: (Estimate.of(expected[:, n]), float(theta[0, n])) for n, name in enumerate(component)}
        if len(components) == 1:
            from scipy.special import expit

            side = Estimate.of(100 * expit(gamma))
    tally = Counter(vote.choice for vote in votes)
    decided = tally["left"] + tally["right"]
    triads, circles = _triads(beaten)
    return Arena(
        standings=tuple(_standing(name, votes, *rates[name]) for group in components for name in _best(group, rates)),
        components=components,
        votes=len(votes),
        ties=tally["tie"] + tally["both_bad"],
        both_bad=tally["both_bad"],
        side=side if len(components) == 1 else Estimate.missing("not connected"),
        left_share=100 * tally["left"] / decided if decided else None,
        triads=triads,
        intransitive=circles,
    )


def inversions(people: Arena, judge: Arena) -> list[tuple[str, str]]:
    """Pairs of systems that people's votes place one way and the judge's the other; the one people prefer first.

    Only pairs that both can compare.
    """
    by_people, by_judge = ({s.system: s for s in arena.standings} for arena in (people, judge))

    def above(arena: Arena, standing: Mapping[str, Standing], a: str, b: str) -> bool:
        first, second = standing[a].strength, standing[b].strength
        together = any(a in group and b in group for group in arena.components)
        return together and first is not None and second is not None and first > second + 1e-6

    return [
        (a, b)
        for a, b in itertools.permutations(by_people, 2)
        if b in by_judge and a in by_judge and above(people, by_people, a, b) and above(judge, by_judge, b, a)
    ]


def _fit(won: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Theta (replicates, systems), of mean 0, and gamma (replicates,), by Newton's method.

    ``won``: shape (replicates, systems left, systems right, 2), wins of the left one and of the right one.
    """
    replicates, systems = won.shape[:2]
    pairs = [(a, b) for a, b in itertools.permutations(range(systems), 2) if won[:, a, b].any()]
    design = np.zeros((len(pairs), systems + 1))
    for row, (a, b) in enumerate(pairs):
        design[row, [a, b, systems]] = 1.0, -1.0, 1.0
    left = np.stack([won[:, a, b, 0] for a, b in pairs], axis=1)
    played = left + np.stack([won[:, a, b, 1] for a, b in pairs], axis=1)
    beta = np.zeros((replicates, systems + 1))

    def loss(at: FloatArray) -> FloatArray:
        logit = at @ design.T
        value: FloatArray = (played * np.logaddexp(0, logit) - left * logit).sum(axis=1) + RIDGE * (at**2).sum(
            axis=1
        ) / 2
        return value

    from scipy.special import expit  # a second to import, in programs without votes

    for _ in range(_STEPS):
        chance = expit(beta @ design.T)
        gradient = (left - played * chance) @ design - RIDGE * beta
        if np.abs(gradient).max() < 1e-9:
            break
        curvature = np.einsum("bp,pi,pj->bij", played * chance * (1 - chance), design, design)
        step = np.linalg.solve(curvature + RIDGE * np.eye(systems + 1), gradient[..., None])[..., 0]
        size, before = np.ones(replicates), loss(beta)
        for _ in range(30):
            worse = loss(beta + size[:, None] * step) > before + 1e-12
            if not worse.any():
                break
            size[worse] /= 2
        beta = beta + size[:, None] * step
    theta = beta[:, :systems]
    return theta - theta.mean(axis=1, keepdims=True), beta[:, systems]


def _win_rates(theta: FloatArray) -> FloatArray:
    """Expected against the others, in percent, shape (replicates, systems)."""
    from scipy.special import expit

    systems = theta.shape[1]
    chance = expit(theta[:, :, None] - theta[:, None, :])
    rates: FloatArray = 100 * (chance.sum(axis=2) - 0.5) / (systems - 1)
    return rates


def _components(beaten: FloatArray, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Strongly connected parts of the graph of who took anything off whom, largest first."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    _, label = connected_components(csr_matrix(beaten > 0), directed=True, connection="strong")
    groups: dict[int, list[str]] = {}
    for name, number in zip(names, label, strict=True):
        groups.setdefault(int(number), []).append(name)
    return tuple(sorted((tuple(group) for group in groups.values()), key=lambda g: (-len(g), names.index(g[0]))))


def _triads(beaten: FloatArray) -> tuple[int, int]:
    lead = beaten - beaten.T
    triads = circles = 0
    for a, b, c in itertools.combinations(range(len(beaten)), 3):
        round_ = [lead[a, b], lead[b, c], lead[c, a]]
        if all(round_):
            triads += 1
            circles += len({value > 0 for value in round_}) == 1
    return triads, circles


def _best(group: Sequence[str], rates: Mapping[str, tuple[Estimate, float | None]]) -> list[str]:
    return sorted(group, key=lambda name: -(rates[name][1] or 0.0))


def _standing(name: str, votes: Sequence[Vote], rate: Estimate, strength: float | None) -> Standing:
    outcome = Counter(
        "tie"
        if vote.choice in ("tie", "both_bad")
        else "win"
        if (vote.choice == "left") == (vote.left == name)
        else "loss"
        for vote in votes
        if name in (vote.left, vote.right)
    )
    return Standing(name, rate, strength, outcome.total(), outcome["win"], outcome["loss"], outcome["tie"])
