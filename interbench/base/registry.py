"""One way to find what is chosen by name: systems, transcribers, judges, and what else there will be.

Each kind has built-in names, names that installed packages add, and classes of the user's own, named ``module:Class``.
A package adds a name with an entry point in the kind's group::

    [project.entry-points."interbench.systems"]
    mine = "my_package.adapter:MySystem"

``INTERBENCH_LOAD_PLUGINS`` restricts which packages' names are looked at: a comma-separated list of distributions, or
an empty string for none. What a class can be told is read off its constructor: see :mod:`interbench.base.options`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

from interbench.base.errors import InterbenchError, UsageError
from interbench.base.options import Options, near, options_of

T = TypeVar("T")

RESTRICT = "INTERBENCH_LOAD_PLUGINS"
IMPORT_FROM = "INTERBENCH_IMPORT_FROM"
"""Folders that ``module:Class`` was looked for in; handed down to the processes that this one starts."""
BUILT_IN = "built-in"


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that can be chosen by name."""

    name: str
    target: str
    """``module:Class``."""
    source: str
    """``built-in`` or the distribution it comes from."""


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that stands for one of the others."""

    description: str
    means: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """What a name means."""

    name: str
    """For messages; an address is not repeated in them."""
    cls: type[T]
    variant: str | None = None
    """What stood behind the colon of ``name:variant``."""
    address: str | None = None
    """The name itself, if it is an address: the class's first argument."""


class Registry(Generic[T]):
    """Everything of one kind that can be chosen by name.

    Args:
        kind: one of them, in a word: ``system``.
        base: the class that all of them are derived from.
        group: entry-point group.
        built_in: name → ``module:Class``.
        error: what is raised for a wrong name or option.
        address: ``module:Class`` of the one that is chosen by an address (``http://...``), which becomes its first
            argument; None if the kind has none.
        aliases: names that stand for another.
    """

    def __init__(
        self,
        kind: str,
        base: type[T],
        group: str,
        built_in: Mapping[str, str],
        *,
        error: type[InterbenchError] = UsageError,
        address: str | None = None,
        aliases: Mapping[str, Alias] | None = None,
    ) -> None:
        self.kind = kind
        self.base = base
        self.group = group
        self.built_in = built_in
        self.error = error
        self.address = address
        self.aliases = aliases or {}

    def entries(self) -> dict[str, Entry]:
        """All names, built-in ones first. A package can't take a name that is taken.

        Raises:
            InterbenchError: of the kind ``error``: two have the same name.
        """
        found = {name: Entry(name, target, BUILT_IN) for name, target in self.built_in.items()}
        for entry in sorted(self._plugins(), key=lambda item: (item.name, item.source)):
            taken = BUILT_IN if entry.name in self.aliases else found[entry.name].source if entry.name in found else ""
            if taken:
                raise self.error(
                    f"The plug-in {entry.source} names its {self.kind} {entry.name!r}, which {taken} already has. "
                    f"Uninstall one of them, or set {RESTRICT} to the distributions you want."
                )
            found[entry.name] = entry
        return found

    def _plugins(self) -> Iterator[Entry]:
        allowed = os.environ.get(RESTRICT)
        names = None if allowed is None else {name.strip().lower() for name in allowed.split(",")}
        for point in _installed(tuple(map(_state, sys.path))).select(group=self.group):
            source = point.dist.name if point.dist is not None else "unknown"
            if names is None or source.lower() in names:
                yield Entry(point.name, point.value, source)

    def find(self, text: str) -> Found[T]:
        """What ``text`` names: a name, ``name:variant``, ``module:Class`` or an address.

        Raises:
            InterbenchError: of the kind ``error``: nothing, or what can't be imported.
        """
        if text in self.aliases:
            text = self.aliases[text].means()
        if self.address is not None and "://" in text:
            return Found("URL", self.load(self.address), address=text)
        known = self.entries()
        head, colon, tail = text.partition(":")
        if head in known:
            return Found(head, self.load(known[head].target), variant=tail if colon else None)
        if colon:
            import_from_here()
            return Found(text, self.load(text))
        names = [*self.aliases, *known]
        urls = "; a URL begins with http:// or https://" if self.address is not None else ""
        raise self.error(
            f"There is no {self.kind} {text!r}. Known are {', '.join(names)}{urls}; a {self.kind} of your own is named "
            f"module:Class, or installed as a plug-in (entry-point group {self.group}).{near(text, names)}"
        )

    def load(self, target: str) -> type[T]:
        """The class that ``module:Class`` names.

        Raises:
            InterbenchError: of the kind ``error``: it can't be imported, or is none of this kind.
        """
        module_name, _, attribute = target.partition(":")
        try:
            module = importlib.import_module(module_name)
        except (Exception, SystemExit) as error:  # a script may end itself when it is imported
            raise self.error(
                f"The module {module_name!r} can't be imported ({type(error).__name__}: {error}). Is its package "
                f"installed in the environment that runs interbench, or is its file in the current folder or on "
                f"PYTHONPATH?"
            ) from error
        found: Any = module
        for part in attribute.split("."):
            found = getattr(found, part, None)
        if found is None:
            where = getattr(module, "__file__", None)
            raise self.error(
                f"The module {module_name!r} has no {attribute!r}{f' ({where})' if where else ''}."
                f"{near(attribute, vars(module))}"
            )
        if not (inspect.isclass(found) and issubclass(found, self.base)):
            raise self.error(f"{target} is not a {self.kind}: it has to be a class derived from {self.base.__name__}.")
        return found

    def options(self, found: Found[T], *, label: str = "", given: Mapping[str, Any] | None = None) -> Options:
        """What can be told to it.

        Args:
            found: what is to be made.
            label: its name for messages, if not its own.
            given: what the harness gives to a class that takes it.
        """
        return options_of(
            found.cls,
            f"{self.kind} {(label or found.name)!r}",
            given=given,
            positional=0 if found.address is None else 1,
            error=self.error,
        )

    def prepare(
        self,
        found: Found[T],
        options: Mapping[str, Any],
        *,
        label: str = "",
        given: Mapping[str, Any] | None = None,
    ) -> Callable[[], T]:
        """A function that makes it; whatever can be known to be wrong before that is refused here.

        Args:
            found: what is to be made.
            options: what the user tells it.
            label: its name for messages, if not its own.
            given: what the harness gives to a class that takes it, over and above.

        Raises:
            InterbenchError: of the kind ``error``: an option is unknown, wrong or missing.
        """
        known = self.options(found, label=label, given=given)
        arguments = known.check(options)
        address = () if found.address is None else (found.address,)

        def make() -> T:
            try:
                return found.cls(*address, **arguments)
            except InterbenchError:
                raise
            except Exception as error:
                raise self.error(
                    f"The {known.subject} can't be constructed: {type(error).__name__}: {error}"
                ) from error

        return make

    def make(self, text: str, options: Mapping[str, Any], *, given: Mapping[str, Any] | None = None) -> T:
        """What ``text`` names, made with ``options``; raises as :meth:`find` and :meth:`prepare`."""
        found = self.find(text)
        if found.variant is not None:
            raise self.error(f"The {self.kind} {found.name!r} has no variants.")
        return self.prepare(found, options, given=given)()


@functools.lru_cache(maxsize=4)
def _installed(path: tuple[tuple[str, int], ...]) -> Any:
    """The entry points of all packages on ``path``: hundreds of small files, which a run would read a dozen times."""
    return metadata.entry_points()


def _state(folder: str) -> tuple[str, int]:
    """A folder of modules, and when something was last installed into it or removed from it."""
    place = Path(folder).absolute()
    try:
        return str(place), place.stat().st_mtime_ns
    except OSError:
        return str(place), 0


def import_from_here() -> None:
    """Let modules in the current folder be imported, here and in the processes of ours that this one starts.

    Behind everything else on the path: a file that happens to be called as an installed module must not hide it.
    """
    folders = [folder for folder in os.environ.get(IMPORT_FROM, "").split(os.pathsep) if folder]
    with contextlib.suppress(OSError):  # the folder may be gone
        folders.append(str(Path.cwd()))
    folders = list(dict.fromkeys(folders))
    os.environ[IMPORT_FROM] = os.pathsep.join(folders)
    sys.path += [folder for folder in folders if folder not in sys.path]
    importlib.invalidate_caches()
