"""What tests of systems share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
from shared_media import shared_media

from interbench.cli.main import main
from interbench.media.pool import MediaPool


@pytest.fixture(scope="session")
def media() -> Iterator[MediaPool]:
    """Decodes for all of them: starting a process that does takes longer than most of what it is asked."""
    with shared_media() as media:
        yield media


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command line in this process, which has imported all of it: status, output, errors."""

    def finish(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["interbench", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return (code if isinstance(code, int) else int(code is not None), *capfd.readouterr())

    return finish
