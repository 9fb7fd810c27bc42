"""Conditions for the recipe from clips: `python examples/mini/conditions.py CLIPS --out CONDITIONS`.

Each clip gives its first picture, its speech and its caption; with `--speeches 2` every picture comes a second time,
with the speech of the clip after it. `livetalk train trajectories` reads the folder. A clip shows what a model shows of
a portrait, the middle of it: so its picture gets a border, of its own edge, that is cut away again (`--middle`).
"""

from __future__ import annotations

import argparse
import json
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

RATE = 16_000


def main() -> int:
    """Write them; 1 if there is no clip of the split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="folder of clips, as examples/mini/draw.py draws them")
    parser.add_argument("--out", type=Path, required=True, help="folder of the conditions")
    parser.add_argument("--split", choices=("train", "unseen"), default="train", help="whose clips [default: train]")
    parser.add_argument("--count", type=int, help="pictures [default: all]")
    parser.add_argument("--speeches", type=int, default=1, help="of every picture [default: 1]")
    parser.add_argument("--middle", type=float, default=2 / 3, help="share of a portrait shown [default: mini's 2/3]")
    options = parser.parse_args()
    clips = []
    for path in sorted(options.clips.glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            if (about["split"] == "train") == (options.split == "train"):
                clips.append((path.stem, file["frames"][0], file["sound"], about["caption"]))
    if not clips:
        print(f"{options.clips} holds no clips to make conditions of", file=sys.stderr)
        return 1
    for name in ("images", "audio"):
        (options.out / name).mkdir(parents=True, exist_ok=True)
    lines = []
    for index, (name, picture, _, caption) in enumerate(clips[: options.count]):
        border = round((len(picture) / options.middle - len(picture)) / 2)
        portrait = np.pad(picture, ((border, border), (border, border), (0, 0)), mode="edge")
        Image.fromarray(portrait).save(options.out / "images" / f"{name}.png")
        for shift in range(options.speeches):
            voice, _, sound, _ = clips[(index + shift) % len(clips)]
            heard = options.out / "audio" / f"{voice}.wav"
            if not heard.exists():
                write_wav(heard, sound)
            identity = name if not shift else f"{name}, speech of {voice}"
            paths = {"image": f"images/{name}.png", "audio": f"audio/{voice}.wav"}
            lines.append(json.dumps({"id": identity, **paths, "text": caption}) + "\n")
    (options.out / "conditions.jsonl").write_text("".join(lines), "utf-8")
    print(f"{len(lines)} conditions in {options.out}")
    return 0


def write_wav(path: Path, sound: np.ndarray[Any, Any]) -> None:
    """int16 at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(sound.astype("<i2").tobytes())


if __name__ == "__main__":
    sys.exit(main())
