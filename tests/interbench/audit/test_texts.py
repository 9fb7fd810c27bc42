"""The authored variants: each says what it is to say, in the length it is to have, and gives nothing away."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import pytest
from known import known

from interbench.audit.build import check_words
from interbench.audit.conditions import make_conditions
from interbench.audit.texts import Measured, chosen, leaning, references, rewritten
from interbench.base.errors import ScenarioError, UsageError
from interbench.domain.catalogue import Entry, Kind, bundled
from interbench.domain.keypoints import covered
from interbench.domain.scenario import KeyPoint, Turn
from interbench.scenarios.plan import plan_scenarios
from interbench.scenarios.sets import load_set
from interbench.systems.puppet.authored import ALIGNED, KEYS, Key, authored, folder, written
from interbench.systems.puppet.rewrites import sentences

WHOLE = load_set("all")
PARTS = {planned.scenario.id: planned for planned in plan_scenarios(WHOLE, WHOLE) if planned.scenario.id in written()}
TURNS = [
    (planned.scenario, number, turn, known(authored(planned.scenario.id)).turns[number - 1])
    for planned in PARTS.values()
    for number, turn in enumerate(planned.scenario.turns, start=1)
]
SAYS_ALL = ("recital", "hostile", "padding-1.5", "padding-2", "padding-3")
LENGTHS = {"padding-1.5": 1.5, "padding-2": 2.0, "padding-3": 3.0}


def said(turn: Turn, text: str) -> list[KeyPoint]:
    """Key points of the reply that a text says."""
    return [p for p in turn.key_points if not p.must_not and covered(p, turn.reply) and covered(p, text)]


def faults(check: Callable[[Any, Any], Any]) -> list[str]:
    return [f"{s.id}/{n}: {why}" for s, n, turn, variant in TURNS if (why := check(turn, variant))]


def test_there_are_variants_of_48_scenarios_of_the_set() -> None:
    assert len(written()) == 48
    assert set(written()) <= {scenario.id for scenario in WHOLE.scenarios}
    assert {s.id for s in load_set("starter").scenarios} <= set(written())
    assert {path.suffix for path in folder().iterdir()} == {".json"}


def test_every_turn_is_there_and_belongs_to_the_reply_of_today() -> None:
    for planned in PARTS.values():
        turns = known(authored(planned.scenario.id)).turns
        assert len(turns) == len(planned.scenario.turns)
    assert not faults(lambda t, v: v.reply_sha256 != hashlib.sha256(t.reply.encode()).hexdigest() and "another reply")


def test_files_are_laid_out_as_agreed() -> None:
    for name in written():
        file = folder() / f"{name}.json"
        told = json.loads(file.read_text(encoding="utf-8"))
        assert file.read_text(encoding="utf-8").rstrip("\n") == json.dumps(told, indent=1, ensure_ascii=False), name


def test_sentences_stand_in_for_those_of_the_reply() -> None:
    def aligned(turn: Any, variant: Any) -> Any:
        count = len(sentences(turn.reply))
        return [key for key in ALIGNED if len(variant.sentences(key)) != count]

    assert not faults(aligned)


def test_every_false_answer_has_an_error_and_says_what_is_right_of_nothing_it_alters() -> None:
    def wrong(turn: Any, variant: Any) -> Any:
        own, false = sentences(turn.reply), variant.sentences("false-fact")
        return list(own) == list(false) and "no error"

    assert not faults(wrong)


def test_lengths() -> None:
    def length(turn: Any, variant: Any) -> Any:
        words = len(turn.reply.split())
        wrong = []
        for key in KEYS:
            ratio = len(variant.text(key).split()) / words
            aim = LENGTHS.get(key)
            if aim is not None:
                # A word of a short reply is more than a tenth of it.
                fits = abs(ratio - aim) <= max(0.101 * aim, 1.5 / words)
            elif key == "abandon":
                fits = 0.3 <= ratio <= 1.03
            else:
                fits = abs(ratio - 1) <= max(0.151, 2.5 / words)
            if not fits:
                wrong.append(f"{key} {ratio:.2f}")
        return wrong

    assert not faults(length)


def test_what_keeps_the_facts_says_all_key_points() -> None:
    def lost(turn: Any, variant: Any) -> Any:
        told = said(turn, turn.reply)
        return [f"{key}: {p.text}" for key in SAYS_ALL for p in told if p not in said(turn, variant.text(key))]

    assert not faults(lost)


def test_an_evasion_says_no_key_point() -> None:
    assert not faults(lambda turn, v: [p.text for p in said(turn, v.text("evasion")) if not p.act])


@pytest.mark.parametrize(("key", "most"), [("false-fact", 0.6), ("vague", 0.6), ("abandon", 0.5)])
def test_what_loses_the_facts_loses_most_key_points(key: Key, most: float) -> None:
    total = sum(len(said(turn, turn.reply)) for _, _, turn, _ in TURNS)
    kept = sum(len(said(turn, variant.text(key))) for _, _, turn, variant in TURNS)
    assert kept / total < most


def test_no_openings_are_shared() -> None:
    for key in KEYS:
        openings: Counter[str] = Counter()
        for _, _, turn, variant in TURNS:
            opening = " ".join(variant.text(key).split()[:4]).casefold()
            # What begins as the reply does gives nothing away.
            if opening != " ".join(turn.reply.split()[:4]).casefold():
                openings[opening] += 1
        shared = {opening: count for opening, count in openings.items() if count > 2}
        assert not shared, key


TELLTALE = re.compile(
    r"this is (false|wrong|untrue)|as an ai\b|i won't answer|language model|to be vague|and by the way: |key point|"
    r"i am being|evasive|placeholder|lorem ipsum|\*|_{2,}|#|\[|\]|\bTODO\b",
    re.IGNORECASE,
)
RARE = re.compile(r"\b(firstly|in conclusion|to summarise|to summarize)\b", re.IGNORECASE)
EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf“”‘’]")


def test_nothing_gives_itself_away() -> None:
    texts = [(f"{s.id}/{n} {key}", v.text(key)) for s, n, _, v in TURNS for key in KEYS]
    assert not [(where, found[0]) for where, text in texts if (found := TELLTALE.search(text))]
    assert not [(where, found[0]) for where, text in texts if (found := EMOJI.search(text))]
    for word, count in Counter(found[0].casefold() for _, text in texts for found in RARE.finditer(text)).items():
        assert count <= 4, word


def test_paddings_say_no_sentence_twice() -> None:
    def twice(turn: Any, variant: Any) -> Any:
        for key in LENGTHS:
            told = [sentence.casefold() for sentence in sentences(variant.text(key)) if len(sentence.split()) > 3]
            if len(set(told)) < len(told):
                return key
        return ""

    assert not faults(twice)


OF_WORDS = [e for e in bundled() if e.kind is Kind.DEFECT and set(e.channels) == {"words"}]


@pytest.mark.parametrize("entry", OF_WORDS, ids=lambda e: e.name)
def test_every_defect_of_words_is_graded_and_comes_to_what_it_aims_at(entry: Entry) -> None:
    changed = []
    for strength in range(1, 4):
        made = [
            (planned, words)
            for planned in PARTS.values()
            if (words := rewritten(entry, strength, planned, references(planned))) is not None
        ]
        assert len(made) >= 40
        counts = [words.measured for _, words in made if words.measured is not None]
        if entry.measured == "turns":
            touched = sum(
                text != reply
                for planned, words in made
                for text, reply in zip(words.texts, references(planned), strict=True)
            )
            assert touched == pytest.approx(sum(len(words.places) for _, words in made), rel=0.2)
        else:
            share = sum(m.done for m in counts) / sum(m.of for m in counts)
            assert share == pytest.approx(entry.strengths[strength - 1], rel=0.2)
        changed.append(
            sum(
                a != b
                for planned, words in made
                for one, other in zip(references(planned), words.texts, strict=True)
                for a, b in zip_longest(sentences(one), sentences(other))
            )
        )
    assert 0 < changed[0] < changed[1] < changed[2] or entry.name == "abandon"


def test_which_turns_are_touched() -> None:
    every = (1, 2, 3, 4)
    assert chosen("one", every) == (3,) and chosen("all", every) == every and len(chosen("half", every)) == 2
    assert chosen("last", every) == (4,) and chosen("second-half", every) == (3, 4)
    assert chosen("every-other", every) == (2, 4) and chosen("every-other", (1,)) == (1,)
    assert chosen("half", ()) == ()
    planned = PARTS["places-eiffel-tower"]
    assert set(leaning(planned)) <= {2, 3, 4} and leaning(planned)


def test_the_variants_are_no_scenario_set() -> None:
    with pytest.raises(ScenarioError):
        load_set(folder())


def test_what_the_catalogue_says_of_words_is_true_of_few_conversations_too() -> None:
    """Places come in whole numbers: one answer's one contraction has no third. What nothing would be changed in does
    not fit."""
    conditions = [c for c in make_conditions(bundled(), ["EA", "IC"]) if c.entry in {entry.name for entry in bundled()}]
    changed: dict[str, dict[str, Measured]] = {}
    for condition in conditions:
        entry = bundled()[condition.entry]
        if entry.measured not in ("share", "ratio"):
            continue
        for name, planned in PARTS.items():
            made = rewritten(entry, condition.strength, planned, references(planned))
            if made is not None:
                assert made.measured is not None and made.texts != references(planned), (condition.name, name)
                changed.setdefault(condition.name, {})[name] = made.measured
    assert len(changed) == 17
    names = sorted(PARTS)
    for count in (1, 2, 3, 6, 12, 48):
        for first in range(0, len(names), count):
            some = names[first : first + count]
            words = {name: [of[one] for one in some if one in of] for name, of in changed.items()}
            check_words(bundled(), conditions, words)
    few = {"written-speech@1": [Measured(0, 3), Measured(0, 2)]}
    with pytest.raises(UsageError, match=r"changes 0\.00 of what it says it changes 0\.33 of, over 2 conversations"):
        check_words(bundled(), conditions, few)
