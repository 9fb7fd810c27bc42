"""The people that the mini model is trained on: made up anew the same, and fit for the harness."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from interbench.domain.persona import Persona

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "mini" / "draw.py"


@pytest.fixture(scope="module")
def draw() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_people_are_personas_and_nobody_of_the_evaluation_is_trained_on(draw: ModuleType) -> None:
    people = [one for group in draw.batches(100, 0) for one in group]
    assert [Persona.model_validate(one["persona"]).id for one in people[:2]] == ["look-0000", "look-0001"]
    assert all(Persona.model_validate(one["persona"]) for one in people)
    unseen = {one["persona"]["id"] for one in people if one["split"] == "unseen"}
    assert len(unseen) == 60
    assert "maya" in unseen
    assert not unseen & {one["persona"]["id"] for one in people if one["split"] == "train"}
    looks = {json.dumps(one["persona"]["look"], sort_keys=True) for one in people}
    assert len(looks) == len(people)
    assert people == [one for group in draw.batches(100, 0) for one in group]
    assert {one["mood"] for one in people} == set(draw.MOODS)
    words = {word for one in people for word in one["caption"].replace(",", " ").split()}
    assert len(words) < 110  # the text encoder of size mini has room for 317


@pytest.mark.soak
def test_a_clip_is_drawn_once(draw: ModuleType, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--out", str(tmp_path), "--looks", "1", "--side", "32"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("1 clips")
        process.terminate()
    clip = np.load(tmp_path / "look-0000.npz")
    assert clip["frames"].shape == (81, 32, 32, 3)
    assert np.abs(clip["sound"]).max() > 3000
    assert len({frame.tobytes() for frame in clip["frames"]}) > 60
    refused = subprocess.run([*command, "--seed", "1"], check=False, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "choose another --out" in refused.stdout
