"""Fixture folders as files: a manifest, files whose size and digest it gives, and rows on what became of each case."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livetalk.base.errors import FixtureError


@dataclass(frozen=True, slots=True)
class Measurement:
    """One comparison. ``main`` ones are absolute differences of floats; others are told in words beside them."""

    name: str
    value: float
    limit: float
    main: bool = True

    @property
    def passed(self) -> bool:
        return self.value <= self.limit  # false for NaN

    @property
    def strain(self) -> float:
        """How near the value comes to its limit; above 1 it failed."""
        if self.passed:
            return self.value / self.limit if self.limit else 0.0
        return self.value / self.limit if self.limit and math.isfinite(self.value) else math.inf


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of one case of the manifest."""

    name: str
    measurements: tuple[Measurement, ...]
    not_compared: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def passed(self) -> bool:
        return self.problem is None and bool(self.measurements) and all(m.passed for m in self.measurements)

    @property
    def worst(self) -> Measurement | None:
        """The main comparison nearest to its limit, or furthest beyond it."""
        main = [m for m in self.measurements if m.main] or list(self.measurements)
        return max(main, key=lambda m: m.strain, default=None)

    def as_dict(self) -> dict[str, Any]:
        return {
            "case": self.name,
            "passed": self.passed,
            "problem": self.problem,
            "not_compared": list(self.not_compared),
            "measurements": [
                # JSON has no word for NaN or infinity: null then, and not passed.
                {
                    "tensor": m.name,
                    "difference": m.value if math.isfinite(m.value) else None,
                    "limit": m.limit,
                    "passed": m.passed,
                }
                for m in self.measurements
            ],
        }


class FixtureFolder:
    """A fixture folder: its manifest and its verified files.

    Raises:
        FixtureError: the folder has no readable manifest, or no cases.
    """

    EXAMPLE = "tests/livetalk/golden"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            text = (folder / "manifest.json").read_text("utf-8")
            self.manifest: dict[str, Any] = json.loads(text, object_pairs_hook=_unambiguous)
        except OSError as error:
            raise FixtureError(
                f"{folder / 'manifest.json'} can't be read: {error.strerror}. Give a fixture folder, such as "
                f"{self.EXAMPLE}: manifest.json lists the published code's results, a safetensors file per case, "
                "and the tiny weights that gave them."
            ) from error
        except ValueError as error:
            raise FixtureError(f"{folder / 'manifest.json'} is not usable JSON: {error}.") from error
        cases = self.manifest.get("cases") if isinstance(self.manifest, dict) else None
        if not isinstance(cases, dict) or not cases:
            raise FixtureError(f"{folder / 'manifest.json'} lists no cases.")

    @property
    def cases(self) -> dict[str, dict[str, Any]]:
        """What the manifest says of each case."""
        return self.manifest["cases"]  # type: ignore[no-any-return]

    def path(self, name: str) -> Path:
        """A file of the folder, its size and SHA-256 as the manifest says.

        Raises:
            FixtureError: it is missing, lies elsewhere, or differs from the manifest.
        """
        path = self.folder / name
        if path.name != name:
            raise FixtureError(f"the manifest names {name!r}, which is not a plain file name")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise FixtureError(f"{name} can't be read: {error.strerror}") from error
        expected = self.manifest.get("files", {}).get(name, {})
        if "bytes" in expected and len(content) != expected["bytes"]:
            raise FixtureError(f"{name} has {len(content)} bytes, not {expected['bytes']}: it was cut short or changed")
        if "sha256" in expected and hashlib.sha256(content).hexdigest() != expected["sha256"]:
            raise FixtureError(f"{name} does not have the SHA-256 that the manifest gives: it was changed")
        return path


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of two entries of one name JSON would drop the first without a word."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        twice = sorted({name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1})
        raise ValueError(f"it gives {', '.join(map(repr, twice[:4]))} more than once")
    return entries


def as_text(results: Sequence[CaseResult]) -> str:
    """One row per case: name, largest absolute difference, limit, pass; beside it what the figure does not say."""
    rows = [("case", "difference", "limit", "result", "")]
    for result in results:
        worst = result.worst
        figures = (f"{worst.value:.2e}", f"{worst.limit:g}") if worst else ("-", "-")
        rows.append((result.name, *figures, "pass" if result.passed else "FAIL", _notes(result)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]) for row in rows
    ]
    failed = [result.name for result in results if not result.passed]
    summary = (
        f"{len(failed)} of {len(results)} cases failed: {', '.join(failed)}" if failed else f"all {len(results)} pass"
    )
    return "\n".join([line.rstrip() for line in lines] + [summary])


def _notes(result: CaseResult) -> str:
    if result.problem is not None:
        return f"not run: {result.problem}" if not result.measurements else f"not finished: {result.problem}"
    notes = [f"{len(result.measurements)} compared"]
    if result.worst is not None:
        notes.append(f"largest at {result.worst.name}")
    notes += [f"{m.name} {m.value:.2g} (limit {m.limit:g})" for m in result.measurements if not m.main]
    failed = [m.name for m in result.measurements if not m.passed]
    if failed:
        notes.append(f"beyond the limit: {', '.join(failed[:4])}{', …' if len(failed) > 4 else ''}")
    if result.not_compared:
        count = len(result.not_compared)
        notes.append(f"{count} tensors of the file not compared: {', '.join(result.not_compared[:4])}")
    return "; ".join(notes)
