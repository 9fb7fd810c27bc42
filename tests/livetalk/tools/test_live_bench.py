"""The benchmark of the whole live system, on the smallest networks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from livetalk.base.errors import OptionError
from livetalk.cli.main import app
from livetalk.live.turns import TurnError
from livetalk.render.config import SIZES, StreamConfig, VAEConfig
from livetalk.render.options import ModelOptions, SpeedOptions, StreamOptions
from livetalk.thinkers.base import SpeechDelta, TextDelta, ThinkerError
from livetalk.tools import live_bench
from livetalk.tools.live_bench import Attempt, LiveReport, Spread, measure
from livetalk.tools.options import LiveLoad
from session_kit import Step, TellingThinker, speech
from typer.testing import CliRunner


@pytest.fixture(scope="module", autouse=True)
def speck() -> Iterator[None]:
    """A size still smaller than tiny, under its own name."""
    with pytest.MonkeyPatch.context() as patch:
        small = replace(
            SIZES["tiny"], vae=VAEConfig(dim=2, dim_mult=(1, 1, 1, 1), num_res_blocks=0), stream=StreamConfig(4, 4)
        )
        patch.setitem(SIZES, "tiny", small)
        yield


def measured(thinker: TellingThinker, **load: Any) -> LiveReport:
    choice = ModelOptions(size="tiny", device="cpu").choose()
    stream = StreamOptions().apply(choice.size.stream, "bounded")
    return measure(choice, stream, SpeedOptions(), LiveLoad(**{"encoder": "libx264", **load}), thinker)


@pytest.fixture(scope="module")
def report() -> LiveReport:
    answers: list[list[Step]] = [[TextDelta("Well."), speech(2.5)]] * 20
    return measured(TellingThinker(*answers), turns=5, seconds=2.0, conversations=2)


def test_the_parts_of_the_time_to_first_frame_follow_one_another(report: LiveReport) -> None:
    medians = [report.parts[part].median for part in live_bench._PARTS]
    assert medians == sorted(medians) and medians[-1] <= report.first_frame.median
    assert report.turns == 5
    for spread in (report.first_frame, report.window_to_fragment, *report.parts.values()):
        assert 0 < spread.median <= spread.p95 < 60


def test_pace_and_memory_are_figures(report: LiveReport) -> None:
    for figure in (report.frames_per_second, report.real_time_factor, report.start_s, report.session_video_s):
        assert math.isfinite(figure) and figure > 0
    assert report.peak_memory_bytes >= report.memory_bytes > 1e6
    assert abs(report.memory_drift_bytes) < report.memory_bytes
    # Three answers were heard out, of the others a taste of at least the first blocks.
    assert report.session_video_s >= 3 * 2.5 + 2 * 0.5


def test_conversations_are_added_until_one_has_to_wait(report: LiveReport) -> None:
    assert [attempt.conversations for attempt in report.attempts] == list(range(1, len(report.attempts) + 1))
    smooth = [attempt.underruns == 0 for attempt in report.attempts]
    assert all(smooth[:-1]), "nothing is tried after an underrun"
    assert report.simultaneous == sum(smooth)
    assert report.simultaneous_is_limit == (report.simultaneous == 2)
    assert all(attempt.video_s >= 2.0 * attempt.conversations for attempt in report.attempts)


def test_json_holds_every_figure_and_the_table_names_them(report: LiveReport) -> None:
    found = json.loads(report.to_json())
    assert found["first_frame"]["p95"] == report.first_frame.p95
    assert found["attempts"][0]["underruns"] == report.attempts[0].underruns
    text = report.to_text()
    for word in ("first frame", "thinker first sound", "first window", "window to fragment", "throughput", "at once",
                 "real-time factor", "simultaneous", "memory", "peak"):  # fmt: skip
        assert word in text


def test_the_search_ends_at_the_first_underrun(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    async def attempt(engine: object, conversations: int, seconds: float) -> Attempt:
        tried.append(conversations)
        return Attempt(conversations, seconds, int(conversations == 3), 0.5, Spread(0.1, 0.1))

    monkeypatch.setattr(live_bench, "_attempt", attempt)
    found = measured(TellingThinker(), turns=3, seconds=1.0, conversations=5)
    assert tried == [1, 2, 3] and found.simultaneous == 2 and not found.simultaneous_is_limit
    monkeypatch.setattr(live_bench, "_attempt", attempt)
    found = measured(TellingThinker(), turns=3, seconds=1.0, conversations=2)
    assert found.simultaneous == 2 and found.simultaneous_is_limit and "at least 2" in found.to_text()


def test_a_thinker_without_text_has_no_time_to_its_first_text() -> None:
    answers = [[SpeechDelta(speech(1.5).samples, 24_000)]] * 4
    found = measured(TellingThinker(*answers), turns=3, seconds=0.1, conversations=1)
    assert "thinker_first_text" not in found.parts and "thinker_first_sound" in found.parts


def test_a_turn_that_goes_wrong_ends_the_benchmark() -> None:
    late: list[Step] = [speech(1.0), ThinkerError("broken", "The stream ended in the middle.")]
    with pytest.raises(TurnError, match="Turn 2 of the benchmark went wrong"):
        measured(TellingThinker([speech(0.5)], late), turns=4)
    with pytest.raises(ThinkerError, match="start it"):
        measured(TellingThinker([ThinkerError("unreachable", "Please start it.")]))


@pytest.mark.parametrize("load", [{"turns": 2}, {"conversations": 0}, {"seconds": 0.0}])
def test_what_cannot_be_measured_is_refused(load: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="At least 3 turns and 1 conversation"):
        LiveLoad(**load)


def test_the_command_line_measures_with_the_scripted_thinker(tmp_path: Path) -> None:
    script = tmp_path / "script.txt"
    script.write_text("One, two, three.\n")
    arguments = "bench --live --size tiny --device cpu --turns 3 --conversations 1 --seconds 1 --json --set"
    result = CliRunner().invoke(app, [*arguments.split(), f"thinker.script={script}"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["thinker"] == "script" and found["turns"] == 3 and found["weights"] == "random"
    assert "Timing 3 turns" in result.stderr
