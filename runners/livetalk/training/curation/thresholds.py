"""What a condition must measure to be kept: a TOML file, one table per measure.

::

    [luma]
    least = 0.15
    most = 0.85

    [yaw]
    most = 35
    missing = "pass"    # keep what could not be measured; the default is "fail"

The paper publishes none of its thresholds; the ones below are proposals, to be looked at beside the histograms.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livetalk.base.errors import OptionError
from livetalk.training.curation.measures import MEASURES

DUPLICATE = "duplicate"
"""The filter that no threshold governs: what a test split, or an earlier item, holds already."""

NEEDING_A_FACE = frozenset({"faces", "face_luma", "face_height", "sharpness", "yaw", "kept_face"})
EXTRA = {"kept_face": "overlap (intersection over union) of the largest face before and after the picture was improved"}


@dataclass(frozen=True, slots=True)
class Threshold:
    """The range that a measure must lie in, its ends included."""

    measure: str
    least: float = -math.inf
    most: float = math.inf
    missing_passes: bool = False

    def fault(self, values: Mapping[str, float]) -> str | None:
        """Why a condition with these figures is not kept; None if it is."""
        value = values.get(self.measure)
        if value is None:
            return None if self.missing_passes else "missing"
        if value < self.least:
            return "low"
        return "high" if value > self.most else None


PROPOSED = (
    Threshold("seconds", least=5.0625),
    Threshold("luma", least=0.15, most=0.85),
    Threshold("clipped", most=0.25),
    Threshold("faces", least=1, most=1),
    Threshold("face_height", least=0.15, most=0.9),
    Threshold("face_luma", least=0.15, most=0.9),
    Threshold("sharpness", least=30),
    Threshold("yaw", most=35, missing_passes=True),
    Threshold("kept_face", least=0.5, missing_passes=True),
    Threshold("speech_share", least=0.4),
    Threshold("level_db", least=-40),
)


def proposed(with_faces: bool) -> tuple[Threshold, ...]:
    """The proposed thresholds; without a face detector, only those that need none."""
    return tuple(one for one in PROPOSED if with_faces or one.measure not in NEEDING_A_FACE)


def read_thresholds(path: Path, scores: frozenset[str], with_faces: bool) -> tuple[Threshold, ...]:
    """The thresholds of a file, in its order.

    Args:
        path: the TOML file.
        scores: the scores of one's own, ``score.NAME``, that there are.
        with_faces: whether faces are looked for.

    Raises:
        OptionError: it can't be read, or asks for what is not measured.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"--thresholds {path} can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"--thresholds {path} is no TOML: {error}") from None
    known = frozenset(MEASURES) | frozenset(EXTRA) | scores
    found = []
    for measure, table in _flat(tables):
        if measure not in known:
            hint = "; add --score for it" if measure.startswith("score.") else f"; known are {', '.join(sorted(known))}"
            raise OptionError(f"--thresholds {path}: nothing called {measure} is measured{hint}")
        if measure in NEEDING_A_FACE and not with_faces:
            raise OptionError(f"--thresholds {path}: {measure} needs a face detector, and --faces is none")
        found.append(_threshold(measure, table, path))
    return tuple(found)


def _flat(tables: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Tables by measure; TOML nests ``[score.NAME]``."""
    for measure, table in tables.items():
        if measure == "score" and isinstance(table, dict):
            yield from ((f"score.{name}", inner) for name, inner in table.items())
        else:
            yield measure, table


def _threshold(measure: str, table: Any, path: Path) -> Threshold:
    if not isinstance(table, dict) or not table.keys() <= {"least", "most", "missing"}:
        raise OptionError(f"--thresholds {path}: [{measure}] holds least, most and missing, nothing else")
    limits = {name: table[name] for name in ("least", "most") if name in table}
    for name, value in limits.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise OptionError(f"--thresholds {path}: {name} of [{measure}] is no number")
    if table.get("missing", "fail") not in ("pass", "fail"):
        raise OptionError(f'--thresholds {path}: missing of [{measure}] is "pass" or "fail"')
    threshold = Threshold(measure, missing_passes=table.get("missing") == "pass", **limits)
    if threshold.least > threshold.most:
        raise OptionError(f"--thresholds {path}: least of [{measure}] is above most")
    return threshold


def as_toml(thresholds: tuple[Threshold, ...]) -> str:
    """Thresholds as a file that ``read_thresholds`` reads."""
    lines = []
    for one in thresholds:
        lines.append(f"[{one.measure}]")
        ends = (("least", one.least), ("most", one.most))
        lines += [f"{end} = {value:.17g}" for end, value in ends if abs(value) < math.inf]
        lines += ['missing = "pass"'] if one.missing_passes else []
        lines.append("")
    return "\n".join(lines)
