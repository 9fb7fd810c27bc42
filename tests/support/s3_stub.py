"""A stand-in of an object store that speaks as much of S3 as the real client asks for: objects in memory, over HTTP.

A new object is not seen for as many requests as ``unseen`` says, as in stores whose copies take their time.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class S3Stub:
    """The store; ``url`` is its address. Use as a context manager."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.unseen = 0
        self.asked: list[str] = []
        self.full = False
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: Any) -> None:
                pass

            def _say(self, status: int, body: bytes = b"", **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def _key(self) -> str:
                return unquote(urlsplit(self.path).path).lstrip("/")

            def _error(self, status: int, code: str) -> None:
                body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
                self._say(status, body, Content_Type="application/xml")

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if "aws-chunked" in self.headers.get("Content-Encoding", ""):
                    body = _unchunked(body)
                stub.asked.append(f"PUT {self._key()}")
                if stub.full:
                    return self._error(507, "InsufficientStorage")
                stub.objects[self._key()] = body
                self._say(200, ETag='"0"')

            def do_HEAD(self) -> None:
                self._get()

            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                if "list-type" in query:
                    return self._list(query)
                self._get()

            def _get(self) -> None:
                stub.asked.append(f"{self.command} {self._key()}")
                found = stub.objects.get(self._key())
                if found is not None and stub.unseen > 0:
                    stub.unseen -= 1
                    found = None
                if found is None:
                    return self._error(404, "NoSuchKey")
                self._say(200, found, ETag='"0"', Last_Modified="Mon, 30 Nov 2026 00:00:00 GMT")

            def _list(self, query: dict[str, list[str]]) -> None:
                bucket, prefix = self._key().rstrip("/"), query.get("prefix", [""])[0]
                keys = [key.partition("/")[2] for key in sorted(stub.objects) if key.startswith(f"{bucket}/{prefix}")]
                rows = "".join(
                    f"<Contents><Key>{escape(key)}</Key><Size>{len(stub.objects[f'{bucket}/{key}'])}</Size><ETag>0</ETag>"
                    f"<LastModified>2026-11-30T00:00:00.000Z</LastModified></Contents>"
                    for key in keys
                )
                body = (
                    f'<?xml version="1.0"?><ListBucketResult><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix>'
                    f"<KeyCount>{len(keys)}</KeyCount><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
                )
                self._say(200, body.encode(), Content_Type="application/xml")

            def do_DELETE(self) -> None:
                stub.objects.pop(self._key(), None)
                self._say(204)

            def do_POST(self) -> None:
                # DeleteObjects.
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                bucket = self._key().rstrip("/")
                for part in body.split("<Key>")[1:]:
                    stub.objects.pop(f"{bucket}/{part.partition('</Key>')[0]}", None)
                self._say(200, b"<DeleteResult></DeleteResult>", Content_Type="application/xml")

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _unchunked(body: bytes) -> bytes:
    found = b""
    while body:
        head, _, body = body.partition(b"\r\n")
        size = int(head.split(b";")[0], 16)
        if not size:
            break
        found, body = found + body[:size], body[size + 2 :]
    return found
