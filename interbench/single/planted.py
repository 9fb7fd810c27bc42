"""`interbench single planted`: the metrics on trial. Clips of the drawn person, some with a defect that is known.

Where the published weights are not at hand, weights by formula stand for them. Distances between sets notice blur,
noise and a frozen picture through any features, so these claims are made with either; what SyncNet and Q-Align say
means nothing by formula, and then nothing is claimed of it: only that it runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter
from scipy.signal import resample_poly

from interbench.base.progress import Progress
from interbench.domain.persona import Persona
from interbench.media.film import AUDIO_RATE as FILM_RATE
from interbench.media.film import write_film
from interbench.media.pool import MediaPool
from interbench.scenarios.sets import load_set
from interbench.single.base import Clip, Figure, MetricError
from interbench.single.clips import Found, look_at
from interbench.single.data import Candidate, Condition
from interbench.single.measure import Choice, SingleTable, fill
from interbench.single.play import Player
from interbench.single.registry import SPEED
from interbench.single.rows import FilledRow, RowPlan
from interbench.single.speed import COLUMNS, measure_speed
from interbench.single.weights import FORMULA, OF_METRIC, locate
from interbench.store.measures import Measures
from interbench.systems.capabilities import Capabilities
from interbench.systems.clip import ClipSystem, Reply
from interbench.systems.events import TurnRequest
from interbench.systems.puppet.render import render
from interbench.systems.registry import SystemSpec

METRICS = ("fid", "fvd", "sync", "iqa", "ase", "lips", SPEED)
FPS = 25
_LATE_S = 0.6
_SLEEP_S = 1.0
_WORDS_PER_S = 2.4
_WITHIN_MS = 120.0
_NOTHING = 0.05
"""Of Lip–sound R²: what another clip's sound may foretell at most."""
_NOISE = 20.0
_BLUR = 3.0
_DISTANCES = {"fid": ("fid", "kid"), "fvd": ("fvd", "kvd")}
Samples = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that must hold of a defect, and whether it does."""

    text: str
    held: bool | None
    """None if nothing is claimed with these weights, or nothing could be measured."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it."""

    table: SingleTable
    claims: tuple[Claim, ...]


def _blurred(pictures: Pictures, random: np.random.Generator) -> Pictures:
    blur = ImageFilter.GaussianBlur(_BLUR)
    return np.stack([np.asarray(Image.fromarray(picture).filter(blur)) for picture in pictures])


def _noisy(pictures: Pictures, random: np.random.Generator) -> Pictures:
    noise = random.normal(0, _NOISE, pictures.shape)
    return (pictures + noise).round().clip(0, 255).astype(np.uint8)


def _frozen(pictures: Pictures, random: np.random.Generator) -> Pictures:
    return np.repeat(pictures[:1], len(pictures), axis=0)


def _as_it_is(pictures: Pictures, random: np.random.Generator) -> Pictures:
    return pictures


_LOOKS: Mapping[str, Callable[[Pictures, np.random.Generator], Pictures]] = {
    "sham": _as_it_is,
    "blur": _blurred,
    "noise": _noisy,
    "frozen": _frozen,
}
_SOUNDS = ("late picture", "other sound")
_SPEAKER = "drawn person"


async def conduct_trial(
    out: Path, metrics: Sequence[str], progress: Progress, *, clips: int, seconds: float, seed: int = 0
) -> Trial:
    """Make the clips, measure them, and see what holds."""
    wanted = [name for name in metrics if name != SPEED]
    choices = [_choice(name) for name in wanted]
    async with MediaPool(size=2) as media:
        looked = await _sets(out / "clips", _needed(wanted), media, progress, clips, seconds, seed)
        real = tuple(looked["real"])
        rows = [RowPlan(label, "system", tuple(own), real) for label, own in looked.items() if label != "real"]
        with Measures(out) as measures:
            table = await fill(rows, choices, media=media, measures=measures, progress=progress, seed=seed)
        speeds: dict[str, Mapping[str, Figure]] = {}
        if SPEED in metrics:
            for label, pause in (("sham", 0.0), ("sleeps", _SLEEP_S)):
                speeds[label] = await _speed(label, pause, real[0], out / "speed", media, progress, seed)
    table = _with_speeds(table, speeds)
    by_formula = {choice.name for choice in choices if FORMULA in choice.options.values()}
    figures = {row.label: row.figures for row in table.rows}
    unavailable = {one.name: one.because for one in table.unavailable}
    return Trial(table, tuple(_claims(metrics, figures, by_formula, unavailable)))


def _choice(name: str) -> Choice:
    """The metric, with weights by formula where the published ones are not there."""
    options: dict[str, object] = {}
    if name == "fid":
        options["stride"] = FPS
    if name == "fvd":
        options["variant"] = "stylegan-v"
    for option, weights in zip(("weights", "detector"), OF_METRIC.get(name, ()), strict=False):
        try:
            locate(weights, None)
        except MetricError:
            options[option] = FORMULA
    return Choice(name, options)


def _needed(metrics: Sequence[str]) -> tuple[str, ...]:
    """Kinds of clips beside the drawn ones that these metrics are tried on."""
    looks = any(name != "lips" for name in metrics)
    return tuple(
        dict.fromkeys((*(_LOOKS if looks else ()), *(("sham", *_SOUNDS) if {"lips", "sync"} & set(metrics) else ())))
    )


async def _sets(
    folder: Path,
    kinds: Sequence[str],
    media: MediaPool,
    progress: Progress,
    clips: int,
    seconds: float,
    seed: int,
) -> dict[str, list[Clip]]:
    """The drawn clips (``real``), and each of them with a defect."""
    labels = ("real", *kinds)
    progress.total("make clips", clips * len(labels))
    speakers, words = _cast(clips, seconds)
    paths: dict[str, list[Path]] = {label: [folder / label / f"c{n}.mp4" for n in range(clips)] for label in labels}
    for label in labels:
        (folder / label).mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths["real"]):
        if not path.exists():
            draft = path.with_suffix(".part.mp4")
            await asyncio.to_thread(render, draft, speakers[number], words[number], mood="neutral", seed=seed + number)
            draft.replace(path)
        progress.advance("make clips", path.stem)
    sounds = [await _sound(path, media) for path in paths["real"]]
    for number, path in enumerate(paths["real"]):
        pictures = np.concatenate([stretch.pixels async for stretch in media.sequence(path)])
        own, other = sounds[number], sounds[(number + 1) % clips]
        late = own[round(_LATE_S * FILM_RATE) :]
        for label in kinds:
            change = _LOOKS.get(label, _as_it_is)
            sound = {"late picture": late, "other sound": other}.get(label, own)
            random = np.random.default_rng(seed + number)
            await asyncio.to_thread(_write, paths[label][number], change, random, pictures, sound)
            progress.advance("make clips", label)
    return {
        label: await look_at([Found(path.stem, path, _SPEAKER) for path in own], media) for label, own in paths.items()
    }


def _cast(clips: int, seconds: float) -> tuple[list[Persona], list[str]]:
    """Who speaks in each clip (the same person: their mouth is one), and about so many seconds of what they say."""
    whole = load_set("starter")
    replies = [turn.reply for scenario in whole.scenarios for turn in scenario.turns]
    person = next(iter(whole.personas.values()))
    count = max(3, round(seconds * _WORDS_PER_S))
    said = " ".join(replies).split()
    words = [" ".join(said[number * count : (number + 1) * count]) for number in range(clips)]
    return [person] * clips, words


async def _sound(path: Path, media: MediaPool) -> Samples:
    samples = await media.audio(path)
    assert samples is not None
    resampled: Samples = resample_poly(samples, FILM_RATE, 16_000).astype(np.float32)
    return resampled


def _write(
    path: Path,
    change: Callable[[Pictures, np.random.Generator], Pictures],
    random: np.random.Generator,
    pictures: Pictures,
    sound: Samples,
) -> None:
    """Write the changed pictures with the sound, cut or filled with silence to their length."""
    if path.exists():
        return
    frames = change(pictures, random)
    whole = np.zeros(len(frames) * FILM_RATE // FPS, np.float32)
    whole[: min(len(whole), len(sound))] = sound[: len(whole)]
    draft = path.with_suffix(".part.mp4")
    write_film(draft, map(Image.fromarray, frames), whole, fps=FPS)
    draft.replace(path)


class _Prompt(ClipSystem):
    """Hands over a clip that is there, after a pause."""

    capabilities = Capabilities()

    def __init__(self, clip: Path, pause_s: float) -> None:
        self._clip, self._pause_s = clip, pause_s

    def render(self, persona: Persona, turn: TurnRequest, output: Path) -> Reply:
        time.sleep(self._pause_s)
        output.write_bytes(self._clip.read_bytes())
        return Reply()


async def _speed(
    label: str, pause: float, clip: Clip, folder: Path, media: MediaPool, progress: Progress, seed: int
) -> Mapping[str, Figure]:
    given = Condition(Candidate(id="planted", video=clip.path.name), clip, clip.path, clip.path)
    player = Player(label, SystemSpec(label, label, {}), lambda: _Prompt(clip.path, pause))
    return await measure_speed(player, given, folder, media, progress, warm_ups=1, runs=3, seed=seed, deadline_s=60.0)


def _with_speeds(table: SingleTable, speeds: Mapping[str, Mapping[str, Figure]]) -> SingleTable:
    if not speeds:
        return table
    rows = [replace(row, figures={**row.figures, **speeds.get(row.label, {})}) for row in table.rows]
    rows += [
        FilledRow(label, "system", 1, figures)
        for label, figures in speeds.items()
        if label not in {row.label for row in table.rows}
    ]
    return replace(table, rows=tuple(rows), columns=(*table.columns, *COLUMNS))


def _claims(
    metrics: Sequence[str],
    figures: Mapping[str, Mapping[str, Figure]],
    by_formula: set[str],
    unavailable: Mapping[str, str],
) -> list[Claim]:
    def value(label: str, key: str) -> float | None:
        figure = figures.get(label, {}).get(key)
        return None if figure is None else figure.value

    def less(key: str, better: str, worse: str, name: str) -> Claim:
        low, high = value(better, key), value(worse, key)
        text = f"{name} of {worse} is above that of {better}"
        if low is None or high is None:
            return Claim(text, None, "there is no figure")
        return Claim(text, low < high, f"{high:.4g} and {low:.4g}")

    claims = []
    for metric in metrics:
        if metric in unavailable:
            claims.append(Claim(f"{metric} notices its defects", None, unavailable[metric]))
        elif metric in _DISTANCES:
            claims += [
                less(key, "sham", defect, key.upper())
                for key in _DISTANCES[metric]
                for defect in ("blur", "noise", "frozen")
            ]
        elif metric == "lips":
            claims += _of_lips(value)
        elif metric == SPEED:
            claims += [less("latency_s", "sham", "sleeps", "latency"), less("fps", "sleeps", "sham", "FPS")]
        else:
            claims.append(_ran(metric, figures, formula=metric in by_formula))
    return claims


def _of_lips(value: Callable[[str, str], float | None]) -> list[Claim]:
    found = {label: value(label, "lips_r2") for label in ("sham", *_SOUNDS)}
    lag, late = value("sham", "lips_lag_ms"), value("late picture", "lips_lag_ms")
    moved = f"Lip–sound lag of a picture that is {_LATE_S:g} s late is by that much longer"
    nothing = f"Lip–sound R² of another clip's sound is below {_NOTHING:g} and that of sham above it"
    claims = [
        Claim(moved, None, "there is no figure")
        if lag is None or late is None
        else Claim(moved, abs(late - lag - _LATE_S * 1000) <= _WITHIN_MS, f"{late:.0f} ms and {lag:.0f} ms")
    ]
    sham, other = found["sham"], found["other sound"]
    if sham is None or other is None:
        return [*claims, Claim(nothing, None, "there is no figure")]
    return [*claims, Claim(nothing, other < _NOTHING < sham, f"{other:.3f} and {sham:.3f}")]


def _ran(metric: str, figures: Mapping[str, Mapping[str, Figure]], *, formula: bool) -> Claim:
    """Of a metric whose order is nothing that can be asserted without its published weights."""
    keys = {"sync": "sync_c"}.get(metric, metric)
    shown = {label: one[keys] for label, one in figures.items() if keys in one}
    scored = {label: f"{one.scored}/{one.expected}" for label, one in shown.items()}
    text = f"{metric} ran: {', '.join(f'{label} {count}' for label, count in scored.items())}"
    if formula:
        return Claim(text, None, "with weights by formula no order is claimed")
    return Claim(text, None, "no order is asserted: its figures were never seen on these clips with these weights")
