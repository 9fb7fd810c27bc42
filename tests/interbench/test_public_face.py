"""What plug-ins and notebooks may lean on: these names and no others, there, and imported only when used."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import interbench
import interbench.asr
import interbench.judge
import interbench.systems

ROOT = Path(__file__).resolve().parents[2]

FACES = {
    "interbench": "__version__ read_run run",
    "interbench.systems": """
        AvatarSystem BargeIn Blocked Capabilities ClipSystem Completed Conversation Ended Event Failed Final
        Finished FirstFrame FirstSound Incident IncidentKind JsonValue Media MediaError Opening Order PastTurn
        Persona ProgressReport ReferenceReply Reply ReplyText RestJobSystem ResumeUnsupportedError Retired Shows
        Speech Submitted Submitting SystemLoadError TimedOut TurnRequest UsageError UserTurnEnd Voice Working field
        quoted_id synthesize
    """,
    "interbench.judge": """
        DIMENSIONS ClipFacts Dimension Inline Judge JudgeError JudgeTask KeyPoint MediaError MediaPool Missing Outcome
        PlayedConversation PlayedTurn Scenario Transcript Turn UsageError Verdict Word
    """,
    "interbench.asr": """
        AUDIO_RATE ClipFacts Inline Transcriber TranscriberError Transcript UsageError Utterance Word encode_audio
        nothing_to_hear
    """,
}


@pytest.mark.parametrize("package", FACES)
def test_the_names_are_these(package: str) -> None:
    module = sys.modules[package]
    assert sorted(module.__all__) == sorted(FACES[package].split())
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'interbench\.systems' has no attribute 'NoSuchName'"):
        interbench.systems.NoSuchName  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_faces_imports_nothing_heavy() -> None:
    code = (
        "import sys, interbench, interbench.systems, interbench.judge, interbench.asr\n"
        "heavy = {'numpy', 'pandas', 'pydantic', 'av', 'httpx', 'typer', 'rich', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_python_api_is_ordinary_functions() -> None:
    assert str(inspect.signature(interbench.run, eval_str=False)) == (
        "(systems: 'str | Sequence[str] | None' = None, *, config: 'str | Path | None' = None, quiet: 'bool' = True, "
        "**settings: 'Any') -> 'RunResult'"
    )
    assert str(inspect.signature(interbench.read_run, eval_str=False)) == (
        "(path: 'str | Path', judge: 'str | None' = None) -> 'RunFrames'"
    )


EXAMPLES = [
    *sorted((ROOT / "examples").rglob("*.py")),
    ROOT / "README.md",
    *(ROOT / "docs" / name for name in ("your-own-system.md", "systems.md", "asr.md", "judge.md", "python.md")),
]


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_import_from_the_faces_only(page: Path) -> None:
    imported = re.findall(r"^\s*(?:from|import) (interbench[\w.]*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(imported) <= set(FACES)
