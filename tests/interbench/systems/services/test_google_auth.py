"""Access tokens for Google Cloud: given, or from a service account, with a token server on loopback."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from interbench.base.errors import SystemLoadError
from interbench.systems.google_auth import GoogleAuth


async def test_a_given_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "ya29.given-token")
    auth = GoogleAuth()
    assert await auth.headers() == {"Authorization": "Bearer ya29.given-token"}
    assert auth.redact("no ya29.given-token here") == "no [key] here"


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A service account whose tokens come from loopback; gives the list of requests."""
    pytest.importorskip("google.auth")
    pytest.importorskip("requests")
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    from cryptography.hazmat.primitives import serialization

    asked: list[bytes] = []

    class Tokens(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            return

        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"access_token": f"ya29.fresh-{len(asked)}", "expires_in": 3600}).encode()
            good = len(asked) < 3
            self.send_response(200 if good else 401)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body if good else b'{"error": "invalid_grant", "error_description": "gone"}')

    server = HTTPServer(("127.0.0.1", 0), Tokens)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "account.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "my-project",
                "private_key_id": "1",
                "private_key": key.decode(),
                "client_email": "bench@my-project.iam.gserviceaccount.com",
                "token_uri": f"http://127.0.0.1:{server.server_port}/token",
            }
        )
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    monkeypatch.delenv("GOOGLE_OAUTH_ACCESS_TOKEN", raising=False)
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    yield asked
    server.shutdown()
    server.server_close()


async def test_tokens_of_the_credentials_chain_are_refreshed(account: Any) -> None:
    auth = GoogleAuth()
    assert auth.project == "my-project"
    assert await auth.headers() == {"Authorization": "Bearer ya29.fresh-1"}
    assert await auth.headers() == {"Authorization": "Bearer ya29.fresh-1"}
    assert len(account) == 1
    auth._credentials.token = None
    assert await auth.headers() == {"Authorization": "Bearer ya29.fresh-2"}
    assert auth.redact("ya29.fresh-1 ya29.fresh-2") == "[key] [key]"
    auth._credentials.token = None
    with pytest.raises(SystemLoadError, match="Log in again") as error:
        await auth.headers()
    assert "bench@" not in str(error.value)
