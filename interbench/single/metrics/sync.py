"""Sync-C and Sync-D (LSE-C, LSE-D): how well lips and sound fit, by SyncNet with its published pipeline in full."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from interbench.media.pool import MediaPool
from interbench.single.base import Clip, Column, Figure, Measured, Metric, Taken
from interbench.single.figures import per_clip
from interbench.single.networks import Network, formula_caveat, network
from interbench.single.sync import scores as scoring
from interbench.single.sync.mfcc import mfcc, sixteen_bit
from interbench.single.sync.scenes import Scenes
from interbench.single.sync.scores import FPS, HABITS, SAMPLES_PER_FRAME, SyncScores, TrackFigures
from interbench.single.sync.tracks import Box, Track, cut, find_tracks, squares
from interbench.single.timing import held

Habit = Literal["latentsync", "best-track", "all-tracks", "longest-track"]
_FRAME_MS = 1000 / FPS


@dataclass(frozen=True, slots=True)
class _Scored:
    """One track of a clip."""

    track: Track
    windows: int
    scores: SyncScores
    unpadded: SyncScores
    offsets: tuple[tuple[float, int], ...]
    """Seconds into the clip and offset in frames, of each stretch of ten seconds: how the offset moves."""

    def plain(self) -> dict[str, Any]:
        return {
            "first_frame": self.track.first,
            "frames": self.track.frames,
            "windows": self.windows,
            "sync_c": self.scores.confidence,
            "sync_d": self.scores.distance,
            "offset_frames": self.scores.offset,
            "distance_at_zero": self.scores.distance_at_zero,
            "at_the_edge": self.scores.at_the_edge,
            "sync_c_unpadded": self.unpadded.confidence,
            "sync_d_unpadded": self.unpadded.distance,
            "offsets": [list(one) for one in self.offsets],
        }


class Sync(Metric):
    """Sync-C, Sync-D and the offset, by SyncNet on S3FD's face tracks.

    Args:
        weights: the file syncnet_v2.model if it lies elsewhere; formula for weights by formula.
        detector: the file sfd_face.pth if it lies elsewhere; formula for weights by formula.
        habit: how one figure is made of several tracks, as which program does it.
        min_track: a face must be found in more frames than this; 100 in SyncNet's own script, 50 in later ones.
        min_side: and its larger side must have more pixels than this.
        through: bring clips to so many frames a second first, and up to 25 again: a control for systems of that rate.
        device: auto, cpu, cuda, cuda:1 …
    """

    columns = (
        Column("sync_c", "Sync-C", "higher", "median less least distance over shifts of the sound"),
        Column("sync_d", "Sync-D", "lower", "least distance over shifts of the sound"),
        Column("sync_at_zero", "D at 0", "lower", "distance of what is seen and heard together, unshifted"),
        Column("offset_ms", "Offset ms", "neither", "median over clips of how much earlier the sound lies", 0),
    )

    def __init__(
        self,
        weights: str | None = None,
        detector: str | None = None,
        habit: Habit = "latentsync",
        min_track: int = 50,
        min_side: float = 100.0,
        through: float | None = None,
        device: str = "auto",
    ) -> None:
        if min_track < 1 or (through is not None and not through > 0):
            raise ValueError("min_track must be at least 1, and through positive")
        self._given = {"syncnet": weights, "s3fd": detector}
        self._habit, self._device = habit, device
        self._min_track, self._min_side, self._through = min_track, min_side, through
        self._networks: dict[str, Network[Any]] = {}

    def by_way_of(self, rate: float) -> Sync:
        """The same metric for clips that are brought to another rate first."""
        return Sync(
            self._given["syncnet"],
            self._given["s3fd"],
            self._habit,
            self._min_track,
            self._min_side,
            rate,
            self._device,
        )

    async def start(self) -> None:
        def make(name: str) -> Any:
            if name == "syncnet":
                from interbench.single.nets.syncnet import SyncNet

                return SyncNet()
            from interbench.single.nets.s3fd import S3FD

            return S3FD()

        for name, given in self._given.items():
            self._networks[name] = await asyncio.to_thread(network, name, partial(make, name), given, self._device)

    def identity(self) -> Mapping[str, Any]:
        return {
            "metric": "sync",
            "weights": {name: one.weights for name, one in self._networks.items()},
            "min_track": self._min_track,
            "min_side": self._min_side,
            "through": self._through,
            "pipeline": 1,
        }

    @property
    def caveats(self) -> tuple[str, ...]:
        return (
            f"Sync-C and Sync-D: S3FD tracks of more than {self._min_track} frames at {FPS} a second and more than "
            f"{self._min_side:g} pixels; {HABITS[self._habit]}. The best of ±{scoring.REACH} frames counts: a system "
            f"whose sound is off by less loses nothing there: see D at 0 and the offset.",
            *formula_caveat({"SyncNet": self._networks["syncnet"], "the face detector": self._networks["s3fd"]}),
        )

    async def measure(self, clip: Clip, media: MediaPool) -> Measured:
        assert clip.facts is not None
        if not clip.facts.has_audio:
            return Measured(missing="no sound")
        if not clip.facts.audible:
            return Measured(missing="silent")
        found: list[list[Box]] = []
        scenes, late = Scenes(), 0.0
        rate = self._through or float(FPS)
        async for stretch in media.sequence(clip.path, rate=rate):
            late = stretch.late_s
            found += await asyncio.to_thread(self._faces, stretch.pixels, scenes)
        shown = held(len(found), rate, FPS)
        tracks = self._tracks([found[number] for number in shown], scenes, shown)
        faced = sum(bool(faces) for faces in found) / len(found)
        if not tracks:
            why = "no face track" if faced else "no face"
            return Measured(missing=why, detail={"frames_with_a_face": faced, "tracks": []})
        samples = await media.audio(clip.path)
        assert samples is not None
        sound = sixteen_bit(samples[round(late * 16_000) :])
        scored = await self._scores(clip, media, rate, shown, tracks, sound)
        if not scored:
            return Measured(missing="too short", detail={"frames_with_a_face": faced, "tracks": []})
        figures = scoring.clip_figures([_figures(one) for one in scored], self._habit)
        assert figures is not None
        longest = max(scored, key=lambda one: one.track.frames).scores
        return Measured(
            {
                "sync_c": figures.confidence,
                "sync_d": figures.distance,
                "sync_at_zero": float(np.mean([one.scores.distance_at_zero for one in scored])),
                "offset_ms": longest.offset * _FRAME_MS,
            },
            detail={"frames_with_a_face": faced, "tracks": [one.plain() for one in scored]},
        )

    def _faces(self, pictures: npt.NDArray[np.uint8], scenes: Scenes) -> list[list[Box]]:
        from interbench.single.sync.detector import find_faces

        for picture in pictures:
            scenes.add(picture)
        return find_faces(self._networks["s3fd"].module, list(pictures))

    def _tracks(self, boxes: Sequence[Sequence[Box]], scenes: Scenes, shown: Sequence[int]) -> list[Track]:
        tracks: list[Track] = []
        for start, end in scenes.found():
            own = [number for number, frame in enumerate(shown) if start <= frame < end]
            if len(own) >= self._min_track:
                found = find_tracks(
                    [boxes[number] for number in own], min_track=self._min_track, min_side=self._min_side
                )
                tracks += [Track(track.first + own[0], track.boxes) for track in found]
        return tracks

    async def _scores(
        self,
        clip: Clip,
        media: MediaPool,
        rate: float,
        shown: Sequence[int],
        tracks: Sequence[Track],
        sound: npt.NDArray[np.int16],
    ) -> list[_Scored]:
        from interbench.single.sync.windows import Lips, embed_sound

        module = self._networks["syncnet"].module
        parts = [sound[one.first * SAMPLES_PER_FRAME : (one.first + one.frames) * SAMPLES_PER_FRAME] for one in tracks]
        windows = [scoring.window_count(one.frames, len(part)) for one, part in zip(tracks, parts, strict=True)]
        lips = [Lips(module, count) for count in windows]
        cuts = [squares(track) for track in tracks]

        def look(pictures: npt.NDArray[np.uint8], first: int) -> None:
            for number, frame in enumerate(shown):
                if not first <= frame < first + len(pictures):
                    continue
                for track, own, taken in zip(tracks, cuts, lips, strict=True):
                    if track.first <= number < track.first + track.frames:
                        picture = pictures[frame - first][:, :, ::-1]
                        taken.add(cut(picture, own[number - track.first]))

        async for stretch in media.sequence(clip.path, rate=rate):
            await asyncio.to_thread(look, stretch.pixels, stretch.first)
        scored = []
        for track, part, count, taken in zip(tracks, parts, windows, lips, strict=True):
            if count < 1:
                continue
            seen = await asyncio.to_thread(taken.embeddings)
            heard = await asyncio.to_thread(embed_sound, module, mfcc(part), count)
            offsets = tuple((track.first / FPS + at, offset) for at, offset in scoring.offsets_over_time(seen, heard))
            whole, unpadded = scoring.score(seen, heard), scoring.unpadded_score(seen, heard)
            scored.append(_Scored(track, count, whole, unpadded, offsets))
        return scored

    def figures(
        self, own: Sequence[Taken], references: Sequence[Taken] | None, *, seed: int = 0
    ) -> Mapping[str, Figure]:
        def of_set(which: Literal["confidence", "distance"], taken: Sequence[Taken]) -> float | None:
            made = scoring.set_figures([_of_detail(one) for one in taken], self._habit)
            return None if made is None else float(getattr(made, which))

        def median(taken: Sequence[Taken]) -> float:
            return float(np.median([one.measured.values["offset_ms"] for one in taken]))

        offset = per_clip(own, "offset_ms", seed=seed, summary=median)
        return {
            "sync_c": per_clip(own, "sync_c", seed=seed, summary=lambda taken: of_set("confidence", taken)),
            "sync_d": per_clip(own, "sync_d", seed=seed, summary=lambda taken: of_set("distance", taken)),
            "sync_at_zero": per_clip(own, "sync_at_zero", seed=seed),
            "offset_ms": Figure(
                offset.value,
                offset.scored,
                offset.expected,
                offset.low,
                offset.high,
                offset.missing,
                _offsets(own),
            ),
        }

    async def stop(self) -> None:
        self._networks = {}


def _figures(one: _Scored) -> TrackFigures:
    return TrackFigures(one.scores.confidence, one.scores.distance, one.track.frames)


def _of_detail(taken: Taken) -> list[TrackFigures]:
    return [
        TrackFigures(track["sync_c"], track["sync_d"], track["frames"]) for track in taken.measured.detail["tracks"]
    ]


def _offsets(taken: Sequence[Taken]) -> dict[str, Any]:
    """How the offsets of all tracks are spread, and how many of them lie where no synchrony was found."""
    tracks = [track for one in taken for track in one.measured.detail.get("tracks", ())]
    counts = Counter(int(track["offset_frames"]) for track in tracks)
    return {
        "tracks": len(tracks),
        "by_frames": {str(offset): counts[offset] for offset in sorted(counts)},
        "at_the_edge": sum(bool(track["at_the_edge"]) for track in tracks),
    }
