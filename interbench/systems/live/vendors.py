"""Vendors whose avatar joins a LiveKit room: what one small call each asks for.

Forms: the vendors' plugins for LiveKit's agents, as of 2026-08; none of them was called from here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from interbench.base.foreign import mapped
from interbench.base.remote import Secret
from interbench.domain.persona import Persona
from interbench.systems.live import calls
from interbench.systems.live.system import chosen
from interbench.systems.prompting import picture_prompt
from interbench.systems.reference_image import fitted_png


@dataclass(frozen=True, slots=True)
class Place:
    """Where an avatar is to join."""

    url: str
    room: str
    token: str
    """That lets the avatar in."""
    seconds: float
    """How long nothing may happen there before the vendor need not stay."""


@dataclass(frozen=True, slots=True)
class Joined:
    """What a vendor answers."""

    session: str
    token: str = ""
    """Of the session, where later calls need one."""
    socket: str = ""
    """Where the speech goes, if not into the room."""


class Vendor(ABC):
    """One vendor.

    Args:
        options: further fields of the call, such as the avatar's id; they go out as they are.
        avatar: id of a face of the vendor's, or ids by persona id, gender or ``default``.
        api_url: another address.
    """

    key_variable: ClassVar[str]
    default_url: ClassVar[str]
    rate: ClassVar[int]
    """Samples per second of the speech that it takes."""
    identity: ClassVar[str]
    """By which its avatar is known in the room."""
    speech: ClassVar[Literal["room", "socket"]] = "room"
    takes_portrait: ClassVar[bool] = False
    known: ClassVar[str]
    """What is known of it, for listings."""

    def __init__(self, avatar: str | Mapping[str, str] | None, api_url: str | None, options: Mapping[str, Any]) -> None:
        self.avatar = avatar
        self.url = calls.address("api_url", api_url or self.default_url)
        self.options = dict(options)

    def headers(self, key: Secret) -> dict[str, str]:
        return key.headers("X-API-Key", "")

    def shows_portrait(self, persona: Persona, portrait: Path | None) -> bool:
        """Whether the persona's own face will be seen."""
        return self.takes_portrait and self.avatar is None and portrait is not None

    @abstractmethod
    async def join(self, place: Place, persona: Persona, portrait: Path | None, key: Secret) -> Joined:
        """Have the avatar join.

        Raises:
            CallError: the vendor refuses or can't be reached.
        """

    async def leave(self, joined: Joined, key: Secret) -> None:
        """End the session, where there is a call for it; otherwise it ends when everybody has left."""


class LemonSlice(Vendor):
    """Takes a portrait when the session begins."""

    key_variable = "LEMONSLICE_API_KEY"
    default_url = "https://lemonslice.com/api/liveai/sessions"
    rate = 16_000
    identity = "lemonslice-avatar-agent"
    takes_portrait = True
    known = "the persona's portrait at session time (368x560)"

    async def join(self, place: Place, persona: Persona, portrait: Path | None, key: Secret) -> Joined:
        body: dict[str, Any] = {
            "transport_type": "livekit",
            "properties": {"livekit_url": place.url, "livekit_token": place.token},
            "agent_prompt": picture_prompt(persona),
            "idle_timeout": round(place.seconds),
        }
        image = None
        agent = chosen("avatar", self.avatar, persona)
        if agent is not None:
            body["agent_id"] = agent
        elif portrait is not None:
            image = fitted_png(portrait, (368, 560))
        else:
            raise calls.CallError("no_portrait", "LemonSlice needs a portrait or the id of an agent (avatar)")
        answer = await calls.post(
            self.url, {**body, **self.options}, headers=self.headers(key), image=image, hidden=key
        )
        return Joined(_named(answer, "session_id", "LemonSlice"))


class Tavus(Vendor):
    """Shows a trained replica."""

    key_variable = "TAVUS_API_KEY"
    default_url = "https://tavusapi.com/v2"
    rate = 24_000
    identity = "tavus-avatar-agent"
    known = "one of Tavus's faces; a PAL in echo mode with LiveKit as its transport"

    async def join(self, place: Place, persona: Persona, portrait: Path | None, key: Secret) -> Joined:
        body: dict[str, Any] = {
            "pal_id": "pb87e71797da",
            "conversation_name": place.room,
            "properties": {"livekit_ws_url": place.url, "livekit_room_token": place.token},
        }
        face = chosen("avatar", self.avatar, persona)
        if face is not None:
            body["face_id"] = face
        elif "pal_id" not in self.options:
            body["face_id"] = "r4067604db72"
        url = f"{self.url}/conversations"
        answer = await calls.post(url, {**body, **self.options}, headers=self.headers(key), hidden=key)
        return Joined(_named(answer, "conversation_id", "Tavus"))

    async def leave(self, joined: Joined, key: Secret) -> None:
        await calls.post(f"{self.url}/conversations/{joined.session}/end", {}, headers=self.headers(key), hidden=key)


class LiveAvatar(Vendor):
    """HeyGen's LiveAvatar in LITE mode: its speech goes to a socket of its own."""

    key_variable = "LIVEAVATAR_API_KEY"
    default_url = "https://api.liveavatar.com/v1/sessions"
    rate = 24_000
    identity = "liveavatar-avatar-agent"
    speech = "socket"
    known = "one of LiveAvatar's faces (avatar); 1 or 2 credits a minute; is_sandbox gives a free minute"

    async def join(self, place: Place, persona: Persona, portrait: Path | None, key: Secret) -> Joined:
        avatar = chosen("avatar", self.avatar, persona)
        if avatar is None:
            raise calls.CallError("no_avatar", "LiveAvatar needs the id of a face; set avatar")
        body = {
            "mode": "LITE",
            "avatar_id": avatar,
            "livekit_config": {
                "livekit_room": place.room,
                "livekit_url": place.url,
                "livekit_client_token": place.token,
            },
        }
        answer = await calls.post(f"{self.url}/token", {**body, **self.options}, headers=self.headers(key), hidden=key)
        data = mapped(answer.get("data"))
        session, token = _named(data, "session_id", "LiveAvatar"), _named(data, "session_token", "LiveAvatar")
        secret = Secret.of(token)
        started = await calls.post(
            f"{self.url}/start", {"session_id": session}, headers=secret.headers(), hidden=secret
        )
        return Joined(session, token, _named(mapped(started.get("data")), "ws_url", "LiveAvatar"))

    async def leave(self, joined: Joined, key: Secret) -> None:
        secret = Secret.of(joined.token)
        body = {"session_id": joined.session, "reason": "USER_DISCONNECTED"}
        await calls.post(f"{self.url}/stop", body, headers=secret.headers(), hidden=secret)


VENDORS: Mapping[str, type[Vendor]] = {"lemonslice": LemonSlice, "tavus": Tavus, "liveavatar": LiveAvatar}


def _named(answer: Mapping[str, Any], name: str, vendor: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value or len(value) > 4096:
        raise calls.CallError("not_the_protocol", f"{vendor}'s answer names no {name}")
    return value
