"""What is kept of an exception that an adapter raised: its words, its traceback, the line of its own code."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

import interbench
from interbench.base.errors import InterbenchError
from interbench.systems.events import JsonValue
from interbench.systems.host import RaisedElsewhereError

_MOST = 200_000
"""Characters of a traceback that are kept."""
_OURS = Path(interbench.__file__).parent
_PYTHON = Path(sysconfig.get_path("stdlib"))
_INSTALLED = _PYTHON / "site-packages"


def full_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, causes included."""
    return "".join(traceback.format_exception(error))[-_MOST:]


def own_line(error: BaseException) -> str:
    """``file, line n, in function`` of the last frame that is the adapter's; empty if none is.

    The adapter's folder is that of the first frame which is neither the harness's nor Python's; the last frame from it
    is where its author looks first, also where a library further down raised.
    """
    frames = [(Path(frame.filename), frame) for frame in traceback.extract_tb(error.__traceback__)]
    foreign = [(path, frame) for path, frame in frames if not _known(path)]
    if not foreign:
        return ""
    folder = foreign[0][0].parent
    path, frame = [(path, frame) for path, frame in foreign if path.is_relative_to(folder)][-1]
    return f"{_short(path)}, line {frame.lineno}, in {frame.name}"


def keep_traceback(run: Path, workdir: Path, error: Exception) -> dict[str, JsonValue]:
    """Write an adapter's traceback beside what its turn left behind; gives where to look, for the record."""
    if isinstance(error, InterbenchError):
        # Its message says what is wrong; where it was noticed is no concern of the adapter's author.
        return {}
    if isinstance(error, RaisedElsewhereError):
        whole, line = error.traceback, error.raised_at
    else:
        whole, line = full_traceback(error), own_line(error)
    if not whole:
        return {}
    path = workdir / "traceback.txt"
    try:
        path.write_text(whole, encoding="utf-8", errors="backslashreplace")
    except OSError:
        # The turn has failed either way, and a full disk is noticed where it is recorded.
        return {"raised_at": line}
    return {"raised_at": line, "traceback": str(path.relative_to(run.resolve()))}


def code_of(error: Exception) -> str:
    code = getattr(error, "code", None)
    return code if isinstance(code, str) else "exception"


def describe(error: Exception) -> str:
    text = str(error).strip()
    if isinstance(error, (InterbenchError, RaisedElsewhereError)):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _known(path: Path) -> bool:
    python = path.is_relative_to(_PYTHON) and not path.is_relative_to(_INSTALLED)
    return python or path.is_relative_to(_OURS) or not path.is_absolute()


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
