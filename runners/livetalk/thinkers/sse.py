"""Server-sent events (HTML standard, section 9.2.6), read from a stream of bytes of any division."""

from __future__ import annotations

import re

from livetalk.thinkers.base import ThinkerError

_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventReader:
    """Takes the bytes of a stream as they come and gives the data of its events.

    Comments and other fields are passed over, as is an event that the stream's end cuts off.

    Args:
        longest: bytes that one event may have.
        total: bytes that the stream may have.
    """

    def __init__(self, *, longest: int, total: int) -> None:
        self._longest = longest
        self._total = total
        self._seen = 0
        self._rest = bytearray()
        self._scanned = 0
        self._data: list[bytes] = []
        self._size = 0
        self._first = True

    def feed(self, chunk: bytes) -> list[str]:
        """Take more of the stream.

        Returns:
            The data of each event that is now complete.

        Raises:
            ThinkerError: ``broken``; an event or the stream is longer than allowed, or not UTF-8.
        """
        self._seen += len(chunk)
        if self._seen > self._total:
            raise ThinkerError(
                "broken",
                f"The service's stream is longer than {self._total:,} bytes, more than any spoken answer needs.",
            )
        self._rest += chunk
        found: list[str] = []
        start = 0
        while (end := _LINE_END.search(self._rest, max(start, self._scanned))) is not None:
            if end[0] == b"\r" and end.end() == len(self._rest):
                break  # the line feed that may belong to it is not here yet
            event = self._line(bytes(self._rest[start : end.start()]))
            if event is not None:
                found.append(event)
            start = end.end()
        del self._rest[:start]
        self._scanned = max(0, len(self._rest) - 1)
        if self._size + len(self._rest) > self._longest:
            raise ThinkerError("broken", f"An event of the service's stream is longer than {self._longest:,} bytes.")
        return found

    def _line(self, line: bytes) -> str | None:
        if self._first:
            self._first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line:
            field, _, value = line.partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
                self._size += len(line)
            return None
        if not self._data:
            return None
        data = b"\n".join(self._data)
        self._data, self._size = [], 0
        if len(data) > self._longest:
            raise ThinkerError("broken", f"An event of the service's stream is longer than {self._longest:,} bytes.")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ThinkerError("broken", "The service's stream is not UTF-8 text.") from error
