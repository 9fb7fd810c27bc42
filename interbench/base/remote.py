"""What every client of a remote model needs: keys that stay secret, and addresses."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from interbench.base.errors import UsageError


class Secret:
    """A key from the environment. Its value appears in no ``repr``, and :meth:`redact` removes it from any text.

    Args:
        variable: name of the environment variable; None for no key.

    Raises:
        UsageError: the variable is not set, is empty, or holds more than one line.
    """

    def __init__(self, variable: str | None) -> None:
        self.variable = variable
        self._value = ""
        if variable is None:
            return
        self._value = os.environ.get(variable, "").strip()
        if not self._value:
            raise UsageError(
                f"The environment variable {variable} should hold the key of the server but is not set. Export it, or "
                f"leave the name of the variable out if the server needs no key."
            )
        if not (self._value.isascii() and self._value.isprintable()):
            raise UsageError(
                f"The environment variable {variable} holds characters that no key has (line breaks, accents); set it "
                f"to the key alone."
            )

    def __repr__(self) -> str:
        return f"Secret({self.variable!r})"

    @classmethod
    def of(cls, value: str) -> Secret:
        """A key that was handed out while running, such as an access token."""
        secret = cls(None)
        secret._value = value
        return secret

    def headers(self, name: str = "Authorization", scheme: str = "Bearer ") -> dict[str, str]:
        """The header that shows the key to the server; empty without a key."""
        return {name: f"{scheme}{self._value}"} if self._value else {}

    def redact(self, text: str) -> str:
        """``text`` without the key, for whatever a server says: some echo what they were sent."""
        return text.replace(self._value, "[key]") if self._value else text

    def cleaned(self, value: Any) -> Any:
        """JSON-like ``value`` with every string in it redacted."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, Mapping):
            return {key: self.cleaned(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.cleaned(item) for item in value]
        return value


def base_url(url: str) -> str:
    """The address of an OpenAI-compatible server without a trailing ``/`` or ``/v1``.

    Raises:
        UsageError: not an ``http(s)://host`` address, or one that carries a password or a query.
    """
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number or too high, half an IPv6 address
        usable = False
    if not usable or not parts.netloc.isascii() or " " in parts.netloc:
        raise UsageError(
            "A server's address looks like http://127.0.0.1:8000, http://[::1]:8000 or https://judge.example.org; "
            "check the URL that was given."
        )
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageError(
            f"The address of the server at {parts.hostname} carries a user name, password or query. Give the bare "
            f"address, and the key through an environment variable."
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"


def is_loopback(url: str) -> bool:
    """Whether the server at ``url`` runs on this machine.

    Its twin, which a test compares with it, is ``is_loopback`` in ``livetalk.base.addresses``.
    """
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
        if host.lower() == "localhost":
            return True
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def excerpt(texts: Iterable[str], limit: int = 400) -> str:
    """The first non-empty of ``texts`` on one line, at most ``limit`` characters."""
    for text in texts:
        if line := " ".join(text.split()):
            return line if len(line) <= limit else line[: limit - 1] + "…"
    return ""
