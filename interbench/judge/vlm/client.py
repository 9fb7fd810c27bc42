"""One OpenAI-compatible judge server: requests, streams, and every way in which they fail, told apart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from interbench.base.errors import JudgeError
from interbench.base.foreign import NotJsonError, mended, parsed_json
from interbench.base.http import (
    Backoff,
    BodyTooLongError,
    asked_wait,
    hopeless,
    read_body,
    redirect,
    trouble,
)
from interbench.base.remote import Secret, excerpt
from interbench.domain.records import Missing
from interbench.judge.vlm.complaints import Complaints
from interbench.judge.vlm.completions import (
    LEAST_LOGPROB,
    MAX_ANSWER,
    MAX_BODY,
    Completion,
    json_object,
    log_probability,
    read_answer,
    streamed,
    whole_answer,
)
from interbench.judge.vlm.connections import Connections, Line
from interbench.judge.vlm.failures import BUSY, AccessError, Busy, Failure, UnavailableError, Unreachable, UnusableError
from interbench.judge.vlm.schedule import Throttle

__all__ = [
    "LEAST_LOGPROB",
    "MAX_ANSWER",
    "AccessError",
    "Completion",
    "Failure",
    "Patience",
    "Server",
    "UnavailableError",
    "UnusableError",
    "log_probability",
]

_SILENCE_S = 10.0
"""Waiting longer than this is said."""


_CACHES = ("/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache")
"""Where vLLM empties its caches of prefixes and of what was made of pictures; not every version has the last."""


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
        self._connections = Connections(url, secret)
        self._complaints = Complaints(url, secret)
        self._resume_at = 0.0
        self._down_since: float | None = None
        self._waits_since: float | None = None
        self._told = False
        self.tell: Callable[[str], None] = lambda line: None
        """Is told once why nothing comes, when that has gone on for some time."""
        self._fingerprint: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def guard(self, recognise: Callable[[], Awaitable[None]]) -> None:
        """From now on accept answers only of the server that was asked so far; see :meth:`Connections.guard`."""
        self._connections.guard(recognise)

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

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

    async def forget(self) -> bool:
        """Ask the server to empty its caches, as vLLM does with ``VLLM_SERVER_DEV_MODE=1``; whether it has."""
        try:
            for path in _CACHES:
                url = httpx.URL(f"{self.url}{path}")
                async with (
                    asyncio.timeout(self._patience.timeout_s),
                    self._connections.send("POST", url, None) as (response, _),
                ):
                    told = await read_body(response, MAX_BODY)
                if response.status_code == 404 and path == _CACHES[-1]:
                    continue
                if response.status_code != 200 or (told and parsed_json(told) == {"success": False}):
                    return False
        except (TimeoutError, httpx.HTTPError, BodyTooLongError, NotJsonError):
            return False
        return True

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
            except Busy as busy:
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
            except Unreachable as down:
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

    async def _attempt(self, body: bytes, begun: Callable[[list[int] | None], None]) -> Completion:
        started = self._now()
        line: Line | None = None
        try:
            async with (
                asyncio.timeout(self._patience.timeout_s),
                self._connections.send("POST", self._chat_url, body) as (response, line),
            ):
                self._down_since = None
                if response.status_code != 200:
                    refusal = self._complaints.refused(response, await read_answer(response))
                    if isinstance(refusal, Failure) and (refusal.forgotten or (refusal.status or 0) >= 500):
                        self._connections.doubt()
                    raise refusal
                if "event-stream" in response.headers.get("content-type", ""):
                    answer = await streamed(response, begun, self._now, started, self._complaints.said)
                else:
                    told = json_object(await read_answer(response))
                    if told.get("error"):
                        raise Failure(
                            Missing.SERVER_ERROR, f"the server answered with an error: {self._complaints.said(told)}"
                        )
                    answer = whole_answer(told, self._now() - started)
                    begun(answer.prompt_ids)
        except TimeoutError:
            raise Failure(Missing.TIMED_OUT, f"no complete answer within {self._patience.timeout_s:g} s") from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            if hopeless(error):
                raise JudgeError(f"The judge's server {self.url} can't be used: {trouble(error)}.") from None
            raise Unreachable(trouble(error)) from None
        except httpx.HTTPError as error:
            raise Failure(Missing.SERVER_ERROR, f"the connection broke ({trouble(error)})") from None
        except Failure as failure:
            if line is not None and failure.missing in (Missing.CONTEXT_OVERFLOW, Missing.REQUEST_REJECTED):
                await self._connections.confirm(line)
            raise
        if answer.fingerprint is not None:
            if self._fingerprint not in (None, answer.fingerprint):
                self._connections.doubt()
            self._fingerprint = answer.fingerprint
        await self._connections.confirm(line)
        return answer

    async def _asked(self, method: str, path: str, body: bytes | None) -> Any:
        tries, backoff = 0, self._backoff()
        while True:
            try:
                return await self._once(method, path, body)
            except Busy as busy:
                self._waits(busy, busy.wait_s)
                tries += 1
                pause = None if tries >= self._patience.attempts else backoff.pause(busy.wait_s)
                if pause is None:
                    raise UnavailableError(f"The judge's server {self.url}: {busy}; {tries} attempt(s) made.") from None
            await self._sleep(pause)

    async def _once(self, method: str, path: str, body: bytes | None) -> Any:
        url = httpx.URL(f"{self.url}{path}")
        try:
            async with (
                asyncio.timeout(self._patience.timeout_s),
                self._connections.send(method, url, body) as (response, _),
            ):
                data = await read_body(response, MAX_BODY)
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
            raise AccessError(self._complaints.key_trouble(status), status)
        if status in BUSY or status >= 500:
            said = self._secret.redact(excerpt([mended(data.decode(errors="replace"))]))
            if status in BUSY:
                raise Busy(f"it answered {status} to {path}: {said}", asked_wait(response.headers))
            raise UnavailableError(f"The judge's server {self.url} answered {status} to {path}: {said}")
        if leads_elsewhere := redirect(response):
            raise UnusableError(f"The judge's server {self.url} can't be used: to {path}, {leads_elsewhere}.")
        try:
            answer = parsed_json(data)
        except NotJsonError:
            answer = None
        if status != 200:
            said = (
                self._complaints.said(answer)
                if isinstance(answer, dict)
                else excerpt([mended(data.decode(errors="replace"))])
            )
            raise JudgeError(f"The judge's server {self.url} answered {status} to {path}: {self._secret.redact(said)}")
        if isinstance(answer, (dict, list)):
            return answer
        if path != "/v1/models":
            return None
        raise JudgeError(
            f"The server at {self.url} does not answer like an OpenAI-compatible server ({status} for {path}); check "
            f"the address."
        )
