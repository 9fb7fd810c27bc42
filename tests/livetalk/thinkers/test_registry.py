"""From the options of a command line to a thinker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chat_stub import ChatStub
from livetalk.base.errors import LiveTalkError
from livetalk.thinkers.base import ThinkerError
from livetalk.thinkers.registry import ThinkerOptionError, describe, make_thinker
from omni_stub import OmniStub
from thinker_kit import asked, started, told


async def test_every_kind_over_http_answers(tmp_path: Path) -> None:
    script = tmp_path / "script.txt"
    script.write_text("By the script.")
    async with OmniStub() as omni, ChatStub() as chat:
        options: dict[str, dict[str, Any]] = {
            "script": {"script": script, "voice": "en-us+m3"},
            "vllm-omni": {"url": omni.url, "voice": "Ethan"},
            "chat": {"url": chat.url, "speech_url": chat.url, "transcribe_url": chat.url, "voice": "nova"},
        }
        texts = []
        for kind, given in options.items():
            async with started(make_thinker(kind, **given)) as thinker:
                answer = await told(thinker, asked())
                assert answer.error is None and len(answer.samples)
                assert thinker.name.startswith(kind)
                texts.append(answer.text)
    assert texts == ["By the script.", "Hello there. How are you?", "Hello there, dear user. How are you today?"]
    assert omni.questions[0]["speaker"] == "Ethan"
    assert chat.sentences[0]["voice"] == "nova"


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("parrot", {}, "There are: script, vllm-omni, chat, qwen-omni"),
        ("vllm-omni", {}, "needs --thinker-url"),
        ("chat", {"model": "m"}, "needs --thinker-url"),
        ("qwen-omni", {}, "needs --thinker-model"),
        ("script", {"url": "http://127.0.0.1:1"}, "no use for --thinker-url; it takes --script, --voice"),
        ("vllm-omni", {"url": "http://127.0.0.1:1", "speech_url": "x"}, "no use for --speech-url"),
        ("chat", {"url": "http://127.0.0.1:1", "device": "cuda"}, "no use for --thinker-device"),
    ],
)
def test_wrong_options_are_named(kind: str, options: dict[str, str], says: str) -> None:
    with pytest.raises(ThinkerOptionError, match=says) as caught:
        make_thinker(kind, **options)
    assert isinstance(caught.value, LiveTalkError)


def test_wrong_values_are_found_before_the_start(tmp_path: Path) -> None:
    for options in ({"voice": "tlh"}, {"script": tmp_path / "none"}):
        with pytest.raises(ThinkerError):
            make_thinker("script", **options)  # type: ignore[arg-type]
    with pytest.raises(ThinkerError, match="address"):
        make_thinker("chat", url="localhost")


def test_all_kinds_describe_themselves() -> None:
    kinds = {kind.name: kind for kind in describe()}
    assert list(kinds) == ["script", "vllm-omni", "chat", "qwen-omni"]
    for kind in kinds.values():
        assert kind.summary.endswith(".") and len(kind.summary) < 110
        assert not set(kind.required) & set(kind.optional)


def test_thinkers_over_http_load_no_model_library() -> None:
    code = (
        "import sys; from livetalk.thinkers.registry import make_thinker; "
        "make_thinker('script'); make_thinker('chat', url='http://127.0.0.1:1'); "
        "make_thinker('vllm-omni', url='http://127.0.0.1:1'); "
        "print({'torch', 'transformers', 'av'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "set()\n", "")
