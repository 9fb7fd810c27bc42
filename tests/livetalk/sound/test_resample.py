"""Sound resampled as it comes is the sound resampled at once."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from livetalk.sound.resample import StreamResampler

RATES = [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000]


def pieces(samples: np.ndarray, lengths: list[int]) -> list[np.ndarray]:
    """Cut into pieces of these lengths, over and over, empty ones among them."""
    cuts = np.cumsum(np.resize([*lengths, 1], max(1, len(samples))))
    return np.split(samples, cuts[cuts < len(samples)])


@settings(max_examples=60)
@given(
    count=st.integers(0, 20_000),
    rates=st.tuples(st.sampled_from(RATES), st.sampled_from(RATES)),
    lengths=st.lists(st.integers(0, 4_000), min_size=1, max_size=6),
    flushed_apart=st.booleans(),
)
def test_equals_the_whole_however_it_is_cut(
    count: int, rates: tuple[int, int], lengths: list[int], flushed_apart: bool
) -> None:
    sound = np.random.default_rng(count).uniform(-1, 1, count).astype(np.float32)
    resampler = StreamResampler(*rates)
    parts = pieces(sound, lengths)
    if flushed_apart:
        parts.append(sound[:0])
    out = [resampler.push(part, last=place == len(parts) - 1) for place, part in enumerate(parts)]
    assert all(part.dtype == np.float32 and part.ndim == 1 for part in out)
    joined = np.concatenate(out)
    assert len(joined) == int(count * rates[1] / rates[0] + 0.5)
    np.testing.assert_allclose(joined, soxr.resample(sound, *rates, quality="HQ"), atol=1e-6)


@settings(max_examples=40)
@given(
    rates=st.tuples(st.integers(1_000, 96_000), st.integers(1_000, 96_000)),
    count=st.integers(0, 5_000),
    piece=st.integers(1, 700),
)
def test_any_rates_give_the_exact_length(rates: tuple[int, int], count: int, piece: int) -> None:
    resampler = StreamResampler(*rates)
    sound = np.ones(count, np.float32)
    length = sum(len(resampler.push(sound[at : at + piece])) for at in range(0, count, piece))
    length += len(resampler.push(sound[:0], last=True))
    assert abs(length - count * rates[1] / rates[0]) <= 0.5


def test_a_tone_passes_without_clicks_and_in_time() -> None:
    rate, hertz = 24_000, 440
    tone = (0.5 * np.sin(2 * np.pi * hertz * np.arange(3 * rate) / rate)).astype(np.float32)
    resampler = StreamResampler(rate, 16_000)
    parts = [resampler.push(tone[at : at + 1_337]) for at in range(0, len(tone), 1_337)]
    out = np.concatenate([*parts, resampler.push(tone[:0], last=True)])
    ideal = 0.5 * np.sin(2 * np.pi * hertz * np.arange(3 * 16_000) / 16_000)
    # The ends of the tone itself ring; between them every click would stand out.
    assert np.abs(out - ideal)[400:-400].max() < 1e-4


def test_sound_comes_out_while_more_goes_in() -> None:
    resampler = StreamResampler(24_000, 16_000)
    second = np.zeros(24_000, np.float32)
    assert len(resampler.push(second)) > 0.9 * 16_000


def test_the_last_piece_is_the_last() -> None:
    for rates in ((24_000, 16_000), (16_000, 16_000)):
        resampler = StreamResampler(*rates)
        resampler.push(np.zeros(10, np.float32), last=True)
        with pytest.raises(ValueError, match="has ended"):
            resampler.push(np.zeros(10, np.float32))


@pytest.mark.parametrize("samples", [np.zeros((2, 10), np.float32), np.zeros(10), np.zeros(10, np.int16)])
def test_refuses_what_is_not_mono_float32(samples: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected mono float32 samples"):
        StreamResampler(24_000, 16_000).push(samples)


@pytest.mark.parametrize("rates", [(0, 16_000), (16_000, -1)])
def test_refuses_rates_that_are_none(rates: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        StreamResampler(*rates)
