"""The sheet as Markdown, with the rows that docs/performance.md wants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from livetalk.tools.sheet import Sheet

Row = Mapping[str, Any]
_TOP = 15
"""Rows of the profile."""
_BENCHES = ("bench_eager", "bench_compiled", "bench_float8", "bench_autotuned", "weights")
_NOTHING = "–"


def to_markdown(sheet: Sheet) -> str:
    """Every step that found something as a table, and of the others why not."""
    (environment,) = [row for row in sheet.rows("environment") if "torch" in row] or [{}]
    card = environment.get("device", sheet.device)
    parts = [
        f"# livetalk {sheet.size} on {_cell(card)}",
        f"{sheet.date}, in {sheet.minutes:g} minutes. {_cell(_versions(environment))}.",
        *_bench_tables(sheet, card),
        *_section(sheet, "agreement_small", _AGREEMENT),
        *_section(sheet, "agreement_real", _AGREEMENT),
        *_section(sheet, "parity", _PARITY),
        *_section(sheet, "kernels", _KERNELS),
        *_section(sheet, "profile", _PROFILE, most=_TOP),
        *_section(sheet, "live", _LIVE),
        *_section(sheet, "thinker", _LIVE),
        *_section(sheet, "float8_error", _FLOAT8),
        *_section(sheet, "weights", _FLOAT8),
        "## Steps",
        _table(
            ("step", "", "why", "seconds", "limit"),
            [
                (step.title, step.outcome, step.reason or "", f"{step.seconds:.1f}", f"{step.limit_s:.1f}")
                for step in sheet.steps
            ],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _versions(environment: Row) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {value}"
        for name, value in environment.items()
        if value is not None and name not in ("device",)
    )


def _bench_tables(sheet: Sheet, card: str) -> Iterable[str]:
    found = [row for name in _BENCHES for row in sheet.rows(name) if "denoise_ms" in row]
    if not found:
        return
    yield "## Bench"
    columns: tuple[tuple[str, Callable[[Row], str]], ...] = (
        ("date", lambda row: sheet.date.split()[0]),
        ("card, versions", lambda row: f"{card}, torch {row['environment']['torch']}"),
        ("how", _how),
        ("attention", lambda row: row["attention"]),
        ("denoise", lambda row: f"{row['denoise_ms']:.1f} ms"),
        ("clean pass", lambda row: f"{row['clean_ms']:.1f} ms"),
        ("decode", lambda row: f"{row['decode_ms']:.1f} ms"),
        ("as graphs", lambda row: f"{row['decode_replayed_ms']:.1f} ms" if row["decode_replayed_ms"] else "–"),
        ("frames/s", lambda row: f"{row['frames_per_second']:.2f}"),
        ("first frames", lambda row: f"{row['first_frames_ms']:.0f} ms"),
        ("first alone", lambda row: f"{row['first_frame_ms']:.0f} ms"),
        ("peak memory", lambda row: _memory(row)),
        ("share of the bound", lambda row: f"{100 * row['bound_share']:.0f} %"),
        ("ready after", lambda row: f"{row['start_s']:.0f} s"),
    )
    yield _table([name for name, _ in columns], [[show(row) for _, show in columns] for row in found])


def _how(row: Row) -> str:
    how = [f"compiled ({row['compile_mode']})" if row["compiled"] else "eager"]
    how += ["float8"] if row["float8"] else []
    how += ["published weights"] if row["weights"] != "random" else []
    return ", ".join(how)


def _memory(row: Row) -> str:
    taken = row["peak_reserved_bytes"]
    used = f"{row['peak_memory_bytes'] / 2**30:.2f} GiB"
    return used if taken is None else f"{used} ({taken / 2**30:.2f} taken)"


def _figure(row: Row, name: str, form: str, scale: int = 1) -> str:
    """A number in its form; a whole one stays whole."""
    value = row.get(name)
    return _NOTHING if value is None else format(scale * value, form)


_AGREEMENT: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("way", lambda row: row["way"]),
    ("against", lambda row: row["reference"]),
    ("", lambda row: "ok" if row["passed"] else "FAILED"),
    ("latents, largest", lambda row: _figure(row, "latents_max", ".1e")),
    ("rms", lambda row: _figure(row, "latents_rms", ".1e")),
    ("frames, largest", lambda row: _figure(row, "frames_max", "d")),
    ("mean", lambda row: _figure(row, "frames_mean", ".3f")),
    ("same bits", lambda row: "yes" if row["same_bits"] else "no"),
    ("limit", lambda row: row["limit"]),
    ("seconds", lambda row: _figure(row, "seconds", ".2f")),
)
_PARITY: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("case", lambda row: row["case"]),
    ("", lambda row: "pass" if row["passed"] else "FAILED"),
    ("difference", lambda row: _figure(row, "difference", ".1e")),
    ("limit", lambda row: _figure(row, "limit", "g")),
    ("", lambda row: row["problem"] or ""),
)
_KERNELS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("kernel", lambda row: row["kernel"]),
    ("frames", lambda row: str(row["frames"])),
    ("ms", lambda row: _figure(row, "ms", ".3f")),
    ("TFLOP/s", lambda row: _figure(row, "tflops", ".1f")),
    ("largest difference", lambda row: _figure(row, "difference", ".1e")),
    ("", lambda row: row.get("problem", "")),
)
_PROFILE: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("kernel", lambda row: row["name"][:80]),
    ("calls per block", lambda row: str(row["calls"])),
    ("ms per block", lambda row: _figure(row, "ms", ".2f")),
    ("share", lambda row: _figure(row, "share", ".1f", 100) + " %"),
)
_LIVE: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("thinker", lambda row: row["thinker"]),
    ("first frame, median", lambda row: f"{1e3 * row['first_frame']['median']:.0f} ms"),
    ("p95", lambda row: f"{1e3 * row['first_frame']['p95']:.0f} ms"),
    ("window to fragment", lambda row: f"{1e3 * row['window_to_fragment']['median']:.0f} ms"),
    ("frames/s", lambda row: _figure(row, "frames_per_second", ".2f")),
    ("at once", lambda row: f"{'at least ' if row['simultaneous_is_limit'] else ''}{row['simultaneous']}"),
    ("for", lambda row: _figure(row, "seconds_each", "g") + " s"),
    ("peak memory", lambda row: _memory(row)),
)
_FLOAT8: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("block", lambda row: str(row["block"])),
    ("flow, rms", lambda row: _figure(row, "flow", ".4f")),
    ("latents, rms", lambda row: _figure(row, "latents", ".4f")),
)


def _section(
    sheet: Sheet, name: str, columns: Sequence[tuple[str, Callable[[Row], str]]], most: int | None = None
) -> Iterable[str]:
    # The step with the published weights has two tables, and rows for each.
    found = [row for row in sheet.rows(name) if columns is not _FLOAT8 or "flow" in row][:most]
    if found:
        yield f"## {next(step.title for step in sheet.steps if step.name == name)}"
        yield _table([title for title, _ in columns], [[show(row) for _, show in columns] for row in found])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """Whatever a driver or a library says of itself, in one cell and as text."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")
