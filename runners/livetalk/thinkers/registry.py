"""Finding thinkers: built-in names, names that installed packages add, and classes of one's own, ``module:Class``.

A package adds a thinker with an entry point::

    [project.entry-points."livetalk.thinkers"]
    mine = "my_package.thinker:MyThinker"

``LIVETALK_LOAD_PLUGINS`` restricts which packages' thinkers are looked at: a comma-separated list of distributions, or
an empty string for none. What a thinker can be told is read off its constructor, see ``livetalk.thinkers.options``.

A deliberate copy, for one kind, of ``interbench/base/registry.py``: both programs find what is named alike.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from livetalk.base.errors import LiveTalkError
from livetalk.thinkers.base import Thinker
from livetalk.thinkers.options import ThinkerOptionError, ThinkerOptionSet, near, options_of

GROUP = "livetalk.thinkers"
RESTRICT = "LIVETALK_LOAD_PLUGINS"

# Each is imported only where it is wanted: one needs torch, another a library with voices.
_BUILT_IN: Mapping[str, str] = {
    "script": "livetalk.thinkers.script:ScriptedThinker",
    "vllm-omni": "livetalk.thinkers.vllm_omni:VllmOmniThinker",
    "chat": "livetalk.thinkers.chat:ChatThinker",
    "qwen-omni": "livetalk.thinkers.qwen_omni:QwenOmniThinker",
}

DEFAULT = "script"
"""The thinker where none is named: it runs anywhere."""


@dataclass(frozen=True, slots=True)
class ThinkerEntry:
    """A thinker that can be chosen by name."""

    name: str
    target: str
    """``module:Class``."""
    source: str
    """``built-in``, or the distribution it comes from."""

    def summary(self) -> str:
        """The first line of its docstring.

        Raises:
            ThinkerOptionError: it can't be imported.
        """
        return (inspect.getdoc(load_class(self.target)) or "").partition("\n")[0]

    def options(self) -> ThinkerOptionSet:
        """What it can be told.

        Raises:
            ThinkerOptionError: it can't be imported, or needs something that no setting can give.
        """
        return options_of(load_class(self.target), f"thinker {self.name!r}")


def entries() -> dict[str, ThinkerEntry]:
    """All named thinkers, built-in ones first. A plug-in can't take a name that is taken.

    Raises:
        ThinkerOptionError: two have the same name.
    """
    found = {name: ThinkerEntry(name, target, "built-in") for name, target in _BUILT_IN.items()}
    for entry in sorted(_plugins(), key=lambda item: (item.name, item.source)):
        if entry.name in found:
            raise ThinkerOptionError(
                f"The plug-in {entry.source} names its thinker {entry.name!r}, which {found[entry.name].source} "
                f"already has. Uninstall one of them, or set {RESTRICT} to the distributions you want."
            )
        found[entry.name] = entry
    return found


def find(text: str) -> ThinkerEntry:
    """What a name or ``module:Class`` means.

    Raises:
        ThinkerOptionError: nothing.
    """
    known = entries()
    if text in known:
        return known[text]
    if ":" in text:
        _import_from_here()
        return ThinkerEntry(text, text, "your own")
    raise ThinkerOptionError(
        f"There is no thinker {text!r}. Known are {', '.join(known)}; a thinker of your own is named module:Class, or "
        f"installed as a plug-in (entry-point group {GROUP}).{near(text, known)}"
    )


def make_thinker(name: str, options: Mapping[str, Any] | None = None) -> Thinker:
    """A thinker that is not yet started.

    Args:
        name: as ``find`` takes it.
        options: by the names of its constructor's parameters.

    Raises:
        ThinkerOptionError: there is no such thinker, or an option is unknown, missing or of the wrong type.
        ThinkerError: an option's value is wrong (no such voice, an unreadable script).
    """
    entry = find(name)
    cls = load_class(entry.target)
    arguments = options_of(cls, f"thinker {name!r}").check(options or {})
    try:
        return cls(**arguments)
    except LiveTalkError:
        raise
    except Exception as error:
        raise ThinkerOptionError(
            f"The thinker {name!r} can't be constructed: {type(error).__name__}: {error}"
        ) from error


def from_texts(name: str, texts: Mapping[str, str]) -> Thinker:
    """``make_thinker`` for options as a command line gives them, e.g. {"silence_s": "30", "text.temperature": "0"}."""
    return make_thinker(name, find(name).options().read(texts))


def load_class(target: str) -> type[Thinker]:
    """The class that ``module:Class`` names.

    Raises:
        ThinkerOptionError: it can't be imported, or is no thinker.
    """
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a script may end itself when it is imported
        raise ThinkerOptionError(
            f"The module {module_name!r} can't be imported ({type(error).__name__}: {error}). Is its package installed "
            f"in the environment that runs livetalk, or is its file in the current folder or on PYTHONPATH?"
        ) from error
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise ThinkerOptionError(f"The module {module_name!r} has no {attribute!r}.{near(attribute, vars(module))}")
    if not (inspect.isclass(found) and issubclass(found, Thinker)):
        raise ThinkerOptionError(f"{target} is not a thinker: it has to be a class derived from Thinker.")
    return found


def _plugins() -> Iterator[ThinkerEntry]:
    allowed = os.environ.get(RESTRICT)
    names = None if allowed is None else {name.strip().lower() for name in allowed.split(",")}
    for point in metadata.entry_points(group=GROUP):
        source = point.dist.name if point.dist is not None else "unknown"
        if names is None or source.lower() in names:
            yield ThinkerEntry(point.name, point.value, source)


def _import_from_here() -> None:
    """Let modules in the current folder be imported, behind everything else on the path: a file that happens to be
    called as an installed module must not hide it."""
    try:
        here = str(Path.cwd())
    except OSError:  # the folder is gone
        return
    if here not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()
