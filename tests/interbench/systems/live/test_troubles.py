"""Incidents told from the marks of a timeline that a test has written down."""

from __future__ import annotations

import numpy as np
import pytest

from interbench.domain.incidents import Incident, IncidentKind
from interbench.systems.live.talk import spoken
from interbench.systems.live.timeline import FLOOR_DB, PictureMark, SoundMark, Timeline, Windows, levels, thumb
from interbench.systems.live.troubles import troubles

QUIET, LOUD = -80.0, -20.0


def timeline(seconds: float = 6.0, speech: tuple[float, float] = (3.0, 5.0)) -> Timeline:
    """Twenty-five pictures a second that move, and an answer, every mark 50 ms on its way."""
    found = Timeline()
    for number in range(round(seconds * 25)):
        t = number / 25
        found.picture(PictureMark(t, t + 0.05, np.full((4, 4), number % 250, np.uint8)))
    for number in range(round(seconds * 50)):
        t = number / 50
        found.sound(SoundMark(t, t + 0.05, LOUD if speech[0] <= t < speech[1] else QUIET))
    return found


def told(found: Timeline) -> list[Incident]:
    threshold = found.threshold(2.9)
    first, last = found.first_audible(2.0, threshold), found.last_audible(2.0, threshold)
    assert first is not None and last is not None
    return troubles(found, first.t, last.t, first.t - 0.4, threshold)


def test_nothing_is_wrong_with_a_good_stream() -> None:
    assert told(timeline()) == []


def test_a_gap_is_a_freeze_and_so_is_a_picture_that_stops() -> None:
    found = timeline()
    found.pictures = [mark for mark in found.pictures if not 3.5 < mark.t < 4.1]
    (gap,) = told(found)
    assert gap.kind is IncidentKind.FREEZE
    assert [gap.at_s, gap.seconds] == pytest.approx([0.88, 0.64], abs=0.05)
    found = timeline()
    found.pictures = [mark for mark in found.pictures if mark.t < 4.0]
    assert [incident.kind for incident in told(found)] == [IncidentKind.FREEZE]
    found.pictures = [mark for mark in found.pictures if mark.t < 2.0]
    assert [incident.kind for incident in told(found)] == [IncidentKind.NO_PICTURE]


def test_a_fragment_that_brings_several_pictures_at_once_is_none() -> None:
    found = timeline()
    found.pictures = [PictureMark(m.t, 0.25 * (m.t // 0.25 + 1), m.thumb) for m in found.pictures]
    assert told(found) == []


def test_the_same_picture_over_speech_is_frozen_and_over_silence_is_not() -> None:
    found = timeline()
    still = found.pictures[80].thumb
    found.pictures = [PictureMark(m.t, m.at, still if 3.2 <= m.t <= 4.8 else m.thumb) for m in found.pictures]
    (frozen,) = told(found)
    assert frozen.kind is IncidentKind.FROZEN_PICTURE and frozen.seconds == pytest.approx(1.6, abs=0.1)
    found = timeline(speech=(4.8, 5.2))
    found.pictures = [PictureMark(m.t, m.at, still if 3.2 <= m.t <= 4.8 else m.thumb) for m in found.pictures]
    assert told(found) == []


def test_pictures_behind_their_time_are_late_and_counted_as_one_incident() -> None:
    found = timeline()
    found.pictures = [PictureMark(m.t, m.at + (0.3 if 4.0 <= m.t < 4.2 else 0.0), m.thumb) for m in found.pictures]
    late = [incident for incident in told(found) if incident.kind is IncidentKind.LATE_PICTURE]
    assert len(late) == 1 and late[0].note == "5 of 50 pictures, up to 0.30 s"


@pytest.mark.parametrize(
    ("hole", "kind"), [((3.0, 3.3), IncidentKind.LOST_FIRST_SOUND), ((4.0, 4.2), IncidentKind.LOST_SOUND)]
)
def test_holes_in_the_sound_are_told_by_where_they_are(hole: tuple[float, float], kind: IncidentKind) -> None:
    found = timeline()
    found.sounds = [mark for mark in found.sounds if not hole[0] <= mark.t < hole[1]]
    (lost,) = told(found)
    assert lost.kind is kind and lost.seconds == pytest.approx(hole[1] - hole[0], abs=0.03)


def test_an_idle_hum_is_no_speech() -> None:
    found = timeline()
    assert found.threshold(2.9) == FLOOR_DB
    found.sounds = [SoundMark(m.t, m.at, max(m.db, -45.0)) for m in found.sounds]
    assert found.threshold(2.9) == pytest.approx(-35.0)
    first = found.first_audible(2.0, found.threshold(2.9))
    assert first is not None and first.t == pytest.approx(3.0)


def test_windows_come_out_of_pieces_of_any_length_and_restart_at_holes() -> None:
    sound = (np.random.default_rng(1).standard_normal(4_000) / 10).astype(np.float32)
    whole = Windows(8_000).take(sound, 1.0, 2.0)
    windows = Windows(8_000)
    pieces = [mark for at in range(0, 4_000, 37) for mark in windows.take(sound[at : at + 37], 1.0 + at / 8_000, 2.0)]
    assert [mark.db for mark in pieces] == pytest.approx([mark.db for mark in whole])
    assert [mark.t for mark in pieces] == pytest.approx([1.0 + 0.02 * number for number in range(25)])
    assert windows.take(sound[:160], 9.0, 9.0)[0].t == 9.0
    assert levels(np.full(320, 0.5, np.float32), 8_000).max() < -100  # an offset is no sound
    assert thumb(np.zeros((480, 640), np.uint8)).shape == (48, 50)


def test_the_silence_after_a_line_is_not_sent() -> None:
    line = np.zeros(16_000, np.float32)
    line[:8_000] = 0.3 * np.sin(np.arange(8_000) / 5)
    assert len(spoken(line)) == pytest.approx(8_000, abs=400)


def test_an_interrupted_answer_ends_at_the_first_silence_even_if_the_next_one_is_there() -> None:
    found = timeline()
    found.sounds = [SoundMark(m.t, m.at, QUIET if 3.9 <= m.t < 4.3 else m.db) for m in found.sounds]
    cut = found.fell_silent(3.5, FLOOR_DB, 0.3)
    assert cut is not None and cut.t == pytest.approx(3.88)
    assert found.fell_silent(4.5, FLOOR_DB, 0.3) == found.last_audible(0.0, FLOOR_DB)
    found.sounds = [mark for mark in found.sounds if mark.t < 4.1]
    assert found.fell_silent(3.5, FLOOR_DB, 0.3) is None
