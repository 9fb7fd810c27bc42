"""What a judge server answers to a chat request, whole or as a stream, read within bounds."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from interbench.base.foreign import MAX_NAME, NotJsonError, mended, number, parsed_json, whole
from interbench.base.http import (
    BodyTooLongError,
    body_pieces,
    read_body,
)
from interbench.domain.records import Missing
from interbench.judge.vlm.failures import Failure

MAX_ANSWER = 100_000
"""Characters of an answer; what is longer is cut off, and treated as such."""
MAX_BODY = 32 * 2**20
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
"""A CR that ends what has arrived may be half of a CRLF."""
LEAST_LOGPROB = -1e6
_MOST_TOKENS = 10**9
"""Of one request; what is more is no count."""


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


async def streamed(
    response: httpx.Response,
    begun: Callable[[list[int] | None], None],
    now: Callable[[], float],
    started: float,
    said: Callable[[Mapping[str, Any]], str],
) -> Completion:
    """Read an answer as it comes.

    Args:
        begun: called at its first piece, with the expanded prompt if the server shows it. May raise.
        now: the clock, in seconds.
        started: when the request was sent.
        said: the words of an error that the server tells of.

    Raises:
        Failure: the stream breaks off, is too long or is none of chat completions.
    """
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
            chunk = json_object(event, piece=True)
            if chunk.get("error"):
                raise Failure(Missing.SERVER_ERROR, f"the server broke the answer off: {said(chunk)}")
            try:
                usage = chunk.get("usage") or usage
                fingerprint = chunk.get("system_fingerprint") or fingerprint
                prompt_ids = _token_ids(chunk.get("prompt_token_ids")) or prompt_ids
                has_said = False
                for choice in list(chunk.get("choices") or ())[:1]:
                    delta = choice.get("delta") or {}
                    # Some servers name the speaker before they have read the prompt.
                    has_said = any(value for name, value in delta.items() if name != "role")
                    pieces.append(_text(delta.get("content")))
                    refusal.append(str(delta.get("refusal") or ""))
                    finish = choice.get("finish_reason") or finish
                    length += len(pieces[-1])
            except (AttributeError, TypeError):
                raise Failure(Missing.SERVER_ERROR, "the stream is not one of chat completions") from None
            if (has_said or finish) and not has_begun:
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
    seconds = now() - started
    return _answer(text, finish, mended("".join(refusal)) or None, usage, prompt_ids, (), seconds, fingerprint)


async def read_answer(response: httpx.Response) -> bytes:
    """The body of an answer.

    Raises:
        Failure: it is too long.
    """
    try:
        return await read_body(response, MAX_BODY)
    except BodyTooLongError:
        raise _too_long() from None


def _too_long() -> Failure:
    return Failure(Missing.CUT_OFF, f"the answer is larger than {MAX_BODY // 2**20} MiB")


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
        async with contextlib.aclosing(body_pieces(response, MAX_BODY)) as pieces:
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


def json_object(text: bytes | str, *, piece: bool = False) -> dict[str, Any]:
    """A JSON object that a server sent.

    Raises:
        Failure: it is none.
    """
    try:
        value = parsed_json(text, piece=piece)
    except NotJsonError:
        value = None
    if not isinstance(value, dict):
        raise Failure(Missing.SERVER_ERROR, "the server's answer is not a JSON object")
    return value


def whole_answer(answer: Mapping[str, Any], seconds: float) -> Completion:
    """An answer that came in one piece, ``seconds`` after it was asked for.

    Raises:
        Failure: it is no chat completion.
    """
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
