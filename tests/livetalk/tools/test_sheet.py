"""The whole sheet of a machine: every step has a result or a reason, whatever becomes of the others."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from livetalk.base.errors import OptionError, OutputError
from livetalk.cli.main import app
from livetalk.render.options import ModelOptions, SpeedOptions, StreamOptions
from livetalk.tools import sheet
from livetalk.tools.agreement import Agreement
from livetalk.tools.float8_error import Float8Error
from livetalk.tools.profile import ProfileRow
from livetalk.tools.sheet import Deadline, Job, Sheet, Step, StepResult, limit, read_result
from livetalk.tools.sheet_steps import STEPS
from livetalk.tools.sheet_table import to_markdown
from typer.testing import CliRunner

GOLDEN = Path(__file__).parents[1] / "golden"


def job(**given: Any) -> Job:
    model = ModelOptions(size="tiny", device="cpu")
    return Job(**{"model": model, "stream": StreamOptions(), "speed": SpeedOptions(), "minutes": 8.0,
                  "fixtures": GOLDEN, **given})  # fmt: skip


def fill(out: Path, minutes: float) -> dict[str, Any]:
    arguments = ["bench", "--size", "tiny", "--device", "cpu", "--sheet", str(out), "--minutes", str(minutes)]
    result = CliRunner().invoke(app, [*arguments, "--fixtures", str(GOLDEN)])
    assert result.exit_code == 0, result.output
    assert result.stdout == (out / "sheet.md").read_text("utf-8") + "\n"
    found: dict[str, Any] = json.loads((out / "sheet.json").read_text("utf-8"))
    return found


def check(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every step is there in its order, with a result or a reason; on a busy machine some are cut off."""
    steps = found["steps"]
    assert [step["name"] for step in steps] == [step.name for step in STEPS]
    for step in steps:
        assert step["reason"] if step["outcome"] != "done" else step["rows"], step
        assert step["outcome"] != "failed", step
        assert 0 <= step["limit_s"] <= 60 * found["minutes"]
    by_name = {step["name"]: step for step in steps}
    for environment in by_name["environment"]["rows"][:1]:
        assert environment["torch"] and environment["device"] == "cpu"
    return by_name


def test_a_sheet_of_a_cpu_has_a_result_or_a_reason_for_every_step(tmp_path: Path) -> None:
    found = fill(tmp_path / "sheet", 0.3)
    steps = check(found)
    assert steps["bench_compiled"]["outcome"] == "left out" and "--compile" in steps["bench_compiled"]["reason"]
    text = (tmp_path / "sheet" / "sheet.md").read_text("utf-8")
    assert all(step.title in text for step in STEPS)
    for step in found["steps"]:
        logs = tmp_path / "sheet" / "steps" / f"{step['name']}.log"
        assert logs.exists() == (step["limit_s"] >= sheet.SHORTEST_S)


@pytest.mark.soak
def test_a_minute_is_enough_for_a_cpu(tmp_path: Path) -> None:
    """On two idle cores within 90 s: here only what took which time is held, for others may be at work."""
    found = fill(tmp_path, 1.0)
    steps = check(found)
    for name in ("environment", "parity", "agreement_small", "kernels", "bench_eager", "profile", "live"):
        assert steps[name]["rows"], name


def test_what_a_step_leaves_over_is_for_those_after_it() -> None:
    shares = [10.0, 60.0, 30.0]
    left, limits = 100.0, []
    for i, share in enumerate(shares):
        limits.append(limit(left, share, sum(shares[i:])))
        left -= limits[-1] / 2  # each takes half of what it may
    assert limits == [10.0, pytest.approx(95 * 60 / 90), pytest.approx(95 - 95 * 30 / 90)]
    assert limit(-3.0, 1.0, 2.0) == 0.0


@pytest.mark.parametrize(("minutes", "blocks", "turns", "seconds"), [(0.3, 1, 3, 1), (8, 20, 8, 8), (600, 40, 30, 30)])
def test_the_work_follows_the_time(minutes: float, blocks: int, turns: int, seconds: float) -> None:
    it = job(minutes=minutes)
    assert (it.blocks, it.turns, it.seconds) == (blocks, turns, seconds)


def test_what_has_nothing_to_do_says_why() -> None:
    reasons = {step.name: step.unless(job()) for step in STEPS}
    assert reasons["thinker"] == "no --thinker was named"
    assert reasons["weights"] == "size tiny has no published weights"
    assert reasons["bench_eager"] is None and reasons["parity"] is None
    assert reasons["agreement_real"] and reasons["bench_autotuned"] and reasons["bench_float8"]
    compiling = {step.name: step.unless(job(speed=SpeedOptions(compiled=True))) for step in STEPS}
    assert compiling["bench_compiled"] is None and compiling["bench_autotuned"] is not None
    given = job(model=ModelOptions(device="cpu", checkpoints=GOLDEN), thinker="script")
    reasons = {step.name: step.unless(given) for step in STEPS}
    assert reasons["weights"] is None and reasons["thinker"] is None


# -- how steps end, in processes of their own --------------------------------------------------------------------------


def test_a_step_that_hangs_is_cut_off_with_what_it_had(tmp_path: Path) -> None:
    rows = tmp_path / "x.jsonl"
    rows.write_text('{"row": {"a": 1}}\n{"row": {"a": 2}}\n{"row": {"a"')
    step = Step("x", "X", 1, lambda job, say, deadline: None)
    result = read_result(step, rows, 3.0, 8.0, over=True, status=-9)
    assert (result.outcome, result.rows) == ("cut off", [{"a": 1}, {"a": 2}])
    result = read_result(step, rows, 3.0, 2.0, over=False, status=-11)
    assert result.outcome == "failed" and result.reason == "its process ended with status -11; steps/x.log may say why"
    rows.write_text('{"row": {"a": 1}}\n{"outcome": "failed", "reason": "RuntimeError: no"}\n')
    result = read_result(step, rows, 3.0, 2.0, over=False, status=0)
    assert (result.outcome, result.reason, result.rows) == ("failed", "RuntimeError: no", [{"a": 1}])
    assert read_result(step, tmp_path / "none", 3.0, 2.0, over=False, status=1).outcome == "failed"


def test_a_step_that_takes_longer_than_it_may_is_ended(tmp_path: Path) -> None:
    (step,) = [step for step in STEPS if step.name == "agreement_small"]
    result = sheet._take(sheet.processes_for("cpu"), step, job(), tmp_path, 1.0)
    assert (result.outcome, result.reason) == ("cut off", "it was not done after 1 s")
    assert multiprocessing.active_children() == []


def test_a_device_that_forked_processes_cannot_use_gets_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTORCH_NVML_BASED_CUDA_CHECK", raising=False)
    assert sheet.processes_for("cpu").get_start_method() == "forkserver"
    assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"
    assert sheet.processes_for("nothing").get_start_method() == "spawn"


def test_what_is_not_a_number_is_null() -> None:
    given = {"a": [math.nan, 1.0, (math.inf, "x")], "b": {"c": -math.inf, "d": None}, "e": True}
    assert sheet.plain(given) == {"a": [None, 1.0, [None, "x"]], "b": {"c": None, "d": None}, "e": True}


def test_a_deadline_is_one_for_all() -> None:
    assert Deadline(time.monotonic() + 60).allows() and not Deadline(time.monotonic() + 60).allows(61)
    assert not Deadline(time.monotonic()).allows()


def test_what_cannot_be_filled_is_refused(tmp_path: Path) -> None:
    for minutes in (0.0, math.nan, 1e9):
        with pytest.raises(OptionError, match="can't be filled"):
            sheet.fill(job(minutes=minutes), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Name another folder"):
        sheet.fill(job(), tmp_path / "file")


# -- what is written ---------------------------------------------------------------------------------------------------

BENCH = {
    "denoise_ms": 150.0, "clean_ms": 35.0, "decode_ms": 90.0, "decode_replayed_ms": 88.5, "frames_per_second": 48.0,
    "first_frames_ms": 170.0,
    "first_frame_ms": 120.0, "peak_memory_bytes": 2**33, "peak_reserved_bytes": 2**34, "bound_share": 0.5,
    "start_s": 60.0, "attention": "fa3:2", "compiled": True, "compile_mode": "default", "float8": False,
    "weights": "random", "environment": {"torch": "2.13.0"},
}  # fmt: skip


def test_the_table_of_a_card_has_the_columns_of_the_page() -> None:
    card = "NVIDIA | <b>H200"
    steps = [
        StepResult("environment", "Here", "done", None, 1, 1, [{"device": card, "torch": "2.13.0", "cuda": None}]),
        StepResult("bench_compiled", "Bench, compiled", "cut off", "it was not done", 1, 1, [BENCH]),
        StepResult("kernels", "Kernels", "done", None, 1, 1, [
            {"kernel": "fa3", "frames": 15, "ms": 0.5, "tflops": 600.0, "difference": None},
            {"kernel": "fa4", "frames": 15, "ms": None, "tflops": None, "difference": None, "problem": "ImportError"},
        ]),
    ]  # fmt: skip
    text = to_markdown(Sheet("2026-01-02 03:04 UTC", "1.3B", "cuda", 8.0, steps))
    (head,) = [line for line in text.splitlines() if line.startswith("| date")]
    page = (Path(__file__).parents[3] / "docs" / "performance.md").read_text("utf-8")
    wanted = ["date", "card, versions", "attention", "denoise", "clean pass", "decode", "frames/s", "first frames"]
    for column in wanted:
        assert f"| {column} |" in head and f"| {column} |" in page
    assert "| 2026-01-02 | NVIDIA \\| &lt;b>H200, torch 2.13.0 | compiled (default) | fa3:2 |" in text
    assert "8.00 GiB (16.00 taken)" in text and "| fa4 | 15 | – | – | – | ImportError |" in text
    assert "| Bench, compiled | cut off | it was not done |" in text and "cuda" not in text.split("\n")[2]


def test_every_step_that_found_something_has_its_table() -> None:
    """With rows as their steps say them; the small model's agreement is what a first card sees after parity."""
    agreed = asdict(Agreement("bfloat16, overlap", "eager", True, 0.0, 1e-3, 7, 0.25, False, "rms 0.01", 3.26))
    wrong = asdict(Float8Error(2, 0.031, 0.0456))
    live = {
        "thinker": "scripted", "first_frame": {"median": 0.17, "p95": 0.2}, "window_to_fragment": {"median": 0.09},
        "frames_per_second": 31.5, "simultaneous_is_limit": True, "simultaneous": 4, "seconds_each": 8,
        "peak_memory_bytes": 2**31, "peak_reserved_bytes": None,
    }  # fmt: skip
    parity = {"case": "audio", "passed": False, "difference": 0.5, "limit": 1e-4, "problem": None}
    found: dict[str, list[dict[str, Any]]] = {
        "environment": [{"device": "cpu", "torch": "2.13.0"}],
        "parity": [parity],
        "agreement_small": [agreed],
        "agreement_real": [agreed],
        "kernels": [{"kernel": "math", "frames": 3, "ms": 1.25, "tflops": 0.1, "difference": 2e-7}],
        "profile": [asdict(ProfileRow("aten::addmm", 65, 12.5, 0.375))],
        "live": [live],
        "thinker": [live],
        "float8_error": [wrong],
        "weights": [BENCH, wrong],
        **{name: [BENCH] for name in ("bench_eager", "bench_compiled", "bench_float8", "bench_autotuned")},
    }
    assert set(found) == {step.name for step in STEPS}
    steps = [StepResult(step.name, step.title, "done", None, 1, 1, found[step.name]) for step in STEPS]
    read = [StepResult(**row) for row in json.loads(Sheet("2026-01-02", "1.3B", "cpu", 8.0, steps).to_json())["steps"]]
    text = to_markdown(Sheet("2026-01-02", "1.3B", "cpu", 8.0, read))
    assert text.count("| bfloat16, overlap | eager | ok | 0.0e+00 | 1.0e-03 | 7 | 0.250 | no | rms 0.01 | 3.26 |") == 2
    assert "| audio | FAILED | 5.0e-01 | 0.0001 |" in text and "| math | 3 | 1.250 | 0.1 | 2.0e-07 |" in text
    assert "| aten::addmm | 65 | 12.50 | 37.5 % |" in text and text.count("| 2 | 0.0310 | 0.0456 |") == 2
    assert text.count("| scripted | 170 ms | 200 ms | 90 ms | 31.50 | at least 4 | 8 s | 2.00 GiB |") == 2
    assert text.count("48.00") == 5
