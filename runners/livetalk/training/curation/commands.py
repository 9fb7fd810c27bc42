"""Commands of the user's own: words, run without a shell, with placeholders that are filled in word by word."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from livetalk.base.errors import LiveTalkError, OptionError

_PLACE = re.compile(r"\{([a-z_]+)\}")
_SAID = 300


class CommandFailedError(LiveTalkError):
    """A command of the user's ended otherwise than agreed."""


class CommandTemplate:
    """A command as it is written on the command line, e.g. ``python score.py {image}``.

    Args:
        text: words as a POSIX shell splits them; nothing else of a shell is done.
        known: names that may stand in braces.
        needed: names that must.
        option: where it was given, for the messages.

    Raises:
        OptionError: it can't be split, names something else, or leaves out what is needed.
    """

    def __init__(self, text: str, known: frozenset[str], needed: frozenset[str], option: str) -> None:
        try:
            self._words = shlex.split(text)
        except ValueError as error:
            raise OptionError(f"{option}: the command can't be split into words ({error})") from None
        named = set(_PLACE.findall(text))
        if not self._words:
            raise OptionError(f"{option}: the command is empty")
        if strange := sorted(named - known):
            raise OptionError(f"{option}: {{{strange[0]}}} is nothing that is filled in; known are {_listed(known)}")
        if absent := sorted(needed - named):
            raise OptionError(f"{option}: the command must hold {_listed(frozenset(absent))}")
        self.text = text
        self.named = frozenset(named)

    def run(self, values: Mapping[str, str], seconds: float) -> str:
        """Run it with its placeholders filled in, and give what it wrote on standard output.

        Raises:
            CommandFailedError: it can't be started, ends with another status than 0, or not in time.
        """
        words = [_PLACE.sub(lambda place: values[place.group(1)], word) for word in self._words]
        try:
            done = subprocess.run(words, capture_output=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise CommandFailedError(f"{words[0]} did not end within {seconds:g} s") from None
        except OSError as error:
            raise CommandFailedError(f"{words[0]} can't be started ({error.strerror})") from None
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            said = "".join(char if char.isprintable() else " " for char in last[0])[:_SAID]
            raise CommandFailedError(f"{words[0]} ended with status {done.returncode} ({said})")
        return done.stdout.decode(errors="replace")


def require_file(path: Path, command: str) -> None:
    """Make sure that a command has written what it was asked for.

    Raises:
        CommandFailedError: there is no such file, or it is empty.
    """
    if not path.is_file() or not path.stat().st_size:
        raise CommandFailedError(f"{command} ended well but wrote no {path.name}")


def _listed(names: frozenset[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(names))
