"""What the C library keeps of memory that was freed.

glibc gives threads arenas of their own, up to eight for each processor, and hands back of an arena only what lies at
its end. A server whose answers come and go runs many threads for a short while, so that what they freed stays spread
over many arenas: after 150 clients that left in mid-answer a process held some 45 MiB that nobody used, and went on
growing, though ever more slowly. With two arenas, and what is free handed back while nobody is answered, it stays
level.
"""

from __future__ import annotations

import ctypes
import sys

_M_ARENA_MAX = -8


def _library() -> ctypes.CDLL | None:
    """glibc; None where another C library has nothing of the kind."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def keep_few_arenas() -> None:
    """From now on threads share two arenas. For the beginning of a process: arenas that are there stay."""
    library = _library()
    if library is not None:
        library.mallopt(_M_ARENA_MAX, 2)


def give_back() -> None:
    """Hand what is free back to the system. Takes milliseconds in which allocations wait: not in the midst of work."""
    library = _library()
    if library is not None:
        library.malloc_trim(0)
