"""One OpenAI-compatible judge server: requests, streams, and every way in which they fail, told apart."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from interbench.base.errors import JudgeError
from interbench.base.foreign import MAX_NAME, NotJsonError, mended, number, parsed_json, whole
from interbench.base.http import (
    Backoff,
    BodyTooLongError,
    asked_wait,
    body_pieces,
    hopeless,
    make_transport,
    read_body,
    redirect,
    trouble,
)
from interbench.base.remote import Secret, excerpt
from interbench.domain.records import Missing
from interbench.judge.vlm.schedule import Throttle

MAX_ANSWER = 100_000
"""Characters of an answer; what is longer is cut off, and treated as such."""
_MAX_BODY = 32 * 2**20
_OVERFLOW = re.compile(
    r"context[ _](?:length|window|size)|max_model_len|maximum model length|(?:prompt|input) is too long", re.I
)
_FORGOTTEN = re.compile(r"cache miss for", re.I)
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
"""A CR that ends what has arrived may be half of a CRLF."""
_BUSY = frozenset({429, 503})
LEAST_LOGPROB = -1e6
_MOST_TOKENS = 10**9
"""Of one request; what is more is no count."""
_CONNECT_S = 20.0
_SILENCE_S = 10.0
"""Waiting longer than this is said."""
"""How long a connection may take to come about; where packets are dropped, the system itself tries for minutes."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may take and how often it is tried again."""

    timeout_s: float = 600.0
    """One attempt, from sending to the end of the answer."""
    attempts: int = 8
    """Times that a request may fail on a server that can be reached."""
    outage_s: float = 300.0
    """How long a server that can't be reached, or that asks to wait, is waited for."""
    first_wait_s: float = 1.0
    """Doubles with each failure, up to ``longest_wait_s``, unless the server says how long to wait."""
    longest_wait_s: float = 30.0


class Failure(Exception):  # noqa: N818 - not an error of the harness: it becomes a verdict's reason for missing
    """A request has no answer. ``missing`` is the typed reason."""

    def __init__(self, missing: Missing, message: str, *, status: int | None = None, forgotten: bool = False) -> None:
        super().__init__(message)
        self.missing = missing
        self.status = status
        self.forgotten = forgotten
        """The server no longer has a video that was sent by reference."""


class UnavailableError(JudgeError):
    """The server can't be reached or is overloaded; it may come back."""


class UnusableError(JudgeError):
    """What answers at the address can't be used, however it is asked: a refused certificate, a redirect."""


class AccessError(JudgeError):
    """The server refuses access: 401 (who are you?) or 403 (not you, or not this)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _Unreachable(Exception):  # noqa: N818
    """No connection: the server is down or restarting."""


class _Busy(Exception):  # noqa: N818
    """429 or 503."""

    def __init__(self, message: str, wait_s: float | None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Completion:
    """What a server answered to one chat request."""

    text: str
    finish_reason: str | None
    refusal: str | None
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    prompt_ids: list[int] | None
    """The expanded prompt, if it was asked for and the server knows how."""
    logprobs: tuple[tuple[tuple[str, float], ...], ...]
    """Per generated token the (token, natural log-probability) pairs that were asked for."""
    seconds: float
    fingerprint: str | None = None
    """The ``system_fingerprint``: a hash of how the server is set up, where it tells one."""


@dataclass(slots=True)
class _Line:
    """A connection."""

    stream: object
    since: float
    """When the request that opened it was sent."""
    heard: float = 0.0
    """When the server last answered on it."""
    known: bool = False
    """Whether it leads to the server that was asked at first."""


class Server:
    """One server. Use as an async context manager.

    Args:
        url: base address, without ``/v1``.
        secret: the key, if any.
        throttle: limits the requests in flight here.
        patience: see :class:`Patience`.
        sleep: how to wait.
    """

    def __init__(
        self,
        url: str,
        secret: Secret,
        throttle: Throttle,
        patience: Patience,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.url = url
        self._chat_url = httpx.URL(f"{url}/v1/chat/completions")
        self.throttle = throttle
        self.retries = 0
        self._secret = secret
        self._patience = patience
        self._sleep = sleep
        # A connection per request in flight, driven without a client's cookies and redirects: the cost of a shared pool
        # grows with the number of its connections, and judging makes many small requests.
        self._idle: list[httpx.AsyncHTTPTransport] = []
        self._transports: list[httpx.AsyncHTTPTransport] = []
        self._tls = httpx.create_ssl_context() if url.startswith("https") else False
        self._headers = {"host": urlsplit(url).netloc, "content-type": "application/json", **secret.headers()}
        self._resume_at = 0.0
        self._down_since: float | None = None
        self._waits_since: float | None = None
        self._told = False
        self.tell: Callable[[str], None] = lambda line: None
        """Is told once why nothing comes, when that has gone on for some time."""
        self._recognise: Callable[[], Awaitable[None]] | None = None
        self._recognising = asyncio.Lock()
        self._lines: dict[httpx.AsyncHTTPTransport, _Line] = {}
        self._doubts = 0
        self._fingerprint: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def guard(self, recognise: Callable[[], Awaitable[None]]) -> None:
        """From now on accept answers only of the server that was asked so far.

        A connection leads to the same process for as long as it lasts, and so do all that were opened meanwhile. Before
        an answer over any other is accepted, and after every sign of a restart, ``recognise`` is called.

        Args:
            recognise: raises :class:`JudgeError` if another model answers now.
        """
        self._recognise = recognise
        for line in self._lines.values():
            line.known = True

    async def close(self) -> None:
        """Close all connections."""
        transports, self._transports, self._idle = self._transports, [], []
        self._lines.clear()
        for transport in transports:
            await transport.aclose()

    async def get(self, path: str) -> Any:
        """A JSON object or list, or None if the server has no such page.

        Raises:
            UnavailableError: the server can't be reached, or stays overloaded.
            JudgeError: it refuses the key, or is no such server.
        """
        return await self._asked("GET", path, None)

    async def post(self, path: str, body: bytes) -> dict[str, Any] | None:
        """Like :meth:`get`, with a JSON request; a request the server rejects raises :class:`JudgeError` too."""
        answer = await self._asked("POST", path, body)
        return answer if isinstance(answer, dict) else None

    async def chat(
        self,
        body: bytes,
        *,
        begun: Callable[[list[int] | None], None],
        first: bool = False,
        fail_on_500: bool = False,
    ) -> Completion:
        """The answer to a chat request, with retries.

        Args:
            body: the JSON request. With ``"stream": true``, ``begun`` is called at the first piece of the answer.
            first: the request begins a conversation.
            begun: called when the answer begins, with the expanded prompt if the server shows it. May raise.
            fail_on_500: a 500 is not worth a second try.

        Raises:
            Failure: there is no answer; typed.
            JudgeError: the server refuses the key, knows neither the model nor the path, or serves another model now.
        """
        tries, backoff = 0, self._backoff()
        while True:
            try:
                async with self.throttle.slot(first=first):
                    # With the place in hand: whoever waited for one must heed what the server said meanwhile.
                    await self._pause()
                    answer = await self._attempt(body, begun)
                self.throttle.answered(answer.seconds, first=first)
                self._waits_since = None
                return answer
            except _Busy as busy:
                self._waits(busy, busy.wait_s)
                self.throttle.overloaded()
                tries += 1
                pause = None if tries >= self._patience.attempts else backoff.pause(busy.wait_s)
                if pause is None:
                    longer = f" and asks to wait {busy.wait_s:.0f} s" if busy.wait_s else ""
                    raise Failure(Missing.RATE_LIMITED, f"{busy}{longer}; {tries} attempt(s) made") from None
                if busy.wait_s:
                    # Holds for every request to this server; the next round waits for it.
                    self._resume_at = max(self._resume_at, self._now() + pause)
                    self.retries += 1
                    continue
            except _Unreachable as down:
                self._waits(f"it can't be reached ({down})")
                if self._down_since is None:
                    self._down_since = self._now()
                pause = backoff.pause()
                if pause is None or self._now() + pause - self._down_since > self._patience.outage_s:
                    raise Failure(
                        Missing.SERVER_ERROR,
                        f"the server {self.url} can't be reached ({down}), waited up to {self._patience.outage_s:g} s",
                    ) from None
            except Failure as failure:
                final = failure.forgotten or (fail_on_500 and failure.status == 500)
                if final or failure.missing not in (Missing.SERVER_ERROR, Missing.TIMED_OUT):
                    raise
                self._waits(failure)
                tries += 1
                pause = None if tries >= self._patience.attempts else backoff.pause()
                if pause is None:
                    raise Failure(
                        failure.missing, f"{failure}; {tries} attempt(s) made", status=failure.status
                    ) from None
            self.retries += 1
            await self._sleep(pause)

    def _backoff(self) -> Backoff:
        patience = self._patience
        return Backoff(patience.first_wait_s, patience.longest_wait_s, total_s=patience.outage_s)

    def _waits(self, why: object, wait_s: float | None = None) -> None:
        """Say once why nothing comes, when that has gone on for some time or will."""
        now = self._now()
        if self._waits_since is None:
            self._waits_since, self._told = now, False
        if not self._told and now + (wait_s or 0.0) - self._waits_since >= _SILENCE_S:
            self._told = True
            self.tell(f"judge: {self.url}: {why}; trying again for up to {self._patience.outage_s:g} s")

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _pause(self) -> None:
        """Wait until the server, having named a time, may be asked again."""
        if (left := self._resume_at - self._now()) > 0:
            await self._sleep(left)

    @contextlib.asynccontextmanager
    async def _send(
        self, method: str, url: httpx.URL, body: bytes | None
    ) -> AsyncGenerator[tuple[httpx.Response, _Line], None]:
        """The response, its body still to be read, and the way it came. To be used under a timeout."""
        if self._idle:
            transport = self._idle.pop()
        else:
            limits = httpx.Limits(max_connections=1, keepalive_expiry=3.0)
            transport = make_transport(self.url, verify=self._tls, limits=limits)
            self._transports.append(transport)
        try:
            request = httpx.Request(
                method, url, headers=self._headers, content=body, extensions={"timeout": {"connect": _CONNECT_S}}
            )
            sent = self._now()
            response = await transport.handle_async_request(request)
            stream = response.extensions.get("network_stream")
            line = self._lines.get(transport)
            if line is None or line.stream is not stream:
                line = self._lines[transport] = _Line(stream, sent)
            line.heard = self._now()
            try:
                yield response, line
            finally:
                await response.aclose()
        except httpx.HTTPError:
            self._doubt()
            raise
        finally:
            self._idle.append(transport)

    def _doubt(self) -> None:
        """The server may have been restarted."""
        self._doubts += 1
        for line in self._lines.values():
            line.known = False

    async def _confirm(self, line: _Line) -> None:
        """Return if the server at the other end is the one that was asked at first.

        Raises:
            _Unreachable: it is gone again.
            JudgeError: it is not.
        """
        if self._recognise is None or line.known:
            return
        if any(other.known and other.heard >= line.since for other in self._lines.values()):
            # That connection still held when this one was opened, so both lead to the same process.
            line.known = True
            return
        async with self._recognising:
            if line.known:
                return
            lines, doubts = list(self._lines.values()), self._doubts
            try:
                await self._recognise()
            except UnavailableError as error:
                raise _Unreachable(str(error)) from None
            if doubts == self._doubts:
                for one in lines:
                    one.known = True

    async def _attempt(self, body: bytes, begun: Callable[[list[int] | None], None]) -> Completion:
        started = self._now()
        line = None
        try:
            async with (
                asyncio.timeout(self._patience.timeout_s),
                self._send("POST", self._chat_url, body) as (response, line),
            ):
                self._down_since = None
                if response.status_code != 200:
                    raise self._refused(response, await _read(response))
                if "event-stream" in response.headers.get("content-type", ""):
                    answer = await self._streamed(response, begun, started)
                else:
                    told = _object(await _read(response))
                    if told.get("error"):
                        raise Failure(Missing.SERVER_ERROR, f"the server answered with an error: {self._said(told)}")
                    answer = _whole(told, self._now() - started)
                    begun(answer.prompt_ids)
        except TimeoutError:
            raise Failure(Missing.TIMED_OUT, f"no complete answer within {self._patience.timeout_s:g} s") from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            if hopeless(error):
                raise JudgeError(f"The judge's server {self.url} can't be used: {trouble(error)}.") from None
            raise _Unreachable(trouble(error)) from None
        except httpx.HTTPError as error:
            raise Failure(Missing.SERVER_ERROR, f"the connection broke ({trouble(error)})") from None
        except Failure as failure:
            if line is not None and failure.missing in (Missing.CONTEXT_OVERFLOW, Missing.REQUEST_REJECTED):
                await self._confirm(line)
            raise
        if answer.fingerprint is not None:
            if self._fingerprint not in (None, answer.fingerprint):
                self._doubt()
            self._fingerprint = answer.fingerprint
        await self._confirm(line)
        return answer

    async def _streamed(
        self, response: httpx.Response, begun: Callable[[list[int] | None], None], started: float
    ) -> Completion:
        pieces: list[str] = []
        refusal: list[str] = []
        usage: object = None
        finish: str | None = None
        length, has_begun, ended = 0, False, False
        fingerprint: str | None = None
        prompt_ids: list[int] | None = None
        async with contextlib.aclosing(_events(response)) as events:
            async for event in events:
                if event == "[DONE]":
                    ended = True
                    break
                chunk = _object(event, piece=True)
                if chunk.get("error"):
                    raise Failure(Missing.SERVER_ERROR, f"the server broke the answer off: {self._said(chunk)}")
                try:
                    usage = chunk.get("usage") or usage
                    fingerprint = chunk.get("system_fingerprint") or fingerprint
                    prompt_ids = _token_ids(chunk.get("prompt_token_ids")) or prompt_ids
                    said = False
                    for choice in list(chunk.get("choices") or ())[:1]:
                        delta = choice.get("delta") or {}
                        # Some servers name the speaker before they have read the prompt.
                        said = any(value for name, value in delta.items() if name != "role")
                        pieces.append(_text(delta.get("content")))
                        refusal.append(str(delta.get("refusal") or ""))
                        finish = choice.get("finish_reason") or finish
                        length += len(pieces[-1])
                except (AttributeError, TypeError):
                    raise Failure(Missing.SERVER_ERROR, "the stream is not one of chat completions") from None
                if (said or finish) and not has_begun:
                    has_begun = True
                    begun(prompt_ids)
                if length > MAX_ANSWER:
                    finish = "length"
                    break
        if finish is None and not ended:
            raise Failure(Missing.SERVER_ERROR, "the stream ended before the answer did")
        if not has_begun:
            begun(prompt_ids)
        text = mended("".join(pieces)[:MAX_ANSWER])
        seconds = self._now() - started
        return _answer(text, finish, mended("".join(refusal)) or None, usage, prompt_ids, (), seconds, fingerprint)

    def _refused(self, response: httpx.Response, body: bytes) -> Exception:
        """What an HTTP status other than 200 means."""
        status = response.status_code
        kind = ""
        try:
            answer = _object(body)
            said = self._said(answer)
            if isinstance(error := answer.get("error"), Mapping):
                kind = f"{error.get('code')} {error.get('type')}"
        except Failure:
            said = self._secret.redact(excerpt([mended(body.decode(errors="replace"))]))
        said = said or redirect(response)
        message = f"the server answered {status}: {said}" if said else f"the server answered {status}"
        if status in _BUSY:
            return _Busy(message, asked_wait(response.headers))
        if status in (401, 403):
            return JudgeError(self._key_trouble(status))
        if status == 404:
            return JudgeError(f"The judge's server {self.url} knows neither this model nor this path: {said}")
        if status >= 500:
            self._doubt()
            return Failure(Missing.SERVER_ERROR, message, status=status)
        if _FORGOTTEN.search(said):
            self._doubt()
            return Failure(Missing.SERVER_ERROR, message, status=status, forgotten=True)
        if _OVERFLOW.search(f"{said} {kind}"):
            return Failure(Missing.CONTEXT_OVERFLOW, message, status=status)
        return Failure(Missing.REQUEST_REJECTED, message, status=status)

    def _key_trouble(self, status: int) -> str:
        named = self._secret.variable
        hint = (
            f"check the key in the environment variable {named}"
            if named
            else "name the environment variable that holds its key"
        )
        return f"The judge's server {self.url} refused access ({status}): {hint}."

    def _said(self, answer: Mapping[str, Any]) -> str:
        """The message in a server's error object, without the key, on one line."""
        error = answer.get("error")
        inner = error.get("message") if isinstance(error, Mapping) else error
        texts = [text for text in (inner, answer.get("message"), answer.get("detail")) if isinstance(text, str)]
        return self._secret.redact(excerpt(texts))

    async def _asked(self, method: str, path: str, body: bytes | None) -> Any:
        tries, backoff = 0, self._backoff()
        while True:
            try:
                return await self._once(method, path, body)
            except _Busy as busy:
                self._waits(busy, busy.wait_s)
                tries += 1
                pause = None if tries >= self._patience.attempts else backoff.pause(busy.wait_s)
                if pause is None:
                    raise UnavailableError(f"The judge's server {self.url}: {busy}; {tries} attempt(s) made.") from None
            await self._sleep(pause)

    async def _once(self, method: str, path: str, body: bytes | None) -> Any:
        url = httpx.URL(f"{self.url}{path}")
        try:
            async with asyncio.timeout(self._patience.timeout_s), self._send(method, url, body) as (response, _):
                data = await read_body(response, _MAX_BODY)
        except BodyTooLongError as error:
            raise JudgeError(
                f"The judge's server {self.url} answers {path} with something that is no answer: {error}. Check the "
                f"address."
            ) from None
        except (TimeoutError, httpx.HTTPError) as error:
            why = trouble(error)
            if hopeless(error):
                raise UnusableError(f"The judge's server {self.url} can't be used: {why}.") from None
            raise UnavailableError(
                f"The judge's server {self.url} can't be reached ({why}). Start it, e.g. with "
                f"`interbench judge-server`, wait until it is healthy, or check the address."
            ) from None
        status = response.status_code
        if status in (404, 405, 501):
            return None
        if status in (401, 403):
            raise AccessError(self._key_trouble(status), status)
        if status in _BUSY or status >= 500:
            said = self._secret.redact(excerpt([mended(data.decode(errors="replace"))]))
            if status in _BUSY:
                raise _Busy(f"it answered {status} to {path}: {said}", asked_wait(response.headers))
            raise UnavailableError(f"The judge's server {self.url} answered {status} to {path}: {said}")
        if leads_elsewhere := redirect(response):
            raise UnusableError(f"The judge's server {self.url} can't be used: to {path}, {leads_elsewhere}.")
        try:
            answer = parsed_json(data)
        except NotJsonError:
            answer = None
        if status != 200:
            said = self._said(answer) if isinstance(answer, dict) else excerpt([mended(data.decode(errors="replace"))])
            raise JudgeError(f"The judge's server {self.url} answered {status} to {path}: {self._secret.redact(said)}")
        if isinstance(answer, (dict, list)):
            return answer
        if path != "/v1/models":
            return None
        raise JudgeError(
            f"The server at {self.url} does not answer like an OpenAI-compatible server ({status} for {path}); check "
            f"the address."
        )


async def _read(response: httpx.Response) -> bytes:
    try:
        return await read_body(response, _MAX_BODY)
    except BodyTooLongError:
        raise _too_long() from None


def _too_long() -> Failure:
    return Failure(Missing.CUT_OFF, f"the answer is larger than {_MAX_BODY // 2**20} MiB")


async def _events(response: httpx.Response) -> AsyncGenerator[str, None]:
    """The ``data`` of server-sent events (HTML standard, section 9.2.6); also of a last one that nothing ends."""
    data: list[str] = []
    async with contextlib.aclosing(_lines(response)) as lines:
        async for line in lines:
            if line.startswith(b"data:"):
                data.append(line[5:].decode(errors="replace"))
            elif not line and data:
                yield "\n".join(data).strip()
                data = []
    if data:
        yield "\n".join(data).strip()


async def _bounded(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    try:
        async with contextlib.aclosing(body_pieces(response, _MAX_BODY)) as pieces:
            async for piece in pieces:
                yield piece
    except BodyTooLongError:
        raise _too_long() from None


async def _lines(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Lines that end with LF, CRLF or CR, without their ends and without a byte order mark."""
    unfinished, begun = bytearray(), False
    async for piece in _bounded(response):
        unfinished += piece
        if b"\n" not in piece and b"\r" not in piece:
            continue
        if not begun:
            begun, unfinished = True, unfinished.removeprefix(b"\xef\xbb\xbf")
        # A prompt's tokens come in one line of many kilobytes, which an expression goes through slowly.
        arrived = bytes(unfinished)
        *lines, rest = _LINE_END.split(arrived) if b"\r" in arrived else arrived.split(b"\n")
        unfinished = bytearray(rest)
        for line in lines:
            yield line
    if last := unfinished.rstrip(b"\r"):
        yield bytes(last)


def _object(text: bytes | str, *, piece: bool = False) -> dict[str, Any]:
    try:
        value = parsed_json(text, piece=piece)
    except NotJsonError:
        value = None
    if not isinstance(value, dict):
        raise Failure(Missing.SERVER_ERROR, "the server's answer is not a JSON object")
    return value


def _whole(answer: Mapping[str, Any], seconds: float) -> Completion:
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        text = _text(message.get("content"))
        finish = choice.get("finish_reason")
        if len(text) > MAX_ANSWER:
            text, finish = text[:MAX_ANSWER], "length"
        usage = answer.get("usage")
        prompt_ids = _token_ids(answer.get("prompt_token_ids"))
        refusal, fingerprint = str(message.get("refusal") or "") or None, answer.get("system_fingerprint")
        logprobs = _logprobs(choice.get("logprobs"))
        return _answer(text, finish, refusal, usage, prompt_ids, logprobs, seconds, fingerprint)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Failure(Missing.SERVER_ERROR, "the server's answer is not a chat completion") from None


def _logprobs(told: object) -> tuple[tuple[tuple[str, float], ...], ...]:
    """The alternatives of every token; empty if the server gave none or not in the usual form."""
    try:
        tokens = told["content"] or ()  # type: ignore[index]
        return tuple(
            tuple((str(top["token"]), log_probability(top["logprob"])) for top in token["top_logprobs"])
            for token in tokens
        )
    except (KeyError, TypeError, ValueError):
        return ()


def log_probability(told: object) -> float:
    """A logarithm of a probability as a server tells it.

    Raises:
        ValueError: it is none.
    """
    if told == -math.inf:
        return LEAST_LOGPROB
    found = number(told, LEAST_LOGPROB, -LEAST_LOGPROB)
    if found is None:
        raise ValueError("it is no log-probability")
    return found


def _text(content: object) -> str:
    """The text of a message, which some servers give as a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return ""


def _answer(
    text: str,
    finish_reason: object,
    refusal: str | None,
    usage: object,
    prompt_ids: list[int] | None,
    logprobs: tuple[tuple[tuple[str, float], ...], ...],
    seconds: float,
    fingerprint: object,
) -> Completion:
    if not isinstance(usage, Mapping):
        usage = {}
    details = usage.get("prompt_tokens_details")
    if not isinstance(details, Mapping):
        details = {}
    counts = (usage.get("prompt_tokens"), details.get("cached_tokens"), usage.get("completion_tokens"))
    prompt, cached, completion = (whole(count, 0, _MOST_TOKENS) for count in counts)
    finish = mended(finish_reason, MAX_NAME) if isinstance(finish_reason, str) else None
    told = mended(fingerprint, MAX_NAME) if isinstance(fingerprint, str) else None
    return Completion(text, finish, refusal, prompt, cached, completion, prompt_ids, logprobs, seconds, told)


def _token_ids(told: object) -> list[int] | None:
    return told if isinstance(told, list) and set(map(type, told)) <= {int} else None
