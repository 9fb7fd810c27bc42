"""Finding systems: built-in names, plug-ins of other packages, and ``module:Class``.

A package adds a system with an entry point::

    [project.entry-points."interbench.systems"]
    mine = "my_package.adapter:MySystem"

``INTERBENCH_LOAD_PLUGINS`` restricts which packages' plug-ins are looked at: a comma-separated list of distribution
names, or an empty string for none.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from interbench.base.errors import SystemLoadError
from interbench.systems.base import AvatarSystem

GROUP = "interbench.systems"
RESTRICT = "INTERBENCH_LOAD_PLUGINS"

BUILT_IN: Mapping[str, str] = {
    "puppet": "interbench.systems.puppet:Puppet",
    "livetalk": "interbench.systems.live.livetalk:LiveTalk",
    "command": "interbench.systems.command:CommandSystem",
    "worker": "interbench.systems.command:WorkerSystem",
    "sora": "interbench.systems.services.sora:Sora",
    "veo": "interbench.systems.services.veo:Veo",
    "gemini-omni": "interbench.systems.services.gemini_omni:GeminiOmni",
    "heygen": "interbench.systems.services.heygen:HeyGen",
    "hedra": "interbench.systems.services.hedra:Hedra",
}
"""Name → ``module:Class``."""


@dataclass(frozen=True, slots=True)
class SystemEntry:
    """A system that can be named on the command line."""

    name: str
    target: str
    """``module:Class``."""
    source: str
    """``built-in`` or the distribution it comes from."""

    def load(self) -> type[AvatarSystem]:
        """Import the class.

        Raises:
            SystemLoadError: it can't be imported or is not a system.
        """
        return load_class(self.target)


def entries() -> dict[str, SystemEntry]:
    """All named systems, built-in ones first. A plug-in can't take the name of a built-in system."""
    found = {name: SystemEntry(name, target, "built-in") for name, target in BUILT_IN.items()}
    for entry in sorted(_plugins(), key=lambda item: (item.name, item.source)):
        if entry.name in found:
            raise SystemLoadError(
                f"The plug-in {entry.source} names its system {entry.name!r}, which {found[entry.name].source} already "
                f"has. Uninstall one of them, or set {RESTRICT} to the distributions you want."
            )
        found[entry.name] = entry
    return found


def _plugins() -> Iterator[SystemEntry]:
    allowed = os.environ.get(RESTRICT)
    names = None if allowed is None else {name.strip().lower() for name in allowed.split(",")}
    for point in metadata.entry_points(group=GROUP):
        source = point.dist.name if point.dist is not None else "unknown"
        if names is None or source.lower() in names:
            yield SystemEntry(point.name, point.value, source)


def load_class(target: str) -> type[AvatarSystem]:
    """The class that ``module:Class`` names."""
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise SystemLoadError(
            f"The module {module_name!r} can't be imported ({type(error).__name__}: {error}). Is its package installed "
            f"in the environment that runs interbench, or is its folder on PYTHONPATH?"
        ) from error
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise SystemLoadError(f"The module {module_name!r} has no {attribute!r}.")
    if not (inspect.isclass(found) and issubclass(found, AvatarSystem)):
        raise SystemLoadError(f"{target} is not a system: it has to be a class derived from AvatarSystem.")
    return found


@dataclass(frozen=True, slots=True)
class SystemSpec:
    """A system as named by the user: ``name``, ``name:variant``, ``module:Class`` or ``label=`` any of these."""

    label: str
    """What the system is called in the run and its tables."""
    spec: str
    options: Mapping[str, Any]

    @classmethod
    def parse(
        cls,
        text: str,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        defaults: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> SystemSpec:
        """Read ``text``.

        Args:
            text: as the user names the system.
            options: the ``[system.LABEL]`` tables of the settings, which may hold ``spec``.
            defaults: options by built-in name, for systems whose table names none of them.
        """
        label, equals, spec = text.partition("=")
        table = dict((options or {}).get(label.strip(), {}))
        configured = table.pop("spec", None)
        if not equals:
            spec = configured if configured is not None else text
        label, spec = label.strip(), str(spec).strip()
        if not label or not spec:
            raise SystemLoadError(f"{text!r} names no system; give a name, name:variant, module:Class or label=name.")
        if not all(character.isprintable() for character in label) or len(label) > 80:
            raise SystemLoadError(f"The label {label!r} of a system must be printable and at most 80 characters long.")
        given = (defaults or {}).get(spec.partition(":")[0], {})
        return cls(label, spec, table if table.keys() & given.keys() else {**given, **table})

    @property
    def name(self) -> str:
        """The built-in or plug-in name that ``spec`` begins with; empty for ``module:Class``."""
        head = self.spec.partition(":")[0]
        return head if head in entries() else ""

    @property
    def variant(self) -> str:
        """What stands behind the colon of ``name:variant``; empty for anything else."""
        return self.spec.partition(":")[2] if self.name else ""

    def factory(self) -> Callable[[], AvatarSystem]:
        """A function that makes the system; everything that can be checked before that is checked here.

        Raises:
            SystemLoadError: the name, variant or an option is unknown.
        """
        cls, variant = self._resolve()
        options = dict(self.options)
        if variant is not None:
            options["variant"] = variant
        parameters = inspect.signature(cls).parameters
        takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        for name in options:
            if name not in parameters and not takes_any:
                if name == "variant":
                    raise SystemLoadError(f"The system {self.spec.partition(':')[0]!r} has no variants.")
                known = ", ".join(sorted(parameters)) or "none"
                raise SystemLoadError(f"The system {self.label!r} has no option {name!r}; its options: {known}.")

        def make() -> AvatarSystem:
            try:
                return cls(**options)
            except SystemLoadError:
                raise
            except Exception as error:
                raise SystemLoadError(
                    f"The system {self.label!r} can't be constructed: {type(error).__name__}: {error}"
                ) from error

        return make

    def _resolve(self) -> tuple[type[AvatarSystem], str | None]:
        head, colon, tail = self.spec.partition(":")
        known = entries()
        if head in known:
            cls = known[head].load()
            if not colon:
                return cls, None
            variants = cls.variants()
            if tail not in variants:
                names = ", ".join(variants) or "none"
                raise SystemLoadError(f"The system {head!r} has no variant {tail!r}; its variants: {names}.")
            return cls, tail
        if colon:
            return load_class(self.spec), None
        names = ", ".join(known)
        raise SystemLoadError(
            f"There is no system {self.spec!r}. Known are {names}; a system of your own is named module:Class or "
            f"installed as a plug-in (entry-point group {GROUP})."
        )
