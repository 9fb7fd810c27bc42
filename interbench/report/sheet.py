"""CSV as it is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Protocol

from interbench.domain.names import sheltered


class _Writable(Protocol):
    def write(self, text: str, /) -> object: ...


class SheetWriter:
    """Writes rows. Names that a spreadsheet would calculate get an apostrophe before them, which is taken off again
    where scores are read."""

    def __init__(self, out: _Writable) -> None:
        self._writer = csv.writer(out, lineterminator="\n")

    def writerow(self, row: Iterable[object]) -> None:
        self._writer.writerow([sheltered(cell) if isinstance(cell, str) else cell for cell in row])

    def writerows(self, rows: Iterable[Iterable[object]]) -> None:
        for row in rows:
            self.writerow(row)
