"""Visual similarity on clips that look filmed: camera noise, compression, unsteady hands, people who move."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from interbench.judge.signals import appearance
from interbench.media.pool import MediaPool

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIZE = (appearance.TAKEN, appearance.TAKEN)

CHANGES: dict[str, dict[str, Any]] = {
    "skin and hair": {"skin": (120, 80, 60), "hair": (20, 15, 12)},
    "hair style": {"long_hair": True, "hair": (150, 110, 60)},
    "clothes' colour": {"shirt": (140, 50, 45)},
    "clothes' pattern": {"striped": True},
    "wall's colour": {"wall": (110, 140, 175)},
    "wall's texture": {"wall_seed": 9},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def looks() -> AsyncIterator[Callable[..., Any]]:
    async with MediaPool() as pool:

        async def of(*paths: Path) -> list[Any]:
            return [appearance.look(await pool.frames(path, appearance.FRAMES, SIZE)) for path in paths]

        yield of


async def test_talking_blinking_nodding_and_smiling_change_little(
    looks: Callable[..., Any], film: Callable[..., Path], scene: Any
) -> None:
    first, *others = await looks(film(scene), *(film(scene, seed, smile=0.01 * seed) for seed in (1, 2, 3)))
    for other in others:
        assert appearance.similarity(first, other) > 0.9


@pytest.mark.parametrize("what", CHANGES)
async def test_every_change_of_looks_alone_shows(
    looks: Callable[..., Any], film: Callable[..., Path], scene: Any, change: Callable[..., Any], what: str
) -> None:
    first, same, other = await looks(film(scene), film(scene, 1), film(change(scene, **CHANGES[what]), 2))
    unchanged, changed = appearance.similarity(first, same), appearance.similarity(first, other)
    assert changed < 0.9 and changed < unchanged - 0.1


async def test_the_more_changes_the_lower(
    looks: Callable[..., Any], film: Callable[..., Path], scene: Any, change: Callable[..., Any]
) -> None:
    shirt = change(scene, **CHANGES["clothes' colour"])
    person = change(shirt, **CHANGES["skin and hair"])
    place = change(person, **CHANGES["wall's colour"])
    first, *others = await looks(film(scene), film(scene, 1), film(shirt, 2), film(person, 3), film(place, 4))
    similarities = [appearance.similarity(first, other) for other in others]
    assert similarities == sorted(similarities, reverse=True)
    assert similarities[-1] < 0.4


async def test_similarity_is_symmetric_and_one_with_itself(
    looks: Callable[..., Any], film: Callable[..., Path], scene: Any, change: Callable[..., Any]
) -> None:
    one, other = await looks(film(scene), film(change(scene, striped=True), 1))
    assert appearance.similarity(one, one) == 1.0
    assert appearance.similarity(one, other) == appearance.similarity(other, one)


@pytest.mark.parametrize(
    ("colour", "noise"), [((0, 0, 0), 0), ((255, 255, 255), 0), ((40, 90, 40), 0), ((60, 60, 60), 5)]
)
async def test_frames_of_one_colour_show_nothing(
    looks: Callable[..., Any], plain_film: Callable[..., Path], colour: tuple[int, int, int], noise: float
) -> None:
    (look,) = await looks(plain_film(colour, noise))
    assert look.nothing == "its frames are of one colour"


async def test_a_still_picture_is_still_and_a_talking_person_is_not(
    looks: Callable[..., Any], film: Callable[..., Path], filmed: Callable[..., Path], scene: Any
) -> None:
    still, held, talking = await looks(film(scene, frames=1), filmed(scene, "held"), film(scene))
    assert (still.nothing, still.still) == ("", True)
    assert (held.nothing, held.still) == ("", True), "a video of one picture, as an encoder leaves it"
    assert (talking.nothing, talking.still) == ("", False)


@pytest.mark.parametrize(
    ("what", "why"), [("noise", "noise"), ("blocks", "lasts"), ("bars", "test card"), ("moving bars", "test card")]
)
async def test_noise_and_test_cards_show_nothing(
    looks: Callable[..., Any], filmed: Callable[..., Path], scene: Any, what: str, why: str
) -> None:
    (look,) = await looks(filmed(scene, what))
    assert why in look.nothing


@pytest.mark.parametrize("what", ["darker", "brighter", "raised", "lowered", "zoomed 4 %", "zoomed 11 %"])
async def test_exposure_and_a_small_zoom_don_t_move_it(
    looks: Callable[..., Any], film: Callable[..., Path], filmed: Callable[..., Path], scene: Any, what: str
) -> None:
    first, same, other = await looks(film(scene), film(scene, 1), filmed(scene, what))
    assert appearance.similarity(first, same) - appearance.similarity(first, other) < 0.05


async def test_darkness_is_no_excuse_for_another_shirt(
    looks: Callable[..., Any], film: Callable[..., Path], scene: Any, change: Callable[..., Any]
) -> None:
    dark = change(scene, shirt=(40, 52, 85))
    first, other = await looks(film(scene), film(dark, 1))
    assert appearance.similarity(first, other) < 0.9


async def test_colours_are_measured_as_people_see_them() -> None:
    patches = np.zeros((1, appearance.TAKEN, appearance.TAKEN, 3), np.uint8)
    patches[0, : appearance.TAKEN // 2] = (255, 255, 255)
    patches[0, appearance.TAKEN // 2 :] = (255, 0, 0)
    windows = appearance.look(patches).zoomed[0].windows
    # CIE 15: sRGB white is L* 100, a* 0, b* 0; sRGB red is L* 53.2, a* 80.1, b* 67.2.
    assert windows[0, 0, :3] == pytest.approx([100, 0, 0], abs=0.2)
    assert windows[-1, -1, :3] == pytest.approx([53.2, 80.1, 67.2], abs=0.3)


async def test_around_a_face_is_the_same_part_of_all_frames() -> None:
    frames = np.zeros((2, 192, 192, 3), np.uint8)
    frames[:, 60:100, 80:110] = 200
    part = appearance.crops(frames, [(80, 60, 110, 100), (81, 60, 111, 100)])
    assert part.shape == (2, appearance.TAKEN, appearance.TAKEN, 3)
    assert part[0, appearance.TAKEN // 2, appearance.TAKEN // 2, 0] == 200 and part[0, 0, 0, 0] == 0
    edge = appearance.crops(frames, [(0, 0, 40, 40)])
    assert edge.shape == part.shape, "a face at the edge"
