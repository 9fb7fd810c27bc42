"""The process in which strangers' media are decoded: ``python -m livetalk.server.media_worker picture|sound SECONDS``.

Asked by ``livetalk.server.media``: a line of JSON, then as many bytes as it says. Answered in the same way.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from livetalk.base.errors import AudioError, AudioTooLongError, ImageError

_PICTURES = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP")
"""Formats of portraits. Others that Pillow knows call further programs, or are read by seldom used code."""

_MEMORY = {"picture": 3 * 2**30, "sound": 2**30}
"""Memory above that of an idle worker: the largest accepted picture as floats several times over, or minutes of
sound."""

_Task = Callable[[dict[str, Any], bytes], bytes]


class RefusedError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _picture_task() -> _Task:
    import torch
    from PIL import Image, UnidentifiedImageError

    from livetalk.render.encoders.image import preprocess

    torch.set_num_threads(1)
    Image.init()

    def task(request: dict[str, Any], content: bytes) -> bytes:
        try:
            with Image.open(io.BytesIO(content), formats=_PICTURES) as picture:
                width, height = picture.size
        except UnidentifiedImageError:
            names = ", ".join(_PICTURES[:-1])
            raise RefusedError("bad_picture", f"The picture is none of {names} and {_PICTURES[-1]}.") from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise _too_large(request) from None
        if width * height > request["pixels"]:
            raise _too_large(request)
        values = preprocess(content, ((request["height"], request["width"]),), middle=request["middle"])
        return values.numpy().tobytes()

    return task


def _too_large(request: dict[str, Any]) -> RefusedError:
    megapixels = request["pixels"] / 1e6
    return RefusedError(
        "picture_too_large", f"The picture has more than {megapixels:g} megapixels; scale it down first."
    )


def _sound_task() -> _Task:
    from livetalk.sound.files import read_audio

    def task(request: dict[str, Any], content: bytes) -> bytes:
        seconds = request["seconds"]
        try:
            return read_audio(content, max_seconds=seconds).tobytes()
        except AudioTooLongError:
            raise RefusedError(
                "audio_too_long", f"A turn may last at most {seconds:g} seconds. Say it in several."
            ) from None

    return task


def _answer(task: _Task, kind: str, request: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
    fallback = "bad_picture" if kind == "picture" else "bad_audio"
    try:
        answer = task(request, content)
        return {"bytes": len(answer)}, answer
    except RefusedError as error:
        code, message = error.code, str(error)
    except (AudioError, ImageError) as error:
        code, message = fallback, str(error)
    except MemoryError:
        code, message = fallback, f"Decoding the {kind} takes more memory than is granted. Send a smaller one."
    except Exception as error:
        # What a library raises over foreign data is the data's doing; the message still names it.
        code, message = fallback, f"The {kind} can't be decoded ({type(error).__name__}). Export it again."
    return {"error": {"code": code, "message": message}}, b""


def _bound_process(memory: int) -> None:
    """Grant so much memory beyond what is mapped already, no files and no core dumps."""
    with contextlib.suppress(OSError):  # only Linux tells, and macOS has no such bound
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _limit("RLIMIT_AS", mapped + memory)
    _limit("RLIMIT_FSIZE", 0)
    _limit("RLIMIT_CORE", 0)


def _bound_time(seconds: float) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _limit("RLIMIT_CPU", int(usage.ru_utime + usage.ru_stime + seconds) + 1, soft_only=True)


def _limit(name: str, value: int, *, soft_only: bool = False) -> None:
    with contextlib.suppress(ValueError, OSError, AttributeError):
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, hard if soft_only else value))


def main() -> None:
    kind, seconds = sys.argv[1], float(sys.argv[2])
    task = _picture_task() if kind == "picture" else _sound_task()
    answers = os.fdopen(os.dup(1), "wb")
    # From here on libraries may print what they like: their complaints about foreign data are in nobody's log.
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    _bound_process(_MEMORY[kind])
    answers.write(b"ready\n")
    answers.flush()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _bound_time(seconds)
        head, content = _answer(task, kind, request, sys.stdin.buffer.read(request["bytes"]))
        answers.write(json.dumps(head).encode() + b"\n" + content)
        answers.flush()


if __name__ == "__main__":
    main()
