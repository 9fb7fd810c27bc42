"""Clips and conversations for tests of the vision-language judge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from judge_kit import conversation, write_clip

from interbench.domain.records import ClipFacts, PlayedConversation

Clip = tuple[Path, ClipFacts]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """A clip of 48 frames and one of 20."""
    folder = tmp_path_factory.mktemp("clips with spaces")
    shapes = [(48, 24, 128, 128), (20, 10, 160, 96)]
    made = []
    for index, shape in enumerate(shapes, start=1):
        path = folder / f"{index}.mp4"
        made.append((path, write_clip(path, *shape, shade=40 * index)))
    return made


@pytest.fixture
def played(clips: list[Clip]) -> Callable[..., PlayedConversation]:
    """Makes conversations of those two clips."""
    return lambda said=None, **names: conversation(clips, said, **names)
