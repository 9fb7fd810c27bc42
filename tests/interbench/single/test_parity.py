"""`interbench single parity`: the numbers of the folder are met, and a number that is not met is noticed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from interbench.base.errors import UsageError
from interbench.cli.main import app
from interbench.single.parity import check

GOLDEN = Path(__file__).parent / "golden"


def parity(folder: Path) -> Result:
    return CliRunner().invoke(app, ["single", "parity", str(folder)])


def test_every_number_of_the_folder_is_met() -> None:
    result = parity(GOLDEN)
    assert result.exit_code == 0, "\n".join(line for line in result.output.splitlines() if not line.startswith("ok"))
    assert "105 cases: 105 ok, 0 failed, 0 not run" in result.output


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Part of the folder, without networks."""
    folder = tmp_path / "numbers"
    folder.mkdir()
    for name in ("frechet.npz", "intervals.npz", "mfcc.npz", "qalign.json", "tracks.json"):
        shutil.copy(GOLDEN / name, folder)
    manifest = json.loads((GOLDEN / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def failures(folder: Path) -> dict[str, str]:
    return {case.name: case.because or "differs" for case in check(folder) if not case.passed}


ABSENT = {"aggregate.json", "crop.npz", "i3d.npz", "inception.npz", "qalign_pad.npz", "s3fd.npz", "syncnet.npz"} | {
    "syncnet_scores.npz"
}


def test_a_file_that_is_missing_is_a_case_that_was_not_run(small: Path) -> None:
    assert set(failures(small)) == ABSENT
    result = parity(small)
    assert result.exit_code == 1
    assert "NOT RUN i3d.npz: it can't be read" in result.output
    assert "8 not run" in result.output


def test_a_number_that_differs_fails(small: Path) -> None:
    values = dict(np.load(small / "frechet.npz"))
    values["fd_AB_n1"] = values["fd_AB_n1"] * (1 + 1e-8)
    np.savez(small / "frechet.npz", **values)
    tracks = json.loads((small / "tracks.json").read_text())
    tracks["tracks_by_min_track"]["50"][0]["box"][3][2] += 1e-5
    (small / "tracks.json").write_text(json.dumps(tracks))
    found = {name: why for name, why in failures(small).items() if name not in ABSENT}
    assert found == {"frechet fd_AB_n1": "differs", "tracks min_track 50 track 0 boxes": "differs"}


def test_a_value_that_is_no_number_fails(small: Path) -> None:
    values = dict(np.load(small / "mfcc.npz"))
    values["mfcc"][3, 4] = np.nan
    np.savez(small / "mfcc.npz", **values)
    assert failures(small)["mfcc mfcc"] == "differs"


def test_numbers_that_nothing_here_knows_are_not_passed_over(small: Path) -> None:
    values = dict(np.load(small / "mfcc.npz"))
    np.savez(small / "mfcc.npz", **values, delta=np.zeros(3))
    assert failures(small)["mfcc delta"] == "nothing here knows it"


def test_another_seed_means_other_weights(small: Path) -> None:
    manifest = json.loads((small / "manifest.json").read_text())
    manifest["seed"] += 1
    (small / "manifest.json").write_text(json.dumps(manifest))
    assert "manifest syncnet_first netcnnaud.0.weight" in failures(small)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"manifest\.json is missing"):
        list(check(tmp_path))
