"""The offline judge's thresholds: fitted on one half of a scenario set, reported on the other.

    python -m benchmarks signals_thresholds [--scenarios all]

Which half a scenario is in depends on its id alone. Prints, by half: the thresholds that the fitting rule gives, those
that are in the code, and what the measures give to replies that ought to score high (the references) and low (echoes,
recitals, boilerplate, replies of other scenarios).
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from interbench.domain.scenario import Scenario
from interbench.domain.words import content_words
from interbench.judge.signals import content
from interbench.scenarios.sets import load_set
from interbench.systems.controls import BOILERPLATE

Speaker = Callable[[Scenario], list[str]]
"""What a system says in every turn of a scenario."""


def half(scenario: Scenario) -> int:
    """0: thresholds are fitted on it; 1: they are reported on it."""
    return hashlib.sha256(scenario.id.encode()).digest()[0] % 2


def shares(scenarios: Sequence[Scenario]) -> tuple[list[float], list[float]]:
    """Share of own words that are of the turn's matter: for replies to other scenarios, for key points alone."""
    foreign, told = [], []
    for number, scenario in enumerate(scenarios):
        other = scenarios[(number + 1) % len(scenarios)]
        for index, turn in enumerate(scenario.turns):
            matter, question = content.matter(turn), content_words(turn.text)
            points = [text for point in turn.key_points for text in (point.text, *point.accept)]
            alone = frozenset().union(*(content_words(text) for text in points)) - question
            own = content_words(turn.reply) - question
            borrowed = content_words(other.turns[index % len(other.turns)].reply) - question
            if borrowed:
                foreign.append(len(borrowed & matter) / len(borrowed))
            if own and alone:
                told.append(len(own & alone) / len(own))
    return foreign, told


def fitted(scenarios: Sequence[Scenario]) -> tuple[float, float, int]:
    """(chance share, full share, echo) by the rules that the constants' docstrings state."""
    foreign, told = shares(scenarios)
    kept = content.ECHO
    try:
        for echo in range(3, 20):
            content.ECHO = echo
            heard = [p for s in scenarios for p in content.points_heard(s.turns, [t.reply for t in s.turns])]
            if not any(point.repeated for point in heard):
                break
    finally:
        content.ECHO = kept
    return float(np.percentile(foreign, 75)), float(np.percentile(told, 25)), echo


def recited(scenario: Scenario) -> list[str]:
    """The dialogue so far, the author's replies with it."""
    told: list[str] = []
    for index, turn in enumerate(scenario.turns):
        before = " ".join(f"{t.text} {t.reply}" for t in scenario.turns[:index])
        told.append(f"{before} {turn.text}")
    return told


def speakers(scenarios: Sequence[Scenario]) -> dict[str, Speaker]:
    """Systems by what they say."""
    following = {s.id: scenarios[(n + 1) % len(scenarios)] for n, s in enumerate(scenarios)}

    def history(scenario: Scenario) -> list[str]:
        return [" ".join(t.text for t in scenario.turns[: n + 1]) for n in range(len(scenario.turns))]

    def of_another(scenario: Scenario) -> list[str]:
        other = following[scenario.id].turns
        return [other[n % len(other)].reply for n in range(len(scenario.turns))]

    return {
        "reference replies": lambda s: [turn.reply for turn in s.turns],
        "echo of the user's line": lambda s: [turn.text for turn in s.turns],
        "all of the user's lines so far": history,
        "boilerplate and that": lambda s: [f"{BOILERPLATE} {text}" for text in history(s)],
        "boilerplate": lambda s: [BOILERPLATE] * len(s.turns),
        "whole dialogue so far": recited,
        "replies of another scenario": of_another,
    }


def means(scenarios: Sequence[Scenario], speaker: Speaker) -> tuple[float, float, float]:
    """Mean scores (kp-recall, kp-memory, lexical) on 1 to 10."""
    recall: list[float] = []
    memory: list[float] = []
    lexical: list[float] = []
    for scenario in scenarios:
        replies = speaker(scenario)
        heard = content.points_heard(scenario.turns, replies)
        spoiled = {point.turn for point in heard if point.must_not and point.said}
        for points, into in ((heard, recall), ([p for p in heard if p.needs], memory)):
            counted = [point.said and point.turn not in spoiled for point in points if not point.must_not]
            if counted:
                into.append(float(np.mean(counted)))
        lexical.append(float(np.mean([found.overlap for found in content.overlaps(scenario.turns, replies)])))
    recall_mean, memory_mean, lexical_mean = (1 + 9 * float(np.mean(values)) for values in (recall, memory, lexical))
    return recall_mean, memory_mean, lexical_mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenarios", default="all")
    everything = load_set(parser.parse_args().scenarios).scenarios
    halves = [[scenario for scenario in everything if half(scenario) == which] for which in (0, 1)]
    print(f"{len(halves[0])} scenarios to fit on, {len(halves[1])} to report on")
    print(f"{'':>32} {'chance':>8} {'full':>8} {'echo':>6}")
    for name, scenarios in zip(("fitted here", "on the other half"), halves, strict=True):
        chance, full, echo = fitted(scenarios)
        print(f"{name:>32} {chance:8.2f} {full:8.2f} {echo:6d}")
    print(f"{'in the code':>32} {content.CHANCE_SHARE:8.2f} {content.FULL_SHARE:8.2f} {content.ECHO:6d}\n")
    print(f"{'on the half that nothing was fitted on':>40} {'kp-recall':>10} {'kp-memory':>10} {'lexical':>8}")
    for name, speaker in speakers(halves[1]).items():
        recall, memory, lexical = means(halves[1], speaker)
        print(f"{name:>40} {recall:10.2f} {memory:10.2f} {lexical:8.2f}")


if __name__ == "__main__":
    main()
