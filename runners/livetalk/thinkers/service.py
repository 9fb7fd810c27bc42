"""An OpenAI-compatible service over HTTP: its address, its key, and what its refusals mean for a conversation."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx

from livetalk.base.addresses import is_loopback
from livetalk.thinkers.base import ThinkerError
from livetalk.thinkers.foreign import retry_after, served_models, shown, trouble
from livetalk.thinkers.sse import EventReader

SILENCE_S = 120.0
"""Seconds after which a service that sends nothing counts as hanging. A session's own limits are tighter."""

_CONNECT_S = 10.0
# Servers close idle connections after five seconds or more; a connection is not used after four.
_KEEP_ALIVE_S = 4.0
_LONGEST_REFUSAL = 65_536
_LONGEST_LIST = 4_194_304
# As vLLM, OpenAI, llama.cpp and others put it.
_TOO_LONG = re.compile(
    r"context[ _](?:length|size|window)|maximum (?:model|context|input|prompt|sequence)"
    r"|(?:prompt|input|request) is too long|too many (?:input )?tokens",
    re.I,
)


# A deliberate copy; its twin: interbench.base.http.
@functools.cache
def _tls(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Whose certificates are accepted: httpx's choice, read once. Reading them takes longer than most requests."""
    return httpx.create_ssl_context()


class TooLongError(ThinkerError):
    """The service's model can't take in so long a conversation."""

    def __init__(self, message: str) -> None:
        super().__init__("failed", message)


class ServiceClient:
    """One service, with a pool of connections between ``open`` and ``close``.

    Args:
        what: what it is to the user, e.g. ``chat service``.
        url: root of its API, with or without ``/v1``.
        key_variable: the environment variable that holds its key, if it needs one. The key of ``OPENAI_API_KEY`` is
            shown to OpenAI's own address alone.
        silence_s: seconds that it may send nothing.

    Raises:
        ThinkerError: ``failed``; the address or the key is not one.
    """

    def __init__(self, what: str, url: str, key_variable: str, *, silence_s: float = SILENCE_S) -> None:
        try:
            parts = urlsplit(url.strip())
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            valid = False
        if not valid:
            raise ThinkerError("failed", f"The address of the {what} must look like http://127.0.0.1:8091/v1.")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ThinkerError(
                "failed",
                f"The address of the {what} carries a user name, a password or a query. Give the bare address, and the "
                f"key in the environment variable {key_variable}.",
            )
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"
        self.named = f"The {what} at {parts.netloc}"
        self.key_variable = key_variable
        openai = parts.scheme == "https" and parts.hostname == "api.openai.com"
        self._key = (os.environ.get(key_variable) or (os.environ.get("OPENAI_API_KEY") if openai else "") or "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise ThinkerError(
                "failed",
                f"The environment variable {key_variable} holds characters that no key has (line breaks, accents); set "
                "it to the key alone.",
            )
        self._silence_s = silence_s
        # A proxy from the environment has no way to this machine's own services.
        self._through_proxy = not is_loopback(parts.hostname or "")
        self._client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        if self._client is None:
            headers = {"Accept-Encoding": "identity"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            self._client = httpx.AsyncClient(
                headers=headers,
                timeout=httpx.Timeout(self._silence_s, connect=min(_CONNECT_S, self._silence_s)),
                limits=httpx.Limits(max_connections=None, keepalive_expiry=_KEEP_ALIVE_S),
                trust_env=self._through_proxy,
                verify=_tls(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
                follow_redirects=False,
            )

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @contextlib.asynccontextmanager
    async def post(self, path: str, **content: Any) -> AsyncIterator[httpx.Response]:
        """The response to a request that the service has taken, its body still to be read with :meth:`pieces`.

        Leaving the context closes the connection unless the body was read to its end.

        Args:
            path: below the API's root, e.g. ``/v1/chat/completions``.
            content: ``json``, or ``data`` and ``files``, as httpx takes them.

        Raises:
            TooLongError: the request holds more than its model reads.
            ThinkerError: it is not there, refuses, or breaks off; also while the body is read inside the context.
        """
        async with self._sent("POST", path, **content) as response:
            if response.status_code != 200:
                raise await self._refusal(response)
            yield response

    async def pieces(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """The body as it comes."""
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise self.broken("it compresses its answer, though asked not to; switch that off")
        async for piece in response.aiter_raw():
            yield piece

    async def events(self, response: httpx.Response, *, longest: int, total: int) -> AsyncGenerator[str, None]:
        """The data of the events that make up the body, within the limits that ``EventReader`` keeps."""
        if "text/event-stream" not in response.headers.get("content-type", ""):
            raise self.broken("it does not stream")
        reader = EventReader(longest=longest, total=total)
        async with contextlib.aclosing(self.pieces(response)) as pieces:
            async for piece in pieces:
                for event in reader.feed(piece):
                    yield event

    async def body(self, response: httpx.Response, limit: int) -> bytes:
        """The whole body, of at most ``limit`` bytes."""
        read = bytearray()
        async for piece in self.pieces(response):
            read += piece
            if len(read) > limit:
                raise self.broken(f"its answer is longer than {limit:,} bytes")
        return bytes(read)

    async def choose_model(self, wanted: str | None, option: str) -> str:
        """The model to use: the one that is wanted, if the service has it, else the only one it serves.

        Args:
            wanted: its name.
            option: what to set to choose one, e.g. ``--set thinker.model=NAME``.

        Raises:
            ThinkerError: the service is not there, has no such model, or it is unclear which one to take.
        """
        served = await self.models()
        if served is None:
            if wanted is None:
                raise ThinkerError("failed", f"{self.named} has no list of models: name one with {option}.")
            return wanted
        listed = ", ".join(served[:12]) + (", …" if len(served) > 12 else "")
        if wanted is None:
            if len(served) != 1:
                raise ThinkerError(
                    "failed", f"{self.named} serves several models: choose one with {option} ({listed})."
                )
            return served[0]
        if any(name == wanted or name.startswith(f"{wanted}:") or name.endswith(f"/{wanted}") for name in served):
            return wanted
        raise ThinkerError(
            "failed", f"{self.named} has no model {wanted!r}. Take one of its own with {option}: {listed}."
        )

    async def models(self) -> tuple[str, ...] | None:
        """The names of the models that the service says it has; None if it keeps no such list.

        Raises:
            ThinkerError: it is not there, or refuses.
        """
        async with self._sent("GET", "/v1/models") as response:
            if response.status_code in (404, 405, 501):
                return None
            if response.status_code != 200:
                raise await self._refusal(response)
            try:
                listed = json.loads(await self.body(response, _LONGEST_LIST))
            except (ValueError, RecursionError):
                return None
        names = served_models(listed)
        return None if names is None else tuple(map(shown, names))

    async def opens_a_thought(self, model: str) -> bool:
        """Whether the model's template opens a thought that the answers then only close; as far as the service shows
        what it makes of a conversation (vLLM does)."""
        request = {
            "model": model,
            "messages": [{"role": "user", "content": "Hello."}],
            "add_generation_prompt": True,
            "return_token_strs": True,
        }
        with contextlib.suppress(ThinkerError):
            async with self._sent("POST", "/tokenize", json=request) as response:
                if response.status_code == 200:
                    told = read_json(await self.body(response, _LONGEST_LIST)).get("token_strs")
                    pieces = [piece for piece in told if isinstance(piece, str)] if isinstance(told, list) else []
                    return "".join(pieces[-4:]).strip(" \n\u0120\u010a").endswith("<think>")
        return False

    def broken(self, why: str) -> ThinkerError:
        return ThinkerError("broken", f"{self.named} gave no answer that can be used: {why}.")

    def check_chunk(self, chunk: dict[str, Any]) -> None:
        """Look for an error that stands in the stream instead of a piece of the answer: as OpenAI writes it
        (``error``), or bare, as older servers do.

        Raises:
            ThinkerError: there is one.
        """
        if chunk.get("error"):
            raise self._error_in_stream(chunk["error"])
        if chunk.get("object") == "error" or ("choices" not in chunk and "message" in chunk):
            raise self._error_in_stream(chunk)

    def check_finish(self, reason: object) -> None:
        """Look at why a chunk says that the answer ends; None if it does not.

        Raises:
            ThinkerError: the answer is not complete.
        """
        if reason == "content_filter":
            raise ThinkerError("refused", f"{self.named} refuses to say more.")
        if reason in ("error", "abort"):
            raise self._error_in_stream(None)

    def _error_in_stream(self, error: object) -> ThinkerError:
        said = self._said({"error": error})
        code = error.get("code") if isinstance(error, dict) else None
        meaning = {401: "unauthorized", 403: "unauthorized", 429: "overloaded", 503: "overloaded"}
        return ThinkerError(
            meaning.get(code, "broken") if isinstance(code, int) else "broken",
            f"{self.named} broke the answer off: {said or 'it did not say why'}. See its own log.",
        )

    @contextlib.asynccontextmanager
    async def _sent(self, method: str, path: str, **content: Any) -> AsyncIterator[httpx.Response]:
        if self._client is None:
            raise ThinkerError("failed", f"{self.named} is not open; start the thinker first.")
        with self._explained():
            if "json" in content:
                # In ASCII, so that no character of a user's text can fail to be encoded.
                body = json.dumps(content["json"]).encode()
                content = {"content": body, "headers": {"Content-Type": "application/json"}}
            async with self._client.stream(method, self.url + path, **content) as response:
                yield response

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn httpx's errors into what they mean."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ThinkerError(
                "unreachable", f"{self.named} can't be reached ({trouble(error)}). Is it running?"
            ) from None
        except httpx.PoolTimeout:
            raise ThinkerError("overloaded", f"{self.named} is busy with too many requests from here.") from None
        except httpx.TimeoutException:
            raise ThinkerError(
                "timed_out", f"{self.named} sent nothing for {self._silence_s:g} s and counts as hanging."
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ThinkerError(
                "broken", f"The connection broke off ({trouble(error)}). {self.named} may have died: see its log."
            ) from None

    async def _refusal(self, response: httpx.Response) -> ThinkerError:
        """What a status other than 200 means."""
        status = response.status_code
        if 300 <= status < 400:
            return ThinkerError(
                "failed", f"{self.named} answers with a redirect, which is not followed: give its final address."
            )
        try:
            body = await self.body(response, _LONGEST_REFUSAL)
        except (ThinkerError, httpx.HTTPError):
            body = b""
        try:
            answer = read_json(body)
        except ThinkerError:
            answer = {}
        said = self._said(answer)
        because = f": {said}{'' if said.endswith(('.', '!', '?', '…')) else '.'}" if said else "."
        if status in (400, 403, 422) and _is_content_filter(answer):
            return ThinkerError("refused", f"{self.named} refuses to answer this{because}")
        if status in (401, 403):
            return ThinkerError(
                "unauthorized",
                f"{self.named} does not accept the key (status {status}). Set the environment variable "
                f"{self.key_variable} to a key that it knows.",
            )
        if status == 404:
            return ThinkerError("failed", f"{self.named} knows neither this model nor this path (status 404){because}")
        if status in (429, 503, 529):
            wait = retry_after(response.headers.get("retry-after"))
            when = f" It asks to wait {wait:.0f} s." if wait is not None else " Try again later."
            return ThinkerError("overloaded", f"{self.named} has too much to do (status {status}){because}{when}")
        if status in (408, 504):
            return ThinkerError("timed_out", f"{self.named} took too long (status {status}){because}")
        failure = f"{self.named} answered with status {status}{because}"
        if status in (400, 413, 422, 500) and _TOO_LONG.search(f"{said} {_error_code(answer)}"):
            return TooLongError(failure)
        if status in (400, 415, 422, 500, 501) and re.search(r"audio|multi-?modal|content\S* ?(type|part)", said, re.I):
            return ThinkerError("unsupported", f"{self.named} does not take this turn (status {status}){because}")
        return ThinkerError("failed", failure)

    def _said(self, answer: dict[str, Any]) -> str:
        """The service's own words, in the forms that OpenAI, FastAPI and others give them; without the key."""
        said: Any = answer.get("error", answer.get("detail", answer.get("message")))
        if isinstance(said, list) and said:
            said = said[0]
        if isinstance(said, dict):
            said = said.get("message", said.get("msg"))
        if not isinstance(said, str):
            return ""
        return shown(said.replace(self._key, "[key]") if self._key else said)


def read_json(data: str | bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ThinkerError: ``broken``; it is none.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ThinkerError("broken", "The service sent something that is not the JSON it should be; see its own log.")
    return value


def _is_content_filter(answer: dict[str, Any]) -> bool:
    return re.search("content_(filter|policy)|moderation", _error_code(answer)) is not None


def _error_code(answer: dict[str, Any]) -> str:
    """What an answer's error is for programs, as far as it says."""
    error = answer.get("error")
    words = (error.get("code"), error.get("type")) if isinstance(error, dict) else ()
    return " ".join(word for word in words if isinstance(word, str))
