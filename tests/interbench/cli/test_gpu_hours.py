"""GPU hours that a dry run names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import harness_kit
import pytest

from interbench.cli.costs import gpu_lines
from interbench.pipeline.config import Settings
from interbench.pipeline.plan import make_plan
from interbench.systems.prompting import speaking_s


def lines(tmp_path: Path, **settings: Any) -> list[str]:
    folder = tmp_path / "set"
    if not folder.exists():
        harness_kit.write_set(folder, count=2, turns=3)
    defaults = {"systems": ("hallo3",), "out": tmp_path / "run", "scenarios": str(folder)}
    return gpu_lines(make_plan(Settings.model_validate({**defaults, **settings})))


def test_they_follow_from_the_words_and_the_recipe(tmp_path: Path) -> None:
    video_s = 6 * speaking_s(12)
    assert lines(tmp_path) == [
        f"GPU time     hallo3: 6 clips, about {video_s:.0f} s of video, {video_s * 119 / 3600:.1f} GPU hours"
    ]
    assert "on 4 GPUs" in lines(tmp_path, system={"hallo3": {"gpus": [0, 1, 2, 3]}})[0]
    assert f"about {6 * speaking_s(4):.0f} s" in lines(tmp_path, words_options={"words": 4})[0]


def test_a_picture_that_ends_early_takes_less(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, systems=("fantasytalking",))
    assert f"about {6 * 3.52:.0f} s of video" in line


def test_several_are_added_up_and_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    found = lines(tmp_path, systems=("hallo3", "aniportrait", "ditto", "harness_kit:Good"))
    assert len(found) == 3 and found[-1].endswith("GPU hours in all")
    assert lines(tmp_path, systems=("harness_kit:Good",)) == []


@pytest.mark.parametrize("words", ["chat:http://127.0.0.1:1"])
def test_words_that_are_not_written_yet_are_reckoned_with_their_budget(tmp_path: Path, words: str) -> None:
    (line,) = lines(tmp_path, words=words, words_options={"model": "m", "words": 20})
    assert f"about {6 * speaking_s(20):.0f} s" in line
