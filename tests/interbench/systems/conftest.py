"""What tests of systems share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from shared_media import shared_media

from interbench.media.pool import MediaPool


@pytest.fixture(scope="session")
def media() -> Iterator[MediaPool]:
    """Decodes for all of them: starting a process that does takes longer than most of what it is asked."""
    with shared_media() as media:
        yield media
