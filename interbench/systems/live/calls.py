"""Small JSON calls to services that hold live sessions. What they answer is data, and said without keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from interbench.base.errors import InterbenchError, SystemLoadError, UsageError
from interbench.base.foreign import NotJsonError, mapped, mended, parsed_json
from interbench.base.http import BodyTooLongError, make_client, read_body, trouble
from interbench.base.remote import Secret, base_url, excerpt, is_loopback

_MAX_ANSWER_BYTES = 4 * 2**20


class CallError(InterbenchError):
    """A service can't be reached or refuses.

    Args:
        code: short stable word.
        status: of the answer; None without one.
    """

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def address(option: str, url: str, secure: str = "https", plain: str = "http") -> str:
    """A service's address without a trailing slash; without encryption only on this machine.

    Raises:
        SystemLoadError: it is none, carries a password, or would send a key and a face in the clear.
    """
    scheme = urlsplit(url.strip()).scheme
    try:
        base_url({secure: "https", plain: "http"}.get(scheme, scheme) + url.strip()[len(scheme) :])
    except UsageError:
        raise SystemLoadError(
            f"{option} = {url!r} is no address; write {secure}://host, without user name, password or query."
        ) from None
    url = url.strip().rstrip("/")
    if scheme != secure and not is_loopback(url):
        raise SystemLoadError(
            f"{option} = {url} is not encrypted and on another machine, so that keys, faces and voices would travel in "
            f"the clear. Use {secure}://, or forward the port to this machine (ssh -L) and use {plain}://127.0.0.1."
        )
    return url


def secret(variable: str | None) -> Secret:
    """The key in an environment variable.

    Raises:
        SystemLoadError: it is not set.
    """
    try:
        return Secret(variable or None)
    except UsageError as error:
        raise SystemLoadError(str(error)) from None


async def post(
    url: str,
    body: Mapping[str, Any],
    *,
    headers: Mapping[str, str] | None = None,
    image: bytes | None = None,
    hidden: Secret | None = None,
    timeout_s: float = 60.0,
) -> dict[str, Any]:
    """The JSON object that a service answers.

    Args:
        body: sent as JSON; beside an ``image`` as the part ``payload`` of a form.
        image: PNG.
        hidden: removed from whatever the service says.

    Raises:
        CallError: it can't be reached, refuses, or answers something else.
    """
    sent: dict[str, Any] = {"json": dict(body)}
    if image is not None:
        import json

        sent = {
            "files": {
                "payload": (None, json.dumps(dict(body)), "application/json"),
                "image": ("image.png", image, "image/png"),
            }
        }
    host = urlsplit(url).netloc
    redact = (hidden or Secret(None)).redact
    try:
        async with (
            make_client(timeout_s, headers=dict(headers or {})) as client,
            client.stream("POST", url, **sent) as response,
        ):
            data = await read_body(response, _MAX_ANSWER_BYTES)
    except BodyTooLongError as error:
        raise CallError("not_the_protocol", f"{host}: {error}") from None
    except (httpx.RequestError, httpx.InvalidURL) as error:
        raise CallError("unreachable", redact(f"{host} can't be reached: {trouble(error)}")) from None
    said = redact(excerpt([mended(data.decode(errors="replace"))]))
    if not 200 <= response.status_code < 300:
        code = {401: "unauthorized", 402: "no_credit", 403: "unauthorized", 429: "busy"}.get(
            response.status_code, "refused"
        )
        raise CallError(code, f"{host} answered {response.status_code}: {said}", response.status_code)
    try:
        return mapped(parsed_json(data)) if data.strip() else {}
    except NotJsonError:
        raise CallError("not_the_protocol", f"{host} answered no JSON: {said}") from None
