import json
import math
from dataclasses import replace

import pytest
from livetalk.cli.main import app
from livetalk.render.config import SIZES, StreamConfig, VAEConfig
from livetalk.tools.bench import bench, measure
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def report():
    """Of a size still smaller than tiny."""
    with pytest.MonkeyPatch.context() as patch:
        speck = replace(SIZES["tiny"], vae=VAEConfig(dim=4), stream=StreamConfig(4, 4, window=6, sink=3))
        patch.setitem(SIZES, "speck", speck)
        yield measure("speck", "cpu", 1)


def test_every_stage_is_measured(report):
    assert len(report.step_ms) == 4
    figures = [
        *report.step_ms,
        report.denoise_ms,
        report.clean_ms,
        report.decode_ms,
        report.frames_per_second,
        report.realtime_factor,
        report.first_frames_ms,
        report.peak_memory_bytes,
        report.bound_share,
    ]
    assert all(math.isfinite(figure) and figure > 0 for figure in figures)
    assert (report.size, report.weights, report.device, report.dtype) == ("speck", "random", "cpu", "float32")


def test_the_bound_is_the_counted_arithmetic_at_the_stated_rate(report):
    seconds = max(report.block_tflop, report.decode_tflop) / report.bound_tflops  # two threads on a CPU
    assert report.bound_frames_per_second == pytest.approx(12 / seconds)
    assert report.bound_share == pytest.approx(report.frames_per_second / report.bound_frames_per_second)


def test_json_holds_every_figure_and_the_table_names_them(report):
    assert json.loads(report.to_json())["clean_ms"] == report.clean_ms
    text = report.to_text()
    for word in ("steps", "clean pass", "decode", "steady", "first frames", "peak memory", "bound"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("huge", "cpu", 1), "unknown"),
        (("tiny", "cpu", 0), "at least one block"),
        (("tiny", "cuda", 1), "No CUDA device"),
        (("tiny", "nonsense", 1), "'nonsense' is no device"),
        (("tiny", "mps", 1), "not on mps"),
        (("tiny", "cpu", 1, "somewhere"), "no published weights"),
    ],
)
def test_what_cannot_be_measured_is_refused(monkeypatch, arguments, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match=message):
        bench(*arguments)


def test_a_window_that_never_fills_is_refused():
    with pytest.raises(ValueError, match="never fills"):
        bench("tiny", "cpu", 1, window=-1, position="absolute")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "too large to be timed on a CPU"),
        (("--size", "tiny", "--device", "nonsense"), "nonsense"),
        (("--size", "tiny", "--device", "cuda:7"), "torch sees no CUDA device"),
        (("--size", "tiny", "--blocks", "0"), "--blocks"),
        (("--live", "--size", "tiny", "--thinker", "chat"), "needs --thinker-url"),
    ],
)
def test_the_command_line_says_what_is_wrong(monkeypatch, arguments, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    result = CliRunner().invoke(app, ["bench", *arguments], env={"COLUMNS": "400"})
    assert result.exit_code != 0
    assert message in result.output + str(result.exception)
