"""The rating page over HTTP, one path per rater: ``/r/RATER/``. Needs the extra ``rate``.

Whoever comes from elsewhere shows the rater's token once, in a request's body, and then has it in a cookie that scripts
can't read and no other site sends. One tab at a time holds a rater's study: it keeps a stream open, which ends when the
tab does, and is told over it when another tab takes over.
"""

from __future__ import annotations

import asyncio
import hmac
import mimetypes
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from interbench.base.errors import StoreError, UsageError
from interbench.base.foreign import NotJsonError, parsed_json
from interbench.rating.page import CSP, FILES, STATIC, page_text
from interbench.rating.session import Session
from interbench.rating.study import Study
from interbench.store.ratings import Ratings

_LONGEST_BODY = 2**16
_COOKIE = "rater"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": f"{CSP.replace(' file:', '')}; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class Holder:
    """Which tab of a rater holds the study."""

    def __init__(self) -> None:
        self.tab = ""
        self._streams: dict[str, asyncio.Queue[str]] = {}

    def taken_from(self, tab: str) -> bool:
        """Whether another tab holds it, and is there."""
        return bool(self.tab) and self.tab != tab and self.tab in self._streams

    def take(self, tab: str) -> None:
        """Give it to this tab, and tell the other one."""
        if self.tab != tab and self.tab in self._streams:
            self._streams[self.tab].put_nowait("taken")
        self.tab = tab

    def join(self, tab: str) -> asyncio.Queue[str]:
        """What is to be told to a tab; an earlier stream of the same tab, or of a copy of it, ends."""
        if tab in self._streams:
            self._streams[tab].put_nowait("taken")
        self._streams[tab] = asyncio.Queue()
        return self._streams[tab]

    def leave(self, tab: str, told: asyncio.Queue[str]) -> None:
        """The tab is gone."""
        if self._streams.get(tab) is told:
            del self._streams[tab]

    def end(self) -> None:
        """Let all streams end."""
        for told in self._streams.values():
            told.put_nowait("end")


class RatingServer:
    """The ASGI application of a study, and what it knows while it runs.

    Args:
        ratings: open for writing, in the thread that runs the server.
        open_to: raters who need no token, on loopback.
        hosts: host names that requests may be sent to; empty for any. Against pages that let their own name point to
            this machine.
    """

    def __init__(self, ratings: Ratings, study: Study, *, open_to: frozenset[str], hosts: frozenset[str]) -> None:
        self._ratings = ratings
        self._study = study
        self._open_to = open_to
        showings = ratings.showings()
        self._sessions = {rater: Session(ratings, study, rater, showings) for rater in ratings.raters()}
        self._holders = {rater: Holder() for rater in self._sessions}
        routes = [
            Route("/", self._front),
            Route("/r/{rater}/", self._page),
            Route("/r/{rater}/api/enter", self._enter, methods=["POST"]),
            Route("/r/{rater}/api/hold", self._hold),
            Route("/r/{rater}/api/at", self._at),
            Route("/r/{rater}/api/answer", self._answer, methods=["POST"]),
            Route("/r/{rater}/api/close", self._close, methods=["POST"]),
            Route("/r/{rater}/clips/{name}", self._clip),
            Route("/r/{rater}/{name}", self._file),
        ]
        self.app = Starlette(
            routes=routes,
            middleware=[Middleware(_Guard, hosts=hosts)],
            exception_handlers={
                HTTPException: _plain,
                UsageError: _refused,
                StoreError: _unkept,
            },
        )

    def end(self) -> None:
        """Let all open streams end, so that the server can."""
        for holder in self._holders.values():
            holder.end()

    async def _front(self, request: Request) -> Response:
        if len(self._open_to) == 1:
            return RedirectResponse(f"/r/{next(iter(self._open_to))}/")
        return PlainTextResponse("This is a rating study. Open the link that you were given.\n")

    async def _page(self, request: Request) -> Response:
        self._rater(request)
        return Response(page_text(), media_type="text/html")

    async def _file(self, request: Request) -> Response:
        self._rater(request)
        name = request.path_params["name"]
        if name not in FILES:
            raise HTTPException(404, "There is no such page.")
        return FileResponse(STATIC / name, media_type=mimetypes.guess_type(name)[0])

    async def _enter(self, request: Request) -> Response:
        rater = self._rater(request)
        data = await _body(request)
        token = data.get("token")
        if not self._known(request, rater) and not (isinstance(token, str) and self._matches(rater, token)):
            raise HTTPException(403, "This link is not complete, or not of this study. Open the one you were given.")
        tab, holder = _text(data, "tab"), self._holders[rater]
        if holder.taken_from(tab) and data.get("take") is not True:
            return JSONResponse({"error": "elsewhere"}, 409)
        holder.take(tab)
        response = JSONResponse(self._sessions[rater].study())
        if rater not in self._open_to:
            response.set_cookie(
                _COOKIE, self._study.token(rater), path=f"/r/{rater}/", httponly=True, samesite="strict"
            )
        return response

    async def _hold(self, request: Request) -> Response:
        rater = self._let_in(request)
        tab = request.query_params.get("tab", "")
        if self._holders[rater].tab not in ("", tab):
            raise HTTPException(409, "elsewhere")
        # After a restart of the server the tab that was there goes on.
        self._holders[rater].take(tab)
        return _Stream(self._holders[rater], tab)

    async def _at(self, request: Request) -> Response:
        rater = self._let_in(request)
        position = request.query_params.get("position", "")
        if position and not (position.isascii() and position.isdigit() and len(position) < 7):
            raise HTTPException(400, "A position is a number.")
        return JSONResponse(self._sessions[rater].at(int(position) if position else None))

    async def _answer(self, request: Request) -> Response:
        rater, data = await self._said(request)
        answer = self._sessions[rater].record(data)
        return JSONResponse({"showing": answer.showing, "dimension": answer.dimension, "revision": answer.revision})

    async def _close(self, request: Request) -> Response:
        rater, data = await self._said(request)
        self._sessions[rater].close(data)
        return JSONResponse({})

    async def _clip(self, request: Request) -> Response:
        rater, name = self._let_in(request), request.path_params["name"]
        path = self._ratings.folder / "clips" / name
        if name not in self._sessions[rater].clips or not path.is_file():
            raise HTTPException(404, "There is no such clip.")
        return FileResponse(path, media_type="video/mp4")

    async def _said(self, request: Request) -> tuple[str, dict[str, Any]]:
        """Who says what, of the tab that holds the study."""
        rater = self._let_in(request)
        data = await _body(request)
        tab, holder = _text(data, "tab"), self._holders[rater]
        if holder.tab not in ("", tab):
            raise HTTPException(409, "elsewhere")
        holder.take(tab)
        return rater, {name: value for name, value in data.items() if name != "tab"}

    def _rater(self, request: Request) -> str:
        rater: str = request.path_params["rater"]
        if rater not in self._sessions:
            raise HTTPException(404, "There is no such page.")
        return rater

    def _let_in(self, request: Request) -> str:
        rater = self._rater(request)
        if not self._known(request, rater):
            raise HTTPException(403, "Open the link that you were given.")
        return rater

    def _known(self, request: Request, rater: str) -> bool:
        return rater in self._open_to or self._matches(rater, request.cookies.get(_COOKIE, ""))

    def _matches(self, rater: str, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._study.token(rater).encode())


class _Stream(Response):
    """Events for one tab, until it is gone or is told that it no longer holds the study."""

    def __init__(self, holder: Holder, tab: str) -> None:
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self._holder, self._tab = holder, tab

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        told = self._holder.join(self._tab)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b": here\n\n", "more_body": True})
            word = asyncio.create_task(told.get())
            gone = asyncio.create_task(_gone(receive))
            done, _ = await asyncio.wait({word, gone}, return_when=asyncio.FIRST_COMPLETED)
            for task in (word, gone):
                task.cancel()
            if word in done:
                body = f"event: {word.result()}\ndata:\n\n".encode()
                await send({"type": "http.response.body", "body": body, "more_body": False})
        finally:
            self._holder.leave(self._tab, told)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Guard:
    """Refuses requests sent to other host names or by other sites; adds what every response carries."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        host = request.headers.get("host", "")
        origin = request.headers.get("origin")
        if self._hosts and (urlsplit(f"//{host}").hostname or "") not in self._hosts:
            await JSONResponse({"error": "This server does not answer to that name."}, 421)(scope, receive, send)
            return
        if origin is not None and urlsplit(origin).netloc != host:
            await JSONResponse({"error": "Another site has no business here."}, 403)(scope, receive, send)
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *((name.lower().encode(), value.encode()) for name, value in _HEADERS.items()),
                ]
            await send(message)

        await self._app(scope, receive, dressed)


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object that was sent.

    Raises:
        HTTPException: it is too long or none.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "Send JSON.")
    text = bytearray()
    async for piece in request.stream():
        text += piece
        if len(text) > _LONGEST_BODY:
            raise HTTPException(413, f"More than {_LONGEST_BODY} bytes are not read.")
    try:
        data = parsed_json(text)
    except NotJsonError:
        raise HTTPException(400, "This is no JSON.") from None
    if not isinstance(data, dict):
        raise HTTPException(400, "Send a JSON object.")
    return data


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= 64:
        raise HTTPException(400, f"{name} is missing.")
    return value


def _answered(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, status)

    return handler


_refused = _answered(422)
_unkept = _answered(507)


async def _plain(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)
