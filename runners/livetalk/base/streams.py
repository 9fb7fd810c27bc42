"""Standard streams as a program of ours can rely on them, whatever it was started with.

interbench has a twin of this module, ``interbench.base.streams``, because the two packages share no code.
"""

from __future__ import annotations

import codecs
import fcntl
import io
import os
import sys

_PLAIN = {
    "–": "-",
    "—": "-",
    "‑": "-",
    "−": "-",
    "×": "x",
    "“": '"',
    "”": '"',
    "„": '"',
    "‘": "'",
    "’": "'",
    "…": ".",
    "·": ".",
    "•": "*",
    "±": "~",
    "≥": ">",
    "≤": "<",
    "→": ">",
    "\u00a0": " ",
    "\u202f": " ",
}
"""Characters of one column by one column, so that tables keep their shape."""
_HANDLER = "livetalk.plain"


def settle_streams() -> None:
    """Make standard input, output and error usable.

    Those that were closed (``2>&-``, as some service managers and cron do) lead nowhere instead: without that the next
    file that is opened would take their place, and whatever is written to standard error would go into it. What the
    terminal's encoding does not know is written plainly, rather than end hours of work at its last line.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken, which is this one.
            os.open(os.devnull, os.O_RDWR)
        else:
            # A shell that was started without one may leave the script that it reads in its place.
            if number and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                nowhere = os.open(os.devnull, os.O_RDWR)
                os.dup2(nowhere, number)
                os.close(nowhere)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 - open as long as the process
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    codecs.register_error(_HANDLER, _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in unknown), error.end
