"""``--set NAME.OPTION=VALUE``: any option of any system, judge or transcriber from the command line.

NAME is a system's label, ``judge`` or ``transcriber`` (or the name of the one that was chosen), ``script``, ``words``
or ``speech``. What is set stands in the settings afterwards as if it came from a settings file, so that the manifest
keeps it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interbench.asr.registry import TRANSCRIBERS
from interbench.base.errors import UsageError
from interbench.base.options import Options, near, options_of
from interbench.base.registry import Registry
from interbench.drive.script import ScriptWriter
from interbench.drive.words import speech_choice, words_choice
from interbench.judge.registry import JUDGES
from interbench.pipeline.config import Settings
from interbench.systems.registry import SYSTEMS, SystemSpec


@dataclass(frozen=True, slots=True)
class _Target:
    """Something whose options can be set."""

    kind: str
    """``system``, ``judge``, ``transcriber``, ``script``, ``words`` or ``speech``."""
    label: str
    """Of a system."""
    options: Callable[[], Options]


_KINDS = ("judge", "transcriber", "script", "words", "speech")
"""What has options in a table of its own."""
_Targets = Mapping[str, Sequence[_Target]]
"""By the name that the command line gives."""


def with_options(settings: Settings, texts: Iterable[str], *, playing: bool = True) -> Settings:
    """``settings`` with options from the command line.

    Args:
        settings: as they were without them.
        texts: ``NAME.OPTION=VALUE`` each.
        playing: whether the systems are played; to an existing run only its later stages can be told anything.

    Raises:
        InterbenchError: a name or an option is unknown (these there are), or a value means nothing.
    """
    targets = _later(settings)
    if playing:
        targets |= _scripts(settings)
        for text in settings.systems:
            spec = SystemSpec.parse(text, settings.system)
            targets[spec.label] = [*targets.get(spec.label, ()), _of_system(spec)]
    given: dict[str, dict[str, Any]] = {
        name: copy.deepcopy(getattr(settings, name)) for name in ("system", *(f"{kind}_options" for kind in _KINDS))
    }
    for text in texts:
        target, path, value = _read(text, targets, playing=playing)
        table = given["system"].setdefault(target.label, {}) if target.label else given[f"{target.kind}_options"]
        _put(table, path, value)
    return settings.model_copy(update=given)


def system_options(specs: Mapping[str, SystemSpec], texts: Iterable[str]) -> Mapping[str, SystemSpec]:
    """Systems by label with options from the command line; raises as :func:`with_options`."""
    targets = {label: [_of_system(spec)] for label, spec in specs.items()}
    found = dict(specs)
    for text in texts:
        target, path, value = _read(text, targets, playing=True)
        spec = found[target.label]
        options = copy.deepcopy(dict(spec.options))
        _put(options, path, value)
        found[target.label] = SystemSpec(spec.label, spec.spec, options)
    return found


def _of_system(spec: SystemSpec) -> _Target:
    return _Target("system", spec.label, spec.known_options)


def _later(settings: Settings) -> dict[str, list[_Target]]:
    """The judge and the transcriber, each by what it is and by its own name."""
    found: dict[str, list[_Target]] = {}
    kinds: tuple[tuple[Registry[Any], str, Mapping[str, Any]], ...] = (
        (JUDGES, settings.judge_name, {"repeats": settings.repeats}),
        (TRANSCRIBERS, settings.transcriber, {}),
    )
    for registry, chosen, given in kinds:
        alias = registry.aliases.get(chosen)

        def options(
            registry: Registry[Any] = registry, chosen: str = chosen, given: Mapping[str, Any] = given
        ) -> Options:
            return registry.options(registry.find(chosen), given=given)

        for name in {registry.kind, chosen, *([alias.means()] if alias else [])}:
            if "://" not in name:
                found.setdefault(name, []).append(_Target(registry.kind, "", options))
    return found


def _scripts(settings: Settings) -> dict[str, list[_Target]]:
    """Whoever makes up and speaks the replies of systems that don't."""
    found = {
        "words": [_Target("words", "", lambda: words_choice(settings.words))],
        "speech": [_Target("speech", "", lambda: speech_choice(settings.speech))],
    }
    return found if settings.script is None else found | {"script": [_Target("script", "", script_options)]}


def script_options() -> Options:
    """What can be told to the writer of replies."""
    return options_of(ScriptWriter, "writer of replies (--script)", positional=2)


def _read(text: str, targets: _Targets, *, playing: bool) -> tuple[_Target, list[str], Any]:
    left, equals, value = text.partition("=")
    left = left.strip()
    fitting = [name for name in targets if left.startswith(f"{name}.") and len(left) > len(name) + 1]
    if not equals or not (fitting or "." in left):
        raise UsageError(
            f"--set takes NAME.OPTION=VALUE, as in --set livetalk.url=http://127.0.0.1:8010, but got {left!r}"
            f"{'' if equals else ' without a value'}."
        )
    if not fitting:
        raise UsageError(_unknown(left.rpartition(".")[0], targets, playing=playing))
    name = max(fitting, key=len)
    if len(targets[name]) > 1:
        kinds = " and ".join(f"a {target.kind}" for target in targets[name])
        raise UsageError(f"--set {name}.…: {name!r} is {kinds} here. Give the system another label: other={name}.")
    (target,) = targets[name]
    path = left.removeprefix(f"{name}.")
    return target, path.split("."), target.options().read(path, value)


def _unknown(name: str, targets: _Targets, *, playing: bool) -> str:
    there = f"Options can be set of {', '.join(targets)}.{near(name, targets)}"
    if not playing and (name in SYSTEMS.entries() or name == "script"):
        return f"--set {name}.…: an existing run is not played again, so {name!r} can't be told anything. {there}"
    for registry, how in ((SYSTEMS, "--systems"), (JUDGES, "--judge"), (TRANSCRIBERS, "--transcriber")):
        if name.partition(":")[0] in registry.entries():
            chosen = "not among those to test; add it" if registry is SYSTEMS else "not chosen; choose it"
            return f"--set {name}.…: the {registry.kind} {name!r} is {chosen} with {how} {name}. {there}"
    return f"--set {name}.…: there is no {name!r} here. {there}"


def _put(table: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        inner = table.get(name)
        table[name] = dict(inner) if isinstance(inner, Mapping) else {}
        table = table[name]
    table[path[-1]] = value
