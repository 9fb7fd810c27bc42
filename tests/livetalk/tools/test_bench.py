import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from livetalk.base.errors import OptionError
from livetalk.cli.main import app
from livetalk.render.config import SIZES, StreamConfig, VAEConfig
from livetalk.render.options import ModelOptions, SpeedOptions, StreamOptions
from livetalk.tools.bench import BenchReport, measure
from livetalk.tools.environment import cudnn_version, flash_attention, read_card
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


def test_a_report_says_what_it_was_measured_with(report: BenchReport) -> None:
    assert report.environment.torch == torch.__version__ and report.environment.python
    assert report.environment.cuda is None and report.environment.driver is None, "on a CPU there is none"
    assert report.peak_reserved_bytes is None and report.start_s > 0
    assert json.loads(report.to_json())["environment"]["torch"] == torch.__version__
    assert f"torch {torch.__version__}" in report.to_text()
    # Alone it needs a ninth of the decoder's work. No timing is held, only that both were taken.
    assert report.first_frame_ms > 0 and "the first alone" in report.to_text()


def test_what_nvidia_smi_says_is_read() -> None:
    found = read_card("580.65.06, 1980 MHz, 1980 MHz, 3201 MHz, 700.00 W, 121.35 W, 34\n")
    assert found == {
        "driver": "580.65.06", "sm_clock": "1980 MHz", "sm_clock_limit": "1980 MHz", "memory_clock": "3201 MHz",
        "power_limit": "700.00 W", "power_drawn": "121.35 W", "temperature": "34",
    }  # fmt: skip
    assert read_card("580.65.06, [N/A], 1980 MHz, 3201 MHz, [Not Supported], 1 W, 3").keys() == {
        "driver", "sm_clock_limit", "memory_clock", "power_drawn", "temperature"
    }  # fmt: skip
    assert read_card("No devices were found\n") == read_card("") == {}


@pytest.mark.parametrize(("number", "words"), [(91_501, "9.15.1"), (8907, "8.9.7"), (90_100, "9.1.0"), (None, None)])
def test_versions_of_cudnn_are_spelled_out(number: int | None, words: str | None) -> None:
    assert cudnn_version(number) == words


def test_every_release_of_flash_attention_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert flash_attention() is None
    for name, release in (("flash_attn", "2.8.4"), ("flash_attn_4", "4.0.0b5")):
        folder = tmp_path / f"{name}-{release}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {release}\n")
    (tmp_path / "flash_attn_interface.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert flash_attention() == "flash-attn 2.8.4, flash-attn-4 4.0.0b5, flash_attn_interface"
