"""What a class can be told, read off its constructor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest

from interbench.base.errors import SystemLoadError, UsageError
from interbench.base.options import REQUIRED, Inline, options_of

if TYPE_CHECKING:
    from somewhere_else import Unknown  # type: ignore[import-not-found]


@dataclass(frozen=True, slots=True)
class Bounds:
    attempts: int = 3
    wait_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Manner:
    warmth: float = 0.1
    repeats: int = 1
    bounds: Bounds = field(default_factory=Bounds)

    def __post_init__(self) -> None:
        if self.warmth > 2:
            raise UsageError("warmth lies in 0..2")


class Plain:
    """Every kind of option."""

    def __init__(  # type: ignore[no-untyped-def]
        self,
        name: str,
        count: int = 2,
        *,
        share: float | None = None,
        loud: bool = False,
        mode: Literal["fast", "slow"] = "fast",
        argv: Sequence[str] = (),
        table: Mapping[str, int] | None = None,
        voice: str | Mapping[str, str] | None = None,
        folder: Path | None = None,
        bounds: Bounds | None = None,
        loose=None,
        foreign: Unknown | None = None,
        sleep: Callable[[float], None] | None = None,
        opened: object = None,
    ) -> None:
        self.told = {name: value for name, value in locals().items() if name != "self"}


class Styled:
    def __init__(self, url: str, manner: Annotated[Manner | None, Inline()] = None, key_env: str | None = None) -> None:
        self.url, self.manner, self.key_env = url, manner, key_env


class Base:
    def __init__(self, *, address: str, retries: int = 1) -> None:
        self.address, self.retries = address, retries


class Derived(Base):
    def __init__(self, *, address: str = "here", colour: str = "red", **options: Any) -> None:
        super().__init__(address=address, **options)
        self.colour = colour


class Open:
    def __init__(self, speed: int = 1, **more: Any) -> None:
        self.speed, self.more = speed, more


def told(cls: type, **values: Any) -> Any:
    return cls(**options_of(cls, "thing 'it'").check(values))


def test_the_signature_is_the_list() -> None:
    known = options_of(Plain, "thing 'it'").known
    assert list(known) == [
        "name", "count", "share", "loud", "mode", "argv", "table", "voice", "folder", "bounds", "loose", "foreign",
        "opened",
    ]  # fmt: skip
    assert known["name"].default is REQUIRED and known["count"].default == 2
    assert {name: known[name].takes for name in ("count", "share", "loud", "mode", "argv", "voice", "bounds")} == {
        "count": "a whole number",
        "share": "a number",
        "loud": "true or false",
        "mode": "one of fast, slow",
        "argv": "a list (a text each)",
        "voice": "a text or a table",
        "bounds": "a table of attempts, wait_s",
    }


def test_values_become_what_the_class_takes() -> None:
    made = told(Plain, name="x", share=1, argv=["a"], folder="here", bounds={"attempts": 5}, loose=3, mode="slow")
    assert made.told["share"] == 1.0 and isinstance(made.told["share"], float)
    assert made.told["folder"] == Path("here") and made.told["bounds"] == Bounds(attempts=5)
    assert made.told["argv"] == ["a"] and made.told["loose"] == 3 and made.told["mode"] == "slow"


def test_fields_that_are_not_given_stay_as_the_class_has_them() -> None:
    class Patient:
        def __init__(self, bounds: Bounds = Bounds(attempts=7, wait_s=30.0)) -> None:
            self.bounds = bounds

    arguments = options_of(Patient, "judge 'patient'").check({"bounds": {"attempts": 2}})
    assert arguments == {"bounds": Bounds(attempts=2, wait_s=30.0)}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, r"needs the option 'name' \(a text\)"),
        ({"name": 5}, "'name' of the thing 'it' must be a text, not 5"),
        ({"name": "x", "count": "many"}, "must be a whole number, not 'many'"),
        ({"name": "x", "count": 2.5}, "must be a whole number, not 2.5"),
        ({"name": "x", "count": True}, "must be a whole number, not True"),
        ({"name": "x", "loud": 1}, "must be true or false, not 1"),
        ({"name": "x", "mode": "medium"}, "must be one of fast, slow, not 'medium'"),
        ({"name": "x", "argv": "a b"}, "must be a list .a text each., not 'a b'"),
        ({"name": "x", "table": {"a": "b"}}, "must be a table"),
        ({"name": "x", "bounds": {"attempt": 2}}, "'bounds' .* has no 'attempt'; it holds attempts, wait_s"),
        ({"name": "x", "bounds": {"attempts": "no"}}, "bounds.attempts must be a whole number"),
        ({"name": "x", "cuont": 2}, "no option 'cuont'; its options: name, count, .* Did you mean 'count'"),
        ({"name": "x", "sleep": 1}, "no option 'sleep'"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        told(Plain, **values)


def test_a_secret_or_an_address_is_not_repeated() -> None:
    class Keyed:
        def __init__(self, token: int = 0, url: int = 0) -> None: ...

    for values in ({"token": "sk-1"}, {"url": "http://me:sk-1@host"}):
        with pytest.raises(UsageError, match="not a text") as caught:
            told(Keyed, **values)
        assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("name", "5", "5"),
        ("name", "true", "true"),
        ("name", "a = b", "a = b"),
        ("name", "5\nother = 6", "5\nother = 6"),
        ("name", "", ""),
        ("count", "5", 5),
        ("share", "0.5", 0.5),
        ("share", "1e-3", 1e-3),
        ("loud", "true", True),
        ("mode", "slow", "slow"),
        ("argv", '["a", "b c"]', ["a", "b c"]),
        ("table", "{ a = 1 }", {"a": 1}),
        ("voice", "nova", "nova"),
        ("voice", '{ female = "nova" }', {"female": "nova"}),
        ("folder", "/a/b", "/a/b"),
        ("bounds.attempts", "7", 7),
        ("loose", "7", 7),
        ("loose", "seven", "seven"),
        ("loose", "2026-01-01", "2026-01-01"),
    ],
)
def test_a_text_of_the_command_line_is_read_by_the_annotation(path: str, text: str, value: Any) -> None:
    read = options_of(Plain, "thing 'it'").read(path, text)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("count", "many", "'count' of the thing 'it' must be a whole number, not 'many'"),
        ("argv", "a", "must be a list"),
        ("names", "x", "no option 'names'.* Did you mean 'name'"),
        ("bounds.wait", "1", "has no 'wait'; it holds attempts, wait_s"),
        ("count.x", "1", "is no table"),
    ],
)
def test_a_text_that_means_nothing_is_refused(path: str, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        options_of(Plain, "thing 'it'").read(path, text)


def test_the_fields_of_an_inline_parameter_are_options_and_the_harness_gives_its_own() -> None:
    options = options_of(Styled, "judge 'it'", given={"repeats": 4, "unheard": 1}, positional=1)
    assert list(options.known) == ["warmth", "bounds", "key_env"]
    arguments = options.check({"warmth": 0.5, "bounds": {"attempts": 9}, "key_env": "KEY"})
    assert arguments == {"manner": Manner(0.5, 4, Bounds(9)), "key_env": "KEY"}
    with pytest.raises(UsageError, match="no option 'repeats'"):
        options.check({"repeats": 2})
    with pytest.raises(UsageError, match=r"warmth lies in 0\.\.2"):
        options.check({"warmth": 3})


def test_a_constructor_that_hands_options_on_has_those_of_its_base() -> None:
    options = options_of(Derived, "system 'it'", error=SystemLoadError)
    assert list(options.known) == ["address", "colour", "retries"]
    assert Derived(**options.check({"retries": 5})).retries == 5
    with pytest.raises(SystemLoadError, match="no option 'weight'"):
        options.check({"weight": 1})


def test_a_constructor_that_takes_anything_is_told_anything() -> None:
    options = options_of(Open, "thing 'it'")
    assert options.check({"speed": 2, "weight": [1]}) == {"speed": 2, "weight": [1]}
    assert options.read("weight", "7") == 7
    with pytest.raises(UsageError, match="must be a whole number"):
        options.check({"speed": "fast"})


def test_what_no_setting_can_give_is_said() -> None:
    class Needs:
        def __init__(self, sleep: Callable[[float], None]) -> None: ...

    with pytest.raises(UsageError, match="its parameter 'sleep' has no default"):
        options_of(Needs, "thing 'it'")


def test_no_options_at_all() -> None:
    with pytest.raises(UsageError, match="The thing 'it' takes no options, but got speed"):
        told(type("Bare", (), {}), speed=1)
