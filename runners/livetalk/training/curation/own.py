"""Classes of the user's own, named ``module:Class`` on the command line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from livetalk.base.errors import OptionError


def load_own(target: str, option: str) -> Any:
    """An object of the class, made without arguments; the current folder is on the path.

    Raises:
        OptionError: nothing of that name can be imported or made.
    """
    module, _, name = target.partition(":")
    if not module or not name:
        raise OptionError(f"{option} {target}: name a class as module:Class")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        made = getattr(importlib.import_module(module), name)()
    except Exception as error:
        raise OptionError(f"{option} {target} can't be loaded ({type(error).__name__}: {error})") from error
    return made
