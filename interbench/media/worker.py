"""The process in which foreign media are decoded: ``python -m interbench.media.worker LIMITS``.

Asked and answered in JSON lines by :mod:`interbench.media.pool`; ``LIMITS`` is a
:class:`interbench.media.limits.Limits` as JSON.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import resource
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from interbench.base.answering import serve
from interbench.media import decode as decode  # most workers inspect: at once, not at their first call
from interbench.media.container import demuxer
from interbench.media.files import FileView, MediaFaultError
from interbench.media.limits import Limits
from interbench.media.task import Task

_TASKS = {
    "inspect": "decode.inspect",
    "audio": "sound.audio",
    "frames": "decode.frames",
    "cut": "cutting.cut",
    "sequence": "sequence.sequence",
    "plain_copy": "plain.plain_copy",
    "blind_copy": "blind.blind_copy",
    "reshape": "reshape.reshape",
    "excerpt": "plain.excerpt",
    "passage": "passage.passage",
    "edit": "edit.edit",
    "measure": "measure.measure",
    "probe_audio": "sound.probe_audio",
}
_STILL = {"portrait": "still.portrait", "picture": "still.picture"}
"""What is done with pictures that don't move."""
_TRIES = 3
_FOLLOWS_LINKS = frozenset({"audio", "cut", "probe_audio", *_STILL})
"""Files of a scenario set or a data set may lie in a cache that links to it; clips of systems may not be links."""


@contextlib.contextmanager
def _opened(path: Path, limits: Limits, follow_links: bool) -> Iterator[FileView]:
    try:
        status = path.stat(follow_symlinks=follow_links)
        if stat.S_ISLNK(status.st_mode):
            raise MediaFaultError("symlink", "it is a symbolic link. Write the file itself to this place.")
        if not stat.S_ISREG(status.st_mode):
            raise MediaFaultError("not_a_file", "it is a folder, pipe or device. Write a regular file to this place.")
        # Between the two calls the name may come to stand for something else: don't follow it, don't wait for it.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW)
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise MediaFaultError(
            "missing", "there is no such file. Check the path, and that it was written at all."
        ) from None
    except OSError as error:
        raise MediaFaultError("unreadable", f"it can't be opened ({os.strerror(error.errno or 0)}).") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise MediaFaultError("not_a_file", "it is a folder, pipe or device. Write a regular file to this place.")
        if status.st_size == 0:
            raise MediaFaultError(
                "empty", "the file is empty. The writer stopped before its first byte, or the disk is full."
            )
        if status.st_size > limits.file_bytes:
            raise MediaFaultError("too_large", f"it has {status.st_size} bytes and {limits.file_bytes} are accepted.")
        yield FileView(descriptor, status.st_size)
    finally:
        os.close(descriptor)


def handle(request: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """Answer one request ``{"task", "path", ...}``.

    Raises:
        MediaFaultError: the file can't be used.
    """
    name, path = request.pop("task"), Path(request.pop("path"))
    if "out" in request:
        request["out"] = Path(request["out"])
    _bound_processor_time(limits)
    for left in range(_TRIES - 1, -1, -1):
        try:
            return _answer(name, path, request, limits)
        except BlockingIOError as error:
            # FFmpeg's "try again", met on a whole clip and gone at the next try: the machine's state, not the data's.
            if not left:
                raise _undecodable(error) from None
    raise AssertionError("the last try returns or raises")


def _answer(name: str, path: Path, request: dict[str, Any], limits: Limits) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_opened(path, limits, name in _FOLLOWS_LINKS))
        kind = None if name in _STILL else demuxer(file, sound=name == "probe_audio")
        for further in {"donor", "other"} & set(request):
            # More foreign clips, which are held to the same.
            given = stack.enter_context(_opened(Path(request[further]), limits, follow_links=False))
            request = {**request, further: Task(limits, given, demuxer(given))}
        try:
            if kind is None:
                return _function(_STILL[name])(file, **request)
            return _function(_TASKS[name])(Task(limits, file, kind), **request)
        except MediaFaultError:
            raise
        except MemoryError:
            raise MediaFaultError(
                "memory",
                f"decoding it takes more than {limits.memory_bytes >> 20} MiB. Deliver smaller frames; if they "
                "are small, its tables are damaged or hostile.",
            ) from None
        except BlockingIOError:
            raise
        except OSError as error:
            # Those of FFmpeg are OSErrors as well; only writing what is handed over meets these two.
            if error.errno in (errno.ENOSPC, errno.EFBIG):
                raise MediaFaultError(
                    "no_space", f"what was decoded can't be handed over ({error}). Free space."
                ) from None
            raise _undecodable(error) from None
        except Exception as error:
            # What a library raises over foreign data is the data's doing; the message still names it.
            raise _undecodable(error) from None


def _function(place: str) -> Callable[..., dict[str, Any]]:
    """Imported when it is first asked for: most workers only inspect, and need not wait for what edits."""
    module, name = place.split(".")
    function: Callable[..., dict[str, Any]] = getattr(importlib.import_module(f"interbench.media.{module}"), name)
    return function


def _undecodable(error: Exception) -> MediaFaultError:
    reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return MediaFaultError(
        "undecodable", f"decoding fails ({reason}). Play it in another program, write it with another encoder."
    )


def _bound_processor_time(limits: Limits) -> None:
    """Even a worker whose harness is gone must not decode for ever."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    budget = int(usage.ru_utime + usage.ru_stime + limits.timeout_s) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (_within(budget, hard), hard))


def bound_process(limits: Limits) -> None:
    """Hold this process to the limits of memory and of the files that it may write."""
    for name, value in (
        ("RLIMIT_AS", limits.memory_bytes),
        ("RLIMIT_FSIZE", limits.output_bytes),
        ("RLIMIT_CORE", 0),
    ):
        # Not every system knows or enforces each of them (macOS has no bound on address space).
        with contextlib.suppress(ValueError, OSError, AttributeError):
            kind = getattr(resource, name)
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (_within(value, hard),) * 2)


def _within(wanted: int, hard: int) -> int:
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def main() -> None:
    limits = Limits(**json.loads(sys.argv[1]))
    bound_process(limits)
    serve(lambda request: handle(request, limits))


if __name__ == "__main__":
    main()
