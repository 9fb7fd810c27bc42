"""How fast the puppet renders: one process, one core, all of it (speech, drawing, H.264 and AAC).

    python -m benchmarks puppet_speed [--personas N]

For each persona it prints the first clip (which draws what later clips reuse) and the second one, in milliseconds per
frame and as a multiple of playback speed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from interbench.domain.persona import Persona
from interbench.systems.puppet.motion import FPS
from interbench.systems.puppet.render import render

_TEXTS = (
    "Of course! The tower was built for the world's fair of eighteen eighty-nine, and it stands three hundred and "
    "thirty metres tall. From the top you can see most of the city.",
    "Start with the avenue that runs up to the arch, have a coffee in one of the side streets, and be back at the "
    "river before sunset, because the light is wonderful then.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--personas", type=int, default=3)
    count = parser.parse_args().personas
    source = Path(__file__).parents[1] / "scenarios" / "personas.jsonl"
    personas = [Persona.model_validate_json(line) for line in source.read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        for persona in personas[:count]:
            for name, text in zip(("first", "second"), _TEXTS, strict=True):
                path = Path(folder) / f"{name}.mp4"
                start, cpu = time.perf_counter(), time.process_time()
                clip = render(path, persona, text, mood="warm", seed=1)
                wall, used = time.perf_counter() - start, time.process_time() - cpu
                print(
                    f"{persona.id:8} {name:6} {clip.frames:4d} frames  {1000 * used / clip.frames:5.1f} ms CPU/frame  "
                    f"{1000 * wall / clip.frames:5.1f} ms wall/frame  {clip.frames / FPS / used:4.1f}x playback (CPU)  "
                    f"{path.stat().st_size / 1024:5.0f} KiB"
                )


if __name__ == "__main__":
    main()
