"""Settings: file < environment < flags; unknown names refused; secrets masked."""

from __future__ import annotations

from pathlib import Path

import pytest

from interbench.base.errors import UsageError
from interbench.base.masking import mask
from interbench.pipeline.config import load_settings


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("INTERBENCH_"):
            monkeypatch.delenv(name)


def test_flags_beat_environment_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "run.toml"
    file.write_text('seed = 1\nconcurrency = 3\nsystems = ["puppet"]\nlimit = 9\n')
    assert load_settings({}, file).seed == 1
    monkeypatch.setenv("INTERBENCH_SEED", "2")
    monkeypatch.setenv("INTERBENCH_SYSTEMS", "puppet:drift, puppet")
    found = load_settings({"seed": None, "limit": 4}, file)
    assert (found.seed, found.limit, found.concurrency) == (2, 4, 3)
    assert found.systems == ("puppet:drift", "puppet")
    assert load_settings({"seed": 5}, file).seed == 5


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("sede = 1", "'sede'"),
        ("seed = -1", "'seed'"),
        ("seed = [", "not valid TOML"),
        ('after_failure = "maybe"', "'after_failure'"),
        ("deadline_s = 0", "'deadline_s'"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_settings({}, file)
    assert named in str(caught.value) and str(file) in str(caught.value)


def test_a_missing_file_and_an_unknown_variable_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"no settings file .*gone\.toml"):
        load_settings({}, tmp_path / "gone.toml")
    monkeypatch.setenv("INTERBENCH_SEDE", "1")
    with pytest.raises(UsageError, match="INTERBENCH_SEDE is no setting"):
        load_settings({})


def test_keys_in_the_environment_are_not_taken_for_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERBENCH_JUDGE_KEY", "sk-secret")
    assert "sk-secret" not in str(load_settings({}).public())


def test_secrets_are_masked_and_names_of_variables_are_not() -> None:
    masked = mask(
        {
            "judge": "http://user:hunter2@host:8000/v1",
            "options": [{"api_key": "sk-1", "api_key_env": "JUDGE_KEY", "max_tokens": 7, "token": None}],
        }
    )
    assert masked == {
        "judge": "http://***@host:8000/v1",
        "options": [{"api_key": "***", "api_key_env": "JUDGE_KEY", "max_tokens": 7, "token": None}],
    }
