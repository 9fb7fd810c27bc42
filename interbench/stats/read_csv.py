"""Scores from long CSV files: ``system,scenario,dimension,score`` with a header.

Two optional columns are understood: ``sample`` (tells repeated judgements apart) and ``reason`` (why a score is
missing); any other is ignored. An empty score cell is a missing score. A file with a column ``outcome``, as
``interbench scores`` writes it, has a row for everything that was planned: its rows are the plan.

Plain files go through pandas' C parser. Whatever is not plainly right there is read again row by row, by rules that can
name line and column, and that second reading alone decides.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from interbench.base.errors import ScoresError
from interbench.domain.dimensions import no_such_dimension
from interbench.domain.names import alike, unsheltered
from interbench.stats.coverage import NO_RECORD, Expected
from interbench.stats.scores import KEYS, LARGEST, NO_REASON, Ints, Scores, ScoresBuilder, join

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("system", "scenario", "dimension", "score")
UNDERSTOOD = (*REQUIRED, "sample", "reason")

_TRUTHS = (b"True", b"TRUE", b"true", b"False", b"FALSE", b"false")
"""Words of which pandas would make numbers."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read_scores(paths: Sequence[Path]) -> Scores:
    """All judgements of the files as one set of scores; see :func:`read_planned_scores`."""
    return read_planned_scores(paths)[0]


def read_planned_scores(paths: Sequence[Path]) -> tuple[Scores, Expected]:
    """All judgements of the files as one set of scores, and what was planned.

    If every file has a column ``outcome``, its rows are the plan; else every system is expected on every scenario that
    occurs in the files. A row with the reason ``no record`` is a judgement that nobody has given yet: it is in the plan
    and not among the scores.

    Raises :class:`~interbench.base.errors.ScoresError`, naming file, line and column, for a file that can't be read,
    isn't UTF-8, is empty or lacks a column; for a row of the wrong length, an empty name, an unknown dimension, a
    score that is no finite number; for rows that say the same (system, scenario, dimension, sample) twice; and for
    names that differ only in case, spaces, invisible characters or Unicode form.
    """
    if not paths:
        raise ScoresError("No CSV file was given; name at least one with system,scenario,dimension,score.")
    files = [_File.open(path) for path in paths]
    scores = join([_read_fast(file) or _read_carefully(file)[0] for file in files])
    if found := scores.first_duplicate():
        lines = [(file, line) for file in files for line in _read_carefully(file)[1]]
        (first, first_line), (second, second_line) = lines[found[0]], lines[found[1]]
        where = f"line {first_line}" if first is second else f"{first.name}, line {first_line}"
        row = found[1]
        raise ScoresError(
            f"{second.name}, line {second_line}: system {scores.systems[scores.system[row]]!r}, scenario "
            f"{scores.scenarios[scores.scenario[row]]!r}, dimension {KEYS[scores.dimension[row]]} was already given in "
            f"{where}. Remove one of the two, or tell repeated judgements apart with a column 'sample'."
        )
    for what, names in (("systems", scores.systems), ("scenarios", scores.scenarios)):
        if pair := alike(names):
            raise ScoresError(
                f"The {what} {pair[0]!a} and {pair[1]!a} look the same, so nobody could tell their rows apart. "
                f"Write one name in one way, or give them different names."
            )
    planned = Expected.from_rows if all(file.states_plan for file in files) else Expected.from_scores
    awaited = [index for index, reason in enumerate(scores.reasons) if reason == NO_RECORD]
    given = ~np.isnan(scores.value) | ~np.isin(scores.reason, awaited)
    return scores if given.all() else scores.select(given), planned(scores)


@dataclass(frozen=True)
class _File:
    name: str
    data: bytes
    """UTF-8 without byte order mark, with a newline at the end."""
    columns: dict[str, int]
    """Position of each understood column that is there."""
    width: int
    """Number of columns."""
    header_lines: int
    """Physical lines up to and with the header."""
    states_plan: bool = False
    """Whether there is a row for everything that was planned."""

    @classmethod
    def open(cls, path: Path) -> _File:
        name = str(path)
        try:
            data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        except OSError as error:
            raise ScoresError(f"{name} can't be read: {error.strerror or error}. Check the path.") from error
        if not data.strip():
            raise ScoresError(f"{name} is empty; it should begin with the header {','.join(REQUIRED)}.")
        try:
            if not data.isascii():
                data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ScoresError(f"{name}, line {line}: not UTF-8 text; save the file as CSV in UTF-8.") from error
        if b"\0" in data:
            line = data.count(b"\n", 0, data.index(b"\0")) + 1
            raise ScoresError(f"{name}, line {line}: holds a NUL byte, so it is not a CSV text file.")
        if not data.endswith((b"\n", b"\r")):
            data += b"\n"
        header_lines, header = next(_rows(data, name), (1, []))
        header = [cell.strip() for cell in header]
        for column in UNDERSTOOD:
            if header.count(column) > 1:
                raise ScoresError(f"{name}, line {header_lines}: the column {column!r} is there twice; keep one.")
        if lacking := [column for column in REQUIRED if column not in header]:
            raise ScoresError(
                f"{name}, line {header_lines}: the header lacks {' and '.join(map(repr, lacking))}; it reads "
                f"{','.join(header)[:200]!r} and should name {','.join(REQUIRED)}, separated by commas."
            )
        columns = {column: header.index(column) for column in UNDERSTOOD if column in header}
        return cls(name, data, columns, len(header), header_lines, "outcome" in header)


def _rows(data: bytes, name: str) -> Iterator[tuple[int, list[str]]]:
    """(line the row begins on, cells) of every row that isn't blank."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")
    reader = csv.reader(text, strict=True, skipinitialspace=True)
    line = 1
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()):
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise ScoresError(f"{name}, line {line}: broken CSV quoting or an overlong cell ({error}); mend it.") from error


def _read_carefully(file: _File) -> tuple[Scores, list[int]]:
    """The scores, and the line each row begins on."""
    at = file.columns
    rows = _rows(file.data, file.name)
    next(rows)
    builder, lines = ScoresBuilder(), []
    for line, row in rows:
        where = f"{file.name}, line {line}"
        if len(row) != file.width:
            raise ScoresError(
                f"{where}: {len(row)} cells where the header has {file.width}; the row is cut short, or a comma is "
                "missing or not quoted."
            )
        for column in ("system", "scenario"):
            if not row[at[column]].strip():
                raise ScoresError(f"{where}, column {column!r}: empty; every row names its {column}.")
        key = row[at["dimension"]].strip()
        if key not in KEYS:
            raise ScoresError(f"{where}, column 'dimension': {no_such_dimension(key[:80])}.")
        builder.add(
            unsheltered(row[at["system"]]),
            unsheltered(row[at["scenario"]]),
            key,
            (row[at["sample"]].strip() if "sample" in at else "") or "0",
            _number(row[at["score"]].strip(), where),
            row[at["reason"]].strip() if "reason" in at else None,
        )
        lines.append(line)
    if not lines:
        raise ScoresError(f"{file.name} has a header but no row beneath it; give at least one score.")
    return builder.build(), lines


def _number(text: str, where: str) -> float | None:
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise ScoresError(
            f"{where}, column 'score': {text[:80]!r} is not a number; leave the cell empty if the score is missing."
        )
    value = float(text)
    if abs(value) > LARGEST:
        raise ScoresError(f"{where}, column 'score': {text[:80]} is too large to be a score; correct it.")
    return value


def _read_fast(file: _File) -> Scores | None:
    """The scores of a plain file; None for anything that wants a careful reading."""
    import pandas as pd  # takes a third of a second to import, and only CSV input needs it

    if not _regular(file):
        return None
    # Columns go by position, so that odd or doubled names of columns nobody reads can't matter.
    at = {column: str(position) for column, position in file.columns.items()}
    text_columns = [column for column in at if column != "score"]
    try:
        frame = pd.read_csv(
            io.BytesIO(file.data),
            header=None,
            names=[str(position) for position in range(file.width)],
            skiprows=file.header_lines,
            usecols=list(at.values()),
            # Names stay as they are written: as categories, pandas would read "007" as a number. So do scores: some
            # versions of its parser are off by a last digit now and then.
            dtype=object,
            keep_default_na=False,
            skipinitialspace=True,
            index_col=False,
        )
    except (ValueError, OverflowError):
        return None
    written, score = _codes(frame[at["score"]])
    if not all(_NUMBER.fullmatch(number) for number in written if number):
        return None
    value = np.array([float(number) if number else np.nan for number in written])[score]
    if not len(value) or np.nanmax(np.abs(value), initial=0.0) > LARGEST:
        return None
    coded = {column: _codes(frame[at[column]]) for column in text_columns}
    keys = [name.strip() for name in coded["dimension"][0]]
    if not set(keys) <= set(KEYS) or not all(name.strip() for c in ("system", "scenario") for name in coded[c][0]):
        return None
    names = {column: tuple(map(unsheltered, coded[column][0])) for column in ("system", "scenario")}
    if any(len(set(named)) < len(named) for named in names.values()):
        return None
    zeros = np.zeros(len(value), np.int32)
    samples, sample = coded.get("sample", (("0",), zeros))
    reasons, reason = coded.get("reason", ((NO_REASON,), zeros))
    if any(name != name.strip() or not name for name in samples):
        return None
    return Scores(
        names["system"],
        names["scenario"],
        samples,
        tuple(name.strip() or NO_REASON for name in reasons),
        coded["system"][1],
        coded["scenario"][1],
        np.array([KEYS.index(key) for key in keys], np.int32)[coded["dimension"][1]],
        sample,
        value,
        reason,
    )


def _regular(file: _File) -> bool:
    """Whether every row has as many cells as the header and holds nothing that parsers understand differently."""
    data = file.data.replace(b"\r\n", b"\n") if b"\r" in file.data else file.data
    if b"\r" in data or any(word in data for word in _TRUTHS):
        return False
    if b'"' in data:
        widths = {len(row) for _, row in _rows(data, file.name)}
        return widths == {file.width}
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw == ord("\n"))
    commas = np.flatnonzero(raw == ord(","))
    blank = np.diff(ends, prepend=-1) == 1
    per_line = np.diff(np.searchsorted(commas, ends), prepend=0)
    return bool(np.all((per_line == file.width - 1) | blank))


def _codes(column: pd.Series[str]) -> tuple[tuple[str, ...], Ints]:
    """Names in order of first appearance, and each row's index into them."""
    import pandas as pd

    codes, names = pd.factorize(column.to_numpy())
    return tuple(str(name) for name in names), codes.astype(np.int32)
