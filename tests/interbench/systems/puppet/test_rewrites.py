from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interbench.domain.dimensions import EVERY, MEASURE_KEYS
from interbench.domain.keypoints import says
from interbench.systems.events import PastTurn, ReferenceReply, TurnRequest
from interbench.systems.puppet import rewrites
from interbench.systems.puppet.authored import KEYS
from interbench.systems.puppet.defects import DEFECTS


def _turn(reference: ReferenceReply, index: int, history: tuple[PastTurn, ...] = ()) -> TurnRequest:
    return TurnRequest(
        scenario="s",
        index=index,
        text="?",
        audio=None,
        history=history,
        portrait=None,
        seed=1,
        workdir=Path(),
        deadline_s=1.0,
        reference=reference,
    )


def test_sentences_keep_every_word() -> None:
    text = 'Oh! It\'s 3.5 metres... "Really?" Yes, e.g. here.'
    assert " ".join(rewrites.sentences(text)) == text
    assert rewrites.sentences("One. Two! Three?") == ["One.", "Two!", "Three?"]


def test_the_amnesiac_keeps_what_needs_no_memory(reference: ReferenceReply) -> None:
    said = rewrites.forget(_turn(reference, 2), reference)
    assert not says("heights scare you", said)
    assert says("330 metres", said)
    assert any(word in said for word in ("remember", "recall", "lost track"))


def test_the_amnesiac_is_intact_where_nothing_leans_on_the_past(reference: ReferenceReply) -> None:
    first = dataclasses.replace(reference, context_points=(), leans_on=())
    assert rewrites.forget(_turn(first, 1), first) == first.reply


def test_the_amnesiac_asks_again_when_nothing_is_left(reference: ReferenceReply) -> None:
    all_of_it = dataclasses.replace(reference, reply="Heights scare you.")
    said = rewrites.forget(_turn(all_of_it, 3), all_of_it)
    assert said.endswith("Could you tell me again what you mean?")


def test_an_excuse_never_says_what_it_forgot(reference: ReferenceReply) -> None:
    tricky = dataclasses.replace(reference, reply="I remember it well.", context_points=("remember", "recall"))
    said = rewrites.forget(_turn(tricky, 2), tricky)
    assert not says("remember", said)
    assert not says("recall", said)


def test_the_partial_answer_misses_a_good_share_of_the_points(reference: ReferenceReply) -> None:
    said = rewrites.answer_in_part(_turn(reference, 2), reference)
    told = [any(says(phrase, said) for phrase in point) for point in reference.key_points]
    assert sum(told) <= 1
    assert reference.reply.startswith(said.rstrip("."))


def test_off_topic_answers_the_other_question(reference: ReferenceReply) -> None:
    assert rewrites.answer_another(_turn(reference, 1), reference) == reference.off_topic_reply


@pytest.mark.parametrize(
    ("sentence", "opposite"),
    [
        ("The tower is 330 metres tall.", "The tower is not 330 metres tall."),
        ("It can't be seen from the Moon!", "It can be seen from the Moon."),
        ("You will not regret it.", "You will regret it."),
        ("There's a café on the corner.", "there is no café on the corner."),
        ("Boil the eggs.", "This is false: Boil the eggs."),
    ],
)
def test_statements_are_turned_round(sentence: str, opposite: str) -> None:
    assert rewrites.negated(sentence).casefold() == opposite.casefold()


def test_a_contradiction_denies_the_turn_before(reference: ReferenceReply) -> None:
    past = PastTurn(1, "?", None, "completed", "Maybe. The avenue is two kilometres long.", None)
    said = rewrites.contradict(_turn(reference, 2, (past,)), reference)
    assert said.startswith(reference.reply)
    assert said.endswith("the avenue is not two kilometres long.")
    first = rewrites.contradict(_turn(reference, 1), reference)
    assert "330 metres" in first.removeprefix(reference.reply)


def test_contradictions_do_not_pile_up(reference: ReferenceReply) -> None:
    once = rewrites.contradict(_turn(reference, 1), reference)
    past = PastTurn(1, "?", None, "completed", once, None)
    assert rewrites.contradict(_turn(reference, 2, (past,)), reference).count("And by the way") == 1


def test_the_newsreader_frames_the_answer_and_leaves_out_its_pauses(reference: ReferenceReply) -> None:
    said = rewrites.announce(_turn(reference, 1), reference)
    assert said.startswith("Good evening.")
    assert not set(",;:!?") & set(said)
    assert says("330 metres", said)


@given(
    reply=st.text(max_size=200),
    phrases=st.lists(st.text(max_size=20), max_size=3),
    earlier=st.text(max_size=100) | st.none(),
    index=st.integers(1, 9),
)
def test_any_text_goes_through_every_defect(reply: str, phrases: list[str], earlier: str | None, index: int) -> None:
    points = tuple((phrase,) for phrase in phrases)
    reference = ReferenceReply(reply, "calm", "Something else.", tuple(phrases), (), points)
    past = PastTurn(1, "?", None, "completed", earlier, None)
    turn = _turn(reference, index, (past,) if index > 1 else ())
    for defect in DEFECTS.values():
        if defect.rewrite is not None and defect.name not in KEYS:
            assert isinstance(defect.rewrite(turn, reference), str)


def test_what_a_defect_lowers_is_data_that_others_understand() -> None:
    known = {dimension.key for dimension in EVERY} | {"outcome"}
    assert len(DEFECTS) >= 12
    for name, defect in DEFECTS.items():
        assert defect.name == name
        assert defect.lowers or defect.if_heard
        assert set(defect.lowers + defect.if_heard) <= known
        assert set(defect.seen_offline) <= set(defect.lowers)
    offline = {key for defect in DEFECTS.values() for key in defect.seen_offline}
    assert offline == {*MEASURE_KEYS, "outcome"}


def test_every_defect_but_one_of_staging_changes_the_words(reference: ReferenceReply) -> None:
    turn = _turn(reference, 2)
    for defect in DEFECTS.values():
        if defect.name in (*KEYS, "written-speech"):
            continue  # of single replies, by an author or where there is a contraction: audit/test_texts.py
        changes_words = defect.rewrite is not None and defect.rewrite(turn, reference) != reference.reply
        changes_staging = defect.staging != DEFECTS["amnesiac"].staging
        assert changes_words or changes_staging, defect.name
