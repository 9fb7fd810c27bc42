"""The bearer token: where it is from, and where none may be missing."""

from __future__ import annotations

import os
from pathlib import Path

from livetalk.base.addresses import is_loopback
from livetalk.base.errors import LiveTalkError

VARIABLE = "LIVETALK_TOKEN"
_SHORTEST = 16


class TokenError(LiveTalkError):
    """There is no usable token where one is needed. The message never holds it."""


def find_token(host: str, file: Path | None, *, waived: bool) -> str | None:
    """The token of ``file``, or of the environment; None where there is none and none is needed.

    Args:
        host: the address that will be bound. One that other machines can reach needs a token.
        file: holds the token and nothing else.
        waived: whoever starts the server wants none.

    Raises:
        TokenError: missing, unreadable, or nothing that a client could send or should not guess.
    """
    if waived:
        if file is not None:
            raise TokenError("--token-file and --no-token contradict each other; give one of them.")
        return None
    if file is not None:
        try:
            token = file.read_text("ascii").strip()
        except OSError as error:
            raise TokenError(f"The token file {str(file)!r} can't be read: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise TokenError(f"The token file {str(file)!r} holds more than plain ASCII text.") from None
        source = f"the file {str(file)!r}"
    else:
        token, source = os.environ.get(VARIABLE, "").strip(), VARIABLE
        if not token:
            if not is_loopback(host):
                raise TokenError(
                    f"Other machines can reach {host}, so the server needs a token. Put one into {VARIABLE} or a file "
                    "for --token-file (`openssl rand -hex 32` makes one), or say --no-token if a proxy guards the port."
                )
            return None
    if len(token) < _SHORTEST or not all(33 <= ord(letter) < 127 for letter in token):
        raise TokenError(
            f"The token of {source} is unusable: it must have {_SHORTEST} or more visible ASCII characters and no "
            "spaces. `openssl rand -hex 32` makes one."
        )
    return token
