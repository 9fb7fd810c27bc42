"""HTTP with a service that makes videos for money.

* A request that starts a job is sent once. It is sent again only after 408 or 429, when the service has said that it
  took nothing; after any other failure of the connection or the server the job may exist and be charged for.
* Requests that only read are repeated with growing pauses.
* Redirects are not followed here, bodies are bounded, and no message carries a key.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from interbench.base.errors import SystemLoadError, UsageError
from interbench.base.foreign import NotJsonError, listed, mapped, mended, parsed_json
from interbench.base.http import (
    Backoff,
    BodyTooLongError,
    asked_wait,
    make_client,
    read_body,
    redirect,
    trouble,
)
from interbench.base.remote import Secret, base_url, is_loopback
from interbench.systems.events import Failed
from interbench.systems.services.service_errors import Complaint, Ended, complaint, is_exhausted, refusal

MAX_JSON_BYTES = 4 * 2**20
_READ_AGAIN = frozenset({404, 408, 409, 425, 429})
"""404 and 409 too: a service may answer before its own other half knows of the job."""
_SEND_AGAIN = frozenset({408, 429})
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
_GOOGLE_DELAY = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s", re.ASCII)
_LONGEST_HEEDED_S = 120.0
"""The longest wait between two reads that a service may ask for."""
FormPart = tuple[str | None, bytes | str, str] | tuple[None, str]
"""A field of a multipart form: (file name, content, type), or (None, text)."""
Sleep = Callable[[float], Awaitable[None]]


class Auth(Protocol):
    """Who we are to a service."""

    async def headers(self) -> Mapping[str, str]:
        """The headers that carry the key."""
        ...

    def redact(self, text: str) -> str:
        """``text`` without the key."""
        ...


class KeyAuth:
    """A key from the environment, in one header.

    Raises:
        SystemLoadError: the variable is not set.
    """

    def __init__(self, variable: str | None, header: str = "Authorization", scheme: str = "Bearer ") -> None:
        try:
            self._secret = Secret(variable or None)
        except UsageError as error:
            raise SystemLoadError(str(error)) from None
        self._header = header
        self._scheme = scheme

    async def headers(self) -> Mapping[str, str]:
        return self._secret.headers(self._header, self._scheme)

    def redact(self, text: str) -> str:
        return self._secret.redact(text)


@dataclass(frozen=True, slots=True)
class JobAnswer:
    """A response whose body was read."""

    status: int
    headers: httpx.Headers
    body: Any
    """Parsed JSON; the text where it is none."""
    elsewhere: str = ""
    """What to say of a redirect, if it is one."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long requests are repeated."""

    reads: int = 8
    """Times that a request that only reads may fail in a row."""
    first_wait_s: float = 1.0
    """Doubles with each failure, up to ``longest_wait_s``, unless the service says how long to wait."""
    longest_wait_s: float = 30.0
    submit_wait_s: float = 120.0
    """How long to go on submitting while the service answers 408 or 429."""
    timeout_s: float = 120.0
    """One request, between two pieces of data."""


def service_url(url: str) -> str:
    """A service's base address without a trailing slash; plain HTTP is for this machine alone.

    Raises:
        SystemLoadError: it is no address, carries a password, or would send a key in the clear.
    """
    try:
        base_url(url)
    except UsageError as error:
        raise SystemLoadError(str(error)) from None
    url = url.strip().rstrip("/")
    if urlsplit(url).scheme != "https" and not is_loopback(url):
        raise SystemLoadError(
            f"base_url {url} is plain HTTP to another machine, over which keys and clips travel in the clear. Use "
            f"https://, or forward the port to this machine (ssh -L) and use http://127.0.0.1."
        )
    return url


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port, the port filled in."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


class JobService:
    """One service.

    Args:
        url: base address, from :func:`service_url`.
        auth: who we are.
        patience: see :class:`Patience`.
        client: HTTP client; one of its own if not given.
        sleep: how to wait.
    """

    def __init__(
        self,
        url: str,
        auth: Auth,
        patience: Patience | None = None,
        *,
        client: httpx.AsyncClient | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.url = url
        self.patience = patience or Patience()
        self.sleep = sleep
        self._auth = auth
        self.client = client or make_client(self.patience.timeout_s)

    async def close(self) -> None:
        await self.client.aclose()

    async def headers_for(self, url: str) -> dict[str, str]:
        """The key for ``url`` if it is the service's own address; nothing for any other host."""
        return dict(await self._auth.headers()) if origin(url) == origin(self.url) else {}

    def redact(self, text: str) -> str:
        return self._auth.redact(text)

    def may_fetch(self, url: str) -> bool:
        """Whether a clip may be fetched from ``url``: over https, or from this machine if the service runs on it."""
        try:
            parts = urlsplit(url)
            usable = bool(parts.hostname) and parts.port != 0
        except ValueError:
            return False
        return usable and (
            parts.scheme == "https" or (parts.scheme == "http" and is_loopback(url) and is_loopback(self.url))
        )

    async def submit(
        self,
        path: str,
        *,
        json_body: Mapping[str, Any] | None = None,
        form: Sequence[tuple[str, FormPart]] = (),
        method: str = "POST",
    ) -> JobAnswer:
        """Send a request that creates something.

        Raises:
            Ended: refused, or nobody knows whether it was taken.
        """
        patience = self.patience
        backoff = Backoff(patience.first_wait_s, patience.longest_wait_s, total_s=patience.submit_wait_s)
        while True:
            try:
                answer = await self._send(method, self.url + path, json_body, form, MAX_JSON_BYTES)
            except SystemLoadError as error:
                raise Ended(Failed("no_token", str(error), transient=True, charged=False)) from None
            except _NEVER_SENT as error:
                message = f"{self.url} can't be reached ({trouble(error)}); nothing was sent"
                raise Ended(Failed("unreachable", message, transient=True, charged=False)) from None
            except httpx.RequestError as error:
                raise Ended(_unknown(f"the connection broke while the request was sent ({trouble(error)})")) from None
            except BodyTooLongError as error:
                raise Ended(_unknown(f"the service's answer can't be read: {error}")) from None
            if answer.status < 300:
                return answer
            said = self._complaint(answer)
            if answer.status >= 500:
                raise Ended(_unknown(f"the service answered {answer.status}: {said.message}"))
            if answer.status < 400:
                message = f"{answer.elsewhere or f'the service answered {answer.status}'}; check base_url"
                raise Ended(Failed("redirected", message, charged=False))
            if answer.status not in _SEND_AGAIN or is_exhausted(said):
                raise Ended(refusal(answer.status, said))
            asked = self._asked_wait(answer)
            pause = backoff.pause(asked)
            if pause is None:
                wish = "" if asked is None else f"asked to wait {asked:g} s "
                message = f"{said.message} ({wish}after {backoff.waited_s:g} s of waiting)"
                raise Ended(Failed("rate_limited", message, transient=True, charged=False))
            await self.sleep(pause)

    async def read(
        self,
        path: str,
        *,
        json_body: Mapping[str, Any] | None = None,
        method: str = "GET",
        max_bytes: int = MAX_JSON_BYTES,
    ) -> JobAnswer:
        """Ask for something without changing anything; repeated after failures, and where the answer is no JSON object.

        Raises:
            Ended: the service does not answer, or says no. The job that was asked about may go on.
        """
        problem, gone = "", False
        backoff = Backoff(self.patience.first_wait_s, self.patience.longest_wait_s, heeded_s=_LONGEST_HEEDED_S)
        for attempt in range(self.patience.reads):
            asked = None
            try:
                answer = await self._send(method, self.url + path, json_body, (), max_bytes)
            except SystemLoadError as error:
                raise Ended(Failed("no_token", str(error), transient=True, job_open=True)) from None
            except BodyTooLongError as error:
                message = f"the service's answer is longer than {error.limit} bytes; it was not read"
                raise Ended(Failed("answer_too_large", message, job_open=True)) from None
            except httpx.RequestError as error:
                problem, gone = f"the connection broke ({trouble(error)})", False
            else:
                gone = answer.status == 404
                if answer.status < 300 and isinstance(answer.body, dict):
                    return answer
                asked, final = self._asked_wait(answer), self._read_again(answer)
                if isinstance(final, Failed):
                    raise Ended(final)
                problem = final
            if attempt + 1 < self.patience.reads:
                await self.sleep(backoff.pause(asked) or 0.0)
        message = f"{problem}, {self.patience.reads} times in a row"
        raise Ended(Failed("unanswered", message, transient=True, job_open=not gone))

    def _read_again(self, answer: JobAnswer) -> str | Failed:
        """What is wrong with an answer that may be another one the next time, or the end of asking."""
        if answer.status < 300:
            return f"the service answered {answer.status} with something that is no JSON object"
        said = self._complaint(answer)
        if answer.status in _READ_AGAIN or answer.status >= 500:
            return f"the service answered {answer.status}: {said.message}"
        if answer.elsewhere:
            return Failed("redirected", answer.elsewhere, transient=True, job_open=True)
        final = refusal(answer.status, said)
        if isinstance(final, Failed):
            return Failed(said.code, said.message, detail=final.detail, job_open=True)
        raise Ended(final)

    async def _send(
        self,
        method: str,
        url: str,
        json_body: Mapping[str, Any] | None,
        form: Sequence[tuple[str, FormPart]],
        max_bytes: int,
    ) -> JobAnswer:
        content = None if json_body is None else json.dumps(json_body).encode()
        headers = {"Accept": "application/json", **await self.headers_for(url)}
        if content is not None:
            headers["Content-Type"] = "application/json"
        async with self.client.stream(method, url, content=content, files=form or None, headers=headers) as response:
            data = await read_body(response, max_bytes)
            try:
                body = parsed_json(data)
            except NotJsonError:
                body = mended(data.decode(errors="replace"))
            return JobAnswer(response.status_code, response.headers, body, redirect(response))

    def _complaint(self, answer: JobAnswer) -> Complaint:
        found = complaint(answer.body, answer.status)
        return Complaint(self.redact(found.code), self.redact(found.message))

    def _asked_wait(self, answer: JobAnswer) -> float | None:
        """Seconds that the service asks to wait, by header or in Google's error details."""
        if (asked := asked_wait(answer.headers)) is not None:
            return asked
        for detail in listed(mapped(mapped(answer.body).get("error")).get("details")):
            if found := _GOOGLE_DELAY.fullmatch(str(mapped(detail).get("retryDelay", ""))):
                return float(found[1]) or None
        return None


def field(answer: JobAnswer, name: str) -> str:
    """A text field of the answer to a request that created something.

    Raises:
        Ended: it is not there, so that the job may exist but can't be followed.
    """
    value = mapped(answer.body).get(name)
    if not isinstance(value, str) or not value:
        said = ""
        if error := mapped(answer.body).get("error"):
            said = f" and with an error: {complaint({'error': error}).message}"
        raise Ended(_unknown(f"the service answered {answer.status} without {name!r}{said}"))
    return value


def _unknown(message: str) -> Failed:
    return Failed(
        "unknown_submission",
        f"{message}. The job may exist and be charged for, so the request was not sent again.",
        transient=True,
    )
