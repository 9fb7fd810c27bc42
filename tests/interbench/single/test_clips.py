"""`interbench single --clips`: one run over two systems and real clips with all metrics, on small published files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from interbench.cli.main import app

OPTIONS = (
    "fid.stride=8",
    "fvd.variant=junyaohu",
    "sync.min_track=8",
    "iqa.weights=formula",
)


def single(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["single", *map(str, arguments)])


@pytest.fixture(scope="module")
def measured(weights: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a run left behind."""
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERBENCH_METRICS_WEIGHTS", str(weights))
        sets = [word for option in OPTIONS for word in ("--set", option)]
        result = single(
            "--clips", clips / "systems", "--reference", clips / "real", "--out", out, "-q", "--format", "json",
            "--metrics", "fid,fvd,sync,iqa,ase", "--with-published", *sets,
        )  # fmt: skip
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def table(measured: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((measured / "table.json").read_text())
    return found


def row(table: dict[str, Any], system: str) -> dict[str, Any]:
    (found,) = [one for one in table["rows"] if one["system"] == system]
    figures: dict[str, Any] = found["figures"]
    return figures


def test_rows_are_systems_ground_truth_and_controls(table: dict[str, Any]) -> None:
    assert [(one["system"], one["row"]) for one in table["rows"]] == [
        ("ground truth", "truth"),
        ("ground truth by way of 16 fps", "rate"),
        ("other", "system"),
        ("sham", "system"),
    ]


def test_the_same_files_are_at_no_distance(table: dict[str, Any]) -> None:
    """Systems and ground truth go through the same decoding: a system that hands back the real clips is at zero, and
    its sync is the ground truth's."""
    sham, truth = row(table, "sham"), row(table, "ground truth")
    assert sham["fid"]["value"] == pytest.approx(0, abs=1e-6)
    assert sham["fvd"]["value"] == pytest.approx(0, abs=1e-6)
    assert row(table, "other")["fid"]["value"] > 1
    for key in ("sync_c", "sync_d", "sync_at_zero", "offset_ms"):
        assert sham[key]["value"] == truth[key]["value"]
    assert "fid" not in truth


def test_a_clip_that_can_not_be_scored_is_counted_and_is_no_zero(table: dict[str, Any]) -> None:
    other = row(table, "other")
    assert (other["sync_c"]["scored"], other["sync_c"]["expected"]) == (2, 3)
    assert other["sync_d"]["value"] > 0
    assert (other["fid"]["scored"], other["fid"]["expected"]) == (3, 3)
    # All clips are shorter than a second, for which Q-Align's rule has no frame.
    assert (other["iqa"]["value"], other["iqa"]["scored"], other["iqa"]["expected"]) == (None, 0, 3)
    assert other["iqa"]["missing"] == "shorter than a second"
    assert "other, sync: 1 not scored (no sound)." in table["notes"]


def test_intervals_of_distances_are_jackknives_around_the_point(table: dict[str, Any]) -> None:
    fid = row(table, "other")["fid"]
    assert fid["detail"]["interval"].startswith("delete-one jackknife over clips")
    assert fid["value"] - fid["low"] == pytest.approx(fid["high"] - fid["value"])


def test_every_two_systems_are_compared_on_the_clips_that_both_have(table: dict[str, Any], measured: Path) -> None:
    between = {one["column"]: one for one in table["differences"]}
    assert {(one["one"], one["other"]) for one in table["differences"]} == {("other", "sham")}
    other, sham = row(table, "other"), row(table, "sham")
    for key in ("fid", "kid", "fvd", "kvd"):
        assert between[key]["value"] == pytest.approx(other[key]["value"] - sham[key]["value"]), key
        assert between[key]["low"] < between[key]["value"] < between[key]["high"], key
        assert between[key]["p"] is None
    # One clip of the other system has no sound: the difference is that of the two that both have.
    assert between["sync_c"]["clips"] == 2 and between["sync_c"]["p_holm"] >= between["sync_c"]["p"]
    assert (between["iqa"]["value"], between["iqa"]["missing"]) == (None, "no clip that both have was scored in both")
    assert "offset_ms" not in between, "more is neither better nor worse"
    assert "other − sham" in (measured / "table.md").read_text()
    latex = (measured / "table.tex").read_text()
    assert "other $-$ sham" in latex and r"FID $\downarrow$" in latex, "pdfLaTeX takes neither sign as it is"


def test_weights_that_are_not_there_leave_a_dash_and_the_command(table: dict[str, Any], measured: Path) -> None:
    (ase,) = table["unavailable"]
    assert ase["metric"] == "ase"
    assert "interbench single --fetch --metrics iqa" in ase["because"]
    markdown = (measured / "table.md").read_text()
    assert "ASE: –, because: The weights of Q-Align (one-align) are not there" in markdown
    assert "weights by formula" in markdown  # of IQA, whose model is none that was trained


def test_every_figure_says_who_made_it(table: dict[str, Any]) -> None:
    fid, sync = table["metrics"]["fid"], table["metrics"]["sync"]
    assert (fid["resize"], len(fid["weights"])) == ("pytorch-fid", 64)
    assert {name: len(weights) for name, weights in sync["weights"].items()} == {"syncnet": 64, "s3fd": 64}
    assert any(note.startswith("FVD and KVD as junyaohu: whole clips") for note in table["notes"])


def test_published_figures_are_quoted_and_nothing_else(table: dict[str, Any], measured: Path) -> None:
    quoted = {one["system"]: one for one in table["quoted"]}
    assert quoted["ground truth, HDTF"]["figures"] == {"sync_c": 8.06, "sync_d": 7.31}
    assert quoted["LiveTalk-1.3B"]["from"] == "arXiv 2512.23576, Table 1"
    # The one row of which every figure that this run has is at hand is another table's.
    whole = quoted["LiveTalk-1.3B, HDTF"]
    assert set(whole["figures"]) == {"fid", "fvd", "sync_c", "sync_d", "iqa", "ase"}
    assert whole["from"] == "arXiv 2512.23576, Table 3"
    markdown = (measured / "table.md").read_text()
    assert "ground truth, HDTF (quoted)" in markdown
    assert "Quoted from arXiv 2512.23576, Table 1" in markdown


def test_every_clip_has_its_line(measured: Path) -> None:
    with (measured / "clips.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    own = [line for line in lines if line["row"] == "other" and line["metric"] == "sync"]
    assert {line["clip"] for line in own} == {"c0", "c1", "c2"}
    assert [line["missing"] for line in own if line["clip"] == "c2"] == ["no sound"]


def test_what_was_measured_is_not_measured_again(measured: Path, weights: Path, clips: Path) -> None:
    """With weights that hash the same the second run asks no network: it would not find any."""
    before = (measured / "measures.sqlite").read_bytes()
    table_before = (measured / "table.json").read_text()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERBENCH_METRICS_WEIGHTS", str(weights))
        result = single(
            "--clips", clips / "systems", "--reference", clips / "real", "--out", measured, "-q", "--format", "csv",
            "--metrics", "fid", "--set", "fid.stride=8",
        )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (measured / "measures.sqlite").read_bytes() == before
    fids = [line.split(",")[4] for line in result.stdout.splitlines()[1:]]
    assert [fid for fid in fids if fid] == [
        repr(one["figures"]["fid"]["value"]) for one in json.loads(table_before)["rows"] if "fid" in one["figures"]
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metrics", "fidd"], "Did you mean 'fid'?"),
        (["--metrics", "fid", "--set", "fid.resise=x"], "Did you mean 'resize'?"),
        (["--metrics", "fid", "--set", "fid.resize=cv2"], "must be"),
        (["--metrics", "fid", "--set", "sync.habit=best-track"], "none of the metrics"),
    ],
)
def test_what_is_asked_wrongly_is_told(clips: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    result = single("--clips", clips / "systems", "--out", tmp_path, *arguments)
    assert result.exit_code != 0
    assert said in str(result.exception)


def test_a_folder_without_clips_is_told(tmp_path: Path) -> None:
    result = single("--clips", tmp_path, "--out", tmp_path)
    assert "holds no clips" in str(result.exception)
