"""Servers of the conversation protocol, on loopback, with tiny models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from live_kit import LiveServer, tiny_models
from livetalk.pipeline import Models


@pytest.fixture(scope="session")
def models() -> Models:
    return tiny_models()


@pytest.fixture(scope="module")
def server(models: Models) -> Iterator[LiveServer]:
    """A server as it is by default, for three conversations at once."""
    server = LiveServer(models, live={"capacity": 3})
    try:
        yield server.wait_until_ready()
    finally:
        server.stop()


@pytest.fixture
def client(server: LiveServer) -> Iterator[httpx.Client]:
    """A client of the default server. What it opened is closed afterwards, so that every test finds room."""
    opened: list[str] = []

    def note(response: httpx.Response) -> None:
        server.check_documented(response)
        if response.status_code == 201:
            response.read()
            opened.append(response.json()["id"])

    with server.client(event_hooks={"response": [note]}) as client:
        yield client
        for name in opened:
            client.delete(f"/v1/conversations/{name}")


@pytest.fixture
def serve(models: Models) -> Iterator[Callable[..., LiveServer]]:
    """Start a server with settings of one's own; `LiveServer` says which. It is ready unless `ready=False`."""
    started: list[LiveServer] = []

    def start(*, load: Callable[[], Models] | None = None, ready: bool = True, **settings: Any) -> LiveServer:
        server = LiveServer(load or models, **settings)
        started.append(server)
        return server.wait_until_ready() if ready else server

    yield start
    for server in started:
        server.stop()
