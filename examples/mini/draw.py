"""Clips of drawn people for the mini model: `python examples/mini/draw.py --out CLIPS`.

Everything is drawn by `interbench drive` with the puppet, at 512 by 512 pixels, and kept as what is trained on: the
middle of the picture, smaller, at 16 frames per second, with the speech at 16 kHz. Called again it goes on where it
was; the same options give the same clips. How long it takes and what it was used for: docs/training.md.
"""

from __future__ import annotations

import argparse
import colorsys
import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

FPS, RATE, FRAMES = 16, 16_000, 81
HELD_OUT = 50
"""Made-up people that are never trained on, beside the bundled personas."""
BATCH = 20
"""People drawn by one call of the harness."""

MOODS = (
    "neutral", "happy", "amused", "excited", "warm", "calm", "sympathetic", "concerned",
    "sad", "apologetic", "curious", "surprised", "serious", "angry", "confused", "bored",
)  # fmt: skip
_STYLES = {
    "female": ("long", "wavy", "bob", "bun", "ponytail", "pixie", "curls", "afro", "hijab"),
    "male": ("crop", "side_part", "buzz", "curls", "bald", "afro"),
    "nonbinary": ("pixie", "bob", "curls", "crop", "side_part", "bun"),
}
_BACKDROPS = ("plain", "office", "bookshelf", "window", "kitchen", "studio", "living_room", "cafe", "garden")
_CLOTHES = ("shirt", "blazer", "sweater", "turtleneck", "hoodie", "tee", "blouse", "cardigan", "apron")
_SHAPES = ("oval", "round", "square", "heart", "long")
_BEARDS = ("none", "none", "stubble", "moustache", "goatee", "beard")
_LIGHT, _DARK = (0.96, 0.82, 0.71), (0.36, 0.23, 0.16)
_HUES = (
    ("red", 0.0), ("orange", 0.07), ("yellow", 0.14), ("green", 0.36),
    ("teal", 0.49), ("blue", 0.6), ("purple", 0.76), ("pink", 0.91),
)  # fmt: skip
_HAIR: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("black", (0.10, 0.08, 0.07)), ("brown", (0.30, 0.19, 0.12)), ("chestnut", (0.43, 0.26, 0.15)),
    ("blond", (0.76, 0.57, 0.29)), ("red", (0.64, 0.32, 0.16)), ("grey", (0.62, 0.60, 0.58)),
)  # fmt: skip
_VOICES = {
    "female": ("f1", "f2", "f3", "f4", "f5"),
    "male": ("m1", "m2", "m3", "m4", "m5", "m6", "m7"),
    "nonbinary": ("f1", "f4", "m3", "m7"),
}
_ACCENTS = ("en-us", "en-gb", "en-gb-scotland")

_WHO = (
    "my neighbour", "the old captain", "a young painter", "your brother", "our teacher", "the whole village",
    "her mother", "that quiet fellow", "the woman upstairs", "a famous cook", "everybody here", "the chief engineer",
)  # fmt: skip
_DOES = (
    "found", "bought", "forgot about", "painted", "wants to move", "would never sell", "borrowed", "broke",
    "keeps talking of", "fixed", "hid", "measured", "has often drawn", "thought over", "looks after", "threw away",
)  # fmt: skip
_WHAT = (
    "a pair of blue shoes", "the map of the harbour", "four boxes of oranges", "the oldest piano in town",
    "a very small boat", "his favourite poem", "the broken window", "seven jars of honey", "the bridge by the mill",
    "an enormous yellow cheese", "both of the puppies", "the village fountain", "a photograph of the valley",
)  # fmt: skip
_WHEN = (
    "just before the storm", "on a foggy Thursday", "while we were having coffee", "after the game", "last February",
    "as soon as the bell rang", "long before you were born", "without saying a word", "in the middle of the night",
    "because of the weather", "for a good friend of ours", "and that was wonderful", "which is hard to believe",
)  # fmt: skip
_OPENINGS = ("Well,", "You know,", "Of course,", "I think", "Honestly,", "Oh,", "They say", "Imagine:", "Please note:")
_AFTER = (
    "Would you have done that?", "I was so happy about it.", "Give it a try yourself.", "What a view that must be!",
    "We have five more of those.", "Nobody knows why.", "Move over, please.", "Both ways are fine with me.",
)  # fmt: skip


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
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]


def batches(looks: int, seed: int) -> Iterator[list[dict[str, Any]]]:
    """Who is drawn, in the order in which it is: those to train on, then those of the evaluation."""
    lines = (Path(__file__).parents[2] / "scenarios" / "personas.jsonl").read_text("utf-8").splitlines()
    bundled = [{key: value for key, value in json.loads(line).items() if key != "portrait"} for line in lines]
    people = [one(persona, persona["appearance"], number, seed, "bundled") for number, persona in enumerate(bundled)]
    for prefix, count in (("unseen", HELD_OUT), ("look", looks)):
        for number in range(count):
            persona, seen = look_of(number, seed, prefix)
            people.append(one(persona, seen, number, seed, prefix))
    trained = people[len(bundled) + HELD_OUT :]
    for group in (trained, people[: len(bundled) + HELD_OUT]):
        for first in range(0, len(group), BATCH):
            yield group[first : first + BATCH]


def one(persona: dict[str, Any], seen: str, number: int, seed: int, prefix: str) -> dict[str, Any]:
    """A person, what it says and how, and the caption of the clip."""
    mood = mood_of(number, seed, prefix)
    return {
        "persona": persona,
        "speech": speech_of(number, seed, prefix),
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
        for picture in container.decode(stream):
            assert picture.pts is not None and stream.time_base is not None
            time = picture.pts * stream.time_base
            # A frame is shown until the next one is due.
            while len(frames) < FRAMES and last is not None and wanted[len(frames)] < time:
                frames.append(last)
            if len(frames) == FRAMES:
                break
            if wanted[len(frames)] < time + Fraction(1, 25):
                whole: Image.Image = picture.to_image()  # type: ignore[no-untyped-call]
                small = whole.resize((side, side), Image.Resampling.LANCZOS, box)
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


def look_of(number: int, seed: int, prefix: str) -> tuple[dict[str, Any], str]:
    """A persona as a scenario set writes it, and what can be seen of it, in words of a small vocabulary."""
    rng = random.Random(f"{seed}/{prefix}/{number}")
    gender = rng.choice(("female", "female", "male", "male", "nonbinary"))
    age = rng.randint(20, 80)
    tone = rng.random()
    skin = tuple(
        min(1.0, max(0.0, a + (b - a) * tone + rng.uniform(-0.02, 0.02))) for a, b in zip(_LIGHT, _DARK, strict=True)
    )
    style = rng.choice(_STYLES[gender])
    hair_name, hair = rng.choice(_HAIR[:-1] if age < 55 else _HAIR[-1:] * 3 + _HAIR[:-1])
    clothes_name, clothes = _colour(rng, (0.25, 0.75), (0.25, 0.8))
    wall_name, wall = _colour(rng, (0.05, 0.3), (0.7, 0.92))
    worn = rng.choice(("glasses", "round_glasses", "none", "none", "none"))
    beard = rng.choice(_BEARDS) if gender == "male" else "none"
    backdrop = rng.choice(_BACKDROPS)
    garment = rng.choice(_CLOTHES)
    if style == "hijab":
        hair_name, hair = _colour(rng, (0.2, 0.6), (0.3, 0.8))
    look = {
        "skin": _hex(skin),
        "lips": _hex(
            tuple(0.86 * s + 0.14 * p - 0.1 * i for s, p, i in zip(skin, (0.6, 0.1, 0.1), (0, 1, 1), strict=True))
        ),
        "hair": _hex(tuple(min(1.0, max(0.0, part + rng.uniform(-0.04, 0.04))) for part in hair)),
        "hair_style": style,
        "eyes": rng.choice(("#4b3524", "#5a4632", "#5b7f5a", "#4a6f92", "#6b7f86")),
        "clothes": _hex(clothes),
        "clothes_style": garment,
        "accessories": [] if worn == "none" else [worn],
        "facial_hair": beard,
        "face_shape": rng.choice(_SHAPES),
        "backdrop": backdrop,
        "backdrop_colour": _hex(wall),
    }
    who = {"female": "a woman", "male": "a man", "nonbinary": "a person"}[gender]
    old = "young" if age < 35 else "old" if age >= 60 else "middle-aged"
    head = (
        f"a {hair_name} scarf"
        if style == "hijab"
        else "no hair"
        if style == "bald"
        else f"{hair_name} {style.replace('_', ' ')} hair"
    )
    seen = [f"{who}, {old}, with {head}"]
    seen += [] if beard == "none" else [f"and a {beard}"]
    seen += [] if worn == "none" else [f"and {worn.replace('_', ' ')}"]
    seen += [f", in a {clothes_name} {garment}, before a {wall_name} {backdrop.replace('_', ' ')}"]
    persona = {
        "id": f"{prefix}-{number:04d}",
        "name": f"{prefix.title()} {number}",
        "age": age,
        "gender": gender,
        "appearance": " ".join(seen).replace(" ,", ","),
        "background": f"a {wall_name} {backdrop.replace('_', ' ')}",
        "voice": {
            "variant": f"{rng.choice(_ACCENTS)}+{rng.choice(_VOICES[gender])}",
            "pitch": rng.randint(*{"female": (45, 75), "male": (20, 50), "nonbinary": (35, 60)}[gender]),
            "rate": rng.randint(145, 180),
        },
        "look": look,
    }
    return persona, " ".join(seen).replace(" ,", ",")


def speech_of(number: int, seed: int, prefix: str) -> str:
    """About five seconds of English that mean little and hold every kind of sound."""
    rng = random.Random(f"{seed}/{prefix}/{number}/speech")
    parts = (rng.choice(part) for part in (_OPENINGS, _WHO, _DOES, _WHAT, _WHEN))
    return f"{' '.join(parts)}. {rng.choice(_AFTER)}"


def mood_of(number: int, seed: int, prefix: str) -> str:
    """How it is said."""
    return random.Random(f"{seed}/{prefix}/{number}/mood").choice(MOODS)


def _colour(
    rng: random.Random, saturation: tuple[float, float], value: tuple[float, float]
) -> tuple[str, tuple[float, float, float]]:
    name, hue = rng.choice(_HUES)
    return name, colorsys.hsv_to_rgb(
        (hue + rng.uniform(-0.02, 0.02)) % 1, rng.uniform(*saturation), rng.uniform(*value)
    )


def _hex(colour: tuple[float, ...]) -> str:
    return "#" + "".join(f"{round(255 * min(1.0, max(0.0, part))):02x}" for part in colour)


def _write_lines(path: Path, entries: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
