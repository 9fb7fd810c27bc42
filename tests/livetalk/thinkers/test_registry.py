"""Finding thinkers, and what they can be told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from chat_stub import ChatStub
from livetalk.base.errors import LiveTalkError
from livetalk.thinkers import registry
from livetalk.thinkers.base import ThinkerError
from livetalk.thinkers.omni_settings import TEXT
from livetalk.thinkers.options import ThinkerOptionError
from livetalk.thinkers.qwen_omni import QwenOmniThinker
from livetalk.thinkers.registry import entries, find, from_texts, make_thinker
from omni_stub import OmniStub
from thinker_kit import asked, started, told

ECHO = '''
"""A thinker of one's own."""

from livetalk.thinkers.base import TextDelta, SpeechDelta, Thinker

import numpy as np


class Echo(Thinker):
    """Repeats what the user said.

    Args:
        times: how often.
        shout: in capitals.
    """

    name = "echo"

    def __init__(self, times: int, *, shout: bool = False, started=None) -> None:
        self.times, self.shout = times, shout

    async def answer(self, question):
        said = " ".join([question.text or ""] * self.times)
        yield TextDelta(said.upper() if self.shout else said)
        yield SpeechDelta(np.zeros(2400, np.float32), 24_000)


class Own:
    pass
'''


@pytest.fixture
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module in the current folder."""
    (tmp_path / "my_echo.py").write_text(ECHO)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "my_echo"
    sys.modules.pop("my_echo", None)


# -- built-in ones -----------------------------------------------------------------------------------------------------


async def test_every_thinker_over_http_answers(tmp_path: Path) -> None:
    script = tmp_path / "script.txt"
    script.write_text("By the script.")
    async with OmniStub() as omni, ChatStub() as chat:
        options: dict[str, dict[str, Any]] = {
            "script": {"script": script, "voice": "en-us+m3"},
            "vllm-omni": {"url": omni.url, "voice": "Ethan"},
            "chat": {"url": chat.url, "speech_url": chat.url, "transcribe_url": chat.url, "voice": "nova"},
        }
        texts = []
        for name, given in options.items():
            async with started(make_thinker(name, given)) as thinker:
                answer = await told(thinker, asked())
                assert answer.error is None and len(answer.samples)
                assert thinker.name.startswith(name)
                texts.append(answer.text)
    assert texts == ["By the script.", "Hello there. How are you?", "Hello there, dear user. How are you today?"]
    assert omni.questions[0]["speaker"] == "Ethan"
    assert chat.sentences[0]["voice"] == "nova"


def test_every_built_in_thinker_explains_itself_and_its_options() -> None:
    found = {name: entry for name, entry in entries().items() if entry.source == "built-in"}
    assert list(found) == ["script", "vllm-omni", "chat", "qwen-omni"]
    for entry in found.values():
        assert entry.summary().endswith(".") and len(entry.summary()) < 110
        for option in entry.options().known.values():
            assert option.help, f"the docstring of {entry.target} says nothing of {option.name}"
    assert [option.name for option in found["chat"].options().known.values() if option.required] == ["url"]
    assert "clock" not in found["qwen-omni"].options().known, "no text is a clock"


def test_the_default_thinker_needs_no_options() -> None:
    assert make_thinker(registry.DEFAULT).name == "script"


def test_thinkers_over_http_load_no_model_library() -> None:
    code = (
        "import sys; from livetalk.thinkers.registry import make_thinker; "
        "make_thinker('script'); make_thinker('chat', {'url': 'http://127.0.0.1:1'}); "
        "make_thinker('vllm-omni', {'url': 'http://127.0.0.1:1'}); "
        "print({'torch', 'transformers', 'av'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "set()\n", "")


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "texts", "says"),
    [
        ("parrot", {}, "Known are script, vllm-omni, chat, qwen-omni.*module:Class"),
        ("skript", {}, "Did you mean 'script'"),
        ("vllm-omni", {}, "needs the option 'url' .a text.*--set thinker.url=VALUE"),
        ("chat", {"model": "m"}, "needs the option 'url'"),
        ("qwen-omni", {}, "needs the option 'model'"),
        ("script", {"url": "http://127.0.0.1:1"}, "no option 'url'; its options: answers, script, voice"),
        ("vllm-omni", {"url": "http://127.0.0.1:1", "speech_url": "x"}, "no option 'speech_url'"),
        ("chat", {"url": "http://127.0.0.1:1", "device": "cuda"}, "no option 'device'"),
        ("chat", {"url": "http://127.0.0.1:1", "silence_s": "long"}, "'silence_s' .* must be a number, not 'long'"),
        ("chat", {"url.path": "x"}, "is no table, so there is no 'path' in it"),
        ("qwen-omni", {"model": "m", "chunk": "3.5"}, "'chunk' .* must be a whole number, not 3.5"),
        ("qwen-omni", {"model": "m", "chunk": "0"}, "can't be constructed: ValueError: A piece of sound"),
        ("qwen-omni", {"model": "m", "text.heat": "1"}, "'text.heat' .* has no 'heat'; it holds temperature, top_k"),
        ("qwen-omni", {"model": "m", "text.temperature": "-1"}, "'text' .* is wrong: Tokens can't be drawn"),
    ],
)
def test_wrong_options_are_named(name: str, texts: dict[str, str], says: str) -> None:
    with pytest.raises(ThinkerOptionError, match=says) as caught:
        from_texts(name, texts)
    assert isinstance(caught.value, LiveTalkError)


def test_a_secret_is_not_repeated() -> None:
    with pytest.raises(ThinkerOptionError) as caught:
        from_texts("chat", {"url": "http://127.0.0.1:1", "silence_s": "https://key@example.org"})
    assert "key@" not in str(caught.value)


def test_wrong_values_are_found_before_the_start(tmp_path: Path) -> None:
    for options in ({"voice": "tlh"}, {"script": tmp_path / "none"}, {"answers": ["a"], "script": tmp_path / "none"}):
        with pytest.raises(ThinkerError):
            make_thinker("script", options)
    with pytest.raises(ThinkerError, match="address"):
        make_thinker("chat", {"url": "localhost"})


def test_texts_become_what_the_signature_says() -> None:
    read = find("qwen-omni").options().read
    assert read({"model": "1", "chunk": "3", "text.temperature": "0", "text.top_p": "0.5"}) == {
        "model": "1",
        "chunk": 3,
        "text": {"temperature": 0, "top_p": 0.5},
    }
    assert find("script").options().read({"answers": '["One.", "Two."]'}) == {"answers": ["One.", "Two."]}


def test_of_a_table_only_what_is_given_changes() -> None:
    thinker = from_texts("qwen-omni", {"model": "m", "text.temperature": "0"})
    assert isinstance(thinker, QwenOmniThinker)
    assert (thinker._text.temperature, thinker._text.top_k) == (0, TEXT.top_k)


# -- of one's own ------------------------------------------------------------------------------------------------------


async def test_a_class_in_the_current_folder_is_found_and_told(echo: str) -> None:
    thinker = from_texts(f"{echo}:Echo", {"times": "2", "shout": "yes"})
    answer = await told(thinker, asked(text="Hello."))
    assert answer.text == "HELLO. HELLO." and answer.error is None
    known = find(f"{echo}:Echo").options().known
    assert (known["times"].required, known["times"].takes, known["times"].help) == (
        True,
        "a whole number",
        "how often.",
    )


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("my_echo:Own", "is not a thinker: it has to be a class derived from Thinker"),
        ("my_echo:Ecko", "has no 'Ecko'. Did you mean 'Echo'"),
        ("no_such_module:Echo", "can't be imported .*current folder"),
        ("my_echo:Echo", "needs the option 'times'"),
    ],
)
def test_what_is_wrong_with_a_class_is_said(echo: str, name: str, says: str) -> None:
    with pytest.raises(ThinkerOptionError, match=says):
        from_texts(name, {})


def install(folder: Path, distribution: str, name: str, target: str) -> None:
    """What pip leaves of a package with an entry point."""
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[livetalk.thinkers]\n{name} = {target}\n")


def test_an_installed_package_adds_a_thinker(echo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "echo-thinker", "echo", "my_echo:Echo")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert entries()["echo"].source == "echo-thinker"
    assert from_texts("echo", {"times": "1"}).name == "echo"
    monkeypatch.setenv(registry.RESTRICT, "another")
    assert "echo" not in entries()
    monkeypatch.setenv(registry.RESTRICT, "another, Echo-Thinker")
    assert "echo" in entries()


def test_a_package_takes_no_name_that_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "impostor", "chat", "my_echo:Echo")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert metadata.entry_points(group=registry.GROUP)
    with pytest.raises(ThinkerOptionError, match="impostor names its thinker 'chat', which built-in already has"):
        entries()
