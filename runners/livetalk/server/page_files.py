"""The files of the page, read once: what a client asks for is looked up among them and never a path."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

INDEX = "index.html"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
    ".ico": "image/x-icon",
    ".json": "application/json",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    content: bytes
    media_type: str


@cache
def page_files() -> dict[str, PageFile]:
    """By name. Files of other types are not served."""
    found = {}
    for entry in resources.files("livetalk.server").joinpath("page").iterdir():
        suffix = "." + entry.name.rpartition(".")[2]
        if entry.is_file() and suffix in _TYPES:
            found[entry.name] = PageFile(entry.read_bytes(), _TYPES[suffix])
    return found
