"""What a judge server means by a status other than 200."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httpx

from interbench.base.errors import JudgeError
from interbench.base.foreign import mended
from interbench.base.http import (
    asked_wait,
    redirect,
)
from interbench.base.remote import Secret, excerpt
from interbench.domain.records import Missing
from interbench.judge.vlm.completions import json_object
from interbench.judge.vlm.failures import BUSY, Busy, Failure

_OVERFLOW = re.compile(
    r"context[ _](?:length|window|size)|max_model_len|maximum model length|(?:prompt|input) is too long", re.I
)
_FORGOTTEN = re.compile(r"cache miss for", re.I)


class Complaints:
    """What a server's refusals mean, in words without its key.

    Args:
        url: base address of the server.
        secret: its key, if any.
    """

    def __init__(self, url: str, secret: Secret) -> None:
        self._url = url
        self._secret = secret

    def refused(self, response: httpx.Response, body: bytes) -> Exception:
        """What an HTTP status other than 200 means."""
        status = response.status_code
        kind = ""
        try:
            answer = json_object(body)
            said = self.said(answer)
            if isinstance(error := answer.get("error"), Mapping):
                kind = f"{error.get('code')} {error.get('type')}"
        except Failure:
            said = self._secret.redact(excerpt([mended(body.decode(errors="replace"))]))
        said = said or redirect(response)
        message = f"the server answered {status}: {said}" if said else f"the server answered {status}"
        if status in BUSY:
            return Busy(message, asked_wait(response.headers))
        if status in (401, 403):
            return JudgeError(self.key_trouble(status))
        if status == 404:
            return JudgeError(f"The judge's server {self._url} knows neither this model nor this path: {said}")
        if status >= 500:
            return Failure(Missing.SERVER_ERROR, message, status=status)
        if _FORGOTTEN.search(said):
            return Failure(Missing.SERVER_ERROR, message, status=status, forgotten=True)
        if _OVERFLOW.search(f"{said} {kind}"):
            return Failure(Missing.CONTEXT_OVERFLOW, message, status=status)
        return Failure(Missing.REQUEST_REJECTED, message, status=status)

    def key_trouble(self, status: int) -> str:
        named = self._secret.variable
        hint = (
            f"check the key in the environment variable {named}"
            if named
            else "name the environment variable that holds its key"
        )
        return f"The judge's server {self._url} refused access ({status}): {hint}."

    def said(self, answer: Mapping[str, Any]) -> str:
        """The message in a server's error object, without the key, on one line."""
        error = answer.get("error")
        inner = error.get("message") if isinstance(error, Mapping) else error
        texts = [text for text in (inner, answer.get("message"), answer.get("detail")) if isinstance(text, str)]
        return self._secret.redact(excerpt(texts))
