"""Options of systems, judges and transcribers: set on the command line, in a file, and kept with the run."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import harness_kit
import pytest

from interbench.asr.given import Given
from interbench.base.errors import InterbenchError, SystemLoadError, UsageError
from interbench.base.progress import PlainProgress
from interbench.judge.registry import make_judge
from interbench.pipeline.config import Settings, load_settings
from interbench.pipeline.plan import make_plan, resume_plan
from interbench.pipeline.run import execute
from interbench.pipeline.set_options import system_options, with_options
from interbench.systems.registry import SystemSpec

URL = "http://127.0.0.1:9"


def settings(**given: Any) -> Settings:
    return Settings.model_validate({"systems": ("puppet", "livetalk", "my.one=harness_kit:Good"), **given})


def test_any_option_of_any_system_judge_or_transcriber() -> None:
    chosen = with_options(
        settings(judge=URL, transcriber="funasr", script=URL),
        [
            "livetalk.url=http://127.0.0.1:8010",
            'livetalk.voice={ female = "nova" }',
            "my.one.pause_s=0.5",
            "puppet.workers=1",
            "judge.temperature=0.7",
            "judge.patience.attempts=3",
            "judge.patience.outage_s=5",
            "transcriber.device=cpu",
            "funasr.batch_size=2",
            "script.model=writer",
            "livetalk.url=http://127.0.0.1:8011",
        ],
    )
    assert chosen.system == {
        "livetalk": {"url": "http://127.0.0.1:8011", "voice": {"female": "nova"}},
        "my.one": {"pause_s": 0.5},
        "puppet": {"workers": 1},
    }
    assert chosen.judge_options == {"temperature": 0.7, "patience": {"attempts": 3, "outage_s": 5}}
    assert chosen.transcriber_options == {"device": "cpu", "batch_size": 2}
    assert chosen.script_options == {"model": "writer"}
    json.dumps(chosen.public())


def test_the_command_line_comes_before_the_file_option_by_option(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        'systems = ["mine"]\n[system.mine]\nspec = "harness_kit:Good"\nlog = "a.log"\npause_s = 1\n'
        "[judge_options]\ntop_p = 0.5\npatience = { attempts = 2, outage_s = 9 }\n"
    )
    chosen = with_options(
        load_settings({"judge": URL}, file), ["mine.pause_s=2", "judge.patience.attempts=4", "judge.frames=16"]
    )
    assert chosen.system == {"mine": {"spec": "harness_kit:Good", "log": "a.log", "pause_s": 2}}
    assert chosen.judge_options == {"top_p": 0.5, "frames": 16, "patience": {"attempts": 4, "outage_s": 9}}
    assert load_settings({"judge": URL}, file).judge_options["patience"] == {"attempts": 2, "outage_s": 9}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("livetalk.url", "NAME.OPTION=VALUE"),
        ("url=http://127.0.0.1", "NAME.OPTION=VALUE"),
        ("livetalk=x", "NAME.OPTION=VALUE"),
        ("livetlk.url=x", r"no 'livetlk' here\. Options can be set of .*livetalk.* Did you mean 'livetalk'"),
        ("veo.project=x", "'veo' is not among those to test; add it with --systems veo"),
        ("funasr.device=cpu", "transcriber 'funasr' is not chosen; choose it with --transcriber funasr"),
        ("livetalk.ulr=x", "'livetalk' has no option 'ulr'; its options: url, size, .* Did you mean 'url'"),
        ("puppet.workers=two", "'workers' of the system 'puppet' must be a whole number, not 'two'"),
        ("judge.temperature=0", "judge 'signals' has no option 'temperature'; its options: word_budget, faces"),
        ("judge.mode=published", "judge 'signals' has no option 'mode'"),
        ("transcriber.device=cpu", "transcriber 'given' takes no options"),
        ("script.model=x", "there is no 'script' here"),
    ],
)
def test_what_cannot_be_set_says_what_can(text: str, said: str) -> None:
    with pytest.raises(InterbenchError, match=said):
        with_options(settings(transcriber="given"), [text])


def test_the_systems_of_a_run_folder_are_told_by_label() -> None:
    specs = {"it": SystemSpec("it", "veo", {"location": "here"}), "other": SystemSpec("other", "puppet", {})}
    told = system_options(specs, ["it.project=p", "other.workers=1"])
    assert dict(told["it"].options) == {"location": "here", "project": "p"} and told["other"].options == {"workers": 1}
    assert dict(specs["it"].options) == {"location": "here"}
    with pytest.raises(UsageError, match="no 'them' here"):
        system_options(specs, ["them.project=p"])


def test_a_name_that_means_two_things_is_refused() -> None:
    chosen = settings(systems=("judge=harness_kit:Good",), judge=URL)
    with pytest.raises(UsageError, match=r"'judge' is a judge and a system here. Give the system another label"):
        with_options(chosen, ["judge.temperature=1"])


def test_a_wrong_type_in_a_file_is_refused_before_anything_is_played(tmp_path: Path) -> None:
    scenarios = str(harness_kit.write_set(tmp_path / "set", count=1, turns=1))
    chosen = settings(scenarios=scenarios, systems=("puppet",), system={"puppet": {"workers": "two"}})
    with pytest.raises(SystemLoadError, match="'workers' of the system 'puppet' must be a whole number"):
        make_plan(chosen)


def test_the_writer_of_replies_is_told_only_what_it_knows(tmp_path: Path) -> None:
    scenarios = str(harness_kit.write_set(tmp_path / "set", count=1, turns=1))
    common = {"scenarios": scenarios, "systems": ("puppet",)}
    with pytest.raises(UsageError, match="needs the option 'model'"):
        make_plan(settings(**common, script=URL))
    with pytest.raises(UsageError, match=r"no option 'models'.* Did you mean 'model'"):
        make_plan(settings(**common, script=URL, script_options={"models": "m"}))
    with pytest.raises(UsageError, match="name one with --script URL"):
        make_plan(settings(**common, script_options={"model": "m"}))


# -- stages of a run that has been played -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("played")
    scenarios = str(harness_kit.write_set(folder / "set", count=1, turns=1))
    chosen = Settings(out=folder / "run", scenarios=scenarios, systems=("it=harness_kit:Good",))
    judge = make_judge("signals", {})
    asyncio.run(
        execute(make_plan(chosen), transcriber=Given(), judge=judge, progress=PlainProgress(), stages=("drive",))
    )
    return folder / "run"


@pytest.fixture
def played(played_once: Path, tmp_path: Path) -> Path:
    """A run folder of one clip."""
    return shutil.copytree(played_once, tmp_path / "run")


def change(folder: Path, **entries: Any) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["settings"] |= entries
    path.write_text(json.dumps(manifest))


def write(folder: Path, text: str) -> Path:
    file = folder.parent / "later.toml"
    file.write_text(text)
    return file


ONLY_OPTIONS = "[judge_options]\ntemperature = 0.7\nmax_tokens = 300\n[transcriber_options]\nlanguage = 'de'\n"


@pytest.mark.parametrize("kind", ["judge", "transcriber"])
def test_options_of_a_file_hold_beside_a_judge_or_transcriber_of_the_command_line(played: Path, kind: str) -> None:
    change(played, judge_options={"frames": 8}, transcriber_options={"device": "cpu"})
    file = write(played, ONLY_OPTIONS)
    found = resume_plan(played, file, {"judge": URL, "transcriber": URL}).settings
    options: Mapping[str, Mapping[str, Any]] = {
        "judge": found.judge_options,
        "transcriber": found.transcriber_options,
    }
    assert options[kind] == {"judge": {"temperature": 0.7, "max_tokens": 300}, "transcriber": {"language": "de"}}[kind]


def test_options_of_a_file_hold_beside_a_judge_of_the_same_file(played: Path) -> None:
    change(played, judge="http://127.0.0.1:8", judge_options={"frames": 8})
    file = write(played, f'judge = "{URL}"\n' + ONLY_OPTIONS.partition("[transcriber")[0])
    assert resume_plan(played, file, {}).settings.judge_options == {"temperature": 0.7, "max_tokens": 300}


def test_options_of_the_run_stay_with_its_judge_and_are_changed_one_by_one(played: Path) -> None:
    change(played, judge=URL, judge_options={"temperature": 0.2, "frames": 8})
    file = write(played, "[judge_options]\ntemperature = 0.7\n")
    for flags in ({}, {"judge": URL}):
        found = resume_plan(played, file, flags, ["judge.max_tokens=300"]).settings
        assert found.judge_options == {"temperature": 0.7, "frames": 8, "max_tokens": 300}
    assert resume_plan(played, None, {}).settings.judge_options == {"temperature": 0.2, "frames": 8}
    assert resume_plan(played, None, {"judge": "signals"}).settings.judge_options == {}


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("[judge_options]\ntemprature = 1\n", (), r"no option 'temprature'; its options: model, .*Did you mean"),
        ("[judge_options]\npatience = { attempt = 1 }\n", (), "has no 'attempt'; it holds timeout_s"),
        ("judge_option = 1\n", (), "'judge_option' in .*later.toml is unknown"),
        ("judge_options = 1\n", (), "'judge_options' in .*later.toml is wrong"),
        ("seed = 1\n", (), "'seed' in .*later.toml is about playing"),
        ("", ("judge.temprature=1",), "no option 'temprature'"),
        ("", ("it.pause_s=1",), "there is no 'it' here"),
        ("", ("puppet.workers=1",), "an existing run is not played again"),
    ],
)
def test_unknown_names_are_refused_for_later_stages(
    played: Path, text: str, options: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        found = resume_plan(played, write(played, text), {"judge": URL}, options).settings
        make_judge(found.judge, found.judge_options)
    assert "pydantic" not in str(caught.value)


def test_a_secret_that_no_manifest_keeps_has_to_be_given_again(played: Path) -> None:
    chosen = Settings(judge="harness_kit:Mine", judge_options={"token": "sk-1", "token_env": "MINE"})
    assert "sk-1" not in str(chosen.public())
    change(played, **chosen.public() | {"out": str(played)})
    with pytest.raises(UsageError, match="'token' was a secret, which no run folder keeps"):
        resume_plan(played, None, {})
    file = write(played, "[judge_options]\ntoken = 'sk-1'\n")
    assert resume_plan(played, file, {}).settings.judge_options == {"token": "sk-1", "token_env": "MINE"}


def test_a_folder_with_settings_that_there_are_no_more_is_taken_up(played: Path) -> None:
    change(played, livetalk_url="http://127.0.0.1:8010", livetalk_size=None)
    assert resume_plan(played, None, {"repeats": 2}).settings.repeats == 2


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "bom.toml"
    file.write_bytes(b'\xef\xbb\xbfjudge = "signals"\n[system.it]\nspec = "harness_kit:Good"\n')
    assert load_settings({}, file).system == {"it": {"spec": "harness_kit:Good"}}
