"""Frozen pools as files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interbench.base.errors import ReferencePoolError
from interbench.stats import JudgeLabel, ReferencePool, Scores, make_pool

JUDGE = JudgeLabel(name="Qwen3-VL", identity="4f2a")


@pytest.fixture
def reference(make_scores: Callable[..., Scores]) -> ReferencePool:
    return ReferencePool.from_pool(make_pool(make_scores({"a": {"EA": [0.1, 0.2], "SR": [3, 3]}})), JUDGE)


def test_what_is_written_is_read_to_the_last_bit(reference: ReferencePool, tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    reference.write(path)
    assert ReferencePool.read(path) == reference
    assert ReferencePool.read(path).pool == reference.pool
    assert list(tmp_path.iterdir()) == [path], "no draft is left behind"
    document = json.loads(path.read_text())
    assert document["schema"] == "interbench.reference/1"
    assert document["judge"] == {"name": "Qwen3-VL", "identity": "4f2a", "comparable": True, "mode": ""}
    assert document["dimensions"]["SR"] == {"mu": 3.0, "sigma": 0.0, "n": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "interbench.reference/2"}, r"schema: .*interbench.reference/1"),
        ({"dimensions": {"EA": {"mu": 1, "sigma": -1, "n": 3}}}, r"dimensions\.EA\.sigma"),
        ({"dimensions": {"EA": {"mu": "1e999", "sigma": 1, "n": 3}}}, r"dimensions\.EA\.mu"),
        ({"dimensions": {"XX": {"mu": 1, "sigma": 1, "n": 3}}}, r"'XX' is not a dimension"),
        ({"dimensions": {}}, r"dimensions"),
        ({"extra": 1}, r"extra"),
        ({"systems": []}, r"systems"),
    ],
)
def test_files_that_break_the_schema_are_refused(
    reference: ReferencePool, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "reference.json"
    path.write_text(json.dumps(json.loads(reference.model_dump_json(by_alias=True)) | change))
    with pytest.raises(ReferencePoolError, match=message):
        ReferencePool.read(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "interbench.reference/1"}', "\x00"])
def test_files_that_are_no_reference_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "reference.json"
    path.write_text(text)
    with pytest.raises(ReferencePoolError, match=r"reference\.json is not valid"):
        ReferencePool.read(path)


def test_files_that_cannot_be_reached(reference: ReferencePool, tmp_path: Path) -> None:
    with pytest.raises(ReferencePoolError, match="can't be read"):
        ReferencePool.read(tmp_path / "absent.json")
    with pytest.raises(ReferencePoolError, match="can't be written"):
        reference.write(tmp_path / "absent" / "reference.json")


def test_another_judge_or_dimension_is_refused(reference: ReferencePool) -> None:
    reference.check(JUDGE, ["EA", "SR"])
    reference.check(None, ["EA"])
    for other in (JudgeLabel(name="Qwen3-VL", identity="0000"), JudgeLabel(name="signals", identity="4f2a")):
        with pytest.raises(ReferencePoolError, match=r"Qwen3-VL \(4f2a\), the scores with"):
            reference.check(other, ["EA"])
    with pytest.raises(ReferencePoolError, match="knows nothing of LC, CU"):
        reference.check(JUDGE, ["EA", "LC", "CU"])


def test_an_empty_pool_is_no_reference(make_scores: Callable[..., Scores]) -> None:
    with pytest.raises(ReferencePoolError, match="without a single score"):
        ReferencePool.from_pool(make_pool(make_scores({"a": {"EA": [None]}})), JUDGE)
