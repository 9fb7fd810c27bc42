"""Writes the HTML report: a folder of pages that open from disk, in any browser, without a server.

The pages run under a strict content security policy: scripts and styles come from the report's own files, nothing is
inline and nothing is fetched. Names and texts reach ``index.html`` through autoescaping and the viewer as JSON strings.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from interbench import __version__
from interbench.base import termination
from interbench.base.errors import StoreError
from interbench.domain.incidents import MEANINGS
from interbench.report import overview, payload
from interbench.report.data_files import csv_files
from interbench.report.grid import DASH, decimal
from interbench.report.links import MEDIA, Links
from interbench.report.model import ReportData
from interbench.report.people_tables import people_section
from interbench.report.plots import PERCENTILES, ring, spokes
from interbench.report.tables import FORMATS, View, render

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
_PAGE_SCRIPTS = ("common.js", "overview.js")
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
    with _explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with _staging(out) as staging:
            _write(data, staging, Links(media_root, out, staging, portable=portable))
            _put(staging, out)
    return out / "index.html"


def write_archive(data: ReportData, out: Path, *, media_root: Path) -> Path:
    """Write a portable report as the ZIP archive ``out``, whole or not at all, and return its path.

    Raises:
        StoreError: ``out`` is no ``.zip``, is something other than an earlier report, or can't be written.
    """
    _require_file(out, ".zip", _is_archive)
    with _explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with _staging(out) as staging:
            folder = staging / out.stem
            folder.mkdir()
            _write(data, folder, Links(media_root, out.absolute(), folder, portable=True))
            draft = staging / out.name
            with zipfile.ZipFile(draft, "w", strict_timestamps=False) as archive:
                for path in sorted(folder.rglob("*")):
                    # Clips are compressed already.
                    kind = zipfile.ZIP_STORED if path.is_relative_to(folder / MEDIA) else zipfile.ZIP_DEFLATED
                    archive.write(path, path.relative_to(staging), kind)
            draft.replace(out)
    return out


def write_page(data: ReportData, out: Path) -> Path:
    """Write the results as one HTML file, with its styles, scripts and CSV files in it and without conversations and
    clips; return its path.

    Raises:
        StoreError: ``out`` is no ``.html``, is something other than an earlier report, or can't be written.
    """
    _require_file(out, ".html", _is_page)
    style, scripts = (_static("report.css"), tuple(_static(name) for name in _PAGE_SCRIPTS))
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            f"style-src {_hash(style)}",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
    made = overview.make_overview(data)
    types = {"csv": "text/csv", "json": "application/json"}

    def inside(name: str, text: str) -> str:
        kind = types.get(name.rpartition(".")[2], "text/plain")
        return f"data:{kind};charset=utf-8;base64," + base64.b64encode(text.encode("utf-8", "replace")).decode()

    text = _page(
        "index",
        data,
        made,
        policy,
        files={name: inside(name, of) for name, of in {**_tables(data), **csv_files(data, made)}.items()},
        inline=(Markup(style), tuple(map(Markup, scripts))),  # noqa: S704 - our own files
    )
    with _explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = out.with_name(f".{out.name}.{os.getpid()}")
        with termination.undivided():
            try:
                draft.write_text(text, encoding="utf-8")
                draft.replace(out)
            finally:
                draft.unlink(missing_ok=True)
    return out


@contextlib.contextmanager
def _explained(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The report can't be written to {out} ({error.strerror or error}). Make room or name another place, then "
            "run the command again; the run itself is untouched."
        ) from error


def _require_file(out: Path, ending: str, is_ours: Callable[[Path], bool]) -> None:
    if out.suffix.lower() != ending:
        raise StoreError(f"{out} has not the ending {ending}; name a file that has, with --out.")
    if out.is_dir():
        raise StoreError(f"{out} is a folder; name a file, with --out.")
    if out.exists() and not is_ours(out):
        raise StoreError(f"{out} is there already and is no report; name another place for the report, with --out.")


def _is_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(f"/{MARKER}") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _is_page(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b'<meta name="generator" content="interbench ' in file.read(4096)
    except OSError:
        return False


def _static(name: str) -> str:
    return (_HERE / "static" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a content security policy allows an inline script or style by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _tables(data: ReportData) -> dict[str, str]:
    """The result table as files, and what people said."""
    tables = {f"table.{_EXTENSIONS[form]}": render(data.table, form, View(intervals=True)) for form in FORMATS}
    return tables if data.people is None else {**tables, **people_section(data.people, data.table).files}


def _write(data: ReportData, folder: Path, links: Links) -> None:
    (folder / MARKER).write_text(
        "Written by interbench; replaced whole when the report is made again.\n", encoding="utf-8"
    )
    shutil.copytree(_HERE / "static", folder / "static")
    made = overview.make_overview(data)
    files = {**_tables(data), **csv_files(data, made)}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", errors="replace", newline="")

    percentile = payload.percentile_in(data.table.pool)
    shards = folder / "data"
    shards.mkdir()
    (shards / "index.js").write_text(payload.script("index", payload.index_payload(data, percentile)), encoding="ascii")
    for index in range(len(data.scenarios)):
        name = payload.shard_name(index)
        text = payload.script(name, payload.shard_payload(data, index, links))
        (shards / f"{name}.js").write_text(text, encoding="ascii")

    for page in ("index", "conversations"):
        text = _page(page, data, made, CSP, files={name: name for name in files})
        (folder / f"{page}.html").write_text(text, encoding="utf-8")


def _page(
    page: str,
    data: ReportData,
    made: overview.Overview,
    policy: str,
    *,
    files: Mapping[str, str],
    inline: tuple[Markup, tuple[Markup, ...]] | None = None,
) -> str:
    """``files`` are names of CSV files and the like to their addresses; ``inline`` are style and scripts of a page that
    is to stand alone."""
    template = _environment().get_template(f"{page}.html")
    return template.render(
        title=data.title,
        version=__version__,
        csp=Markup(policy),  # noqa: S704 - made of constants and hashes
        data=data,
        people=None if data.people is None else people_section(data.people, data.table),
        o=made,
        files=files,
        inline=inline,
        page=page,
    )


@functools.cache
def _environment() -> Environment:
    """It keeps the templates that it has compiled, which takes five times as long as filling them."""
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
        breakable=_breakable,
    )
    environment.globals.update(
        percentiles=PERCENTILES, ring=ring, spokes=spokes, table_files=_EXTENSIONS, dash=DASH, meanings=MEANINGS
    )
    return environment


def _clean(value: Any) -> Any:
    """Characters that HTML can't hold, or that would be invisible, become U+FFFD."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _CONTROL.sub("\ufffd", value)
    return value


def _breakable(name: str) -> Markup:
    """A name that breaks after its marks of punctuation, where it must."""
    pieces = re.split(r"(?<=[:/_@.-])(?=[^:/_@.-])", _clean(name))
    return Markup("<wbr>").join(escape(piece) for piece in pieces)


def _fixed(value: float | None, digits: int = 1, sign: str = "") -> str:
    return DASH if value is None else decimal(value, digits, sign)


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
    with termination.undivided():
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        settled = termination.at_end(partial(shutil.rmtree, folder, ignore_errors=True))
    try:
        folder.chmod(_usual_mode(folder))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        settled()


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
    with termination.undivided():
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            out.rename(aside / "old")
            try:
                staging.rename(out)
            except OSError:
                (aside / "old").rename(out)
                raise
        finally:
            remove = partial(shutil.rmtree, aside, ignore_errors=True)
            settled = termination.at_end(remove)
    remove()
    settled()
