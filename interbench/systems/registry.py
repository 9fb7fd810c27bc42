"""Finding systems by name, variant, ``module:Class`` and label."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interbench.base.errors import SystemLoadError
from interbench.base.options import Options, near
from interbench.base.registry import Found, Registry
from interbench.systems.base import AvatarSystem


def _recipes() -> dict[str, str]:
    """The bundled recipes: a file each, read when it is named."""
    folder = Path(__file__).parent / "recipes"
    names = sorted(path.name.removesuffix(".toml") for path in folder.glob("*.toml"))
    return {name: f"interbench.systems.recipes.named:{re.sub('[^a-z0-9]', '_', name)}" for name in names}


SYSTEMS: Registry[AvatarSystem] = Registry(
    "system",
    AvatarSystem,  # type: ignore[type-abstract]
    "interbench.systems",
    {
        "puppet": "interbench.systems.puppet:Puppet",
        "still": "interbench.systems.controls:Still",
        "text-only": "interbench.systems.controls:TextOnly",
        "echo": "interbench.systems.controls:Echo",
        "boilerplate": "interbench.systems.controls:Boilerplate",
        "livetalk": "interbench.systems.live.livetalk:LiveTalk",
        "gemini-live-avatar": "interbench.systems.live.gemini_live:GeminiLiveAvatar",
        "livekit-room": "interbench.systems.live.livekit_room:LiveKitRoom",
        "webrtc": "interbench.systems.live.webrtc:WebRtc",
        "command": "interbench.systems.command:CommandSystem",
        "worker": "interbench.systems.command:WorkerSystem",
        "recipe": "interbench.systems.recipes.system:RecipeSystem",
        **_recipes(),
        "sora": "interbench.systems.services.sora:Sora",
        "veo": "interbench.systems.services.veo:Veo",
        "gemini-omni": "interbench.systems.services.gemini_omni:GeminiOmni",
        "heygen": "interbench.systems.services.heygen:HeyGen",
        "hedra": "interbench.systems.services.hedra:Hedra",
    },
    error=SystemLoadError,
)


@dataclass(frozen=True, slots=True)
class SystemSpec:
    """A system as named by the user: ``name``, ``name:variant``, ``module:Class`` or ``label=`` any of these."""

    label: str
    """What the system is called in the run and its tables."""
    spec: str
    options: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str, options: Mapping[str, Mapping[str, Any]] | None = None) -> SystemSpec:
        """Read ``text``.

        Args:
            text: as the user names the system.
            options: the ``[system.LABEL]`` tables of the settings, which may hold ``spec``.
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
        return cls(label, spec, table)

    @property
    def variant(self) -> str:
        """What stands behind the colon of ``name:variant``; empty for anything else."""
        head, _, tail = self.spec.partition(":")
        return tail if head in SYSTEMS.entries() else ""

    def with_model(self) -> SystemSpec:
        """The same with all that this machine decides, and with the model in its label, where there are several and
        the user gave it no label: ``livetalk (mini)``.

        Raises:
            SystemLoadError: there is no such system.
        """
        cls = self._find().cls
        options = cls.settled(self.options)
        model = cls.model_of(options) if self.label == self.spec else ""
        return replace(self, options=options, label=f"{self.label} ({model})" if model else self.label)

    def known_options(self) -> Options:
        """What can be told to the system.

        Raises:
            SystemLoadError: there is no such system.
        """
        return SYSTEMS.options(self._find(), label=self.label)

    def factory(self) -> Callable[[], AvatarSystem]:
        """A function that makes the system; everything that can be checked before that is checked here.

        Raises:
            SystemLoadError: the name, variant or an option is unknown, or an option is wrong.
        """
        found = self._find()
        chosen = {} if found.variant is None else {"variant": found.variant}
        return SYSTEMS.prepare(found, {**self.options, **chosen}, label=self.label)

    def _find(self) -> Found[AvatarSystem]:
        found = SYSTEMS.find(self.spec)
        if found.variant is not None:
            variants = found.cls.variants()
            if not variants:
                raise SystemLoadError(f"The system {found.name!r} has no variant {found.variant!r}, nor any other.")
            # A strength may follow (partial@0.25); whether there is one, the system says.
            if found.variant.partition("@")[0] not in variants:
                raise SystemLoadError(
                    f"The system {found.name!r} has no variant {found.variant!r}; its variants: {', '.join(variants)}."
                    f"{near(found.variant, variants)}"
                )
        return found
