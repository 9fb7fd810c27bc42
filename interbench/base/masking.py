"""Keeping secrets out of what is printed and stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SECRET = re.compile(r"(api_?key|token|secret|password|authorization)$", re.IGNORECASE)
"""Names of settings and options whose values are never shown or kept."""
MASK = "***"
"""Stands for a secret."""
_USERINFO = re.compile(r"(\w+://)[^/@\s]+@")


def mask(value: Any) -> Any:
    """``value`` without the values of secret-looking keys and without passwords in URLs.

    Names of environment variables (``*_env``) stay.
    """
    if isinstance(value, Mapping):
        return {
            key: MASK if SECRET.search(str(key)) and item not in (None, "") else mask(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [mask(item) for item in value]
    if isinstance(value, str):
        return _USERINFO.sub(rf"\1{MASK}@", value)
    return value
