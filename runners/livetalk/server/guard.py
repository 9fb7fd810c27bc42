"""What every request passes before it is looked at: whether it may come in, what its response carries, one log line."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from livetalk.base.addresses import is_loopback
from livetalk.server.problems import ProblemError, response

access_log = logging.getLogger("livetalk.access")
error_log = logging.getLogger("livetalk.server")

OPEN_PATHS = ("/", "/health")
"""May be had without the token. Everything else, also what does not exist, may not."""
OPEN_PREFIX = "/page/"

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": _PAGE_POLICY,
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A finished request, for whoever counts."""

    method: str
    route: str
    """The template, never what a client wrote."""
    status: int
    seconds: float
    code: str | None
    """Of the refusal by the guard itself."""


class Guard:
    """ASGI middleware.

    Args:
        app: what it guards.
        token: the bearer token, or None where none is asked for.
        hosts: host names that requests may be sent to; empty for any. Against pages that let their own name point to
            this machine (DNS rebinding).
        seen: told of every finished request.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, hosts: frozenset[str], seen: Callable[[Seen], None]) -> None:
        self._app = app
        self._digest = _digest(token.encode()) if token is not None else None
        self._hosts = hosts
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, began, status = scope["method"], time.perf_counter(), 0
        if method == "HEAD":  # what GET would answer; the connection leaves the body out
            scope = {**scope, "method": "GET"}
        code: str | None = None

        async def answering(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            problem = self._refusal(scope)
            if problem is None:
                await self._app(scope, receive, answering)
            else:
                code = problem.code
                await response(problem)(scope, receive, answering)
        except Exception:
            error_log.exception("A request to %s failed", _route(scope))
            if status:
                raise  # the connection is closed in the middle of the response: the client must not think it whole
            code = "internal"
            failure = ProblemError(code, "The server failed while it worked on this request; its log says why.")
            await response(failure)(scope, receive, answering)
        finally:
            entry = Seen(method, _route(scope), status, time.perf_counter() - began, code)
            self._seen(entry)
            access_log.info("%s %s %s %.3f s", entry.method, entry.route, entry.status or "-", entry.seconds)

    def _refusal(self, scope: Scope) -> ProblemError | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts and host_name(host) not in self._hosts:
            return ProblemError(
                "wrong_host",
                "This server does not answer under the name in the Host header. Use the address that it printed when "
                "it started, or start it with --allow-host and that name.",
            )
        if scope["method"] != "GET" and not _same_origin(headers, host):
            return ProblemError("cross_origin", "Pages of other sites may not use this server. Use its own page.")
        path, authorization = scope["path"], headers.get("authorization")
        problem = self._token_problem(path, authorization)
        if problem is not None:
            return problem
        # What is open to everybody makes nobody known.
        known = self._digest is None or not _is_open(path) or self._has_token(authorization)
        connection = scope.get("state", {}).get("connection")
        if connection is not None and known and not connection.admit():
            return ProblemError(
                "busy", "Too many connections are open. Close some, or try again later.", retry_after_s=5
            )
        return None

    def _token_problem(self, path: str, authorization: str | None) -> ProblemError | None:
        if self._digest is None or _is_open(path):
            return None
        if not _bearer(authorization):
            return ProblemError("token_required", "Send this server's token as `Authorization: Bearer <token>`.")
        if not self._has_token(authorization):
            return ProblemError("token_refused", "This is not the server's token. Ask whoever runs the server for it.")
        return None

    def _has_token(self, authorization: str | None) -> bool:
        # Digests are equally long, so that the comparison tells nothing, not even the token's length.
        token = _bearer(authorization).encode("latin-1")
        return self._digest is not None and hmac.compare_digest(_digest(token), self._digest)


def allowed_hosts(bound: str, extra: Iterable[str] = ()) -> frozenset[str]:
    """Host names that a server bound to ``bound`` answers to: on loopback, loopback's; elsewhere any, unless some are
    given."""
    if not is_loopback(bound):
        return frozenset(map(str.lower, extra))
    return frozenset(map(str.lower, ("localhost", "127.0.0.1", "::1", bound, *extra)))


def host_name(header: str) -> str:
    """The name in a Host header, lower case, without port and brackets; empty if there is none."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return re.sub(r"^([^:]*):\d*$", r"\1", name)


def _same_origin(headers: Headers, host: str) -> bool:
    """Whether no browser says that another site's page asks. Behind a proxy the Host may be another than the page's, so
    that a browser's own judgement comes first; a page can't forge it."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIX)


def _bearer(authorization: str | None) -> str:
    """The token that a request carries; empty if it carries none."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _route(scope: dict[str, Any] | Scope) -> str:
    return getattr(scope.get("route"), "path", "(none)")
