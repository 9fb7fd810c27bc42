"""A client of the conversation protocol, version 1 (``docs/conversation-protocol.md``).

Any service that speaks it can be talked to. What the service says is data: bounded, checked, and never part of a path
unless it is an identifier.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import httpx
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WrapValidator, model_validator

from interbench.base.errors import InterbenchError, SystemLoadError
from interbench.base.foreign import MAX_NAME, MAX_TEXT, NotJsonError, mended, number, parsed_json, whole
from interbench.base.http import (
    Backoff,
    BodyTooLongError,
    asked_wait,
    body_pieces,
    make_client,
    read_body,
    redirect,
    trouble,
)
from interbench.base.remote import Secret, excerpt

PROTOCOL = 1
TURN_HEADER = "Livetalk-Turn"
MAX_JSON_BYTES = 4 * 2**20
_CONNECT_S = 10.0
_ANSWER_S = 60.0
_NO_SUCH = frozenset({404, 405})
_AGAIN_S = 10.0
"""How long something that is only read is asked for again."""
_MOST_SETTINGS = 64
_MOST_TIMINGS = 32
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
        self.transient = status >= 500 or status in (404, 405, 408, 409, 425, 429)


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


# What a service says beside what matters is taken where it is what the protocol says, and left out where it is not: an
# odd figure must not cost a turn.


def _words(most: int, otherwise: str = "") -> BeforeValidator:
    def read(value: Any) -> str:
        if isinstance(value, (str, int, float)):
            return mended(str(value), most)
        return otherwise

    return BeforeValidator(read)


def _unless_odd(value: Any, handler: Any) -> Any:
    try:
        return handler(value)
    except ValidationError:
        return None


def _timings(value: Any) -> dict[str, float]:
    told = value.items() if isinstance(value, dict) else ()
    read = ((mended(name, 80), number(seconds)) for name, seconds in told)
    return dict([(name, seconds) for name, seconds in read if seconds is not None][:_MOST_TIMINGS])


def _settings(value: Any) -> dict[str, bool | int | float | str]:
    """By name; what is neither a number nor a text stands as JSON."""
    told: dict[str, bool | int | float | str] = {}
    for name, item in list(value.items() if isinstance(value, dict) else ())[:_MOST_SETTINGS]:
        if isinstance(item, bool) or (not isinstance(item, str) and number(item, -1e300, 1e300) is not None):
            told[mended(name, MAX_NAME)] = item
        elif item is not None:
            text = item if isinstance(item, str) else json.dumps(item, sort_keys=True)
            told[mended(name, MAX_NAME)] = mended(text, 2000)
    return told


def _names(value: Any) -> tuple[str, ...]:
    return tuple(name for name in value if isinstance(name, str)) if isinstance(value, list) else ()


def _failure(value: Any) -> Any:
    return {"message": value} if isinstance(value, str) else value


Count = Annotated[int | None, BeforeValidator(whole)]
Quantity = Annotated[float | None, BeforeValidator(number)]
Name = Annotated[str, _words(MAX_NAME)]


class ServedVideo(_Model):
    """What the clips look like."""

    width: int = Field(gt=0, le=2**16)
    height: int = Field(gt=0, le=2**16)
    fps: float = Field(gt=0, le=1000)
    mime: Name = ""
    sound_rate: Count = None


class Health(_Model):
    """Who the service is."""

    status: Annotated[str, _words(80)]
    """``loading``, ``ready`` or ``failed``."""
    protocol: int
    version: Annotated[str, _words(MAX_NAME, "unknown")] = "unknown"
    size: Name = ""
    weights: Annotated[str | None, _words(MAX_NAME)] = None
    random_weights: Annotated[bool | None, WrapValidator(_unless_odd)] = None
    thinker: Name = ""
    voice_fields: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    """Which of ``pitch`` and ``rate`` a conversation may be opened with."""
    device: Name = ""
    settings: Annotated[dict[str, bool | int | float | str], BeforeValidator(_settings)] = {}
    sessions: Count = 0
    capacity: int = Field(ge=0, le=10_000)
    video: Annotated[ServedVideo | None, WrapValidator(_unless_odd)] = None


class Opened(_Model):
    """A conversation that was opened."""

    id: str = Field(pattern=rf"^{_IDENTIFIER.pattern}$")


class TurnFailure(_Model):
    code: Annotated[str, _words(80, "failed")] = "failed"
    message: Annotated[str, _words(MAX_TEXT)] = ""


class ServedTurn(_Model):
    """A turn as the service records it."""

    index: int
    outcome: Annotated[str, _words(80)]
    """``running``, ``completed``, ``interrupted``, ``timed_out``, ``failed`` or ``disconnected``."""
    text: Annotated[str, _words(MAX_TEXT)] = ""
    heard_text: Annotated[str | None, _words(MAX_TEXT)] = None
    timings: Annotated[Mapping[str, float], BeforeValidator(_timings)] = Field(default_factory=dict)
    """Seconds after the user's turn was complete, by the service's clock."""
    frames: Count = None
    video_s: Quantity = None
    underruns: Count = None
    underrun_s: Quantity = None
    real_time_factor: Quantity = None
    error: Annotated[TurnFailure | None, BeforeValidator(_failure), WrapValidator(_unless_odd)] = None


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
            NotTheProtocolError: they are compressed in a way that can't be undone.
        """
        try:
            async with contextlib.aclosing(body_pieces(self._response)) as pieces:
                async for piece in pieces:
                    yield piece
        except httpx.DecodingError as error:
            raise NotTheProtocolError(f"the answer can't be read: {trouble(error)}") from None
        except httpx.TransportError as error:
            raise ConnectionLostError(f"the connection broke in the middle of the answer ({trouble(error)})") from None


class ConversationClient:
    """Talks to one service.

    Args:
        url: its address, without a trailing slash.
        token: the bearer token, if it asks for one.
    """

    def __init__(self, url: str, token: Secret) -> None:
        self.url = url
        self._token = token
        self._client = make_client(
            httpx.Timeout(_ANSWER_S, connect=_CONNECT_S), limits=httpx.Limits(keepalive_expiry=_IDLE_S)
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def health(self, *, again: bool = False) -> Health:
        """
        Args:
            again: ask for some seconds, if the service is there and fails.

        Raises:
            ConversationError: there is no answer, or it is not the protocol's.
        """
        answer = await (self._read("/health", withheld=True) if again else self._ask("GET", "/health", withheld=True))
        return _parsed(Health, answer, "GET /health")

    async def check_token(self) -> None:
        """See that the service lets us in, by asking for a turn that can't be: any answer but 401 and 403 says so.

        Raises:
            SystemLoadError: it does not.
            ConversationError: it fails.
        """
        try:
            await self._read("/v1/conversations/none/turns/1")
        except RefusedError as refused:
            if refused.status in (401, 403):
                raise SystemLoadError(
                    f"The server at {self.url} does not let us in ({refused}). Put its token into an environment "
                    f"variable, LIVETALK_TOKEN or another that the option token_env names."
                ) from None
            if refused.status >= 500 or 300 <= refused.status < 400:
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
        """A turn as the service records it, also while it runs. Asked for again for some seconds.

        Raises:
            ConversationError: there is no such record.
        """
        path = f"/v1/conversations/{conversation}/turns/{index}"
        return _parsed(ServedTurn, await self._read(path), "GET the turn")

    async def close(self, conversation: str) -> None:
        """Close the conversation.

        Raises:
            ConversationError: nobody knows whether it was closed.
        """
        await self._ask("DELETE", f"/v1/conversations/{conversation}")

    async def _read(self, path: str, *, withheld: bool = False) -> Any:
        """What a GET is answered; asked again while the service fails in a way that may pass."""
        backoff = Backoff(0.25, 4.0, total_s=_AGAIN_S)
        while True:
            try:
                return await self._ask("GET", path, withheld=withheld)
            except UnreachableError:
                raise
            except ConversationError as error:
                refused = isinstance(error, RefusedError) and error.status in _NO_SUCH
                pause = None if refused or not error.transient else backoff.pause(getattr(error, "wait_s", None))
                if pause is None:
                    raise
            await asyncio.sleep(pause)

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
            raise UnreachableError(f"the server at {self.url} can't be reached ({trouble(error)})") from None
        except httpx.RequestError as error:
            raise ConnectionLostError(f"the server at {self.url} gave no answer ({trouble(error)})") from None

    def _refusal(self, response: httpx.Response, data: Any) -> RefusedError:
        error = data.get("error") if isinstance(data, dict) else None
        told = error if isinstance(error, dict) else {"message": error}
        words = [
            redirect(response),
            *(text for text in (told.get("message"),) if isinstance(text, str)),
            f"the server answered {response.status_code}",
        ]
        code = told.get("code")
        code = str(code) if isinstance(code, (str, int)) and code else f"http_{response.status_code}"
        said = excerpt(words, 1000)
        return RefusedError(
            response.status_code,
            self._token.redact(mended(code, 80)),
            self._token.redact(said),
            asked_wait(response.headers),
        )


def _form(fields: Mapping[str, str], **files: Upload | None) -> list[Any]:
    """A multipart form. Texts are parts without a file name."""
    parts: list[Any] = [(name, (None, value)) for name, value in fields.items()]
    parts += [(name, (file.name, file.content, file.media_type)) for name, file in files.items() if file is not None]
    return parts


async def _body(response: httpx.Response) -> Any:
    """A short body as JSON; None if it is empty or something else."""
    try:
        data = await read_body(response, MAX_JSON_BYTES)
    except BodyTooLongError:
        raise NotTheProtocolError(f"an answer is longer than {MAX_JSON_BYTES} bytes; it was not read") from None
    except httpx.RequestError as error:
        raise ConnectionLostError(f"the connection broke in the middle of an answer ({trouble(error)})") from None
    try:
        return parsed_json(data) if data else None
    except NotJsonError:
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
