import json
import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
from livetalk.base.errors import OptionError
from livetalk.cli.main import app
from livetalk.render.config import SIZES, StreamConfig, VAEConfig
from livetalk.render.options import ModelOptions, SpeedOptions, StreamOptions
from livetalk.tools.bench import BenchReport, measure
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def report() -> Iterator[BenchReport]:
    """Of a size still smaller than tiny."""
    with pytest.MonkeyPatch.context() as patch:
        speck = replace(SIZES["tiny"], name="speck", vae=VAEConfig(dim=4), stream=StreamConfig(4, 4, window=6, sink=3))
        patch.setitem(SIZES, "speck", speck)
        choice = ModelOptions(size="speck", device="cpu").choose(random_by_default=True)
        yield measure(choice, StreamOptions().apply(choice.size.stream, "bounded"), SpeedOptions(), 1)


def test_every_stage_is_measured(report: BenchReport) -> None:
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


def test_the_bound_is_the_counted_arithmetic_at_the_stated_rate(report: BenchReport) -> None:
    seconds = max(report.block_tflop, report.decode_tflop) / report.bound_tflops  # two threads on a CPU
    assert report.bound_frames_per_second == pytest.approx(12 / seconds)
    assert report.bound_share == pytest.approx(report.frames_per_second / report.bound_frames_per_second)


def test_json_holds_every_figure_and_the_table_names_them(report: BenchReport) -> None:
    assert json.loads(report.to_json())["clean_ms"] == report.clean_ms
    text = report.to_text()
    for word in ("steps", "clean pass", "decode", "steady", "first frames", "peak memory", "bound"):
        assert word in text


@pytest.mark.parametrize(
    ("window", "blocks", "message"), [(-1, 1, "never fills"), (15, 0, "At least one block")], ids=["window", "blocks"]
)
def test_what_cannot_be_measured_is_refused(window: int, blocks: int, message: str) -> None:
    choice = ModelOptions(size="tiny", device="cpu").choose()
    stream = StreamOptions(window=window).apply(choice.size.stream, "absolute")
    with pytest.raises(OptionError, match=message):
        measure(choice, stream, SpeedOptions(), blocks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "too large to be timed on a CPU"),
        (("--size", "tiny", "--device", "nonsense"), "nonsense"),
        (("--size", "tiny", "--device", "cuda:7"), "torch sees no CUDA device"),
        (("--size", "tiny", "--blocks", "0"), "--blocks"),
        (("--live", "--size", "tiny", "--thinker", "chat"), "needs the option 'url'"),
    ],
)
def test_the_command_line_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    result = CliRunner().invoke(app, ["bench", *arguments], env={"COLUMNS": "400"})
    assert result.exit_code != 0
    assert message in result.output + str(result.exception)
