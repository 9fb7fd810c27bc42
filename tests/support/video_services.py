"""One loopback server that speaks the formats of all video services: OpenAI Videos, Veo, Gemini Omni, HeyGen, Hedra.

It checks every request strictly (`violations` must be empty at the end of a test), bills like a service, really returns
playable MP4s, and fails on request: `plan("submit", Status(429, retry_after="1"), Cut())` says how the next requests of
a kind are answered, `outcomes` how the next jobs end. A second port plays the part of somebody else's host, to which no
key may ever be shown.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

from video_formats import HeyGenAndHedra, Omni, OpenAIVideos, SimpleAndChat, Veo
from video_state import GUIDELINES, KEYS, WIRE, Cut, Raw, Redirect, Spoil, Status, VideoServices, clip, stated_s

__all__ = [
    "GUIDELINES",
    "KEYS",
    "WIRE",
    "Cut",
    "Raw",
    "Redirect",
    "Spoil",
    "Status",
    "VideoServices",
    "clip",
    "running",
    "stated_s",
]

_ID = r"([A-Za-z0-9_-]+)"
_PLACE = r"(projects/proj/locations/us-central1/publishers/google/models/([A-Za-z0-9._-]+))"
ROUTES: list[tuple[str, str, str, str, str]] = [
    ("POST", "/openai/v1/videos", "submit", "openai", "openai_create"),
    ("POST", "/openai/v1/videos/extensions", "submit", "openai", "openai_extend"),
    ("GET", f"/openai/v1/videos/{_ID}", "poll", "openai", "openai_get"),
    ("DELETE", f"/openai/v1/videos/{_ID}", "cancel", "openai", "openai_delete"),
    ("GET", f"/openai/v1/videos/{_ID}/content", "download", "openai", "openai_content"),
    ("POST", f"/vertex/v1/{_PLACE}:predictLongRunning", "submit", "vertex", "vertex_create"),
    ("POST", f"/vertex/v1/{_PLACE}:fetchPredictOperation", "poll", "vertex", "vertex_poll"),
    ("POST", "/vertex/v1beta1/projects/proj/locations/global/interactions", "submit", "vertex", "omni_create"),
    ("GET", f"/vertex/v1beta1/projects/proj/locations/global/interactions/{_ID}", "poll", "vertex", "omni_get"),
    ("POST", r"/gemini/v1beta/models/([A-Za-z0-9._-]+):predictLongRunning", "submit", "gemini", "gemini_create"),
    ("GET", rf"/gemini/v1beta/(models/[A-Za-z0-9._-]+)/operations/{_ID}", "poll", "gemini", "gemini_poll"),
    ("GET", rf"/gemini/v1beta/files/{_ID}:download", "download", "gemini", "gemini_file"),
    ("POST", "/gemini/v1beta/interactions", "submit", "gemini", "omni_create"),
    ("GET", f"/gemini/v1beta/interactions/{_ID}", "poll", "gemini", "omni_get"),
    ("POST", f"/gemini/v1beta/interactions/{_ID}/cancel", "cancel", "gemini", "omni_cancel"),
    ("POST", "/heygen/v3/assets", "upload", "heygen", "heygen_asset"),
    ("POST", "/heygen/v3/videos", "submit", "heygen", "heygen_create"),
    ("GET", f"/heygen/v3/videos/{_ID}", "poll", "heygen", "heygen_get"),
    ("POST", "/hedra/assets", "upload", "hedra", "hedra_asset"),
    ("POST", f"/hedra/assets/{_ID}/upload", "upload", "hedra", "hedra_upload"),
    ("POST", "/hedra/generations", "submit", "hedra", "hedra_create"),
    ("GET", f"/hedra/generations/{_ID}/status", "poll", "hedra", "hedra_status"),
    ("POST", "/simple/tasks", "submit", "simple", "simple_create"),
    ("GET", f"/simple/tasks/{_ID}", "poll", "simple", "simple_get"),
    ("GET", f"/simple/tasks/{_ID}/clip.mp4", "download", "simple", "simple_clip"),
    ("POST", "/chat/v1/chat/completions", "chat", "chat", "chat"),
    ("GET", rf"/cdn/{_ID}\.mp4", "download", "nobody", "cdn"),
]


class Handler(OpenAIVideos, Veo, Omni, HeyGenAndHedra, SimpleAndChat):
    """All formats at once."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away in mid-sentence are part of the tests."""


@contextmanager
def running() -> Iterator[VideoServices]:
    """A server on loopback, and a second port that plays another host."""
    services = VideoServices()
    handler = type("Bound", (Handler,), {"services": services, "routes": ROUTES})
    servers = [_Server(("127.0.0.1", 0), handler), _Server(("127.0.0.1", 0), handler)]
    services.url = f"http://127.0.0.1:{servers[0].server_port}"
    services.elsewhere = f"http://localhost:{servers[1].server_port}"
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield services
    finally:
        services.stopping.set()
        for server in servers:
            server.shutdown()
            server.server_close()
