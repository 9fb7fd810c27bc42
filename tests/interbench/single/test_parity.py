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


FILES = frozenset(path.name for path in GOLDEN.iterdir() if path.suffix in (".npz", ".json")) - {"manifest.json"}


def part(folder: Path, *names: str) -> Path:
    """Some files of the folder, and what it says of itself."""
    for name in ("manifest.json", *names):
        shutil.copy(GOLDEN / name, folder)
    return folder


def failures(folder: Path) -> dict[str, str]:
    """What was not met of the files that are there: those that are not are no cases that passed either."""
    found = {case.name: case.because or "differs" for case in check(folder) if not case.passed}
    absent = {name for name in FILES if not (folder / name).exists()}
    assert absent <= found.keys()
    return {name: why for name, why in found.items() if name not in absent}


def test_a_file_that_is_missing_is_a_case_that_was_not_run(tmp_path: Path) -> None:
    there = ("tracks.json", "mfcc.npz", "qalign.json")
    result = parity(part(tmp_path, *there))
    assert result.exit_code == 1
    assert "NOT RUN i3d.npz: it can't be read" in result.output
    assert {line.split()[2].rstrip(":") for line in result.output.splitlines() if line.startswith("NOT RUN")} == (
        FILES - set(there)
    )
    assert f"{len(FILES) - len(there)} not run" in result.output


def test_a_number_that_differs_fails(tmp_path: Path) -> None:
    folder = part(tmp_path, "frechet.npz", "tracks.json")
    values = dict(np.load(folder / "frechet.npz"))
    values["fd_AB_n1"] = values["fd_AB_n1"] * (1 + 1e-8)
    np.savez(folder / "frechet.npz", **values)
    tracks = json.loads((folder / "tracks.json").read_text())
    tracks["tracks_by_min_track"]["50"][0]["box"][3][2] += 1e-5
    (folder / "tracks.json").write_text(json.dumps(tracks))
    assert failures(folder) == {"frechet fd_AB_n1": "differs", "tracks min_track 50 track 0 boxes": "differs"}


def test_a_value_that_is_no_number_fails(tmp_path: Path) -> None:
    folder = part(tmp_path, "mfcc.npz")
    values = dict(np.load(folder / "mfcc.npz"))
    values["mfcc"][3, 4] = np.nan
    np.savez(folder / "mfcc.npz", **values)
    assert failures(folder) == {"mfcc mfcc": "differs"}


def test_numbers_that_nothing_here_knows_are_not_passed_over(tmp_path: Path) -> None:
    folder = part(tmp_path, "mfcc.npz")
    values = dict(np.load(folder / "mfcc.npz"))
    np.savez(folder / "mfcc.npz", **values, delta=np.zeros(3))
    assert failures(folder) == {"mfcc delta": "nothing here knows it"}


def test_another_seed_means_other_weights(tmp_path: Path) -> None:
    manifest = json.loads((GOLDEN / "manifest.json").read_text())
    manifest["seed"] += 1
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert "manifest syncnet_first netcnnaud.0.weight" in failures(tmp_path)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"manifest\.json is missing"):
        list(check(tmp_path))
