"""Access tokens for Google Cloud: a given one, or from the usual credentials chain (package ``google-auth``)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from interbench.base.errors import SystemLoadError
from interbench.base.remote import Secret

TOKEN_VARIABLE = "GOOGLE_OAUTH_ACCESS_TOKEN"  # noqa: S105 - the name of a variable
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class GoogleAuth:
    """Bearer tokens for Google Cloud; refreshed when they expire.

    A token in the environment variable ``token_env`` is used as it is (``gcloud auth print-access-token``; it lasts an
    hour). Otherwise Application Default Credentials are looked for, which needs ``pip install google-auth requests``.

    Raises:
        SystemLoadError: there is neither.
    """

    def __init__(self, token_env: str = TOKEN_VARIABLE) -> None:
        self.project: str | None = None
        """The project that the credentials belong to, if they say."""
        self._given: Secret | None = None
        self._seen: list[Secret] = []
        self._lock = asyncio.Lock()
        if os.environ.get(token_env):
            self._given = Secret(token_env)
            self._seen.append(self._given)
        else:
            self._credentials, self.project = _default_credentials(token_env)

    async def headers(self) -> Mapping[str, str]:
        if self._given is not None:
            return self._given.headers()
        async with self._lock:
            if not self._credentials.valid:
                await asyncio.to_thread(_refresh, self._credentials)
                self._seen.append(Secret.of(self._credentials.token))
        return self._seen[-1].headers()

    def redact(self, text: str) -> str:
        for secret in self._seen:
            text = secret.redact(text)
        return text


def _default_credentials(token_env: str) -> tuple[Any, str | None]:
    try:
        import google.auth
        import google.auth.exceptions
    except ImportError:
        raise SystemLoadError(
            f"Google Cloud needs an access token: export {token_env}=$(gcloud auth print-access-token), or install "
            f"google-auth and requests to use Application Default Credentials."
        ) from None
    try:
        credentials, project = google.auth.default(scopes=[_SCOPE])
    except google.auth.exceptions.DefaultCredentialsError:
        raise SystemLoadError(
            f"There are no Google Cloud credentials. Run `gcloud auth application-default login`, set "
            f"GOOGLE_APPLICATION_CREDENTIALS, or export {token_env}=$(gcloud auth print-access-token)."
        ) from None
    return credentials, project


def _refresh(credentials: Any) -> None:
    import google.auth.exceptions
    import google.auth.transport.requests

    try:
        credentials.refresh(google.auth.transport.requests.Request())
    except google.auth.exceptions.GoogleAuthError as error:
        # What the token server says is not quoted: it may hold parts of the credentials.
        raise SystemLoadError(
            f"Google Cloud gives no access token ({type(error).__name__}). Log in again: gcloud auth "
            f"application-default login."
        ) from None
