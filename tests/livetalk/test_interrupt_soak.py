"""Signals at random moments of `livetalk generate` and `livetalk serve`, imports included, SIGINT ignored or not."""

from __future__ import annotations

import shutil
import signal
import time
import wave
from pathlib import Path

import numpy as np
import pytest
from ended_program import Program
from signal_soak import say, soak

pytestmark = pytest.mark.soak

INTERRUPTED, STOPPED = "livetalk: interrupted.", "livetalk: stopped."


def start(place: Path, ignored: tuple[signal.Signals, ...], *arguments: str) -> Program:
    return Program(["-m", "livetalk", *arguments], place / "program", ignored=ignored)


def test_generate(tmp_path: Path, portrait: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = tmp_path / "speech.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.random.default_rng(0).integers(-3000, 3000, 48_000, np.int16).tobytes())

    def generate(place: Path, ignored: tuple[signal.Signals, ...]) -> Program:
        inputs = ["--image", str(portrait), "--audio", str(sound), "--size", "tiny"]
        return start(place, ignored, "generate", *inputs, "--output", str(place / "clips" / "out.mp4"))

    def check(place: Path) -> None:
        assert [path.name for path in place.glob("clips/*") if path.name != "out.mp4"] == []

    alone = generate(tmp_path / "alone", ())
    alone.wait_for(alone.heeds_signals)
    began = time.monotonic()
    assert alone.end(600).status == 0
    tally = soak(
        generate,
        tmp_path / "soak",
        moments=60,
        lasts_s=time.monotonic() - began,
        lines={INTERRUPTED: None},
        complete=lambda end: "out.mp4: " in end.output,
        check=check,
    )
    say("livetalk generate --size tiny", tally, capsys)


def test_serve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def serve(place: Path, ignored: tuple[signal.Signals, ...]) -> Program:
        announcement = str(place / "announced.json")
        return start(place, ignored, "serve", "--size", "tiny", "--port", "0", "--announce", announcement)

    def check(place: Path) -> None:
        assert [entry.name for entry in place.iterdir()] == ["program"]
        shutil.rmtree(place)

    alone = serve(tmp_path / "alone", ())
    alone.wait_for(alone.heeds_signals)
    began = time.monotonic()
    alone.wait_for(lambda: "listens at" in alone.output)
    alone.signal(signal.SIGTERM)
    assert alone.end().status == 0
    tally = soak(
        serve,
        tmp_path / "soak",
        moments=60,
        # It loads and warms up behind its address.
        lasts_s=1.5 * (time.monotonic() - began),
        lines={INTERRUPTED: None, STOPPED: 0},
        check=check,
    )
    say("livetalk serve --size tiny", tally, capsys)
