"""A client of the conversation protocol, version 1 (``docs/conversation-protocol.md``).

Any service that speaks it can be talked to. What the service says is data: bounded, checked, and never part of a path
unless it is an identifier.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from interbench.base.errors import InterbenchError, SystemLoadError
from interbench.base.remote import Secret, excerpt, is_loopback, retry_after

PROTOCOL = 1
TURN_HEADER = "Livetalk-Turn"
MAX_JSON_BYTES = 4 * 2**20
_CONNECT_S = 10.0
_ANSWER_S = 60.0
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,128}")
# Servers commonly close connections that were idle for five seconds; one that closes while a turn is being sent would
# leave open whether the turn has been taken.
_IDLE_S = 2.0
M = TypeVar("M", bound=BaseModel)


class ConversationError(InterbenchError):
    """The service could not be made to do what was asked. ``str()`` says why."""

    code = "failed"
    transient = False
    """Whether the same request might succeed later."""


class RefusedError(ConversationError):
    """The service answered with an error."""

    def __init__(self, status: int, code: str, message: str, wait_s: float | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.wait_s = wait_s
        """Seconds after which to try again, where the service says so."""
        self.transient = status >= 500 or status in (404, 408, 409, 425, 429)


class UnreachableError(ConversationError):
    """There was no connection; nothing was sent."""

    code = "unreachable"
    transient = True


class ConnectionLostError(ConversationError):
    """The connection ended, or the service fell silent, before its answer was complete."""

    code = "connection_lost"
    transient = True


class NotTheProtocolError(ConversationError):
    """The service says something that the protocol does not know."""

    code = "not_the_protocol"


class _Model(BaseModel):
    """A service may know less than the protocol has names for: null and a missing name are the same."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data


class ServedVideo(_Model):
    """What the clips look like."""

    width: int = Field(gt=0)
    height: int = Field(gt=0)
    fps: float = Field(gt=0)
    mime: str = ""
    sound_rate: int = Field(gt=0)


class Health(_Model):
    """Who the service is."""

    status: Literal["loading", "ready", "failed"]
    protocol: int
    version: str = "unknown"
    size: str = ""
    weights: str | None = None
    random_weights: bool | None = None
    thinker: str = ""
    device: str = ""
    settings: dict[str, bool | int | float | str] = {}
    sessions: int = 0
    capacity: int = Field(ge=0)
    video: ServedVideo | None = None


class Opened(_Model):
    """A conversation that was opened."""

    id: str = Field(pattern=rf"^{_IDENTIFIER.pattern}$")


class TurnFailure(_Model):
    code: str = "failed"
    message: str = ""


class ServedTurn(_Model):
    """A turn as the service records it."""

    index: int
    outcome: str
    """``running``, ``completed``, ``interrupted``, ``timed_out``, ``failed`` or ``disconnected``."""
    text: str = ""
    heard_text: str | None = None
    timings: Mapping[str, float | None] = Field(default_factory=dict)
    """Seconds after the user's turn was complete, by the service's clock."""
    frames: int | None = None
    video_s: float | None = None
    underruns: int | None = None
    underrun_s: float | None = None
    real_time_factor: float | None = None
    error: TurnFailure | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is sent along."""

    name: str
    content: bytes
    media_type: str


class IncomingAnswer:
    """An answer that is arriving."""

    def __init__(self, index: int, response: httpx.Response) -> None:
        self.index = index
        """The turn's number in the conversation, from 1."""
        self._response = response

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The bytes of the clip as they arrive.

        Raises:
            ConnectionLostError: they end before the answer does.
        """
        try:
            async for piece in self._response.aiter_raw():
                yield piece
        except httpx.TransportError as error:
            raise ConnectionLostError(f"the connection broke in the middle of the answer ({_words(error)})") from None


class ConversationClient:
    """Talks to one service.

    Args:
        url: its address, without a trailing slash.
        token: the bearer token, if it asks for one.
    """

    def __init__(self, url: str, token: Secret) -> None:
        self.url = url
        self._token = token
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S),
            limits=httpx.Limits(keepalive_expiry=_IDLE_S),
            follow_redirects=False,
            # A proxy of the environment has no business between two programs of this machine.
            trust_env=not is_loopback(url),
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def health(self) -> Health:
        """
        Raises:
            ConversationError: there is no answer, or it is not the protocol's.
        """
        return _parsed(Health, await self._ask("GET", "/health", withheld=True), "GET /health")

    async def check_token(self) -> None:
        """See that the service lets us in.

        Raises:
            SystemLoadError: it does not.
            ConversationError: it says nothing about that.
        """
        try:
            await self._ask("GET", "/v1/conversations/none")
        except RefusedError as refused:
            if refused.status in (401, 403):
                raise SystemLoadError(
                    f"The server at {self.url} does not let us in ({refused}). Put its token into an environment "
                    f"variable, LIVETALK_TOKEN or another that the option token_env names."
                ) from None
            if refused.status != 404:
                raise

    async def open(self, fields: Mapping[str, str], image: Upload | None) -> Opened:
        """Open a conversation with ``prompt``, ``persona``, ``voice``, ``seed`` and a reference image.

        Raises:
            ConversationError: it could not be opened.
        """
        where = "POST /v1/conversations"
        return _parsed(Opened, await self._ask("POST", "/v1/conversations", _form(fields, image=image)), where)

    @contextlib.asynccontextmanager
    async def turn(self, conversation: str, text: str | None, audio: Upload | None) -> AsyncIterator[IncomingAnswer]:
        """Post a turn of the user; the answer is there when its first bytes are. Leaving early gives the answer up.

        Raises:
            ConversationError: there is no answer. (:class:`ConnectionLostError`: the turn may have been taken.)
        """
        form = _form({} if text is None else {"text": text}, audio=audio)
        request = self._client.build_request(
            "POST",
            f"{self.url}/v1/conversations/{conversation}/turns",
            files=form,
            headers=self._headers("video/mp4"),
            # Only the harness knows how long an answer may take.
            timeout=httpx.Timeout(None, connect=_CONNECT_S),
        )
        response = await self._send(request)
        try:
            if response.status_code != 200:
                raise self._refusal(response, await _body(response))
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            number = response.headers.get(TURN_HEADER, "")
            if kind != "video/mp4" or not (number.isascii() and number.isdigit()) or len(number) > 9:
                raise NotTheProtocolError(
                    f"the answer should be video/mp4 with a header {TURN_HEADER}, and is {kind[:80] or 'untyped'!r} "
                    f"with {number[:20]!r}"
                )
            yield IncomingAnswer(int(number), response)
        finally:
            await response.aclose()

    async def record(self, conversation: str, index: int) -> ServedTurn:
        """A turn as the service records it, also while it runs.

        Raises:
            ConversationError: there is no such record.
        """
        path = f"/v1/conversations/{conversation}/turns/{index}"
        return _parsed(ServedTurn, await self._ask("GET", path), "GET the turn")

    async def close(self, conversation: str) -> None:
        """Close the conversation.

        Raises:
            ConversationError: nobody knows whether it was closed.
        """
        await self._ask("DELETE", f"/v1/conversations/{conversation}")

    async def _ask(self, method: str, path: str, form: list[Any] | None = None, *, withheld: bool = False) -> Any:
        """The JSON that the service answers; None if it answers nothing. The token is sent unless ``withheld``."""
        headers = {"Accept": "application/json"} if withheld else self._headers("application/json")
        request = self._client.build_request(method, self.url + path, files=form, headers=headers)
        response = await self._send(request)
        try:
            data = await _body(response)
            if response.status_code >= 300:
                raise self._refusal(response, data)
            return data
        finally:
            await response.aclose()

    def _headers(self, accept: str) -> dict[str, str]:
        return {"Accept": accept, "Accept-Encoding": "identity", **self._token.headers()}

    async def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
            raise UnreachableError(f"the server at {self.url} can't be reached ({_words(error)})") from None
        except httpx.TransportError as error:
            raise ConnectionLostError(f"the server at {self.url} gave no answer ({_words(error)})") from None

    def _refusal(self, response: httpx.Response, data: Any) -> RefusedError:
        error = data.get("error") if isinstance(data, dict) else None
        error = error if isinstance(error, dict) else {}
        words = [str(error.get("message") or ""), f"the server answered {response.status_code}"]
        if response.has_redirect_location:
            where = response.headers["location"]
            words.insert(
                0, f"the server redirects to {where}, which is not followed: give the address that it leads to"
            )
        code = str(error.get("code") or f"http_{response.status_code}")
        said = excerpt(words, 1000)
        return RefusedError(
            response.status_code,
            self._token.redact(code)[:80],
            self._token.redact(said),
            retry_after(response.headers.get("retry-after")),
        )


def _form(fields: Mapping[str, str], **files: Upload | None) -> list[Any]:
    """A multipart form. Texts are parts without a file name."""
    parts: list[Any] = [(name, (None, value)) for name, value in fields.items()]
    parts += [(name, (file.name, file.content, file.media_type)) for name, file in files.items() if file is not None]
    return parts


async def _body(response: httpx.Response) -> Any:
    """A short body as JSON; None if it is empty or something else."""
    data = bytearray()
    try:
        async for piece in response.aiter_bytes():
            data += piece
            if len(data) > MAX_JSON_BYTES:
                raise NotTheProtocolError(f"an answer is longer than {MAX_JSON_BYTES} bytes; it was not read")
    except httpx.TransportError as error:
        raise ConnectionLostError(f"the connection broke in the middle of an answer ({_words(error)})") from None
    try:
        return json.loads(data) if data else None
    except (ValueError, RecursionError):
        return None


def _parsed(model: type[M], data: Any, where: str) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the answer"
        raise NotTheProtocolError(
            f"{where} does not answer as the conversation protocol says: {place}: {first['msg']}"
        ) from None


def _words(error: httpx.TransportError) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
