"""What check-system says of an answer before a run."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from odd_clips import encoded, remux

from interbench.domain.records import ClipFacts
from interbench.pipeline.conformance import check_system
from interbench.pipeline.findings import Finding, clip_findings, text_findings
from interbench.systems.registry import SystemSpec

FINE = ClipFacts("0" * 64, 1000, 4.0, 100, 25.0, 640, 480, "h264", True, True, 4.0, 0.1, not_plain="")
REPLY = "The oldest bridge is the stone one by the mill."


def clip(**changes: object) -> list[Finding]:
    return list(clip_findings("turn 1", dataclasses.replace(FINE, **changes)))  # type: ignore[arg-type]


def words(reported: str | None, *, listens: bool = False, **changes: object) -> list[Finding]:
    facts = dataclasses.replace(FINE, **changes)  # type: ignore[arg-type]
    return list(text_findings("turn 1", facts, "Where is the oldest bridge?", reported, listens=listens))


def test_an_ordinary_answer_has_nothing_odd() -> None:
    assert clip() == [] and words(REPLY) == [] and words(None, listens=True) == []


@pytest.mark.parametrize(
    ("changes", "level", "says"),
    [
        ({"has_audio": False, "audible": False, "audio_s": 0.0}, "wrong", "no audio track"),
        ({"audible": False}, "wrong", "silent"),
        ({"speech_start_s": 2.5}, "note", "nothing is heard for the first 2.5 s"),
        ({"rotation": 90}, "note", "stored turned or mirrored"),
        ({"not_plain": "its picture is coded as av1"}, "note", "plain copy (H.264) of the clip, because its picture"),
        ({"length_known": False}, "note", "nothing in the file says how long it is"),
        ({"fps": 2.0, "frames": 8}, "note", "2 frames per second is an unusual rate"),
        ({"duration_s": 64.0, "frames": 1600, "audio_s": 64.0}, "note", "sees 32 frames, one in 2.0 s"),
        ({"audio_s": 8.0, "duration_s": 8.0}, "note", "the picture lasts 4.0 s and the sound 8.0 s"),
    ],
)
def test_what_is_odd_about_a_clip(changes: dict[str, Any], level: str, says: str) -> None:
    (finding,) = clip(**changes)
    assert finding.level == level and says in finding.text


@pytest.mark.parametrize(
    ("reported", "changes", "level", "says"),
    [
        (None, {}, "wrong", "choose a transcriber that listens"),
        ("", {}, "wrong", "is empty"),
        ("Where is the oldest bridge?", {}, "wrong", "is what the user said"),
        ("where is the oldest, bridge", {}, "wrong", "is what the user said"),
        ("You said: Where is the oldest bridge?", {}, "note", "is nearly what the user said"),
        (REPLY, {"audio_s": 30.0}, "note", "10 words in 29.9 s of sound; is its sampling rate"),
        (REPLY * 5, {"audio_s": 2.0}, "note", "is its sampling rate"),
    ],
)
def test_what_is_odd_about_the_words(reported: str | None, changes: dict[str, Any], level: str, says: str) -> None:
    (finding,) = words(reported, **changes)
    assert finding.level == level and says in finding.text


def test_a_system_is_told_before_the_run(tmp_path: Path) -> None:
    """A clip of a phone, without sound, and words of the user: all of it is found in one check."""
    film = remux(
        encoded(tmp_path / "s.mp4", frames=20),
        tmp_path / "phone.mp4",
        setup=lambda streams: streams[0].set_display_rotation(-90),
    )
    spec = SystemSpec.parse("it=harness_kit:Echoes", {"it": {"film": str(film)}})
    findings = asyncio.run(check_system(spec, deadline_s=30.0, keep=tmp_path / "clips", listens=False))
    told = "\n".join(str(finding) for finding in findings)
    for part in ("stored turned or mirrored", "plain copy", "no audio track", "is what the user said"):
        assert part in told
