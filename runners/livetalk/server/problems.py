"""Every way in which a request can be refused or fail: its code, its status, and the JSON that says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse

from livetalk.base.errors import LiveTalkError
from livetalk.server.schemas import ErrorBody


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of refusal or failure."""

    status: int
    """Of the HTTP response."""
    meaning: str
    """One sentence, for the documentation."""


KINDS: dict[str, Kind] = {
    # The request as such
    "malformed": Kind(400, "The body or a header is not what its type says."),
    "client_gone": Kind(400, "The client closed the connection before the request was complete."),
    "token_required": Kind(401, "This server asks for a bearer token and none was sent."),
    "token_refused": Kind(401, "The bearer token is not this server's."),
    "cross_origin": Kind(403, "A page of another site sent the request."),
    "not_found": Kind(404, "There is no such address."),
    "unknown_conversation": Kind(404, "There is no such conversation: never opened, closed, or lost in a restart."),
    "expired": Kind(404, "The conversation was closed because nothing was said for too long, or because of its age."),
    "no_turn": Kind(409, "Nothing was said yet, so there is nothing to interrupt."),
    "unknown_turn": Kind(404, "The conversation has no turn of that number."),
    "method_not_allowed": Kind(405, "The address exists, for other methods."),
    "request_timeout": Kind(408, "The request came too slowly."),
    "body_too_large": Kind(413, "The body, or one of its fields, is larger than accepted."),
    "text_too_long": Kind(413, "A text is longer than accepted."),
    "audio_too_long": Kind(413, "The sound lasts longer than accepted."),
    "picture_too_large": Kind(413, "The picture has more pixels than accepted."),
    "unsupported_media_type": Kind(415, "The body, or a part of it, is of a type that is not accepted here."),
    "wrong_host": Kind(421, "The Host header names a machine that this server does not serve."),
    "bad_field": Kind(422, "A field is unknown, repeated, or holds an impossible value."),
    "bad_picture": Kind(422, "The picture can't be decoded or used."),
    "bad_audio": Kind(422, "The sound can't be decoded."),
    "empty_turn": Kind(422, "A turn has neither text nor sound."),
    "full": Kind(429, "All conversations that fit at once are taken."),
    # The server
    "internal": Kind(500, "The server failed; its log says why."),
    "loading": Kind(503, "The models are still being loaded."),
    "shutting_down": Kind(503, "The server is being stopped."),
    "busy": Kind(503, "Too many connections are open, or requests about one conversation."),
    # The answer, before its first byte
    "interrupted": Kind(409, "The answer was interrupted before there was anything to send."),
    "closed": Kind(409, "The conversation was closed while the answer was in preparation."),
    "no_answer": Kind(502, "The thinker ended its answer without a word."),
    "no_speech": Kind(502, "The thinker gave text and nothing audible."),
    "render_failed": Kind(500, "The pictures could not be computed."),
    "refused": Kind(422, "The thinker's service refuses this turn by its own rules."),
    "unsupported": Kind(422, "The thinker can't take such a turn, e.g. one without text."),
    "unreachable": Kind(502, "The thinker's service can't be reached."),
    "unauthorized": Kind(502, "The thinker's service refuses the server's own key."),
    "broken": Kind(502, "The thinker's answer ended half-way or was not what its format says."),
    "failed": Kind(502, "The thinker failed in another way."),
    "overloaded": Kind(503, "The thinker's service has no room at the moment."),
    "timed_out": Kind(504, "The thinker did not answer in time."),
}


class ProblemError(LiveTalkError):
    """A request ends with an error.

    Args:
        code: one of ``KINDS``.
        message: one paragraph for people that says what to do.
        retry_after_s: when it may be worth trying again.
    """

    def __init__(self, code: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        return KINDS[self.code].status


def body(code: str, message: str) -> dict[str, dict[str, str]]:
    """The one shape of all errors."""
    return {"error": {"code": code, "message": message}}


def response(problem: ProblemError) -> JSONResponse:
    headers: dict[str, str] = {}
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(problem.retry_after_s)))
    if problem.status == 401:
        error = ', error="invalid_token"' if problem.code == "token_refused" else ""
        headers["WWW-Authenticate"] = f'Bearer realm="livetalk"{error}'
    return JSONResponse(body(problem.code, problem.message), problem.status, headers)


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """``responses=`` of a route that can end with these codes."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = KINDS[code]
        entry = by_status.setdefault(
            kind.status,
            {"model": ErrorBody, "description": "", "content": {"application/json": {"examples": {}}}},
        )
        entry["description"] = f"{entry['description']} `{code}`: {kind.meaning}".strip()
        entry["content"]["application/json"]["examples"][code] = {
            "summary": kind.meaning,
            "value": body(code, kind.meaning),
        }
        if kind.status == 401:
            entry["headers"] = _header("WWW-Authenticate", "string", "The scheme, Bearer, and what was wrong.")
        if kind.status in (429, 503):
            entry["headers"] = _header("Retry-After", "integer", "Seconds until it may be worth trying again.")
    return by_status


def _header(name: str, kind: str, description: str) -> dict[str, Any]:
    return {name: {"description": description, "schema": {"type": kind}}}
