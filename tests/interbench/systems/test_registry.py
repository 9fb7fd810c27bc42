"""Finding systems by name, variant, label and module:Class."""

from __future__ import annotations

import harness_kit
import pytest

from interbench.base.errors import SystemLoadError
from interbench.base.registry import RESTRICT
from interbench.systems.registry import SYSTEMS, SystemSpec


@pytest.mark.parametrize(
    ("text", "label", "spec"),
    [
        ("puppet", "puppet", "puppet"),
        ("puppet:drift", "puppet:drift", "puppet:drift"),
        ("harness_kit:Good", "harness_kit:Good", "harness_kit:Good"),
        (" mine = harness_kit:Good ", "mine", "harness_kit:Good"),
    ],
)
def test_specs(text: str, label: str, spec: str) -> None:
    parsed = SystemSpec.parse(text)
    assert (parsed.label, parsed.spec) == (label, spec)


def test_a_table_of_the_settings_gives_options_and_may_give_the_spec() -> None:
    tables = {"mine": {"spec": "harness_kit:Good", "log": "x"}}
    parsed = SystemSpec.parse("mine", tables)
    assert (parsed.label, parsed.spec, dict(parsed.options)) == ("mine", "harness_kit:Good", {"log": "x"})
    assert isinstance(parsed.factory()(), harness_kit.Good)
    assert tables["mine"]["spec"] == "harness_kit:Good"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pupet", "no system 'pupet'. Known are .*puppet"),
        ("puppet:drfit", "no variant 'drfit'; its variants: .*drift"),
        ("command:fast", "has no variant 'fast'"),
        ("no_such_module:Thing", "'no_such_module' can't be imported .*installed"),
        ("harness_kit:Nothing", "'harness_kit' has no 'Nothing'"),
        ("harness_kit:write_clip", "has to be a class derived from AvatarSystem"),
        ("=puppet", "names no system"),
        ("a\x1b[31m=puppet", "must be printable"),
    ],
)
def test_what_cannot_be_found_says_what_there_is(text: str, message: str) -> None:
    with pytest.raises(SystemLoadError, match=message):
        SystemSpec.parse(text).factory()


def test_an_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(SystemLoadError, match="no option 'speed'; its options: log, pause_s"):
        SystemSpec.parse("mine=harness_kit:Good", {"mine": {"speed": 2}}).factory()


def test_plugins_can_be_restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RESTRICT, "")
    assert {entry.source for entry in SYSTEMS.entries().values()} == {"built-in"}
