"""`livetalk parity`: passes on the fixtures, and on nothing that is not right."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from livetalk.base.errors import FixtureError
from livetalk.cli.main import app
from livetalk.render.config import DiTConfig
from livetalk.render.model import random_state
from livetalk.tools import parity
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner


@pytest.fixture
def folder(tmp_path: Path, golden_folder: Path) -> Path:
    """A copy of the fixtures to spoil."""
    copy = tmp_path / "fixtures"
    shutil.copytree(golden_folder, copy)
    return copy


def edit_manifest(folder: Path, change: Any) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def only(folder: Path, *names: str) -> None:
    edit_manifest(folder, lambda m: m.update(cases={name: m["cases"][name] for name in names}))


def rewrite(folder: Path, file: str, tensors: dict[str, torch.Tensor]) -> None:
    """Replace a file and its entry in the manifest."""
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / file)
    content = (folder / file).read_bytes()
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit_manifest(folder, lambda m: m["files"].update({file: entry}))


@pytest.fixture(scope="module")
def results(golden_folder: Path) -> dict[str, parity.CaseResult]:
    return {result.name: result for result in parity.run(golden_folder)}


def test_every_case_of_the_fixtures_passes(results: dict[str, parity.CaseResult], golden_folder: Path) -> None:
    manifest = json.loads((golden_folder / "manifest.json").read_text())
    assert list(results) == list(manifest["cases"])
    failed = {name: parity.as_text([result]) for name, result in results.items() if not result.passed}
    assert not failed


def test_every_tensor_of_every_file_is_used(results: dict[str, parity.CaseResult]) -> None:
    assert {name: result.not_compared for name, result in results.items() if result.not_compared} == {}


@pytest.mark.parametrize(
    ("case", "tensor"),
    [
        ("ar_sink", "latents"),
        ("ar_sink", "index_trace"),
        ("ar_roll", "kv_mid_block3_step0.v.0"),
        ("ar_full", "clean_flow_last"),
        ("dit_forward", "call0.act.blocks.0.cross_attn"),
        ("dit_forward_bf16", "call2: bf16 against fp32, rms"),
        ("audio", "exact.hidden.3"),
        ("vae", "stream cut after 3, against whole"),
        ("e2e", "video_u8: share that differs"),
        ("tables", "t5.bucket32"),
    ],
)
def test_what_is_compared(results: dict[str, parity.CaseResult], case: str, tensor: str) -> None:
    assert tensor in {measurement.name for measurement in results[case].measurements}


def test_the_command_prints_one_row_per_case(golden_folder: Path, folder: Path) -> None:
    only(folder, "t5", "image", "tables")
    outcome = CliRunner().invoke(app, ["parity", str(folder)])
    assert outcome.exit_code == 0, outcome.output
    rows = outcome.output.splitlines()
    assert [row.split()[0] for row in rows[1:4]] == ["t5", "image", "tables"]
    assert all(" pass " in row and "2e-05" in row for row in rows[1:4])
    assert rows[-1] == "all 3 pass"


def test_json(folder: Path) -> None:
    only(folder, "t5")
    outcome = CliRunner().invoke(app, ["parity", str(folder), "--json"])
    (case,) = json.loads(outcome.output)
    assert (case["case"], case["passed"], case["problem"]) == ("t5", True, None)
    assert {row["tensor"] for row in case["measurements"]} == {"raw", "prompt_embeds"}


def test_a_changed_file_fails_and_the_others_run(folder: Path) -> None:
    only(folder, "t5", "image")
    content = bytearray((folder / "t5.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "t5.safetensors").write_bytes(content)
    outcome = CliRunner().invoke(app, ["parity", str(folder)])
    assert outcome.exit_code == 1
    assert "FAIL" in outcome.output.splitlines()[1]
    assert "SHA-256" in outcome.output.splitlines()[1]
    assert " pass " in outcome.output.splitlines()[2]
    assert outcome.output.splitlines()[-1] == "1 of 2 cases failed: t5"


@pytest.mark.parametrize("weights", [False, True])
def test_a_cut_or_missing_file_fails(folder: Path, weights: bool) -> None:
    only(folder, "t5")
    path = folder / ("weights_t5.safetensors" if weights else "t5.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    (result,) = parity.run(folder)
    assert "100 bytes" in (result.problem or "")
    path.unlink()
    (result,) = parity.run(folder)
    assert "can't be read" in (result.problem or "")
    assert not result.passed


def test_another_expectation_fails(folder: Path) -> None:
    only(folder, "t5")
    tensors = load_file(folder / "t5.safetensors")
    tensors["raw"][1, 3, 5] += 1e-3
    rewrite(folder, "t5.safetensors", tensors)
    (result,) = parity.run(folder)
    assert not result.passed
    assert result.worst is not None
    assert result.worst.name == "raw"
    assert result.worst.value == pytest.approx(1e-3, rel=0.01)


def test_not_a_number_fails(folder: Path) -> None:
    only(folder, "t5")
    tensors = load_file(folder / "t5.safetensors")
    tensors["raw"][0, 0, 0] = float("nan")
    rewrite(folder, "t5.safetensors", tensors)
    (result,) = parity.run(folder)
    assert not result.passed
    assert "FAIL" in parity.as_text([result])
    worst = next(row for row in result.as_dict()["measurements"] if row["tensor"] == "raw")
    assert worst["difference"] is None  # NaN is not JSON
    json.dumps(result.as_dict(), allow_nan=False)


def test_a_pixel_off_by_two_fails(folder: Path) -> None:
    only(folder, "e2e")
    tensors = load_file(folder / "e2e.safetensors")
    tensors["video_u8"][3, 3, 3, 0] = (int(tensors["video_u8"][3, 3, 3, 0]) + 128) % 256
    rewrite(folder, "e2e.safetensors", tensors)
    (result,) = parity.run(folder)
    assert [m.name for m in result.measurements if not m.passed] == ["video_u8: largest"]
    assert "video_u8: largest" in parity.as_text([result])


def test_a_case_of_unknown_kind_is_not_passed_over(folder: Path) -> None:
    save_file({"riddle": torch.zeros(3)}, folder / "riddle.safetensors")
    edit_manifest(folder, lambda m: m.update(cases={"riddle": {"file": "riddle.safetensors", "tensors": {}}}))
    outcome = CliRunner().invoke(app, ["parity", str(folder)])
    assert outcome.exit_code == 1
    assert "kind of case is not known" in outcome.output


@pytest.mark.parametrize("entry", [{}, {"file": "../secret.safetensors"}, {"file": "nowhere.safetensors"}, 3])
def test_a_case_without_a_usable_file(folder: Path, entry: Any) -> None:
    edit_manifest(folder, lambda m: m.update(cases={"x": entry}))
    (result,) = parity.run(folder)
    assert result.problem
    assert not result.passed


def test_a_tensor_the_manifest_lists_must_be_there(folder: Path) -> None:
    only(folder, "t5")
    tensors = load_file(folder / "t5.safetensors")
    del tensors["raw"]
    rewrite(folder, "t5.safetensors", tensors)
    (result,) = parity.run(folder)
    assert "lists tensor 'raw'" in (result.problem or "")


@pytest.mark.parametrize(("fact", "value"), [("shape", [2, 40, 47]), ("dtype", "float16")])
def test_a_tensor_is_as_the_manifest_says(folder: Path, fact: str, value: Any) -> None:
    only(folder, "t5")
    edit_manifest(folder, lambda m: m["cases"]["t5"]["tensors"]["raw"].update({fact: value}))
    (result,) = parity.run(folder)
    assert f"tensor 'raw' has {fact}" in (result.problem or "")


def test_an_additional_tensor_is_mentioned(folder: Path) -> None:
    only(folder, "t5")
    rewrite(folder, "t5.safetensors", load_file(folder / "t5.safetensors") | {"novelty": torch.zeros(2)})
    (result,) = parity.run(folder)
    assert result.passed
    assert result.not_compared == ("novelty",)
    assert "not compared: novelty" in parity.as_text([result])


def test_bfloat16_without_its_inputs_fails(folder: Path) -> None:
    only(folder, "dit_forward_bf16")
    (result,) = parity.run(folder)
    assert "not in the manifest" in (result.problem or "")


def test_wrong_weights_fail_with_their_names(folder: Path) -> None:
    only(folder, "t5")
    weights = load_file(folder / "weights_t5.safetensors")
    del weights["norm.weight"]
    rewrite(folder, "weights_t5.safetensors", weights)
    (result,) = parity.run(folder)
    assert "1 missing: norm.weight" in (result.problem or "")


def test_no_manifest_or_no_cases(tmp_path: Path) -> None:
    with pytest.raises(FixtureError, match="can't be read"):
        parity.run(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(FixtureError, match="not usable JSON"):
        parity.run(tmp_path)
    for cases in ("{}", "[]", '["t5"]', "null"):
        (tmp_path / "manifest.json").write_text(f'{{"cases": {cases}}}')
        with pytest.raises(FixtureError, match="no cases"):
            parity.run(tmp_path)


def test_a_name_given_twice_hides_no_case(folder: Path) -> None:
    """JSON readers keep the last of two entries of one name; the first would go unseen."""
    only(folder, "t5")
    path = folder / "manifest.json"
    text = path.read_text()
    assert text.count('"t5": {"file": "t5.safetensors"') == 1
    path.write_text(text.replace('"cases": {', '"cases": {"t5": {"file": "nowhere.safetensors"}, '))
    with pytest.raises(FixtureError, match="'t5' more than once"):
        parity.run(folder)


def test_the_command_ends_with_status_1_where_nothing_can_be_run(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"cases": {"a": {}, "a": {}}}')
    done = subprocess.run([sys.executable, "-m", "livetalk", "parity", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "more than once" in done.stderr and "Traceback" not in done.stderr


def test_a_device_that_does_not_exist(golden_folder: Path) -> None:
    outcome = CliRunner().invoke(app, ["parity", str(golden_folder), "--device", "gpu"])
    assert outcome.exit_code == 2
    assert "device 'gpu' is unknown" in outcome.output


def test_other_dimensions(tmp_path: Path) -> None:
    """A folder of other widths, depth, picture, window and number of steps is read, run and compared completely."""
    generator = torch.Generator().manual_seed(7)
    entry = {
        "dim": 48, "in_dim": 33, "ffn_dim": 72, "out_dim": 16, "text_dim": 20, "freq_dim": 16, "num_heads": 2,
        "num_layers": 9, "audio_hidden_size": 6, "audio_feat_dim": 10, "patch_size": [1, 2, 2], "eps": 1e-6,
    }  # fmt: skip
    config = DiTConfig.from_manifest(entry)
    save_file(random_state(config, seed=4), tmp_path / "weights_dit.safetensors")
    blocks, n, dim = 5, 6, 48
    shapes = {
        "noise": (1, 3 * blocks, 16, 4, 6),
        "ref_latent": (1, 16, 1, 4, 6),
        "audio_features": (1, 12 * blocks - 3, 10),
        "audio_packed": (1, 3 * blocks, 1, 1, 6),
        "audio_cond": (3, 3 * blocks, 1, 1, dim),
        "context": (1, 11, 20),
        "step_noise": (blocks, 1, 3, 16, 4, 6),
        "step_in": (blocks, 3, 3, 16, 4, 6),
        "step_x0": (blocks, 2, 3, 16, 4, 6),
        "latents": (1, 3 * blocks, 16, 4, 6),
        "kv_after_block4.k.8": (1, 9 * n, dim),
        "kv_mid_block3_step1.v.2": (1, 9 * n, dim),
    }
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    tensors["timesteps"] = torch.tensor([1000.0, 832.0])
    tensors["index_trace"] = torch.zeros((blocks * 3, 3), dtype=torch.int64)
    save_file(tensors, tmp_path / "ar.safetensors")
    case = {
        "file": "ar.safetensors", "latent_hw": [4, 6], "frame_seq_length": n, "blocks": blocks,
        "num_frame_per_block": 3, "local_attn_size": 9, "sink_size": 3,
    }  # fmt: skip
    manifest = {
        "weights": {"dit": {"file": "weights_dit.safetensors", "config": entry}},
        "cases": {"ar_of_another_kind": case},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (result,) = parity.run(tmp_path)
    assert result.problem is None
    assert result.not_compared == ()
    inputs = {"noise", "ref_latent", "context", "step_noise", "timesteps", "audio_features"}
    assert {m.name for m in result.measurements} == set(tensors) - inputs
    assert all(np.isfinite(m.value) for m in result.measurements)
    assert not result.passed  # the expectations are random numbers
