"""Two systems compared on the same clips, against what can be reckoned by hand and against recomputing from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interbench.single.base import Clip, Measured, Metric, Taken
from interbench.single.metrics.fid import Fid
from interbench.single.metrics.qalign import Iqa
from interbench.single.pairs import Difference, Filled, corrected, differences
from interbench.stats.frechet import frechet_distance


def taken(name: str, source: str, *, values: Mapping[str, float] | None = None, features: Any = None) -> Taken:
    return Taken(Clip(name, Path(name), source, None), Measured(values or {}, features=features))


def filled(metric: Metric, own: Sequence[Taken], references: Sequence[Taken] | None = None) -> Filled:
    return Filled(own, references, metric.figures(own, references))


def scored(scores: Mapping[str, float], sources: Mapping[str, str] | None = None) -> Filled:
    own = [taken(name, (sources or {}).get(name, name), values={"iqa": score}) for name, score in scores.items()]
    return filled(Iqa(weights="formula"), own)


def test_the_mean_difference_is_of_the_clips_that_both_have() -> None:
    a, b = scored({"1": 3.0, "2": 4.0, "3": 5.0, "only a": 1.0}), scored({"3": 4.0, "2": 2.0, "1": 2.0, "only b": 5.0})
    (found,) = differences(Iqa(weights="formula"), {"a": a, "b": b})
    assert (found.one, found.other, found.clips) == ("a", "b", 3) and found.value == pytest.approx(4 / 3)
    assert found.low is not None and found.high is not None
    assert 1.0 <= found.low < 4 / 3 < found.high <= 2.0
    assert found.p == 2 / 8, "all three point one way, and so do two of eight exchanges"
    (turned,) = differences(Iqa(weights="formula"), {"b": b, "a": a})
    assert turned.value == pytest.approx(-4 / 3) and turned.p == found.p


def test_clips_of_one_video_are_no_independent_evidence() -> None:
    scores_a, scores_b = {str(n): 4.0 + n % 2 for n in range(8)}, {str(n): 3.0 for n in range(8)}
    (alone,) = differences(Iqa(weights="formula"), {"a": scored(scores_a), "b": scored(scores_b)})
    sources = {str(n): f"video {n // 4}" for n in range(8)}
    (grouped,) = differences(Iqa(weights="formula"), {"a": scored(scores_a, sources), "b": scored(scores_b, sources)})
    assert alone.value == grouped.value and (alone.p, grouped.p) == (2 / 2**8, 2 / 2**2)
    one = {str(n): "video" for n in range(8)}
    (single,) = differences(Iqa(weights="formula"), {"a": scored(scores_a, one), "b": scored(scores_b, one)})
    assert single.value == alone.value and (single.low, single.p) == (None, None)


def sets(seed: int, clips: int = 6) -> tuple[list[Taken], list[Taken], list[Taken]]:
    """References, and two systems whose clips take after them."""
    random = np.random.default_rng(seed)
    real = [random.normal(size=(5, 4)).astype(np.float32) for _ in range(clips)]
    a = [one + random.normal(size=one.shape).astype(np.float32) for one in real]
    b = [one * 2 + random.normal(size=one.shape).astype(np.float32) for one in real]
    clips_of = [[taken(str(n), str(n), features=one) for n, one in enumerate(many)] for many in (real, a, b)]
    return clips_of[0], clips_of[1], clips_of[2]


def distance(own: Sequence[Taken], references: Sequence[Taken]) -> float:
    stacked = [
        np.concatenate([one.measured.features for one in many if one.measured.features is not None])
        for many in (own, references)
    ]
    return frechet_distance(stacked[0], stacked[1])


@pytest.mark.parametrize("gap", [None, 2])
def test_distances_are_jackknifed_over_pairs_of_both_systems(gap: int | None) -> None:
    """``gap``: a clip that the second system lacks; it then counts for neither."""
    real, a, b = sets(3)
    fid = Fid()
    theirs = [one for n, one in enumerate(b) if n != gap]
    fid_found, kid_found = differences(fid, {"a": filled(fid, a, real), "b": filled(fid, theirs, real)})
    both = [n for n in range(len(real)) if n != gap]

    def between(ids: Sequence[int]) -> float:
        chosen = [[many[n] for n in ids] for many in (a, b, real)]
        return distance(chosen[0], chosen[2]) - distance(chosen[1], chosen[2])

    without = np.array([between([n for n in both if n != left]) for left in both])
    half = 1.959963984540054 * np.sqrt((len(both) - 1) / len(both) * np.square(without - without.mean()).sum())
    assert (fid_found.column, fid_found.clips, fid_found.p) == ("fid", len(both), None)
    assert fid_found.value == pytest.approx(between(both), rel=1e-6)
    assert fid_found.high == pytest.approx(between(both) + half, rel=1e-4)
    assert kid_found.column == "kid" and kid_found.value is not None and kid_found.low is not None


def test_the_same_clips_differ_by_nothing() -> None:
    real, a, _ = sets(4)
    fid = Fid()
    for found in differences(fid, {"a": filled(fid, a, real), "again": filled(fid, a, real)}):
        assert (found.value, found.low, found.high) == (0, 0, 0)


def test_what_can_t_be_compared_says_why() -> None:
    real, a, b = sets(5)
    fid = Fid()
    others = [taken(f"other {one.clip.id}", "x", features=one.measured.features) for one in real]
    unpaired = differences(fid, {"a": filled(fid, a, others), "b": filled(fid, b, others)})
    assert {one.missing for one in unpaired} == {"needs at least three clips, each with a reference of its own"}
    apart = differences(fid, {"a": filled(fid, a[:3], real), "b": filled(fid, b[3:], real)})
    assert {(one.value, one.missing) for one in apart} == {(None, "fewer than three clips in both")}
    (none,) = differences(Iqa(weights="formula"), {"a": scored({"1": 3.0}), "b": scored({"2": 3.0})})
    assert (none.clips, none.value, none.missing) == (0, None, "no clip that both have was scored in both")


def test_holm_s_correction_is_over_the_columns_of_two_systems() -> None:
    given = [Difference("a", "b", key, 9, 1.0, p=p) for key, p in (("x", 0.01), ("y", 0.04), ("fid", None))]
    found = corrected([*given, Difference("a", "c", "x", 9, 1.0, p=0.04)])
    assert [one.p_holm for one in found] == [pytest.approx(0.02), pytest.approx(0.04), None, pytest.approx(0.04)]
