"""interbench: benchmark for multi-turn conversations with video avatars.

:func:`run` and :func:`read_run` are the Python API (docs/python.md). Systems, judges and transcribers of your own lean
on :mod:`interbench.systems`, :mod:`interbench.judge` and :mod:`interbench.asr`; all else is inside and may change.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interbench.cli.python_api import RunResult
    from interbench.report.frames import RunFrames

__all__ = ["__version__", "read_run", "run"]

__version__ = "0.1.0"


def run(
    systems: str | Sequence[str] | None = None,
    *,
    config: str | Path | None = None,
    quiet: bool = True,
    **settings: Any,
) -> RunResult:
    """Play, transcribe and judge, as ``interbench run`` does. The same call again goes on where it was.

    Args:
        systems: systems to test, as on the command line; None for those of ``config``, else the puppet and its defects.
        config: a TOML file with settings, which those given here come before.
        quiet: plain lines instead of progress bars.
        settings: any other setting by its name in a settings file: ``out``, ``scenarios``, ``judge``, ``limit``,
            ``system={"mine": {"weights": "w/"}}``, ``judge_options={"temperature": 0.0}``, ...

    Raises:
        interbench.base.errors.InterbenchError: what the command line would say; what is done so far is in the folder.
    """
    from interbench.cli import python_api

    if isinstance(systems, str):
        systems = [part.strip() for part in systems.split(",") if part.strip()]
    told = {"systems": systems, **settings}
    return python_api.run(told, None if config is None else Path(config), quiet=quiet)


def read_run(path: str | Path, judge: str | None = None) -> RunFrames:
    """A run folder as pandas frames: ``exchanges``, ``transcripts`` and ``scores`` (see docs/python.md).

    Args:
        path: the folder.
        judge: label, or beginning of the key, of the judge whose scores are wanted; None means the run's last one.

    Raises:
        interbench.base.errors.InterbenchError: it is no run folder, or that judge has left no verdicts here.
    """
    from interbench.report import frames

    return frames.read_run(path, judge)
