"""Checks the metrics against a folder of numbers: `interbench single parity DIR`.

The folder holds inputs, what published code made of them, and a manifest with the seed of networks whose weights
follow from a formula (:mod:`interbench.single.nets.formula`). Seeds, sizes and settings are read from it, so any folder
of this layout can be checked. Networks are written as checkpoints of the published format and read back by the loader
that reads the published files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from interbench.base.errors import UsageError
from interbench.base.scratch import Scratch
from interbench.single import parity_networks as networks
from interbench.single import qalign
from interbench.single.sync import scores as sync
from interbench.single.sync.mfcc import mfcc
from interbench.single.sync.tracks import Track, cut, find_tracks, square, squares
from interbench.single.timing import held, one_per_second
from interbench.stats import frechet

Difference = float


@dataclass(frozen=True, slots=True)
class Case:
    """One number, or array of numbers, that was checked."""

    name: str
    difference: float | None
    """Largest, in the unit of ``tolerance``; None if it was not run."""
    tolerance: float
    because: str = ""
    """Why it was not run."""

    @property
    def passed(self) -> bool:
        return self.difference is not None and self.difference <= self.tolerance


@dataclass(slots=True)
class Fixture:
    """The numbers of one file, and which of them were asked for."""

    name: str
    values: Mapping[str, Any]
    used: set[str] = field(default_factory=set)
    cases: list[Case] = field(default_factory=list)

    def take(self, key: str) -> Any:
        """An input, or a number to be compared with."""
        self.used.add(key)
        return self.values[key]

    def matching(self, pattern: str) -> list[tuple[str, str]]:
        """Keys that match, each with the pattern's first group."""
        found = [(key, re.fullmatch(pattern, key)) for key in self.values]
        return [(key, match[1]) for key, match in found if match is not None]

    def exact(self, key: str, made: Any) -> None:
        """Compare what must be the same: numbers, text, lists of them."""
        wanted = self.take(key)
        same = np.array_equal(made, wanted) if isinstance(wanted, np.ndarray) else made == wanted
        self.add(key, 0.0 if same else float("inf"), 0.0)

    def absolute(self, key: str, made: Any, tolerance: float) -> None:
        self.add(key, _largest(made, self.take(key)), tolerance)

    def relative(self, key: str, made: Any, tolerance: float) -> None:
        """To the largest of what is wanted."""
        wanted = self.take(key)
        scale = float(np.abs(np.asarray(wanted, np.float64)).max()) or 1.0
        self.add(key, _largest(made, wanted) / scale, tolerance)

    def add(self, key: str, difference: float, tolerance: float) -> None:
        self.cases.append(Case(f"{self.name} {key}", difference, tolerance))


def _largest(made: Any, wanted: Any) -> float:
    one, other = np.asarray(made, np.float64), np.asarray(wanted, np.float64)
    if one.shape != other.shape:
        return float("inf")
    gap = float(np.abs(one - other).max(initial=0.0))
    return gap if gap == gap else float("inf")


def check(folder: Path) -> Iterator[Case]:
    """Every case of the folder, as soon as it is known.

    Raises:
        UsageError: the folder has no manifest that can be read.
    """
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        int(manifest["seed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder} is no folder of numbers to be checked against: {path.name} is missing or has no seed ({error})."
        ) from None
    with Scratch("parity") as scratch:
        made = networks.Networks(manifest, scratch.path)
        yield from _run("manifest", lambda: manifest, lambda fixture: networks.check_formula(fixture, made))
        for name, checks in _checks(folder, made).items():
            yield from _run(name, lambda name=name: _read(folder / name), checks)  # type: ignore[misc]


def _read(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".json":
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def _run(name: str, read: Callable[[], Mapping[str, Any]], checks: Callable[[Fixture], None]) -> Iterator[Case]:
    """The cases of one file; whatever of it was not looked at is a case that was not run."""
    try:
        fixture = Fixture(name.rpartition(".")[0] or name, read())
    except (OSError, ValueError) as error:
        yield Case(name, None, 0.0, f"it can't be read: {error}")
        return
    problem = "nothing here knows it"
    try:
        checks(fixture)
    except Exception as error:  # a case that breaks is a case that was not run
        problem = f"{type(error).__name__}: {error}"
        yield from fixture.cases
        yield Case(fixture.name, None, 0.0, problem)
        return
    yield from fixture.cases
    for key in fixture.values:
        if key not in fixture.used:
            yield Case(f"{fixture.name} {key}", None, 0.0, problem)


def _checks(folder: Path, made: networks.Networks) -> dict[str, Callable[[Fixture], None]]:
    return {
        "frechet.npz": _frechet,
        "intervals.npz": lambda fixture: _intervals(fixture, _read(folder / "frechet.npz")),
        "mfcc.npz": _mfcc,
        "syncnet_scores.npz": _sync_scores,
        "tracks.json": _tracks,
        "crop.npz": _crop,
        "aggregate.json": _aggregate,
        "qalign.json": _qalign,
        "qalign_pad.npz": _pad,
        "syncnet.npz": lambda fixture: networks.check_syncnet(fixture, made, _read(folder / "mfcc.npz")["wav"]),
        "s3fd.npz": lambda fixture: networks.check_s3fd(fixture, made),
        "inception.npz": lambda fixture: networks.check_inception(fixture, made),
        "i3d.npz": lambda fixture: networks.check_i3d(fixture, made),
    }


def _clipwise(a: Any, b: Any, clip_of_a: Any, clip_of_b: Any) -> Callable[[Sequence[int]], float]:
    return lambda clips: frechet.frechet_distance(
        a[frechet.rows_of(clips, clip_of_a)], b[frechet.rows_of(clips, clip_of_b)]
    )


def _frechet(fixture: Fixture) -> None:
    sets = {name: fixture.take(name) for name in "ABCD"}
    clips = fixture.take("clip_of_A"), fixture.take("clip_of_B")
    for key, pair in fixture.matching("fd_([A-D]{2})_n[01]"):
        made = frechet.frechet_distance(sets[pair[0]], sets[pair[1]], ddof=int(key[-1]))
        fixture.relative(key, made, 1e-9)
    for key, pair in fixture.matching("fd_([A-D]{2})"):
        own = sets[pair[0]].astype(np.float64)
        scale = float(np.square(own - own.mean(axis=0)).sum() / len(own))
        fixture.take(key)
        gap = _largest(frechet.frechet_distance(sets[pair[0]], sets[pair[1]]), fixture.values[key])
        fixture.add(key, gap / scale, 1e-9)
    for key, pair in fixture.matching("kid_([A-D]{2})"):
        fixture.relative(key, frechet.cubic_mmd(sets[pair[0]], sets[pair[1]]), 1e-9)
    of_clips = _clipwise(sets["A"], sets["B"], *clips)
    fixture.relative("bootstrap", [of_clips(list(draw)) for draw in fixture.take("draws")], 1e-9)
    sizes, index = fixture.take("subset_sizes"), fixture.take("subset_index")
    rows = np.split(index, np.cumsum(sizes)[:-1])
    subsets = [frechet.frechet_distance(sets["A"][own], sets["B"][own]) for own in rows]
    fixture.relative("subset_fd", subsets, 1e-9)
    fixture.relative("fd_infinity", frechet.extrapolated(sizes, subsets), 1e-9)


def _intervals(fixture: Fixture, features: Mapping[str, Any]) -> None:
    a, b = features["A"].astype(np.float64), features["B"].astype(np.float64)
    clips = features["clip_of_A"], features["clip_of_B"]
    count = len(np.unique(clips[0]))
    spread = frechet.jackknife(_clipwise(a, b, *clips), count)
    fixture.relative("point", spread.point, 1e-9)
    fixture.relative("jackknife", spread.replicates, 1e-9)
    fixture.relative("se", spread.se, 1e-9)
    fixture.relative("lo", spread.interval[0], 1e-9)
    fixture.relative("hi", spread.interval[1], 1e-9)
    one, other = _clipwise(a, b, *clips), _clipwise(0.9 * a + 0.3, b, *clips)
    apart = frechet.jackknife(lambda chosen: one(chosen) - other(chosen), count)
    fixture.relative("difference", apart.point, 1e-9)
    fixture.relative("jackknife_difference", apart.replicates, 1e-9)
    fixture.relative("se_difference", apart.se, 1e-9)
    fixture.relative("kid_AB", frechet.cubic_mmd(a, b), 1e-9)
    fixture.relative("kid_CD", frechet.cubic_mmd(features["C"], features["D"]), 1e-9)
    fixture.relative("kid_CD_without_pairs", frechet.cubic_mmd(features["C"], features["D"], pairs_out=True), 1e-9)
    fixture.relative("kid_small_AB", frechet.cubic_mmd(0.2 * a, 0.2 * b), 1e-9)


def _mfcc(fixture: Fixture) -> None:
    fixture.absolute("mfcc", mfcc(fixture.take("wav")), 1e-9)
    silence = np.zeros(160 * (len(fixture.take("silence_mfcc")) + 1), np.int16)
    fixture.absolute("silence_mfcc", mfcc(silence), 1e-9)


def _sync_scores(fixture: Fixture) -> None:
    lips, sound = fixture.take("video"), fixture.take("audio")
    reach = len(fixture.take("mean_dist")) // 2
    for prefix, made in (
        ("", sync.score(lips, sound, reach)),
        ("unpadded_", sync.unpadded_score(lips, sound, reach)),
    ):
        fixture.absolute(f"{prefix}mean_dist", made.mean_distances, 1e-9)
        fixture.absolute(f"{prefix}sync_d", made.distance, 1e-9)
        fixture.absolute(f"{prefix}sync_c", made.confidence, 1e-9)
    whole = sync.score(lips, sound, reach)
    fixture.exact("offset", np.array(whole.offset))
    fixture.absolute("sync_d_at_zero", whole.distance_at_zero, 1e-9)


def _tracks(fixture: Fixture) -> None:
    settings = fixture.take("settings")
    boxes = [[np.array(face["bbox"], np.float64) for face in faces] for faces in fixture.take("detections")]
    every = settings["sampled_every"]
    for least, wanted in fixture.take("tracks_by_min_track").items():
        found = find_tracks(
            boxes,
            min_track=int(least),
            min_side=settings["min_face_size"],
            gap=settings["num_failed_det"],
            overlap=settings["iou"],
        )
        name = f"min_track {least}"
        fixture.add(f"{name} tracks", float(abs(len(found) - len(wanted))), 0.0)
        for number, (own, track) in enumerate(zip(found, wanted, strict=False)):
            _one_track(fixture, f"{name} track {number}", own, track, every, settings)


def _one_track(
    fixture: Fixture, name: str, own: Track, wanted: Mapping[str, Any], every: int, settings: Mapping[str, Any]
) -> None:
    span = [own.first - wanted["first"], own.first + own.frames - 1 - wanted["last"]]
    fixture.add(f"{name} frames", float(np.abs(span).max()), 0.0)
    fixture.add(f"{name} boxes", _largest(own.boxes[::every], wanted["box"]), 1e-6)
    cuts = squares(own, median=settings["medfilt"], scale=settings["crop_scale"])[::every]
    made = [[one.top, one.bottom, one.left, one.right, one.pad] for one in cuts]
    fixture.add(f"{name} squares", _largest(made, wanted["rect_in_padded_y0_y1_x0_x1_pad"]), 0.0)


def _crop(fixture: Fixture) -> None:
    x0, y0, x1, y1 = map(float, fixture.take("box"))
    made = cut(fixture.take("image_bgr"), square(max(x1 - x0, y1 - y0) / 2, (x0 + x1) / 2, (y0 + y1) / 2))
    fixture.absolute("crop", made, 1.0)


def _aggregate(fixture: Fixture) -> None:
    clips = [
        [sync.TrackFigures(track["sync_c"], track["sync_d"], track["frames"]) for track in row["tracks"]]
        for row in fixture.take("rows")
    ]
    published = {
        "mean_over_tracks_then_clips": "latentsync",
        "best_track_max_c_min_d": "best-track",
        "all_tracks_flat": "all-tracks",
        "longest_track": "longest-track",
    }
    wanted = fixture.take("aggregates_c_d")
    counts = {"scored": sum(bool(tracks) for tracks in clips), "expected": len(clips)}
    for key, figures in wanted.items():
        if key in counts:
            fixture.add(key, float(abs(counts[key] - figures)), 0.0)
            continue
        made = sync.set_figures(clips, published[key])
        fixture.add(key, _largest(None if made is None else [made.confidence, made.distance], figures), 1e-9)


def _qalign(fixture: Fixture) -> None:
    made = qalign.scores(np.array(fixture.take("logits_excellent_good_fair_poor_bad")))
    fixture.absolute("score_1_5", made, 1e-9)
    fixture.absolute("score_0_1", qalign.of_zero_to_one(made), 1e-9)
    prompts = fixture.take("prompts")
    asked = {key: qalign.prompt(*key.split("/")) for key in prompts}
    fixture.exact("prompts", asked)
    for key, frames in (
        ("one_fps_frames", one_per_second),
        ("sample_and_hold_to_25", lambda count, fps: held(count, fps, 25.0)),
    ):
        parsed = {name: name.split("@") for name in fixture.take(key)}
        fixture.exact(key, {name: frames(int(count), float(fps)) for name, (count, fps) in parsed.items()})


def _pad(fixture: Fixture) -> None:
    fixture.exact("squared", qalign.squared(fixture.take("image")))
