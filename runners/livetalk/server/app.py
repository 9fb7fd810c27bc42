"""The application: routes, their description, and what turns every failure into the protocol's JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from livetalk.server import bodies, problems
from livetalk.server.guard import Guard, Seen
from livetalk.server.problems import ProblemError
from livetalk.server.routes import open_routes, routes
from livetalk.server.service import Service

_DESCRIPTION = """\
A conversation with a talking avatar. Open one, post turns of text or sound, and receive each answer as a fragmented MP4
that is sent while it is made. Every response with a status of 400 or more is `{"error": {"code", "message"}}`.
"""
_TAGS = [
    {
        "name": "conversations",
        "description": "Opened, looked at, closed; closed by the server after a while without a turn.",
    },
    {"name": "turns", "description": "What the user says, and the avatar's answer."},
    {"name": "server", "description": "Its state."},
    {"name": "page", "description": "A client for browsers."},
]


def create_app(
    service: Service, *, loaded: Callable[[], None] = lambda: None, load_failed: Callable[[], None] = lambda: None
) -> FastAPI:
    """The ASGI application of one service, which it starts and stops.

    Args:
        service: not yet started.
        loaded: called when the models and the thinker are there, before the first conversation.
        load_failed: called when the models or the thinker could not be had; ``service.failure`` then says why.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start(loaded, load_failed)
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="LiveTalk",
        summary="The conversation protocol",
        description=_DESCRIPTION,
        version=service.settings.version,
        openapi_tags=_TAGS,
        docs_url=None,  # these pages would fetch their scripts from elsewhere
        redoc_url=None,
        openapi_url=None,  # a route of its own, so that it is documented
        redirect_slashes=False,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.service = service
    app.include_router(open_routes)
    app.include_router(routes)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]

    @app.exception_handler(ProblemError)
    async def problem(_: Request, error: ProblemError) -> JSONResponse:
        service.metrics.refused(error.code)
        return problems.response(error)

    @app.exception_handler(HTTPException)
    async def http_exception(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 405:
            known = ProblemError("method_not_allowed", f"{request.method} is not possible here; see /openapi.json.")
            error.headers = {"Allow": ", ".join(_methods(request))}
        else:
            known = ProblemError("not_found", "There is nothing at this address; see /openapi.json.")
        service.metrics.refused(known.code)
        response = problems.response(known)
        response.headers.update(error.headers or {})
        return response

    def seen(entry: Seen) -> None:
        service.metrics.request(entry)
        if entry.code is not None:
            service.metrics.refused(entry.code)

    app.add_middleware(Guard, token=service.settings.token, hosts=service.settings.hosts, seen=seen)
    return app


def _methods(request: Request) -> list[str]:
    """All that the address of a request knows: each of its routes by itself would name its own."""
    found: set[str] = set()
    for route in (*open_routes.routes, *routes.routes):
        if isinstance(route, APIRoute) and route.path_regex.match(request.scope["path"]):
            found |= route.methods or set()
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


def _described(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1 of the application."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        components = document["components"]
        components["securitySchemes"] = {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "Needed where the server was started with a token.",
            }
        }
        document["security"] = [{"token": []}, {}]
        limits = app.state.service.limits
        opening, turn, interrupt = (
            document["paths"][f"/v1/conversations{rest}"]["post"]
            for rest in ("", "/{conversation}/turns", "/{conversation}/interrupt")
        )
        opening["requestBody"] = bodies.opening_body(limits)
        turn["requestBody"] = bodies.turn_body(limits)
        turn["parameters"] += bodies.turn_query(limits)
        document["paths"]["/v1/voices/{voice}/sample"]["get"]["parameters"] += bodies.sample_query()
        interrupt["requestBody"] = bodies.played_body()
        for path, operations in document["paths"].items():
            for operation in operations.values():
                _without_default_422(operation)
                if any(path == route.path for route in open_routes.routes):  # type: ignore[attr-defined]
                    operation["security"] = []
        for name in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(name, None)
        app.openapi_schema = document
    return app.openapi_schema


def _without_default_422(operation: dict[str, Any]) -> None:
    """FastAPI's own validation never speaks here: paths are texts, and bodies are read by hand."""
    content = operation["responses"].get("422", {}).get("content", {}).get("application/json", {})
    if content.get("schema", {}).get("$ref", "").endswith("/HTTPValidationError"):
        del operation["responses"]["422"]
