"""Clips and their plain copies in the loader that the judge's server really has."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import av
import numpy as np
import pytest
import pytest_asyncio
from odd_clips import encoded, flag, remux, shifted

from interbench.media.pool import MediaPool

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="module")]
_READ = """
import io, json, sys
import cv2, numpy as np
answers = []
for path in sys.argv[1:]:
    backend = next(b for b in cv2.videoio_registry.getStreamBufferedBackends() if cv2.videoio_registry.hasBackend(b))
    film = cv2.VideoCapture(io.BytesIO(open(path, "rb").read()), backend, [])
    frames = []
    while film.grab():
        frames.append(film.retrieve()[1][:, :, ::-1])
    counted, fps = film.get(cv2.CAP_PROP_FRAME_COUNT), film.get(cv2.CAP_PROP_FPS)
    middle = frames[len(frames) // 2] if frames else np.zeros((0, 0, 3))
    answers.append([counted, fps, len(frames), middle.shape, [middle[y, x].tolist() for y, x in
                    ((middle.shape[0] // 8, middle.shape[1] // 2), (-middle.shape[0] // 8, middle.shape[1] // 2),
                     (middle.shape[0] // 2, middle.shape[1] // 8))] if frames else None])
print(json.dumps(answers))
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[MediaPool]:
    async with MediaPool() as shared:
        yield shared


async def test_copies_show_what_a_player_shows(vllm_bin: Path, pool: MediaPool, tmp_path: Path) -> None:
    plain = encoded(tmp_path / "plain.mp4", frames=20)
    av1 = "libsvtav1" if "libsvtav1" in av.codecs_available else "libaom-av1"
    turned = np.rot90(flag(96, 64), 1)
    stored = encoded(tmp_path / "stored.mp4", frames=20, size=(64, 96), picture=lambda index: turned)
    odd = {
        "av1": encoded(tmp_path / "av1.mp4", frames=20, codec=av1, options={"preset": "12", "svtav1-params": "lp=1"}),
        "turned": remux(stored, tmp_path / "a.mp4", setup=lambda streams: streams[0].set_display_rotation(-90)),
        "offset": remux(plain, tmp_path / "offset.mkv", shifted(3600.0)),
        "live": encoded(tmp_path / "live.webm", frames=20, codec="libvpx"),
    }
    copies = []
    for name, clip in odd.items():
        if name != "live":
            assert (await pool.inspect(clip)).not_plain, name
        copies.append(tmp_path / f"{name}-copy.mp4")
        await pool.plain_copy(clip, copies[-1])
    done = await asyncio.to_thread(
        subprocess.run,
        [str(vllm_bin / "python"), "-c", _READ, str(odd["av1"]), str(odd["offset"]), str(plain), *map(str, copies)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    cannot, misled, *good = json.loads(done.stdout.splitlines()[-1])
    assert cannot[2] == 0, "the loader decodes no AV1; if it does now, no copy is needed"
    assert misled[0] > 30_000, "the loader believes the header"
    for counted, fps, there, shape, colours in good:
        assert (counted, there, tuple(shape)) == (20, 20, (64, 96, 3)) and fps == pytest.approx(10)
        red, blue, green = colours
        assert red[0] > 150 > red[1] and blue[2] > 150 > blue[1] and green[1] > 150 > green[0]
