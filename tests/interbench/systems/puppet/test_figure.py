from __future__ import annotations

import io
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from interbench.base.errors import ScenarioError
from interbench.domain.persona import Backdrop, ClothesStyle, FaceShape, FacialHair, HairStyle, Look, Persona
from interbench.systems.puppet.casting import FigurePart, drifted, look_of, made_up
from interbench.systems.puppet.figure import backdrops, clothes, hair
from interbench.systems.puppet.figure.features import EYES_BOX, MOUTH_BOX, Brows, Eyes, Mouth
from interbench.systems.puppet.figure.sprites import FigurePainter, Pose
from interbench.systems.puppet.portraits import portrait, write_portraits

SCENARIOS = Path(__file__).parents[4] / "scenarios"


@pytest.fixture(scope="module")
def figure(maya: Persona) -> FigurePainter:
    return FigurePainter(maya, look_of(maya))


def pixels(figure: FigurePainter, pose: Pose) -> np.ndarray:
    return np.asarray(figure.frame(pose)).astype(int)


def changed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    changed: np.ndarray = np.abs(one - other).max(axis=2) > 12
    return changed


def test_a_frame_is_an_opaque_picture_of_512_pixels(figure: FigurePainter) -> None:
    picture = figure.frame(Pose())
    assert (picture.mode, picture.size) == ("RGB", (512, 512))


def test_the_mouth_opens_where_the_mouth_is(figure: FigurePainter) -> None:
    where = changed(pixels(figure, Pose()), pixels(figure, Pose(mouth=Mouth(open=0.8, teeth=0.5))))
    rows, columns = np.nonzero(where)
    assert where.sum() > 900
    assert rows.min() >= MOUTH_BOX.y - 4
    assert columns.min() > 150
    assert columns.max() < 362


def test_closed_lids_hide_the_eyes(figure: FigurePainter, maya: Persona) -> None:
    box = np.s_[EYES_BOX.y : EYES_BOX.y + EYES_BOX.height, EYES_BOX.x : EYES_BOX.x + EYES_BOX.width]

    def whites(pose: Pose) -> int:
        part = pixels(figure, pose)[box]
        return int(((part.min(axis=2) > 190) & (np.ptp(part, axis=2) < 40)).sum())

    assert whites(Pose()) > 120
    assert whites(Pose(eyes=Eyes(lid=0.0))) < 20
    assert whites(Pose(eyes=Eyes(lid=0.5))) < whites(Pose())


def test_gaze_brows_tilt_and_breath_show(figure: FigurePainter) -> None:
    still = pixels(figure, Pose())
    for pose in (Pose(eyes=Eyes(gaze_x=4)), Pose(brows=Brows(lift=0.8)), Pose(tilt=3), Pose(yaw=0.8), Pose(breath=1.0)):
        assert changed(still, pixels(figure, pose)).sum() > 60


def test_a_frame_does_not_depend_on_what_was_drawn_before(maya: Persona, figure: FigurePainter) -> None:
    pose = Pose(mouth=Mouth(open=0.4, spread=0.6), tilt=1.2, breath=0.5)
    figure.frame(Pose(mouth=Mouth(open=0.4, spread=-0.6)))
    assert figure.frame(pose).tobytes() == FigurePainter(maya, look_of(maya)).frame(pose).tobytes()


def test_every_look_has_its_drawing() -> None:
    assert set(hair.STYLES) == set(get_args(HairStyle))
    assert set(clothes.STYLES) == set(get_args(ClothesStyle))
    assert set(backdrops.PLACES) == set(get_args(Backdrop))


@pytest.mark.parametrize("index", range(13))
def test_looks_of_all_kinds_are_drawn_and_differ(index: int, maya: Persona, figure: FigurePainter) -> None:
    def nth(of: object, shift: int = 0) -> str:
        return str(get_args(of)[(index + shift) % len(get_args(of))])

    look = Look.model_validate(
        {
            "hair_style": nth(HairStyle),
            "clothes_style": nth(ClothesStyle),
            "facial_hair": nth(FacialHair),
            "face_shape": nth(FaceShape),
            "backdrop": nth(Backdrop),
            "accessories": ("glasses", "hoops", "necklace") if index % 2 else ("round_glasses", "studs"),
        }
    )
    drawn = pixels(FigurePainter(maya.model_copy(update={"age": 20 + 6 * index}), look), Pose())
    assert changed(drawn, pixels(figure, Pose())).mean() > 0.1


def test_portraits_in_the_repository_are_what_the_code_draws(personas: list[Persona]) -> None:
    persona = personas[2]
    assert persona.portrait is not None
    drawn = np.asarray(Image.open(io.BytesIO(portrait(persona)))).astype(int)
    kept = np.asarray(Image.open(SCENARIOS / persona.portrait)).astype(int)
    # Another processor may round the last bit differently.
    assert np.abs(drawn - kept).max() <= 2


def test_every_persona_has_a_portrait_of_its_own(personas: list[Persona]) -> None:
    assert len(personas) >= 8
    pictures = []
    for persona in personas:
        assert persona.portrait is not None
        with Image.open(SCENARIOS / persona.portrait) as picture:
            assert (picture.format, picture.size) == ("PNG", (512, 512))
            pictures.append(np.asarray(picture.convert("RGB")).astype(int))
    for index, one in enumerate(pictures):
        for other in pictures[index + 1 :]:
            assert np.abs(one - other).mean() > 10


def test_portraits_stay_inside_the_set(tmp_path: Path, maya: Persona) -> None:
    (tmp_path / "personas.jsonl").write_text(
        maya.model_copy(update={"portrait": "../out.png"}).model_dump_json() + "\n"
    )
    with pytest.raises(ScenarioError, match="outside"):
        write_portraits(tmp_path)
    (tmp_path / "personas.jsonl").write_text("{}\n")
    with pytest.raises(ScenarioError, match="can't be read"):
        write_portraits(tmp_path)


def test_a_persona_without_a_look_gets_one_that_fits_and_stays(maya: Persona) -> None:
    bare = maya.model_copy(update={"look": None, "gender": "male"})
    assert look_of(bare) == look_of(bare)
    looks = {made_up(bare.model_copy(update={"id": f"p{index}"})) for index in range(20)}
    assert len(looks) >= 15
    old = made_up(bare.model_copy(update={"age": 80}))
    assert old.hair in ("#8b8784", "#b9b6b2", "#d3cfc9")


def test_drift_starts_with_the_persona_and_changes_what_it_says(maya: Persona) -> None:
    everything: frozenset[FigurePart] = frozenset({"person", "clothes", "backdrop"})
    assert drifted(maya, 1, everything) == (maya, maya.look)
    looks = [drifted(maya, turn, everything) for turn in range(1, 6)]
    assert len({(shown.gender, shown.age, look) for shown, look in looks}) == 5
    own = look_of(maya)
    for turn in range(2, 6):
        _, dressed = drifted(maya, turn, frozenset({"clothes"}))
        assert dressed.clothes != own.clothes
        assert dressed.model_copy(update={"clothes": own.clothes, "clothes_style": own.clothes_style}) == own
        _, moved = drifted(maya, turn, frozenset({"backdrop"}))
        assert moved.backdrop != own.backdrop
        assert moved.clothes == own.clothes
