"""How things stand is told in its place on a terminal, and now and then in a log."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from interbench.base.progress import EVERY_S, PlainProgress

SHOWS = """
from interbench.base.progress import make_progress
with make_progress() as progress:
    progress.total("drive", 2)
    progress.advance("drive", "[bold]first")
    progress.stands("b", "node-b: 1 live, 0 done \\x1b[31m[red]")
    progress.stands("a", "node-a: 0 live, 0 done")
    progress.say("something happened")
    progress.advance("drive", "second")
    progress.stands("b", "node-b: 0 live, 1 done")
    progress.stands("a", "")
"""


def test_a_log_is_told_once_a_minute_what_has_changed(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    progress = PlainProgress(clock=lambda: now)
    progress.stands("a", "a: 1")
    progress.stands("b", "b: 1")
    assert capsys.readouterr().err == ""
    now = EVERY_S
    progress.stands("a", "a: 2")
    assert capsys.readouterr().err == "a: 2\nb: 1\n"
    progress.stands("b", "b: 2")
    progress.stands("b", "b: 1")
    now = 2 * EVERY_S
    progress.stands("b", "b: 1")
    assert capsys.readouterr().err == "", "nothing has changed"
    progress.stands("a", "")
    now = 3 * EVERY_S
    progress.stands("b", "b: 3")
    assert capsys.readouterr().err == "b: 3\n", "a has ended"


def test_a_terminal_shows_it_below_the_bars() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SHOWS], stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    )
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 65_536):
            seen += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    text = seen.decode()
    assert "something happened" in text
    assert "\x1b[31m[red]" not in text
    last = text[text.rindex("drive") :]
    assert "2/2" in last and "node-b: 0 live, 1 done" in last and "node-a" not in last
