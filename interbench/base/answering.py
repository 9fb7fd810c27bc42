"""The worker's side of :mod:`interbench.base.workers`. Light to import: every worker starts with it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any


def serve(handler: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Main loop of a worker: answer every request line with one line, until standard input closes.

    An exception of ``handler`` becomes ``{"error": {"code", "message"}}``, with its ``code`` attribute if it has one.
    Whatever the handler or its libraries print goes to standard error, because standard output carries the answers.
    """
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        try:
            answer = handler(json.loads(line))
        except MemoryError:
            answer = {"error": {"code": "memory", "message": "the work needs more memory than a worker may use"}}
        except Exception as error:
            answer = {"error": {"code": str(getattr(error, "code", type(error).__name__)), "message": str(error)}}
        answers.write(json.dumps(answer).encode() + b"\n")
