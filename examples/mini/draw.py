"""Clips of drawn people for the mini model: `python examples/mini/draw.py --out CLIPS`.

Everything is drawn by `interbench drive` with the puppet, at 512 by 512 pixels, and kept as what is trained on: the
middle of the picture, smaller, at 16 frames per second, with the speech at 16 kHz. Called again it goes on where it
was; the same options give the same clips. How long it takes and what it was used for: docs/training.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import words
from PIL import Image

FPS, RATE, FRAMES = 16, 16_000, 81
HELD_OUT = 50
"""Made-up people that are never trained on, beside the bundled personas."""
BATCH = 20
"""People drawn by one call of the harness."""


def main() -> int:
    """Draw what is missing; 0 if nothing is missing afterwards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the clips")
    parser.add_argument("--looks", type=int, default=500, help="made-up people to train on [default: 500]")
    parser.add_argument("--side", type=int, default=96, help="pixels along each side of a frame [default: 96]")
    parser.add_argument("--middle", type=int, default=342, help="of the 512 pixels, how many are kept [default: 342]")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is made up [default: 0]")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    settings = {"side": options.side, "middle": options.middle, "seed": options.seed, "script": digest()}
    stated = options.out / "settings.json"
    if stated.exists() and json.loads(stated.read_text("utf-8")) != settings:
        print(f"{options.out} holds clips of other settings or of another version of this script; choose another --out")
        return 1
    stated.write_text(json.dumps(settings, indent=1) + "\n", "utf-8")
    failed = 0
    for people in batches(options.looks, options.seed):
        missing = [one for one in people if not (options.out / f"{one['persona']['id']}.npz").exists()]
        if missing:
            failed += draw(missing, options.out, options.side, options.middle)
            done = len(list(options.out.glob("*.npz")))
            print(f"{done} clips in {options.out}", flush=True)
    return 1 if failed else 0


def digest() -> str:
    """Of this script: clips of two versions are not mixed."""
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in ("draw.py", "words.py"))).hexdigest()[:16]


def batches(looks: int, seed: int) -> Iterator[list[dict[str, Any]]]:
    """Who is drawn, in the order in which it is: those to train on, then those of the evaluation."""
    lines = (Path(__file__).parents[2] / "scenarios" / "personas.jsonl").read_text("utf-8").splitlines()
    bundled = [{key: value for key, value in json.loads(line).items() if key != "portrait"} for line in lines]
    people = [one(persona, persona["appearance"], number, seed, "bundled") for number, persona in enumerate(bundled)]
    for prefix, count in (("unseen", HELD_OUT), ("look", looks)):
        people += [one(*words.person(number, seed, prefix), number, seed, prefix) for number in range(count)]
    trained = people[len(bundled) + HELD_OUT :]
    for group in (trained, people[: len(bundled) + HELD_OUT]):
        for first in range(0, len(group), BATCH):
            yield group[first : first + BATCH]


def one(persona: dict[str, Any], seen: str, number: int, seed: int, prefix: str) -> dict[str, Any]:
    """A person, what it says and how, and the caption of the clip."""
    mood = words.mood(number, seed, prefix)
    return {
        "persona": persona,
        "speech": words.speech(number, seed, prefix),
        "mood": mood,
        "caption": f"{mood}, {seen}" if prefix != "bundled" else f"{mood}, a person",
        "split": "train" if prefix == "look" else "unseen",
    }


def draw(people: list[dict[str, Any]], out: Path, side: int, middle: int) -> int:
    """Let the harness play one turn with each, keep the clips in small; how many failed."""
    work = out / ".drawing"
    shutil.rmtree(work, ignore_errors=True)
    (work / "set").mkdir(parents=True)
    _write_lines(work / "set" / "personas.jsonl", [one["persona"] for one in people])
    _write_lines(
        work / "set" / "scenarios.jsonl",
        [
            {
                "id": f"says-{one['persona']['id']}",
                "category": "training",
                "title": "One sentence",
                "persona": one["persona"]["id"],
                "turns": [
                    {"text": "Go on.", "mood": "neutral", "reply": one["speech"], "reply_mood": one["mood"]},
                ],
            }
            for one in people
        ],
    )
    command = [sys.executable, "-m", "interbench", "drive", "--quiet", "--systems", "puppet"]
    command += ["--scenarios", str(work / "set"), "--out", str(work / "run"), "--concurrency", "1"]
    command += ["--set", "puppet.workers=1"]
    played = subprocess.run(command, check=False, capture_output=True, text=True)
    failed = 0
    for person in people:
        name = person["persona"]["id"]
        clips = sorted((work / "run").rglob(f"*says-{name}*/**/*.mp4"))
        if not clips:
            failed += 1
            print(f"no clip of {name}: {played.stderr.strip()[-300:]}", file=sys.stderr)
            continue
        keep(clips[0], out / f"{name}.npz", person, side, middle)
    shutil.rmtree(work)
    return failed


def keep(clip: Path, path: Path, person: dict[str, Any], side: int, middle: int) -> None:
    """The middle of the picture at 16 frames per second, uint8 [81, side, side, 3], and the sound, int16 at 16 kHz."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        first = (512 - middle) // 2
        box = (first, first, first + middle, first + middle)
        wanted = [Fraction(index, FPS) for index in range(FRAMES)]
        frames: list[np.ndarray[Any, Any]] = []
        last: np.ndarray[Any, Any] | None = None
        shown = Fraction(-1)
        for picture in container.decode(stream):
            time = Fraction(picture.pts * stream.time_base)
            # A frame is shown until the next one is due.
            while len(frames) < FRAMES and last is not None and wanted[len(frames)] < time:
                frames.append(last)
            if len(frames) == FRAMES:
                break
            assert time > shown
            shown = time
            if wanted[len(frames)] < time + Fraction(1, 25):
                small = picture.to_image().resize((side, side), Image.Resampling.LANCZOS, box)
                last = np.asarray(small)
        while len(frames) < FRAMES and last is not None:
            frames.append(last)
    with av.open(str(clip)) as container:
        resampler = av.AudioResampler("s16", "mono", RATE)
        parts = [part.to_ndarray()[0] for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    sound = np.zeros(FRAMES * RATE // FPS, np.int16)
    heard = np.concatenate(parts)[: len(sound)]
    sound[: len(heard)] = heard
    about = {key: person[key] for key in ("caption", "mood", "split", "speech")}
    partial = path.with_name(f".{path.name}.part")
    with partial.open("wb") as file:
        np.savez_compressed(file, frames=np.stack(frames), sound=sound, about=np.array(json.dumps(about)))
    partial.replace(path)


def _write_lines(path: Path, entries: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
