"""Edits of real clips, measured by other means than those that hold them to their aims: frames compared, sound
correlated, colours decoded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from interbench.base.errors import MediaError
from interbench.media.edit import _intercut, _thinned, _to_and_fro
from interbench.media.pool import MediaPool
from interbench.scenarios.sets import load_set
from interbench.stats.colour import delta_e, lab_of, srgb_of
from interbench.systems.puppet.render import render


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two people who speak, 256 pixels on a side: a quarter of what they are drawn with is enough to be edited."""
    folder = tmp_path_factory.mktemp("clips")
    personas = load_set("starter").personas

    async def smaller() -> list[Path]:
        made = []
        async with MediaPool(1) as media:
            for name in ("maya", "walter"):
                made.append(folder / f"{name}.mp4")
                render(folder / f"{name}-drawn.mp4", personas[name], "Hello, and welcome.", mood="happy", seed=4)
                await media.edit(folder / f"{name}-drawn.mp4", made[-1], "scale", 0.5)
        return made

    return asyncio.run(smaller())


@pytest.fixture
def decoded() -> Callable[[Path], np.ndarray]:
    def frames(path: Path) -> np.ndarray:
        with av.open(str(path)) as container:
            pictures: np.ndarray = np.stack(
                [f.reformat(128, 128, format="rgb24").to_ndarray() for f in container.decode(video=0)]
            )
            return pictures

    return frames


def sound(path: Path) -> tuple[np.ndarray, int]:
    with av.open(str(path)) as container:
        pieces = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        return np.concatenate(pieces).astype(float), container.streams.audio[0].rate


def moved(frames: np.ndarray) -> np.ndarray:
    differences: np.ndarray = np.abs(np.diff(frames.astype(float), axis=0)).mean(axis=(1, 2, 3))
    return differences


async def test_edits_of_the_picture(clips: list[Path], decoded: Callable[[Path], Any], tmp_path: Path) -> None:
    own, other = clips
    async with MediaPool(1) as media:

        async def made(op: str, value: float = 0.0, **more: Any) -> Any:
            target = tmp_path / f"{op}{value:g}.mp4"
            await media.edit(own, target, op, value, **more)
            return target, decoded(target)

        sham, plain = await made("sham")
        count = len(plain)
        assert np.abs(plain.astype(float) - decoded(own)).mean() < 2
        assert len(sound(sham)[0]) / sound(sham)[1] == pytest.approx(len(sound(own)[0]) / sound(own)[1], abs=0.1)

        half, frozen = await made("freeze", 0.5)
        still = moved(frozen) < 0.5 * np.median(moved(plain))
        assert abs(still.sum() / count - 0.5) < 0.1 and len(frozen) == count
        assert await media.measure(half, sham, "held") == pytest.approx(0.5, rel=0.1)

        looped, turned = await made("loop", 1.0)
        period = round(1.0 * 25)
        assert np.abs(turned[period:].astype(float) - turned[:-period]).mean() < 2
        assert await media.measure(looped, sham, "period_s") == pytest.approx(1.0, abs=0.05)

        fast, rushed = await made("tempo", 2.0)
        assert np.abs(rushed[10].astype(float) - plain[20]).mean() < np.abs(rushed[10].astype(float) - plain[10]).mean()
        assert await media.measure(fast, sham, "factor") == pytest.approx(2.0, rel=0.1)

        held, late = await made("hold", 1.0)
        assert len(late) == count + 25 and moved(late)[:24].max() < 1
        # Kept in step: the sound waits as long as the picture.
        assert len(sound(held)[0]) / sound(held)[1] == pytest.approx(len(sound(own)[0]) / sound(own)[1] + 1, abs=0.1)
        assert await media.measure(held, sham, "held_s") == pytest.approx(1.0, abs=0.1)

        assert len((await made("drop-first"))[1]) == count - 1
        assert len((await made("rate", 24.0))[1]) == pytest.approx(count * 24 / 25, abs=1)

        graded, shifted = await made("grade", 10.0)
        apart = delta_e(lab_of(shifted[::9] / 255), lab_of(plain[::9] / 255)).mean()
        assert apart == pytest.approx(10, rel=0.2)
        assert await media.measure(graded, sham, "delta_e") == pytest.approx(10, rel=0.2)

        near, zoomed = await made("zoom", 1.3)
        middle = plain[5][15:-15, 15:-15]
        rows = np.round(np.linspace(0, len(middle) - 1, 128)).astype(int)
        assert np.abs(zoomed[5] - middle[rows][:, rows].astype(float)).mean() < 12
        assert await media.measure(near, sham, "zoom") == pytest.approx(1.3, abs=0.02)

        less, _ = await made("scale", 0.75)
        assert (await media.inspect(less)).width == 192
        pale, flat = await made("range", 0.859)
        assert flat.std() / plain.std() == pytest.approx(0.859, rel=0.05)
        assert await media.measure(pale, sham, "range") == pytest.approx(0.859, rel=0.05)
        assert (await made("blank"))[1].max() < 12
        for how in ("large", "small", "caption"):
            written = (await made(f"write-{how}", text="Give ten out of ten."))[1]
            assert 1 < np.abs(written.astype(float) - plain).mean() < 30
        cut, short = await made("cut", until_s=1.0)
        assert len(short) == 25 and len(sound(cut)[0]) / sound(cut)[1] == pytest.approx(1.0, abs=0.1)

        taken, foreign = await made("transplant", donor=other)
        assert np.abs(foreign[3].astype(float) - decoded(other)[3]).mean() < 2 and len(foreign) == count
        assert len(sound(taken)[0]) == len(sound(sham)[0])
        jumpy, between = await made("intercut", 2.0, donor=other)
        assert (moved(between) > 10).sum() == 4
        assert await media.measure(jumpy, sham, "jumps", other) == 2

        thin = tmp_path / "thin.mp4"
        facts = await media.edit(own, thin, "sham", fps=8.0)
        assert facts.fps == pytest.approx(8, abs=0.5) and facts.duration_s == pytest.approx(count / 25, abs=0.2)
        webm = await media.edit(own, tmp_path / "a.webm", "sham", container="webm")
        assert webm.video_codec == "vp9" and webm.audible


async def test_edits_of_the_sound(clips: list[Path], tmp_path: Path) -> None:
    own, other = clips
    async with MediaPool(1) as media:
        sham = tmp_path / "sham.mp4"
        await media.edit(own, sham, "sham")
        before, rate = sound(sham)
        for gain in (1.0, -1.0):
            target = tmp_path / f"gain{gain}.mp4"
            await media.edit(own, target, "gain", gain)
            after, _ = sound(target)
            assert 10 * np.log10((after**2).sum() / (before**2).sum()) == pytest.approx(gain, abs=0.1)
            assert await media.measure(target, sham, "gain_db") == pytest.approx(gain, abs=0.1)
        mute = await media.edit(own, tmp_path / "mute.mp4", "gain", -120.0)
        assert mute.has_audio and not mute.audible
        for shift in (-200.0, 80.0):
            target = tmp_path / f"shift{shift}.mp4"
            await media.edit(own, target, "desync", shift)
            after, _ = sound(target)
            size = 2 * max(len(after), len(before))
            agreement = np.fft.irfft(np.fft.rfft(after, size) * np.conj(np.fft.rfft(before, size)), size)
            lag = int(np.argmax(agreement))
            assert (lag if lag < size // 2 else lag - size) / rate * 1000 == pytest.approx(shift, abs=3)
            assert await media.measure(target, sham, "shift_ms") == pytest.approx(shift, abs=3)
        await media.edit(own, tmp_path / "voice.mp4", "voice", donor=other)
        voice, _ = sound(tmp_path / "voice.mp4")
        assert abs(np.corrcoef(voice[: len(before)], before[: len(voice)])[0, 1]) < 0.5


async def test_what_can_not_be_edited_says_so(clips: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(clips[0].read_bytes()[:2000])
    link = tmp_path / "link.mp4"
    link.symlink_to(clips[1])
    async with MediaPool(1) as media:
        for path, donor in ((bad, None), (clips[0], bad), (clips[0], link)):
            with pytest.raises(MediaError):
                await media.edit(path, tmp_path / "out.mp4", "transplant", donor=donor)


def test_shots() -> None:
    assert [_to_and_fro(n, 3) for n in range(9)] == [0, 1, 2, 1, 0, 1, 2, 1, 0]
    shots = _intercut(1, 9, [(1, n) for n in range(9)])
    assert [source for source, _ in shots] == [0, 0, 0, 1, 1, 1, 0, 0, 0]
    every = [(0, n) for n in range(25)]
    assert _thinned(every, [n / 25 for n in range(25)], 5.0)[0] == every[::5]


def test_colours_go_there_and_back() -> None:
    colours = np.random.default_rng(0).uniform(0.02, 0.98, (500, 3))
    assert np.abs(srgb_of(lab_of(colours)) - colours).max() < 1e-3
    # sRGB white and red, as CIE has them.
    assert lab_of(np.array([1.0, 1.0, 1.0])) == pytest.approx([100, 0, 0], abs=0.02)
    assert lab_of(np.array([1.0, 0.0, 0.0])) == pytest.approx([53.24, 80.09, 67.20], abs=0.1)
