"""`interbench check-system` against good adapters and bad ones."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from interbench.pipeline.conformance import check_system
from interbench.pipeline.findings import Finding
from interbench.systems.registry import SystemSpec


def check(name: str, tmp_path: Path, deadline_s: float = 30.0, **options: object) -> list[Finding]:
    spec = SystemSpec.parse(f"it=harness_kit:{name}", {"it": options} if options else None)
    return asyncio.run(check_system(spec, deadline_s=deadline_s, keep=tmp_path / "clips"))


def wrong(findings: list[Finding]) -> str:
    return "\n".join(finding.text for finding in findings if finding.level == "wrong")


def test_a_good_adapter_has_nothing_to_mend(tmp_path: Path) -> None:
    findings = check("Good", tmp_path)
    assert wrong(findings) == ""
    said = "\n".join(finding.text for finding in findings if finding.level == "ok")
    for part in ("two conversations at the same time", "given up at its deadline", "taken up where it was"):
        assert part in said
    assert list((tmp_path / "clips").rglob("*.mp4"))


def test_a_streaming_adapter_has_nothing_to_mend(tmp_path: Path) -> None:
    assert wrong(check("Streams", tmp_path)) == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Raises", "the weights melted"),
        ("Silent", "The last event of a turn has to be Completed"),
        ("WritesNothing", "Write the clip to the given path"),
        ("WritesHalf", "Was the file closed before Completed was yielded?"),
        ("Outside", "have to lie in turn.workdir"),
        ("Links", "instead of linking it"),
        ("NotAnEvent", "not an event"),
        ("CantOpen", "no route to the avatar"),
        ("Refuses", "moderation_blocked"),
        ("Gone", "no longer available"),
    ],
)
def test_what_is_wrong_is_said_in_plain_words(name: str, words: str, tmp_path: Path) -> None:
    assert words in wrong(check(name, tmp_path))


def test_a_blocked_event_loop_is_noticed(tmp_path: Path) -> None:
    assert "the event loop was blocked" in wrong(check("Sleeps", tmp_path))


def test_a_hanging_adapter_is_noticed(tmp_path: Path) -> None:
    assert "no complete answer within 0.5 s" in wrong(check("Hangs", tmp_path, deadline_s=0.5))


def test_a_key_in_the_settings_is_noticed(tmp_path: Path) -> None:
    assert "looks like a key" in wrong(check("Leaks", tmp_path))
