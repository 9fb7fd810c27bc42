"""Which transcriber a name means."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from interbench.asr.funasr import FunASR
from interbench.asr.given import Given
from interbench.asr.openai import OpenAITranscriber
from interbench.asr.registry import make_transcriber
from interbench.base.errors import UsageError


def test_names() -> None:
    assert isinstance(make_transcriber("given", {}), Given)
    assert isinstance(make_transcriber("funasr", {"device": "cpu"}), FunASR)
    endpoint = make_transcriber("http://127.0.0.1:9/v1", {"model": "openai/whisper-large-v3"})
    assert isinstance(endpoint, OpenAITranscriber)
    assert (endpoint.url, endpoint.label) == ("http://127.0.0.1:9", "whisper-large-v3")


@pytest.mark.parametrize(("installed", "kind"), [(True, FunASR), (False, Given)])
def test_auto_listens_where_it_can(monkeypatch: pytest.MonkeyPatch, installed: bool, kind: type) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    assert isinstance(make_transcriber("auto", {}), kind)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("whisper", {}, "whisper"),
        ("given", {"device": "cpu"}, "no options"),
        ("funasr", {"devise": "cpu"}, "devise"),
        ("http://127.0.0.1:9", {"key": "x"}, "key"),
        ("http://127.0.0.1:9", {"sleep": 1}, "no option 'sleep'"),
        ("http://127.0.0.1:9", {"url": "http://127.0.0.1:8"}, "no option 'url'"),
        ("http://127.0.0.1:9", {"model": 5}, "model"),
        ("http://127.0.0.1:9", {"attempts": 0}, "attempts"),
        ("http://127.0.0.1:9", {"timeout_s": "soon"}, "timeout_s"),
        ("funasr", {"device": "gpu"}, "device"),
        ("funasr", {"punc_model": ""}, "punc_model"),
        ("funasr", {"vad_model": 3}, "vad_model"),
        ("funasr", {"longest_segment_s": "half a minute"}, "longest_segment_s"),
        ("funasr", {"batch_size": 0}, "batch_size"),
    ],
)
def test_wrong_names_and_options(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_transcriber(name, options)
