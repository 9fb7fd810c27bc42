"""Strangers' media are decoded elsewhere: with the same result, bounded means, and nothing of the server's."""

from __future__ import annotations

import asyncio
import functools
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import torch
from live_kit import tone, until, wav
from livetalk.render.encoders.image import preprocess
from livetalk.server.limits import Limits
from livetalk.server.media import MediaDecoder
from livetalk.server.problems import ProblemError
from livetalk.sound.files import read_audio
from PIL import Image

SIZE = (64, 48)


@pytest.fixture
async def decoder() -> AsyncIterator[MediaDecoder]:
    decoder = MediaDecoder(Limits(decode_s=30.0), SIZE, middle=0.8)
    yield decoder
    await decoder.close()


@functools.cache
def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def process_of(decoder: MediaDecoder, kind: str) -> int:
    pool = decoder._sounds if kind == "sound" else decoder._pictures
    running = [worker._process for worker in pool._workers if worker._process is not None]
    assert running
    return running[-1].pid


async def test_the_results_are_those_of_the_program_itself(decoder: MediaDecoder) -> None:
    picture = jpeg(300, 200)
    assert torch.equal(await decoder.picture(picture), preprocess(picture, (SIZE,), middle=0.8))
    sound = wav(tone(0.7, rate=44_100), 44_100)
    assert np.array_equal(await decoder.sound(sound), read_audio(sound))


async def test_what_takes_too_long_is_given_up_and_the_next_one_works() -> None:
    decoder = MediaDecoder(Limits(decode_s=0.2), SIZE)
    with pytest.raises(ProblemError, match="time and memory") as caught:
        await decoder.picture(jpeg(7_000, 7_000))
    assert caught.value.code == "bad_picture"
    assert (await decoder.picture(jpeg(64, 64))).shape == (1, 3, 1, *SIZE)
    await decoder.close()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux shows another process's means")
async def test_a_picture_is_refused_for_its_processor_time_and_not_for_what_else_the_machine_does() -> None:
    """The largest that is let in: the bound is one of processor time, and a process that has to wait spends none."""
    limits = Limits(decode_s=10.0)
    decoder = MediaDecoder(limits, SIZE)
    await decoder.picture(jpeg(64, 64))
    pid = process_of(decoder, "picture")
    granted = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max cpu"))
    used = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])) / os.sysconf(
        "SC_CLK_TCK"
    )
    assert limits.decode_s <= int(granted.split()[3]) - used + 1 <= limits.decode_s + 3
    os.kill(pid, signal.SIGSTOP)
    waiting = asyncio.create_task(decoder.picture(jpeg(7_000, 7_000)))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    os.kill(pid, signal.SIGCONT)
    assert (await waiting).shape == (1, 3, 1, *SIZE)
    assert process_of(decoder, "picture") == pid, "it is the same process: nothing was killed"
    await decoder.close()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux shows another process's means")
async def test_the_process_has_nothing_that_it_does_not_need(
    decoder: MediaDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVETALK_TOKEN", "a-token-that-must-not-travel")
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-that-must-not-travel")
    await decoder.sound(wav(tone(0.1, rate=16_000)))
    process = Path(f"/proc/{process_of(decoder, 'sound')}")
    environment = process.joinpath("environ").read_text()
    assert "must-not-travel" not in environment and "PATH=" in environment
    limits = process.joinpath("limits").read_text()
    bounds = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
    assert bounds["Max file size"] == "0" and bounds["Max core file size"] == "0"
    assert 2**30 <= int(bounds["Max address space"]) < 2**34
    assert int(bounds["Max cpu time"]) < 60


async def test_two_sounds_are_decoded_at_once(decoder: MediaDecoder) -> None:
    await decoder._sounds.start()
    assert len({worker._process.pid for worker in decoder._sounds._workers if worker._process is not None}) == 2


def test_it_ends_with_its_server() -> None:
    """Also if the server is killed."""
    program = (
        "import asyncio, os, sys\n"
        "from livetalk.server.limits import Limits\n"
        "from livetalk.server.media import MediaDecoder\n"
        "async def main():\n"
        "    decoder = MediaDecoder(Limits(), (64, 64))\n"
        "    await decoder._sounds.start()\n"
        "    print(decoder._sounds._workers[0]._process.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        worker = int(server.stdout.readline())
        server.send_signal(signal.SIGKILL)

    def gone() -> bool:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return True
        # A container may have nobody who collects what ended.
        return Path(f"/proc/{worker}/stat").exists() and ") Z " in Path(f"/proc/{worker}/stat").read_text()

    assert until(gone)
