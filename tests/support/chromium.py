"""A real Chromium without a window, that may play sound unasked."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


@contextlib.contextmanager
def chromium(*flags: str) -> Iterator[Any]:
    """Playwright's browser: ``INTERBENCH_CHROMIUM``, or the first of the family on the path. Skips where there is none.

    Of switches given twice the browser takes the last: ``flags`` override those above.

    As long as it is open its event loop counts as running, and no async test can run: keep it to a module of others.
    """
    path = os.environ.get("INTERBENCH_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip(
            "NOT TESTED IN A BROWSER: there is no Chromium on this machine. Install one (Debian: apt-get install "
            "chromium) or name one in INTERBENCH_CHROMIUM."
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*_FLAGS, *flags])
        yield browser
        browser.close()
