"""livetalk finds thinkers as interbench finds systems: deliberate copies, held to the same behaviour here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from livetalk.base.errors import LiveTalkError
from livetalk.thinkers import options as thinker_options
from livetalk.thinkers import registry as thinkers

from interbench.base import options as interbench_options
from interbench.base.errors import InterbenchError
from interbench.systems.registry import SYSTEMS

MODULE = """
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import interbench.systems
import livetalk.thinkers.base


@dataclass(frozen=True)
class Shape:
    width: int = 2
    name: str = "round"


class Options:
    def __init__(
        self, size: int, *, level: float = 1.0, loud: bool = False, name: str | None = None, file: Path | None = None,
        mode: Literal["a", "b"] = "a", words: list[str] | None = None, shape: Shape = Shape(), any_of=None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.given = (size, level, loud, name, file, mode, words, shape, any_of)


class System(Options, interbench.systems.AvatarSystem):
    def capabilities(self): ...
    async def open(self, persona): ...


class Thinker(Options, livetalk.thinkers.base.Thinker):
    async def answer(self, question): ...
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of one's own in the current folder."""
    (tmp_path / "registry_twins.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "registry_twins"
    sys.modules.pop("registry_twins", None)


def of_interbench(module: str, texts: dict[str, str]) -> tuple[Any, ...]:
    found = SYSTEMS.find(f"{module}:System")
    options = SYSTEMS.options(found)
    values = {name: options.read(name, text) for name, text in texts.items()}
    made: Any = SYSTEMS.prepare(found, values)()
    return tuple(made.given)


def of_livetalk(module: str, texts: dict[str, str]) -> tuple[Any, ...]:
    made: Any = thinkers.from_texts(f"{module}:Thinker", texts)
    return tuple(made.given)


@pytest.mark.parametrize(
    "texts",
    [
        {"size": "3"},
        {"size": "3", "level": "2", "loud": "true", "name": "5", "file": "a/b.txt", "mode": "b"},
        {"size": "3", "level": "0.5", "loud": "yes", "name": "true", "words": '["x", "y"]'},
        {"size": "3", "any_of": "7"},
        {"size": "3", "any_of": "plain words"},
        {"size": "3", "shape": '{ width = 5, name = "flat" }'},
    ],
)
def test_texts_mean_the_same(module: str, texts: dict[str, str]) -> None:
    assert of_livetalk(module, texts) == of_interbench(module, texts)


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"size": "many"},
        {"size": "3.5"},
        {"size": "3", "mode": "c"},
        {"size": "3", "loud": "perhaps"},
        {"size": "3", "sise": "3"},
        {"size": "3", "clock": "now"},
        {"size": "3", "words": "[1, 2]"},
        {"size": "3", "shape": "{ depth = 1 }"},
    ],
)
def test_the_same_texts_are_refused(module: str, texts: dict[str, str]) -> None:
    with pytest.raises(InterbenchError) as one:
        of_interbench(module, texts)
    with pytest.raises(LiveTalkError) as other:
        of_livetalk(module, texts)
    # They name the same option and say the same of it, each of its own kind of thing.
    ours, theirs = (str(error.value).replace("System", "Thinker") for error in (one, other))
    assert ours.replace("system", "thinker").split(";")[0] == theirs.split(";")[0]


@pytest.mark.parametrize("target", ["registry_twins:Nothing", "registry_twins:Shape", "no_such_module:Mine", "nothing"])
def test_what_is_not_there_is_refused_alike(module: str, target: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: SYSTEMS.find(target),
        lambda: thinkers.find(target).options(),
    ]
    for call, error in zip(calls, (InterbenchError, LiveTalkError), strict=True):
        with pytest.raises(error, match=target.partition(":")[0]):
            call()


def test_values_are_named_alike() -> None:
    for annotation in (int, float, bool, str, Path, int | None, str | Path, Any):
        assert thinker_options._takes(annotation) == interbench_options._takes(annotation)
    for name, value in (("api_key", "x"), ("url", "http://x"), ("name", "x" * 61), ("size", 3), ("table", {})):
        assert thinker_options._shown(name, value) == interbench_options._shown(name, value)
