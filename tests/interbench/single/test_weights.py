"""`interbench single --fetch`: from a hub on loopback; what hashes to something else is never kept."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from interbench.cli.main import app
from interbench.single.weights import WEIGHTS, hash_fits


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address and folder of a hub that serves files."""
    root = tmp_path / "hub"
    root.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base class
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", root
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_comes_is_hashed_and_what_is_wrong_is_not_kept(
    hub: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, root = hub
    folder = tmp_path / "weights"
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("INTERBENCH_METRICS_WEIGHTS", str(folder))
    there = root / "q-future" / "one-align" / "resolve" / "main"
    there.mkdir(parents=True)
    for file in WEIGHTS["qalign"].files:
        (there / file.name).write_bytes(file.name.encode())
    bad = root / "ByteDance" / "LatentSync-1.5" / "resolve" / "main" / "auxiliary"
    bad.mkdir(parents=True)
    (bad / "syncnet_v2.model").write_bytes(b"something else")
    done = CliRunner().invoke(app, ["single", "--fetch", "--metrics", "sync,iqa"])
    assert done.exit_code == 1, done.output
    own = hashlib.sha256(b"tokenizer.model").hexdigest()
    assert f"ok      tokenizer.model: fetched; sha256 {own}" in done.output
    assert (folder / "one-align" / "tokenizer.model").read_bytes() == b"tokenizer.model"
    assert "MISSING syncnet_v2.model: what came hashes to" in done.output
    assert "MISSING sfd_face.pth: it can't be fetched" in done.output
    assert not list(folder.glob("*.model")) and not list(folder.glob("*.part"))
    again = CliRunner().invoke(app, ["single", "--fetch", "--metrics", "iqa"])
    assert (again.exit_code, again.output.count(": there")) == (0, len(WEIGHTS["qalign"].files))


def test_weights_without_an_address_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERBENCH_METRICS_WEIGHTS", str(tmp_path))
    done = CliRunner().invoke(app, ["single", "--fetch", "--metrics", "fvd"])
    assert done.exit_code == 1
    assert "MISSING i3d_pretrained_400.pt: no address is known" in done.output
    assert "has no weights" in str(CliRunner().invoke(app, ["single", "--fetch", "--metrics", "lips"]).exception)


@pytest.mark.parametrize(
    ("known", "found", "fits"),
    [("", "ab", True), ("ab…", "abcd", True), ("ab…cd", "abxcd", True), ("ab…cd", "abxce", False), ("ab", "ab", True)],
)
def test_a_hash_that_is_known_in_part_is_compared_in_part(known: str, found: str, fits: bool) -> None:
    assert hash_fits(known, found) is fits


def test_a_whole_hash_must_be_met_whole() -> None:
    assert not hash_fits("ab", "abc")
