"""What Veo and Gemini Omni have in common: where Google serves them, and who we are there."""

from __future__ import annotations

import os
import re
from typing import Literal

from interbench.base.errors import SystemLoadError
from interbench.systems.google_auth import TOKEN_VARIABLE, GoogleAuth
from interbench.systems.services.http_jobs import Auth, KeyAuth

Api = Literal["vertex", "gemini"]
GEMINI = "https://generativelanguage.googleapis.com"
_NAME = re.compile(r"^[a-z0-9][a-z0-9._:-]{0,99}$", re.IGNORECASE)


def vertex_url(location: str) -> str:
    """Address of Vertex AI in a region."""
    return (
        "https://aiplatform.googleapis.com" if location == "global" else f"https://{location}-aiplatform.googleapis.com"
    )


def known_api(api: str) -> Api:
    """``vertex`` or ``gemini``.

    Raises:
        SystemLoadError: it is neither.
    """
    if api == "vertex":
        return "vertex"
    if api == "gemini":
        return "gemini"
    raise SystemLoadError(f"api = {api!r} is not known; it is vertex or gemini.")


def plain_name(option: str, value: str) -> str:
    """A name that stands in an address as it is.

    Raises:
        SystemLoadError: it holds more than letters, digits and ``. _ : -``.
    """
    if not _NAME.match(value):
        raise SystemLoadError(f"{option} = {value!r} can't stand in an address; check it.")
    return value


class Google:
    """How to reach a model by either API.

    Args:
        api: ``vertex`` (OAuth token) or ``gemini`` (key).
        project: Google Cloud project; by default GOOGLE_CLOUD_PROJECT, or the one of the credentials.
        location: Google Cloud region.
        key_env: variable with the API key, or with an access token for ``vertex``.
    """

    def __init__(self, api: Api, project: str | None, location: str, key_env: str) -> None:
        self.api = api
        self.location = plain_name("location", location)
        self._project = project or os.environ.get("GOOGLE_CLOUD_PROJECT")
        self._key_env = key_env

    def auth(self) -> Auth:
        """Who we are.

        Raises:
            SystemLoadError: no credentials, or the project is not known.
        """
        if self.api == "gemini":
            return KeyAuth(self._key_env, "x-goog-api-key", "")
        auth = GoogleAuth(self._key_env)
        self._project = self._project or auth.project
        if not self._project:
            raise SystemLoadError(
                "Vertex AI needs the name of a Google Cloud project: set `project` in the system's options, or the "
                "environment variable GOOGLE_CLOUD_PROJECT."
            )
        plain_name("project", self._project)
        return auth

    @property
    def place(self) -> str:
        """``projects/P/locations/L``."""
        return f"projects/{self._project}/locations/{self.location}"


def default_variable(api: Api) -> str:
    return TOKEN_VARIABLE if api == "vertex" else "GEMINI_API_KEY"
