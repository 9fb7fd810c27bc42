"""What a video service means when it says no: blocked, retired, failed for now, failed for good."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interbench.base.foreign import MAX_NAME, mended
from interbench.base.remote import excerpt
from interbench.systems.events import Blocked, Failed, Final, Retired

_MODERATION_CODES = frozenset(
    {
        "moderation_blocked",
        "content_policy_violation",
        "content_filter",
        "content_filtered",
        "content_moderation",
        "input_moderation",
        "output_moderation",
        "prompt_blocked",
        "safety",
        "sentinel_block",
    }
)
_MODERATION_WORDS = re.compile(
    r"moderation|content (?:policy|filter)|usage (?:guidelines|policies)|responsible ai|safety (?:system|filter|polic)"
    r"|support codes?:|violates|likeness|blocked by",
    re.IGNORECASE,
)
_RETIRED_WORDS = re.compile(
    r"no longer (?:available|supported|served)|shut ?down|retired|discontinued|decommissioned|sunset", re.IGNORECASE
)
_EXHAUSTED = re.compile(r"insufficient[ _](?:quota|credit|funds|balance)|billing|exceeded your current quota", re.I)


class Ended(Exception):  # noqa: N818 - not an error of the harness: it becomes the turn's final event
    """A turn has come to its end without a clip; ``final`` says how."""

    def __init__(self, final: Final) -> None:
        super().__init__(type(final).__name__)
        self.final = final


@dataclass(frozen=True, slots=True)
class Complaint:
    """The service's own words, keys taken out by whoever reads them."""

    code: str
    message: str


def complaint(body: Any, status: int | None = None) -> Complaint:
    """The code and words in an error body.

    Known shapes: ``{"error": {"code", "message", "status"?, "type"?}}``, the same as the only element of a list,
    ``{"error": "words"}``, ``{"code", "message"}``, ``{"detail": ...}``; anything else is quoted as it is.
    """
    fallback = "" if status is None else f"http_{status}"
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, Mapping):
        return Complaint(fallback, excerpt([mended(str(body or ""))]))
    error = body.get("error", body)
    if not isinstance(error, Mapping):
        return Complaint(fallback, excerpt([mended(str(error))], limit=2000))
    code = next((error[name] for name in ("code", "status", "type") if _is_word(error.get(name))), None)
    if code is None:
        # Google gives the HTTP status as `code`; its own word for it is `status`.
        code = error.get("status") or error.get("code") or fallback
    words = next((error[name] for name in ("message", "detail", "messages", "error_message") if error.get(name)), "")
    return Complaint(mended(str(code), MAX_NAME), excerpt([mended(str(words or body))], limit=2000))


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and not value.isdigit()


def is_moderation(said: Complaint) -> bool:
    """Whether the service refuses on grounds of content."""
    return said.code.lower() in _MODERATION_CODES or bool(_MODERATION_WORDS.search(said.message))


def is_exhausted(said: Complaint) -> bool:
    """Whether the account has no quota or money left, so that waiting does not help."""
    return bool(_EXHAUSTED.search(f"{said.code} {said.message}"))


def refusal(status: int, said: Complaint) -> Final:
    """What a 4xx answer to the creation of a job means: the request was refused, so nothing is charged."""
    if _RETIRED_WORDS.search(said.message) and status in (400, 403, 404, 410):
        return Retired(said.message, {"code": said.code, "http_status": status})
    if is_moderation(said):
        return Blocked(said.code, said.message, {"http_status": status}, charged=False)
    return Failed(said.code, said.message, detail={"http_status": status}, charged=False)
