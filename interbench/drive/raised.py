"""Where in an adapter's own code an exception came from."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

import interbench

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


def _known(path: Path) -> bool:
    python = path.is_relative_to(_PYTHON) and not path.is_relative_to(_INSTALLED)
    return python or path.is_relative_to(_OURS) or not path.is_absolute()


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
