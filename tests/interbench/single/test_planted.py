"""`interbench single planted`: what is asserted of defects without any published weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from interbench.cli.main import app
from interbench.single.sync.scenes import Scenes


def test_a_system_that_sleeps_is_slower(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app,
        ["single", "planted", "--out", str(tmp_path), "--metrics", "speed", "--count", "3", "--duration", "1", "-q"],
    )
    assert done.exit_code == 0, (done.output, done.exception)
    assert "holds latency of sleeps is above that of sham" in done.output
    assert "2 hold, 0 fail, 0 not claimed" in done.output


@pytest.mark.soak
def test_every_metric_notices_its_defects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All columns on drawn clips; minutes of processor time."""
    monkeypatch.setenv("INTERBENCH_METRICS_WEIGHTS", str(tmp_path / "none"))
    done = CliRunner().invoke(app, ["single", "planted", "--out", str(tmp_path / "out"), "-q"])
    assert done.exit_code == 0, (done.output, done.exception)
    for figure in ("FID", "KID", "FVD", "KVD"):
        for defect in ("blur", "noise", "frozen"):
            assert f"holds {figure} of {defect} is above that of sham" in done.output
    assert "0 fail" in done.output
    for metric in ("sync", "iqa", "ase"):
        assert f"----- {metric} ran" in done.output
    assert "with weights by formula no order is claimed" in done.output


def test_cuts_are_where_the_picture_changes() -> None:
    shots = [np.full((64, 64, 3), shade, np.uint8) for shade in ((200, 40, 40), (30, 60, 180))]
    scenes, still = Scenes(), Scenes()
    for number in range(50):
        scenes.add(shots[number // 30])
        still.add(shots[0])
    assert scenes.found() == [(0, 30), (30, 50)]
    assert still.found() == [(0, 50)]
