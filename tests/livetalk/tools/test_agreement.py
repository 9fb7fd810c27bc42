"""A session computed every way, held to the plain one: what differs is told, and by how much."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from livetalk.cli.main import app
from livetalk.render.config import SIZES, Size, StreamConfig, VAEConfig
from livetalk.render.pipeline import random_models
from livetalk.tools.agreement import FLOAT32_LIMIT, Run, Way, compare, real, small, ways
from typer.testing import CliRunner

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def speck() -> Size:
    return replace(SIZES["tiny"], vae=VAEConfig(dim=4), stream=StreamConfig(4, 4))


def test_every_way_of_a_gpu_is_tried_the_plainest_first() -> None:
    found = ways((torch.float32, torch.bfloat16), graphs=True, compiled=True)
    assert len(found) == len(set(found)) == 18
    assert found[0] == Way() and found[0].name == "float32, eager"
    assert [one.name for one in found[-3::2]] == [
        "bfloat16, graphs, compiled, overlap",
        "bfloat16, graphs, compiled, overlap, decoder's graph",
    ]
    assert ways((torch.float32,), graphs=False, compiled=False) == [Way(), Way(overlap=True)]


def test_overlap_shows_the_same_pictures_and_bfloat16_nearly_the_same(speck: Size) -> None:
    found = list(small(speck, CPU, compiled=False, blocks=6, worthwhile=lambda: True))
    assert [one.way for one in found] == ["float32, eager", "float32, overlap", "bfloat16, eager", "bfloat16, overlap"]
    assert all(one.passed for one in found)
    assert [one.same_bits for one in found] == [True, True, False, False]
    assert 0 < found[2].latents_rms < 0.1 and found[2].latents_max > FLOAT32_LIMIT


def test_the_model_itself_is_held_to_its_own_plain_way(speck: Size) -> None:
    (found,) = real(lambda: random_models(speck), speck, compiled=False, blocks=2, worthwhile=lambda: True)
    assert found.passed and found.same_bits and (found.way, found.reference) == ("float32, overlap", "float32, eager")


def test_ways_for_which_there_is_no_time_are_left_out(speck: Size) -> None:
    assert list(small(speck, CPU, compiled=False, blocks=1, worthwhile=lambda: False)) == []


@pytest.mark.parametrize(
    ("change", "rms", "passed"),
    [(0.0, None, True), (1e-3, None, True), (4e-3, None, False), (4e-3, 0.05, True), (0.5, 0.05, False),
     (float("nan"), None, False), (float("nan"), 0.05, False)],
)  # fmt: skip
def test_what_is_beyond_a_limit_has_failed(change: float, rms: float | None, passed: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    latents, frames = torch.randn((3, 16, 4, 4), generator=draw), torch.zeros((9, 8, 8, 3), dtype=torch.uint8)
    found = compare("way", "reference", Run(latents + change, frames, 1.0), Run(latents, frames, 2.0), rms=rms)
    assert found.passed is passed and found.same_bits is (change == 0.0) and found.seconds == 1.0


def test_frames_may_not_differ_by_much_either() -> None:
    latents, frames = torch.ones((3, 16, 4, 4)), torch.zeros((9, 8, 8, 3), dtype=torch.uint8)
    found = compare("way", "reference", Run(latents, frames + 3, 1.0), Run(latents, frames, 1.0), rms=0.05)
    assert not found.passed and (found.frames_max, found.frames_mean) == (3, 3.0)


@pytest.mark.soak
def test_the_command_line_holds_a_session_to_the_plain_way() -> None:
    arguments = ["parity", str(Path(__file__).parents[1] / "golden"), "--session", "--json"]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    found = json.loads(outcome.stdout)
    assert len(found["cases"]) == 13 and len(found["session"]) == 4
    assert all(entry["passed"] for entry in (*found["cases"], *found["session"]))
