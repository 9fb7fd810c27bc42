"""The verbs as a person at a terminal meets them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import harness_kit
import pytest
import warm

VERBS = ("run", "drive", "transcribe", "judge", "table", "scores", "report", "list", "validate", "check-system",
         "check-judge", "rate", "agree", "arena")  # fmt: skip


def cli(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return warm.interbench(*arguments, cwd=cwd, env=given(environment))


def started(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The same from the very beginning, Python's own start included."""
    return subprocess.run(
        [sys.executable, "-m", "interbench", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=300, env=given({}),
    )  # fmt: skip


def given(environment: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join([str(Path(harness_kit.__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    # The environment of the tests has FunASR, which would be the default transcriber and has no weights here.
    return {**os.environ, "PYTHONPATH": path, "INTERBENCH_TRANSCRIBER": "given", **environment}


@pytest.fixture
def scenarios(tmp_path: Path) -> str:
    return str(harness_kit.write_set(tmp_path / "set"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in one go, played by a program that was started for it."""
    folder = tmp_path_factory.mktemp("whole")
    common = ("--scenarios", str(harness_kit.write_set(folder / "set")), "--systems", "it=harness_kit:Good", "--quiet")
    assert started("run", "--out", "whole", *common, cwd=folder).returncode == 0
    return folder / "whole"


def test_help_names_every_verb_and_imports_nothing_heavy() -> None:
    shown = started("--help")
    assert shown.returncode == 0
    for verb in VERBS:
        assert verb in shown.stdout
        assert cli(verb, "--help").returncode == 0
    code = (
        "import sys\nfrom interbench.__main__ import main\nsys.argv = ['interbench', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'pandas', 'scipy', 'av', 'pydantic', 'httpx', 'jinja2', 'PIL', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_stages_one_by_one_give_what_run_gives(tmp_path: Path, scenarios: str, whole: Path) -> None:
    common = ("--scenarios", scenarios, "--systems", "it=harness_kit:Good", "--quiet")
    for arguments in (
        ("drive", "--out", "parts", *common),
        ("transcribe", "parts", "--quiet"),
        ("judge", "parts", "--quiet"),
        ("report", "parts"),
    ):
        done = cli(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    tables = []
    for folder in (str(whole), "parts"):
        table = json.loads(cli("table", folder, "--format", "json", cwd=tmp_path).stdout)
        tables.append([system["dimensions"] for system in table["systems"]])
    assert tables[0] == tables[1] and len(tables[0]) == 1
    assert (tmp_path / "parts" / "report" / "index.html").is_file()


def test_turns_that_were_not_completed_are_explained(tmp_path: Path, scenarios: str) -> None:
    systems = "it=harness_kit:Good,away=harness_kit:CantOpen,hot=harness_kit:Raises"
    done = cli("drive", "--out", "run", "--scenarios", scenarios, "--systems", systems, "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    away, away_at, unplayed, hot, hot_at = (line for line in done.stderr.splitlines() if line.startswith("  "))
    assert away.startswith("  away: failed (not_opened)") and away.endswith("no route to the avatar")
    assert unplayed.startswith("  away: not played, ")
    assert hot.startswith("  hot: failed (exception)") and hot.endswith("the weights melted")
    for told, function, words in (
        (away_at, "open", "no route to the avatar"),
        (hot_at, "answer", "the weights melted"),
    ):
        assert re.search(rf"raised at .*harness_kit\.py, line \d+, in {function}; whole traceback", told)
        kept = (tmp_path / "run" / told.rpartition(" ")[2]).read_text()
        assert kept.startswith("Traceback") and words in kept.splitlines()[-1]
    counts = [int(line.split("×")[0].split()[-1]) for line in (away, hot)]
    assert f"{sum(counts)} failed" in done.stderr


def test_strict_is_for_a_system_that_completed_nothing(tmp_path: Path, scenarios: str) -> None:
    common = (
        "--out",
        "run",
        "--scenarios",
        scenarios,
        "--systems",
        "it=harness_kit:Good,away=harness_kit:CantOpen",
        "-q",
    )
    assert cli("drive", *common, cwd=tmp_path).returncode == 0
    judge = ("judge", "run", "-q", "--set", "judge.faces=false")
    for verb in (("drive", *common), judge):
        done = cli(*verb, "--strict", cwd=tmp_path)
        assert done.returncode == 5 and "No turn was completed by away;" in done.stderr, done.stderr
    assert cli(*judge, cwd=tmp_path).returncode == 0
    only = [*common[:-2], "it=harness_kit:Good", "-q", "--strict"]
    assert cli("drive", *only, cwd=tmp_path).returncode == 0


def test_a_value_that_is_none_is_told_in_our_words_with_the_nearest_name() -> None:
    done = cli("table", "run", "--format", "html")
    assert done.returncode == 2 and "'--format' / '-f': 'html' is not one of" in done.stderr
    done = cli("check-system", "pupet")
    assert done.returncode == 1 and "Did you mean 'puppet'?" in done.stdout and "1 thing to mend" in done.stdout


def test_a_part_of_a_run_is_judged_and_a_dry_run_judges_nothing(tmp_path: Path, scenarios: str) -> None:
    common = ("--out", "run", "--scenarios", scenarios, "--systems", "it=harness_kit:Good", "-q")
    assert cli("drive", *common, cwd=tmp_path).returncode == 0
    dry = cli("judge", "run", "--only", "test-002", "--dry-run", cwd=tmp_path)
    assert dry.returncode == 0 and "conversations  1 of 2, 0 of them" in dry.stdout and "4 verdicts" in dry.stdout
    assert "already given  0" in dry.stdout
    assert (
        "verdicts: 4 scored"
        in cli("judge", "run", "--sample", "1", "-q", "--set", "judge.faces=false", cwd=tmp_path).stderr
    )
    counted = [row.split(",") for row in cli("scores", "run", cwd=tmp_path).stdout.splitlines()]
    assert sum("no record" in row for row in counted) == 4 and len(counted) == 9, "the plan stays whole"


def test_a_photograph_that_is_none_stops_a_run_before_its_first_turn(tmp_path: Path, scenarios: str) -> None:
    people = tmp_path / "people"
    people.mkdir()
    (people / "tess.png").write_text("hello")
    common = ("--scenarios", scenarios, "--systems", "it=harness_kit:Good", "--personas", str(people))
    for arguments in (("run", "--dry-run"), ("drive", "--out", "run", "-q")):
        done = cli(*arguments, *common, cwd=tmp_path)
        assert done.returncode == 2 and "portrait can't be used, so nothing was played: of tess" in done.stderr
        assert "can't be decoded as PNG, JPEG or WebP" in done.stderr
    assert not list((tmp_path / "run" / "media").rglob("*.mp4"))


def test_a_dry_run_asks_the_judge_and_resolves_the_transcriber(tmp_path: Path, scenarios: str) -> None:
    common = ("run", "--dry-run", "--scenarios", scenarios, "--systems", "it=harness_kit:Good")
    done = cli(*common, "--judge", "http://127.0.0.1:9", cwd=tmp_path, INTERBENCH_TRANSCRIBER="auto")
    assert done.returncode == 1 and "transcriber  auto: " in done.stdout
    assert "speech model" in done.stderr or "127.0.0.1:9" in done.stderr
    done = cli(*common, "--judge", "http://127.0.0.1:9", cwd=tmp_path)
    assert done.returncode == 1 and "127.0.0.1:9 can't be reached" in done.stderr and "clips" in done.stdout


def test_a_dry_run_prints_the_plan_and_does_nothing(tmp_path: Path, scenarios: str) -> None:
    done = cli("run", "--dry-run", "--scenarios", scenarios, "--systems", "a=harness_kit:Good,b=harness_kit:Raises",
               "--repeats", "3", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0
    assert "clips        12" in done.stdout and "48 judge calls" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_second_judge_table_is_never_mixed_with_the_first(tmp_path: Path) -> None:
    csv = tmp_path / "scores.csv"
    csv.write_text("system,scenario,dimension,score\na,s,SR,5\nb,s,SR,7\n")
    (tmp_path / "run").mkdir()
    done = cli("table", "run", "scores.csv", cwd=tmp_path)
    assert done.returncode == 2 and "not both" in done.stderr


def test_changed_settings_are_refused_with_the_difference(tmp_path: Path, scenarios: str) -> None:
    common = ("drive", "--out", "run", "--scenarios", scenarios, "--systems", "it=harness_kit:Good", "--quiet")
    assert cli(*common, "--limit", "1", cwd=tmp_path).returncode == 0
    changed = cli(*common, "--limit", "1", "--seed", "7", cwd=tmp_path)
    assert changed.returncode == 1
    assert "setting 'seed' was 0 and is now 7" in changed.stderr
    assert cli(*common, cwd=tmp_path).returncode == 0  # growing by a scenario is no change


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("run", "--systems", "pupet"), 2, "no system 'pupet'"),
        (("run", "--scenarios", "nowhere"), 2, "no scenario set 'nowhere'"),
        (("run", "--config", "gone.toml"), 2, "no settings file"),
        (("run", "--systems", "puppet,puppet"), 2, "named twice"),
        (("run", "--judge", "magic"), 2, "no judge 'magic'"),
        (("run", "--transcriber", "magic"), 2, "no transcriber 'magic'"),
        (("table", "gone"), 2, "gone"),
        (("report", "."), 1, "is not a run folder"),
        (("judge", "."), 1, "is not a run folder"),
        (("frobnicate",), 2, "No such command"),
    ],
)
def test_errors_are_one_paragraph_without_a_traceback(
    tmp_path: Path, arguments: tuple[str, ...], status: int, words: str
) -> None:
    done = cli(*arguments, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_lists(tmp_path: Path) -> None:
    systems = {row["name"]: row for row in json.loads(cli("list", "systems", "--json").stdout)}
    assert {"puppet", "puppet:amnesiac", "puppet:drift", "command", "worker"} <= set(systems)
    assert systems["puppet"]["capabilities"]["fps"] == 25
    dimensions = [row["key"] for row in json.loads(cli("list", "dimensions", "--json").stdout)]
    assert dimensions[:9] == ["EA", "NI", "MVC", "CN", "SR", "IC", "LC", "CU", "OIE"]
    assert dimensions[9:] == ["kp-recall", "kp-memory", "lexical", "look"]
    assert "signals" in cli("list", "judges").stdout
    assert "places-eiffel-tower" in cli("list", "scenarios").stdout


def test_validate_says_where_a_set_is_wrong(tmp_path: Path) -> None:
    folder = harness_kit.write_set(tmp_path / "set", count=2)
    good = cli("validate", str(folder))
    assert good.returncode == 0 and "2 scenarios, 6 turns, no defects" in good.stdout
    lines = (folder / "scenarios.jsonl").read_text().splitlines()
    broken = json.loads(lines[1])
    broken["turns"][1]["leans_on"] = [{"turn": 3, "carry": "the future"}]
    broken["colour"] = "blue"
    (folder / "scenarios.jsonl").write_text(lines[0] + "\n" + json.dumps(broken) + "\n")
    bad = cli("validate", str(folder))
    assert bad.returncode == 1
    assert "scenarios.jsonl:2" in bad.stdout and "colour" in bad.stdout


def test_a_full_pipe_reader_that_leaves_is_no_error(whole: Path) -> None:
    shell = f"{sys.executable} -m interbench table whole --format json | head -c 1"
    done = subprocess.run(["bash", "-c", shell], cwd=whole.parent, capture_output=True, text=True)
    assert done.stdout == "{" and "Traceback" not in done.stderr
