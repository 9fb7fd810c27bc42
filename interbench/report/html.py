"""Writes the HTML report: a folder of pages that open from disk, in any browser, without a server.

The pages run under a strict content security policy: scripts and styles come from the report's own files, nothing is
inline and nothing is fetched. Names and texts reach ``index.html`` through autoescaping and the viewer as JSON strings.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from interbench import __version__
from interbench.base.errors import StoreError
from interbench.domain.dimensions import DIMENSIONS
from interbench.report import overview, payload
from interbench.report.grid import DASH
from interbench.report.links import Links
from interbench.report.model import ReportData
from interbench.report.plots import PERCENTILES, ring, spokes
from interbench.report.tables import FORMATS, render

MARKER = ".interbench-report"
"""Lies in every report, so that only a folder that is one is ever replaced."""
# "file:" stands beside 'self' because some browsers take every page from disk to be of an origin of its own.
CSP = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self' file:" for kind in ("script", "style", "img", "media")),
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types interbench-data",
    )
)

_HERE = Path(__file__).resolve().parent
_EXTENSIONS = {"md": "md", "csv": "csv", "latex": "tex", "json": "json"}
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def write_report(data: ReportData, out: Path, *, media_root: Path, portable: bool = False) -> Path:
    """Write the report as the folder ``out`` and return the path of its ``index.html``.

    Media are linked relative to the report where they lie in ``media_root`` (the run folder), and copied into it (as
    hard links where the file system can) where they do not; with ``portable`` all of them are, so that the folder can
    be moved on its own. The folder is written beside its place and renamed into it: a reader never sees half a report,
    and an earlier report is replaced whole.

    Raises:
        StoreError: ``out`` is something other than a report, or can't be written.
    """
    out = out.absolute()
    _refuse_to_replace(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _staging(out) as staging:
            _write(data, staging, Links(media_root, out, staging, portable=portable))
            _put(staging, out)
    except OSError as error:
        raise StoreError(
            f"The report can't be written to {out} ({error.strerror or error}). Make room or name another folder, then "
            "run the command again; the run itself is untouched."
        ) from error
    return out / "index.html"


def _write(data: ReportData, folder: Path, links: Links) -> None:
    (folder / MARKER).write_text(
        "Written by interbench; replaced whole when the report is made again.\n", encoding="utf-8"
    )
    shutil.copytree(_HERE / "static", folder / "static")
    for format_ in FORMATS:
        text = render(data.table, format_, intervals=True)
        (folder / f"table.{_EXTENSIONS[format_]}").write_text(text, encoding="utf-8", errors="replace")

    percentile = payload.percentile_in(data.table.pool)
    shards = folder / "data"
    shards.mkdir()
    (shards / "index.js").write_text(payload.script("index", payload.index_payload(data, percentile)), encoding="ascii")
    for index in range(len(data.scenarios)):
        name = payload.shard_name(index)
        text = payload.script(name, payload.shard_payload(data, index, links))
        (shards / f"{name}.js").write_text(text, encoding="ascii")

    templates = _environment()
    shared = {"title": data.title, "version": __version__, "csp": Markup(CSP), "data": data}  # noqa: S704 - a constant
    pages: dict[str, dict[str, Any]] = {
        "index": {"o": overview.make_overview(data), "dimensions": DIMENSIONS},
        "conversations": {},
    }
    for page, context in pages.items():
        text = templates.get_template(f"{page}.html").render(**shared, **context, page=page)
        (folder / f"{page}.html").write_text(text, encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )
    environment.filters.update(
        day=overview.day,
        fixed=_fixed,
        probability=_probability,
        words=payload.readable,
        nested=_nested,
        pretty=_pretty,
        figure=_figure,
        clean=_clean,
    )
    environment.globals.update(percentiles=PERCENTILES, ring=ring, spokes=spokes, table_files=_EXTENSIONS, dash=DASH)
    return environment


def _clean(value: Any) -> Any:
    """Characters that HTML can't hold, or that would be invisible, become U+FFFD."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _CONTROL.sub("\ufffd", value)
    return value


def _fixed(value: float | None, digits: int = 1, sign: str = "") -> str:
    return DASH if value is None else overview.decimal(value, digits, sign)


def _probability(value: float | None) -> str:
    if value is None:
        return DASH
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def _nested(value: Any) -> bool:
    return isinstance(value, dict | list | tuple)


def _figure(value: Any) -> str:
    """A fact of any type for people."""
    if value is None or value == "":
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}" if isinstance(value, float) else str(value)


def _pretty(value: Any) -> str:
    return json.dumps(payload.plain(value), indent=2, ensure_ascii=False)


def _refuse_to_replace(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise StoreError(f"{out} is there already and is no folder; name another place for the report.")
    if out.is_dir() and not (out / MARKER).exists() and any(out.iterdir()):
        raise StoreError(
            f"{out} holds other files, and a report replaces its folder whole; name a new or empty folder for it."
        )


@contextlib.contextmanager
def _staging(out: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        folder.chmod(_usual_mode(folder))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _usual_mode(folder: Path) -> int:
    """Who may enter a new folder by this process's umask, which can be read only by making one."""
    trial = folder / "trial"
    trial.mkdir()
    mode = stat.S_IMODE(trial.stat().st_mode)
    trial.rmdir()
    return mode


def _put(staging: Path, out: Path) -> None:
    """Move ``staging`` to ``out``. A folder can't replace a full one in one step, so the old one steps aside first."""
    if not out.exists():
        staging.rename(out)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        out.rename(aside / "old")
        try:
            staging.rename(out)
        except OSError:
            (aside / "old").rename(out)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
