"""Matching facts in texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interbench.domain.keypoints import GAP, containment, coverage, covered, jaccard, says, shingles
from interbench.domain.scenario import KeyPoint
from interbench.domain.words import content_words, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("three hundred and thirty metres", "330 m"),
        ("330 METRES!", "330 meters"),
        ("twenty-one thousand kilometres", "21,000 km"),
        ("eighteen eighty-nine", "1889"),
        ("nineteen oh five", "1905"),
        ("two thousand and six", "2006"),
        ("twenty twenty-four", "2024"),
        ("two and a half thousand years", "2,500 years"),
        ("two point five", "2.5"),
        ("two and a half", "2.5"),
        ("three hundred and eighty-four thousand four hundred", "384400"),
        ("a hundred and forty-seven million", "147,000,000"),
        ("147 million", "147000000"),
        ("a thousand", "1000"),
        ("sixteen hundred", "1600"),
        ("the twenty-first", "21st"),
        ("thirty-three", "33"),
        ("fifty percent", "50%"),
        ("five pounds", "£5"),
        ("two and a half dollars", "$2.50"),
        ("Champs-Élysées", "champs elysees"),
        ("can't", "cannot"),
        ("it isn't", "it is not"),
        ("we're going", "we are going"),
        ("It’s Biscuit’s", "it biscuit"),
        ("colours and neighbours", "color and neighbor"),
        ("babies cried", "baby cry"),
        ("making, baking", "make bake"),
        ("stopped running", "stop run"),
        ("he was taught", "he was teach"),
    ],
)
def test_different_writings_of_the_same_words(one: str, other: str) -> None:
    assert words(one) == words(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("thirty, four", "thirty-four"),
        ("five or six", "eleven"),
        ("note", "not"),
        ("hope", "hop"),
        ("3rd", "3"),
        ("1836, and the tower", "1836"),
    ],
)
def test_what_must_stay_apart(one: str, other: str) -> None:
    assert words(one) != words(other)


@given(st.integers(min_value=0, max_value=999_999_999))
def test_every_number_reads_the_same_in_words_and_digits(number: int) -> None:
    assert words(spoken(number)) == words(f"{number:,}") == (str(number),)


SMALL = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def spoken(number: int) -> str:
    for scale, name in ((1_000_000, "million"), (1_000, "thousand"), (100, "hundred")):
        if number >= scale:
            high, low = divmod(number, scale)
            joint = " and " if low and low < 100 else " "
            return f"{spoken(high)} {name}" + (f"{joint}{spoken(low)}" if low else "")
    if number < 20:
        return SMALL[number]
    tens, ones = divmod(number, 10)
    return TENS[tens - 2] + (f"-{SMALL[ones]}" if ones else "")


texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=80)
some = st.sampled_from(["stone", "bridge", "mill", "river", "walk", "old", "tower", "seven", "city", "north"])
plain = st.lists(some, max_size=12)


@given(texts)
def test_words_of_any_text_are_plain_and_stable(text: str) -> None:
    found = words(text)
    assert all(word.replace(".", "").isalnum() and word == word.lower() for word in found)
    assert words(text.upper().lower()) == words(text.lower())


@given(plain, st.integers(0, 11), st.integers(1, 6))
def test_every_part_of_a_text_is_said_in_it(text: list[str], start: int, length: int) -> None:
    part = text[start : start + length]
    assert says(" ".join(part), " ".join(text)) is bool(part)


@given(plain, plain)
def test_a_phrase_is_not_lost_when_more_is_said(one: list[str], other: list[str]) -> None:
    phrase, text = "stone bridge", " ".join(one)
    if says(phrase, text):
        assert says(phrase, f"{text} {' '.join(other)}")


def test_words_must_come_in_order_and_close_together() -> None:
    assert says("stone bridge", "the stone and mortar bridge")
    assert says("stone bridge", "stone " + "very " * GAP + "bridge")
    assert not says("stone bridge", "stone " + "very " * (GAP + 1) + "bridge")
    assert not says("stone bridge", "a bridge of stone")
    assert says("a b a c", "a b b a a c")
    assert not says("...", "anything") and not says("the", "the")


def test_phrases_or_content_words_cover_a_point() -> None:
    by_phrase = KeyPoint(text="It is tall.", accept=("330 metres", "over three hundred"))
    assert covered(by_phrase, "It's three hundred and thirty meters high.")
    assert not covered(by_phrase, "It is tall.")
    by_words = KeyPoint(text="The Seine flows through Paris.")
    assert covered(by_words, "Through Paris, the river Seine.")
    assert not covered(by_words, "Paris is lovely.")


def test_coverage_is_a_share_and_missing_without_points() -> None:
    points = [KeyPoint(text="x", accept=(word,)) for word in ("mill", "bridge", "tower", "river")]
    assert coverage(points, "the bridge over the river") == 0.5
    assert coverage([], "anything") is None


def test_negation_is_out_of_scope() -> None:
    assert covered(KeyPoint(text="x", accept=("330 metres",)), "It is not 330 metres tall.")


def test_overlap_measures() -> None:
    assert content_words("What is the height of the old tower, um?") == {"height", "old", "tower"}
    assert containment("the old tower", "an old bridge") == 0.5
    assert containment("of the", "anything") == 0
    assert jaccard("abc", "bcd") == 0.5 and jaccard("", "") == 0
    assert shingles("one two three four") == {("1", "2", "3"), ("2", "3", "4")}
