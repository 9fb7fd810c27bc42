"""A server that rejects whatever it is asked is not asked to the end.

A rejection may be meant for one clip, so a few alike ones are no proof. They are reason to ask about a bundled clip
with the same parameters: if that is rejected with the same words, the request is at fault, not what is judged.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from interbench.base.errors import JudgeError
from interbench.base.parameters import advice
from interbench.domain.records import Missing
from interbench.judge.vlm.client import Failure, Server
from interbench.judge.vlm.messages import video_part

PATIENCE = 3
"""Alike rejections in a row after which the bundled clip is asked about."""
_CLIP = Path(__file__).parent / "probe_clips" / "short.mp4"


class Rejections:
    """Counts the rejections of one server.

    Args:
        server: which.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._last = ""
        self._count = 0
        self._meant: set[str] = set()
        """Rejections that were found to be meant for a conversation."""
        self._asking = asyncio.Lock()

    def answered(self) -> None:
        """The server has answered a request."""
        self._count = 0

    async def rejected(self, failure: Failure, parameters: Mapping[str, Any]) -> None:
        """The server has rejected a request.

        Args:
            failure: with its words.
            parameters: of the request, as they were sent.

        Raises:
            JudgeError: it rejects every request.
        """
        async with self._asking:
            words = _alike(failure)
            self._count = self._count + 1 if words == self._last else 1
            self._last = words
            if self._count < PATIENCE or words in self._meant:
                return
            if not await self._rejects_any(words, parameters):
                self._meant.add(words)
                return
        raise JudgeError(
            f"The judge's server {self._server.url} rejects every request, also one about a bundled clip, so nothing "
            f"more was asked: {failure}. {_advice(failure, parameters)}".rstrip()
        )

    async def _rejects_any(self, words: str, parameters: Mapping[str, Any]) -> bool:
        content = [video_part(_CLIP, "data", None), {"type": "text", "text": "Answer with the word yes."}]
        plain = {name: value for name, value in parameters.items() if name not in ("stream", "stream_options")}
        body = json.dumps({"messages": [{"role": "user", "content": content}], **plain}).encode()
        try:
            await self._server.chat(body, begun=lambda _: None)
        except Failure as failure:
            return failure.missing is Missing.REQUEST_REJECTED and _alike(failure) == words
        return False


def _alike(failure: Failure) -> str:
    """A server's words without what differs from request to request."""
    return re.sub(r"[0-9a-f]*\d[0-9a-f]*", "#", str(failure).lower())[:1000]


def _advice(failure: Failure, parameters: Collection[str]) -> str:
    if failure.status not in (400, 422):
        return ""
    words = str(failure)
    if re.search(r"video|content part|multi-?modal", words, re.I) and not any(name in words for name in parameters):
        return "The judge has to be shown videos: choose a model and a server that take them (`video_url`)."
    return advice(words, parameters, "judge_options")
