"""Programs that are started without a standard stream, or with one that knows few characters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TABLE = "import sys\nfrom {package}.base.streams import settle_streams\nsettle_streams()\n"
PACKAGES = ["interbench", "livetalk"]


def run(code: str, shell: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    argv = ["/bin/sh", "-c", f'exec "$0" -c "$1" {shell}', sys.executable, code]
    return subprocess.run(argv, capture_output=True, env={**os.environ, **environment}, timeout=60)


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict"])
def test_characters_that_the_terminal_does_not_know_are_written_plainly(package: str, encoding: str) -> None:
    code = TABLE.format(package=package) + r"print('3\u00d7 \u201cna\u00efve\u201d \u2013 \U0001f600 \ud83d')"
    done = run(code, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    naive = b"na\xefve" if encoding == "latin-1" else b"na\\xefve"
    times = b"3\xd7" if encoding == "latin-1" else b"3x"
    assert done.stdout == times + b' "' + naive + b'" - \\U0001f600 \\ud83d\n'


@pytest.mark.parametrize("package", PACKAGES)
def test_halves_of_characters_end_no_program_on_a_terminal_that_knows_all(package: str) -> None:
    done = run(TABLE.format(package=package) + r"print('caf\u00e9 \udcff')", PYTHONIOENCODING="utf-8")
    assert (done.returncode, done.stdout) == (0, "café \\udcff\n".encode())


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_closed_stream_leads_nowhere_and_no_file_takes_its_place(package: str, closed: str, tmp_path: Path) -> None:
    code = TABLE.format(package=package) + (
        "import os\n"
        f"ledger = open({str(tmp_path / 'ledger')!r}, 'w')\n"
        "assert ledger.fileno() > 2\n"
        "print('out'); print('err', file=sys.stderr); os.write(2, b'from a library')\n"
        "sys.stdin.read(1) if not os.isatty(0) else None\n"
        "ledger.write('all is well')\n"
    )
    done = run(code, closed)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ledger").read_text() == "all is well"
    assert done.stdout == (b"" if "1>&-" in closed else b"out\n")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_stream_that_can_only_be_read_is_none_to_write_to(package: str, tmp_path: Path) -> None:
    """A shell script that was started without standard error leaves itself in its place."""
    (tmp_path / "script").write_text("x")
    code = TABLE.format(package=package) + "print('err', file=sys.stderr, flush=True)"
    assert run(code, f"2<'{tmp_path / 'script'}'").returncode == 0
