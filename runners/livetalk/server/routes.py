"""The addresses of the conversation protocol."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import JSONResponse

from livetalk.base.errors import ImageError
from livetalk.live.turns import TurnError, TurnRecord, UserTurn
from livetalk.server import metrics as metrics_module
from livetalk.server import uploads
from livetalk.server.answers import MEDIA_TYPE, TURN_HEADER, AnswerResponse, as_problem
from livetalk.server.page_files import INDEX, page_files
from livetalk.server.problems import ProblemError, documented
from livetalk.server.schemas import (
    Conversation,
    ConversationOpened,
    Health,
    Timings,
    Turn,
    TurnFailure,
    Video,
    Voice,
    Voices,
)
from livetalk.server.service import Service
from livetalk.thinkers.base import ThinkerError

_ANY = ("malformed", "wrong_host", "busy", "request_timeout", "internal")
_TOKEN = ("token_required", "token_refused")
_SERVICE = ("loading", "shutting_down")
_KNOWN = (*_SERVICE, "unknown_conversation", "expired")
_CHANGE = ("cross_origin",)
_BODY = ("client_gone", "body_too_large", "unsupported_media_type", "bad_field", "text_too_long")
_ANSWER = (
    *("interrupted", "closed", "no_answer", "no_speech", "render_failed", "refused", "unsupported", "unreachable"),
    *("unauthorized", "broken", "failed", "overloaded", "timed_out"),
)

_SAMPLE = (
    *("bad_field", "refused", "unsupported", "unreachable", "unauthorized", "broken", "failed", "overloaded"),
    "timed_out",
)

open_routes = APIRouter()
"""May be had without the token."""

routes = APIRouter()


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(_service)]
Name = Annotated[str, Path(description="The conversation, as it was named when it was opened.")]


@open_routes.get(
    "/health", responses=documented(*_ANY), summary="Who is there, and whether it is ready", tags=["server"]
)
async def health(service: ServiceOf) -> Health:
    """Needs no token. The response is 200 also while the models are loaded or could not be; see ``status``."""
    return service.health


@open_routes.get(
    "/",
    summary="The page",
    tags=["page"],
    response_class=Response,
    responses=documented(*_ANY, "not_found") | {200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
)
async def index() -> Response:
    """A page to talk to the avatar in a browser. Needs no token; it asks for it."""
    return _page_file(INDEX)


@open_routes.get(
    "/page/{name}",
    summary="A file of the page",
    tags=["page"],
    response_class=Response,
    responses=documented(*_ANY, "not_found") | {200: {"content": {"*/*": {"schema": {"type": "string"}}}}},
)
async def page_file(name: Annotated[str, Path(description="The file's name.")]) -> Response:
    """Scripts, styles and pictures of the page. Needs no token."""
    return _page_file(name)


@routes.get(
    "/metrics",
    summary="Metrics for Prometheus",
    tags=["server"],
    response_class=Response,
    responses=documented(*_ANY, *_TOKEN) | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(service: ServiceOf) -> Response:
    """Time to first frame and its parts, real-time factor, underruns, conversations, turns by outcome, memory."""
    return Response(service.metrics.render(), media_type=metrics_module.CONTENT_TYPE)


@routes.get(
    "/openapi.json",
    summary="This description",
    tags=["server"],
    response_class=Response,
    responses=documented(*_ANY, *_TOKEN) | {200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
)
async def openapi(request: Request) -> Response:
    """OpenAPI 3.1."""
    return JSONResponse(request.app.openapi())


@routes.get(
    "/v1/voices",
    summary="The voices to choose from",
    tags=["server"],
    responses=documented(*_ANY, *_TOKEN, *_SERVICE),
)
async def voices(service: ServiceOf) -> Voices:
    """In the order in which they may be shown."""
    return Voices(voices=[Voice.model_validate(voice, from_attributes=True) for voice in service.voices.known])


@routes.get(
    "/v1/voices/{voice}/sample",
    summary="A voice to hear",
    tags=["server"],
    response_class=Response,
    responses=documented(*_ANY, *_TOKEN, *_SERVICE, *_SAMPLE)
    | {
        200: {
            "description": "A few words, as WAV.",
            "content": {"audio/wav": {"schema": {"type": "string", "contentMediaType": "audio/wav"}}},
        }
    },
)
async def voice_sample(
    voice: Annotated[str, Path(description="As the field `voice` of a conversation.")],
    request: Request,
    service: ServiceOf,
) -> Response:
    """Spoken when it is first asked for, one voice at a time, and kept."""
    name, manner = uploads.voice_name(voice, service.limits), uploads.read_manner(request)
    return Response(await service.voices.sample(name, manner), media_type="audio/wav")


@routes.post(
    "/v1/conversations",
    status_code=201,
    summary="Open a conversation",
    tags=["conversations"],
    responses=documented(
        *(*_ANY, *_TOKEN, *_CHANGE, *_SERVICE, *_BODY),
        *("full", "picture_too_large", "bad_picture", "unsupported"),
    ),
)
async def open_conversation(request: Request, service: ServiceOf) -> ConversationOpened:
    """All fields are optional. The avatar waits, seen and unheard, for the first turn."""
    conversations, limits = service.conversations, service.limits
    with await conversations.reserve() as place:
        opening = await uploads.read_opening(request, limits)
        picture = None if opening.image is None else await service.media.picture(opening.image)
        try:
            conversation = await conversations.open(
                place,
                image=picture,
                prompt=opening.prompt,
                persona=opening.persona,
                voice=opening.voice,
                manner=opening.manner,
                seed=opening.seed,
            )
        except ImageError as error:
            raise ProblemError("bad_picture", str(error)) from None
        except ThinkerError as error:
            raise as_problem(error) from None
    service.metrics.conversation_opened()
    session = conversation.session
    if await request.is_disconnected():
        await conversations.close(session.id)  # nobody will ever learn its name
        raise ProblemError("client_gone", "The connection was closed before the conversation was open.")
    return ConversationOpened(
        id=session.id,
        video=Video.model_validate(session.video, from_attributes=True),
        expires_s=limits.idle_s,
        max_turn_audio_s=limits.turn_audio_s,
        max_text_chars=limits.text_chars,
    )


@routes.get(
    "/v1/conversations/{conversation}",
    summary="What was said so far",
    tags=["conversations"],
    responses=documented(*_ANY, *_TOKEN, *_KNOWN),
)
async def get_conversation(conversation: Name, service: ServiceOf) -> Conversation:
    """All turns, also one that is running. Looking does not keep a conversation open."""
    entry = service.conversations.get(conversation)
    return Conversation(
        id=entry.session.id,
        turns=[_turn(record) for record in entry.session.records],
        expires_in_s=max(0.0, entry.expires_in_s(service.limits)),
    )


@routes.delete(
    "/v1/conversations/{conversation}",
    status_code=204,
    response_class=Response,
    summary="Close a conversation",
    tags=["conversations"],
    responses=documented(*_ANY, *_TOKEN, *_CHANGE, *_KNOWN),
)
async def close_conversation(conversation: Name, service: ServiceOf) -> None:
    """An answer that is running ends with a whole fragment. The place is free at once."""
    await service.conversations.close(conversation)


@routes.post(
    "/v1/conversations/{conversation}/turns",
    summary="Say something and receive the answer",
    tags=["turns"],
    response_class=Response,
    responses=documented(
        *_ANY, *_TOKEN, *_CHANGE, *_KNOWN, *_BODY, "audio_too_long", "bad_audio", "empty_turn", *_ANSWER
    )
    | {
        200: {
            "description": "The answer as a fragmented MP4 (H.264, AAC), sent while it is made.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "contentMediaType": MEDIA_TYPE}}},
            "headers": {
                TURN_HEADER: {
                    "description": "The turn's number, 1 for the first.",
                    "required": True,
                    "schema": {"type": "integer", "minimum": 1},
                }
            },
        }
    },
)
async def post_turn(conversation: Name, request: Request, service: ServiceOf) -> Response:
    """Text, sound, or both; in fields, or sound as the body itself, sent while it is spoken.

    The response begins when the first fragment of the answer is there, and goes on while it is made. If the answer
    fails before that, the response is an error; if later, the clip ends cleanly and the turn says why. A turn that is
    posted while another is being answered interrupts that answer, whose clip ends with a whole fragment. Closing the
    connection ends the answer at once.
    """
    entry = service.conversations.get_for_turn(conversation)
    entry.check_use()
    with entry.in_use():
        upload = await uploads.read_turn(request, service.limits)
        complete_at = time.monotonic()
        samples = upload.samples if upload.audio is None else await service.media.sound(upload.audio)
        try:
            answer = entry.session.respond(UserTurn(upload.text, samples), played_s=upload.played_s)
        except TurnError as error:
            raise as_problem(error) from None
        return AnswerResponse(
            entry, answer, complete_at=complete_at, stall_s=service.limits.stall_s, metrics=service.metrics
        )


@routes.get(
    "/v1/conversations/{conversation}/turns/{index}",
    summary="A turn's text and timings",
    tags=["turns"],
    responses=documented(*_ANY, *_TOKEN, *_KNOWN, "unknown_turn"),
)
async def get_turn(
    conversation: Name,
    index: Annotated[
        str, Path(description="The turn's number, 1 for the first.", json_schema_extra={"pattern": "^[0-9]+$"})
    ],
    service: ServiceOf,
) -> Turn:
    """Also while it runs: ``text`` grows as the avatar speaks."""
    entry = service.conversations.get(conversation)
    try:
        if not (index.isascii() and index.isdigit() and len(index) < 10):
            raise KeyError(index)
        return _turn(entry.session.record(int(index)))
    except KeyError:
        count = len(entry.session.records)
        raise ProblemError(
            "unknown_turn", f"The conversation has {count} turns so far, and none of that number."
        ) from None


@routes.post(
    "/v1/conversations/{conversation}/interrupt",
    summary="Interrupt the running answer",
    tags=["turns"],
    responses=documented(*_ANY, *_TOKEN, *_CHANGE, *_KNOWN, *_BODY, "no_turn"),
)
async def interrupt(conversation: Name, request: Request, service: ServiceOf) -> Turn:
    """Its clip ends with a whole fragment, and the avatar remembers what was heard. If no answer is running nothing
    happens, and the last turn is returned."""
    entry = service.conversations.get(conversation)
    entry.check_use()
    with entry.in_use():
        played = await uploads.read_played(request, service.limits)
        await entry.session.interrupt(played)
        if not entry.session.records:
            raise ProblemError(
                "no_turn", "Nothing was said in this conversation yet, so there is nothing to interrupt."
            )
        return _turn(entry.session.records[-1])


def _turn(record: TurnRecord) -> Turn:
    error = None
    if record.error_code is not None:
        error = TurnFailure(code=record.error_code, message=record.error_message or "")
    return Turn(
        index=record.index,
        outcome=record.outcome.value,
        user_text=record.user_text,
        user_text_source=record.user_text_source,
        text=record.text,
        heard_text=record.heard_text,
        timings=Timings.model_validate(record.timings, from_attributes=True),
        frames=record.frames,
        video_s=record.video_s,
        underruns=record.underruns,
        underrun_s=record.underrun_s,
        real_time_factor=record.real_time_factor,
        error=error,
    )


def _page_file(name: str) -> Response:
    file = page_files().get(name)
    if file is None:
        raise ProblemError("not_found", "The page has no such file.")
    return Response(file.content, media_type=file.media_type, headers={"Cache-Control": "no-cache"})
