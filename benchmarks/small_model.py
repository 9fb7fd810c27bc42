"""What a small model shows of people it has not seen: identity, lips, moods and two minutes on end.

    python -m benchmarks small_model CHECKPOINTS CLIPS [--people 60] [--seconds 120] [--only identity lips mood drift]

CHECKPOINTS is a folder of `livetalk train assemble`, CLIPS one of examples/mini/draw.py. Everything is rendered as a
server does, block by block with bounded positions, from a portrait, speech and a caption. A face is compared in the box
that it fills, without the backdrop around it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from livetalk.base.rates import AUDIO_RATE, VIDEO_FPS
from livetalk.render.config import StreamConfig
from livetalk.render.encoders.image import preprocess
from livetalk.render.encoders.speech import SpeechStream
from livetalk.render.options import ModelOptions
from livetalk.render.performer import Performer, SeededNoise
from livetalk.render.pipeline import Models
from livetalk.training.clips import Clip, Clips, moving
from PIL import Image

from interbench.single.sync import mouth as sync
from interbench.single.sync.mfcc import mfcc, sixteen_bit

FACE = (18, 12, 78, 88)
"""Left, top, right, bottom of 96: face and hair of every drawn person."""
CELL = 4
"""Pixels along the side of the cells that faces are compared by: small motions of the head count little."""
LAGS = 8
MOODS = ("happy", "angry")
QUESTIONS = ("identity", "lips", "mood", "drift")
SINKS = (9, 3, 0)
ENDS_S = 10
CONVERSATION = 12
"""Clips whose sound makes a minute of speech."""
Frames = npt.NDArray[np.uint8]
Sound = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Small:
    """A model and how it is rendered."""

    models: Models
    stream: StreamConfig

    def rendered(self, portrait: Frames, sound: Sound, caption: str, sink: int | None = None, seed: int = 0) -> Frames:
        """Frames [T,H,W,3] of all that is said.

        Args:
            portrait: [H,W,3], as it is to be shown.
        """
        stream = self.stream if sink is None else replace(self.stream, sink=sink)
        picture = preprocess(_png(portrait), ((stream.height, stream.width),), middle=1.0)
        performer = Performer(self.models.dit, self.models.vae.decoder_stream(), stream)
        performer.start(
            self.models.encode_prompt(caption),
            self.models.vae.encode_image(picture),
            SeededNoise(seed, self.models.dit.device),
        )
        seconds = (sound[start : start + AUDIO_RATE] for start in range(0, len(sound), AUDIO_RATE))
        blocks = performer.perform(seconds, SpeechStream(self.models.speech))
        return np.concatenate([block.frames.numpy() for block in blocks])[: len(sound) * VIDEO_FPS // AUDIO_RATE]


def identity(small: Small, people: Sequence[Clip]) -> dict[str, object]:
    """Whose portrait the second half of everybody's clip is nearest to."""
    portraits = np.stack([_face(one.frames[:1]) for one in people])
    wrong = []
    for index, one in enumerate(people):
        made = small.rendered(one.frames[0], one.samples, one.caption)
        distances = np.abs(portraits - _face(made[len(made) // 2 :])).mean(axis=(1, 2, 3))
        if (nearest := int(distances.argmin())) != index:
            wrong.append(f"{one.id} as {people[nearest].id}")
    return {"people": len(people), "nearest to their own portrait": 1 - len(wrong) / len(people), "others": wrong}


def lips(small: Small, people: Sequence[Clip]) -> dict[str, object]:
    """Two questions: does the mouth move when the puppet's, whose speech it is, moves; and how much of its motion does
    the sound foretell, over a minute of one speaker."""
    by_lag, best = [], []
    for one in people:
        made = small.rendered(one.frames[0], one.samples, one.caption)
        wanted, got = (opening(frames, one.frames) for frames in (one.frames, made))
        by_lag.append([correlation(wanted, got, lag) for lag in range(-LAGS, LAGS + 1)])
        best.append(int(np.argmax(by_lag[-1])) - LAGS)
    mean = np.mean(by_lag, axis=0)
    speaker, said = people[0], np.concatenate([one.samples for one in people[:CONVERSATION]])
    made = small.rendered(speaker.frames[0], said, speaker.caption)
    other = np.concatenate([one.samples for one in people[CONVERSATION : 2 * CONVERSATION]])
    return {
        "correlation with the puppet's mouth": float(mean.max()),
        "best lag, frames": int(mean.argmax()) - LAGS,
        "people with a best lag within 2": float(np.mean(np.abs(best) <= 2)),
        "foretold by the sound (R2, lag in frames of 40 ms)": _foretold(made, said),
        "by another conversation's sound": _foretold(made, other),
    }


def mood(small: Small, people: Sequence[Clip], drawn: Sequence[Clip]) -> dict[str, object]:
    """What a caption's first word changes in a face: how much, beside another seed, and whether it is what it changes
    in the puppet's.

    Args:
        drawn: clips to take the puppet's difference from.
    """
    by_word: list[npt.NDArray[np.float64]] = []
    by_seed: list[float] = []
    for one in people[:CONVERSATION]:
        seen = one.caption.partition(",")[2]
        faces = [
            _face(small.rendered(one.frames[0], one.samples, f"{word},{seen}", seed=seed))
            for word, seed in ((MOODS[0], 0), (MOODS[1], 0), (MOODS[0], 1))
        ]
        by_word.append(faces[0] - faces[1])
        by_seed.append(float(np.abs(faces[0] - faces[2]).mean()))
    puppets = [
        np.mean([_face(c.frames) - _face(c.frames[:1]) for c in drawn if c.caption.startswith(f"{word},")], axis=0)
        for word in MOODS
    ]
    pattern = np.corrcoef(np.mean(by_word, axis=0).ravel(), (puppets[0] - puppets[1]).ravel())[0, 1]
    return {
        "people": len(by_word),
        f"face, {MOODS[0]} against {MOODS[1]}, of 255": float(np.mean([np.abs(one).mean() for one in by_word])),
        "face, one seed against another": float(np.mean(by_seed)),
        "correlation of the mean difference with the puppet's": float(pattern),
    }


def drift(small: Small, people: Sequence[Clip], seconds: int) -> dict[str, object]:
    """The last seconds against the first, with three ways of keeping the beginning."""
    found: dict[str, object] = {}
    said = np.resize(np.concatenate([one.samples for one in people]), seconds * AUDIO_RATE)
    for sink in SINKS:
        rows = []
        for one in people[:3]:
            made = small.rendered(one.frames[0], said, one.caption, sink)
            first, last = made[: ENDS_S * VIDEO_FPS], made[-ENDS_S * VIDEO_FPS :]
            portrait = _face(one.frames[:1])
            rows.append(
                {
                    "id": one.id,
                    "colour, of 255": float(np.abs(last.mean(axis=(0, 1, 2)) - first.mean(axis=(0, 1, 2))).max()),
                    "face from its portrait, first": float(np.abs(_face(first) - portrait).mean()),
                    "face from its portrait, last": float(np.abs(_face(last) - portrait).mean()),
                    "motion, last by first": float(_motion(last) / max(_motion(first), 1e-6)),
                }
            )
        found[f"sink {sink} of {small.stream.window}"] = rows
    return found


def _face(frames: Frames) -> npt.NDArray[np.float64]:
    """The mean of frames in cells, [rows, columns, 3]."""
    left, top, right, bottom = (side * frames.shape[2] // 96 for side in FACE)
    mean = frames[:, top:bottom, left:right].astype(np.float64).mean(axis=0)
    rows, columns = mean.shape[0] // CELL, mean.shape[1] // CELL
    cells: npt.NDArray[np.float64] = (
        mean[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL, 3).mean(axis=(1, 3))
    )
    return cells


def opening(frames: Frames, like: Frames, cell: int = 8) -> npt.NDArray[np.float64]:
    """How far each frame is from the first in the lower half's cells that move most in ``like``, [T]."""
    change = moving(like, cell)
    change[: len(change) // 2] = 0
    luma, places = frames.astype(np.float64).mean(axis=3), np.argsort(change.ravel())[-3:]
    seen = []
    for row, column in (divmod(int(place), change.shape[1]) for place in places):
        part = luma[:, cell * row : cell * (row + 1), cell * column : cell * (column + 1)]
        seen.append(np.abs(part - part[:1]).mean(axis=(1, 2)))
    opening: npt.NDArray[np.float64] = np.mean(seen, axis=0)
    return opening


def correlation(wanted: npt.NDArray[np.float64], got: npt.NDArray[np.float64], lag: int) -> float:
    """Of what is shown ``lag`` frames late with what is wanted."""
    count = min(len(wanted), len(got)) - LAGS
    here, there = wanted[max(0, -lag) :][:count], got[max(0, lag) :][:count]
    count = min(len(here), len(there))
    if here[:count].std() < 1e-6 or there[:count].std() < 1e-6:
        return 0.0
    return float(np.corrcoef(here[:count], there[:count])[0, 1])


def _foretold(frames: Frames, sound: Sound) -> tuple[float, int] | None:
    """R² and lag of `interbench single --metrics lips`, with the face where it is drawn."""
    mouths = sync.Mouths()
    box = np.array(FACE, np.float64) * frames.shape[2] / 96
    for number in range(len(frames) * sync.FPS // VIDEO_FPS):
        mouths.add(frames[number * VIDEO_FPS // sync.FPS], box)
    found = sync.foretell([sync.joined(mouths.rows(), mfcc(sixteen_bit(sound)))])
    return None if found is None else (found.r2, found.lag_frames)


def _motion(frames: Frames) -> float:
    return float(np.abs(np.diff(frames.astype(np.float32), axis=0)).mean())


def _png(picture: Frames) -> bytes:
    import io

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", type=Path)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--seconds", type=int, default=120, help="of the drift's conversation")
    parser.add_argument(
        "--only",
        nargs="*",
        choices=("identity", "lips", "mood", "drift"),
        default=("identity", "lips", "mood", "drift"),
    )
    options = parser.parse_args()
    choice = ModelOptions(size="mini", checkpoints=options.checkpoints, device="cpu").choose()
    small = Small(choice.load(), replace(choice.size.stream, position="bounded"))
    clips = Clips(options.clips)
    people = clips.unseen[: options.people]
    for name, found in _measured(small, people, clips.train, options.only, options.seconds):
        print(json.dumps({name: found}, indent=1), flush=True)


def _measured(
    small: Small, people: Sequence[Clip], drawn: Sequence[Clip], only: Sequence[str], seconds: int
) -> Iterator[tuple[str, dict[str, object]]]:
    if "identity" in only:
        yield "identity", identity(small, people)
    if "lips" in only:
        yield "lips", lips(small, people)
    if "mood" in only:
        yield "mood", mood(small, people, drawn)
    if "drift" in only:
        yield "drift", drift(small, people, seconds)


if __name__ == "__main__":
    main()
