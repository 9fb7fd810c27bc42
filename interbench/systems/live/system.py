"""What the live systems share: how long they wait, what they charge, where recordings are decoded."""

from __future__ import annotations

import dataclasses
import importlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from interbench.base.errors import SystemLoadError
from interbench.domain.persona import Persona
from interbench.media.limits import Limits
from interbench.media.pool import MediaPool
from interbench.systems.base import AvatarSystem
from interbench.systems.events import JsonValue
from interbench.systems.live.talk import Pace


class LiveSystem(AvatarSystem):
    """Base class of systems that are talked to in real time.

    Args:
        first_sound_s: how long to wait for the answer's first sound after the user's line.
        end_silence_s: silence that ends an answer, where the service does not say that it has ended.
        longest_s: longest answer; what a turn may cost is reckoned with it.
        connect_s: for a session to be ready.
        sessions: conversations at once.
        price_usd_per_s: of a second, where the built-in price no longer holds.

    Raises:
        SystemLoadError: an option is wrong.
    """

    extra: ClassVar[str]
    """Of the package, with what this system needs."""
    module: ClassVar[str]
    """That is missing where the extra is not installed."""

    def __init__(
        self,
        *,
        first_sound_s: float = 30.0,
        end_silence_s: float = 2.0,
        longest_s: float = 120.0,
        connect_s: float = 60.0,
        sessions: int | None = None,
        price_usd_per_s: float | None = None,
    ) -> None:
        for name, value in {
            "first_sound_s": first_sound_s,
            "end_silence_s": end_silence_s,
            "longest_s": longest_s,
            "connect_s": connect_s,
        }.items():
            if not 0.1 <= value <= 3600:
                raise SystemLoadError(f"{name} = {value:g} is no useful number of seconds; give one from 0.1 to 3600.")
        if sessions is not None and sessions < 1:
            raise SystemLoadError(f"sessions = {sessions} leaves no conversation to hold; give at least 1.")
        self.pace = Pace(first_sound_s, end_silence_s, longest_s)
        self.limits = Limits()
        """What is taken of a service's pictures."""
        self.connect_s = connect_s
        self.clock = time.monotonic
        known = self.capabilities
        self.capabilities = dataclasses.replace(
            known,
            max_concurrency=known.max_concurrency if sessions is None else sessions,
            price_usd_per_s=known.price_usd_per_s if price_usd_per_s is None else price_usd_per_s,
            max_duration_s=longest_s,
        )
        self._media: MediaPool | None = None

    @property
    def works_here(self) -> bool:
        return False  # the picture is made by a service, whatever it costs

    def settings(self) -> Mapping[str, JsonValue]:
        return {
            "first_sound_s": self.pace.first_sound_s,
            "end_silence_s": self.pace.end_silence_s,
            "longest_s": self.pace.longest_s,
        }

    def need_extra(self) -> None:
        """Say what to install where it is missing.

        Raises:
            SystemLoadError: it is not there.
        """
        try:
            importlib.import_module(self.module)
        except ImportError as error:
            raise SystemLoadError(
                f"{type(self).__name__} needs a package that is not here ({error.name or error}); "
                f"pip install 'interbench[{self.extra}]'"
            ) from None

    async def start(self) -> None:
        self.need_extra()
        self._media = MediaPool()

    async def stop(self) -> None:
        media, self._media = self._media, None
        if media is not None:
            await media.close()

    @property
    def media(self) -> MediaPool:
        """Where recordings and streams are decoded."""
        if self._media is None:
            raise RuntimeError("the system was not started")
        return self._media

    async def pcm(self, audio: Path) -> npt.NDArray[np.float32]:
        """A recording as mono samples at 16 kHz."""
        samples = await self.media.audio(audio)
        return np.zeros(0, np.float32) if samples is None else samples


def chosen(option: str, value: str | Mapping[str, Any] | None, persona: Persona) -> str | None:
    """What an option says for ``persona``: one name for all, or names by persona id, gender or ``default``.

    Raises:
        SystemLoadError: the table has nothing for this persona.
    """
    if value is None or isinstance(value, str):
        return value
    for key in (persona.id, persona.gender, "default"):
        if key in value:
            return str(value[key])
    raise SystemLoadError(
        f"{option} names nothing for {persona.id} ({persona.gender}); add an entry under its id, its gender or "
        f"'default'."
    )
