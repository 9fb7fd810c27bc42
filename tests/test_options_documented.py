"""Every ``--option`` that the documentation names exists, and every option is documented, of both programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from livetalk.cli.main import app as livetalk_app
from typer.main import get_command

from interbench.cli.main import app as interbench_app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = {"interbench": interbench_app, "livetalk": livetalk_app}
OPTION = re.compile(r"(?<![\w/-])--[a-z][a-z0-9_]*(?:-[a-z0-9_]+)*")
OTHERS = {
    "vllm serve": """
        --host --port --dtype --max-model-len --gpu-memory-utilization --limit-mm-per-prompt --media-io-kwargs
        --mm-processor-kwargs --allowed-local-media-path --mm-processor-cache-gb --max-num-batched-tokens --max-num-seqs
        --enable-prompt-tokens-details --generation-config --no-enable-chunked-prefill --omni --deploy-config
    """,
    "torchrun": "--nnodes --nproc-per-node --rdzv-backend --rdzv-endpoint",
    "modelscope": "--model --revision",
    "sbatch": "--job-name --array --gpus --requeue --parsable --dependency --wrap",
    "a synthesizer": "--text-file --speaker --out",
    "ray start": "--address --head",
    "benchmarks/speech_windows.py": "--checkpoint",
    "benchmarks/livetalk_cpu.py": "--pairs",
    "benchmarks/scale_out.py": "--nodes --conversations --turns --seconds",
    "examples/mini/draw.py": "--looks --side --middle",
    "examples/mini/conditions.py": "--split --count --speeches --middle",
    "somebody's system": "--driven_audio --source_image --result --heard --face --out",
}
"""Options of other programs that the documentation names."""


def commands_of(app: typer.Typer) -> dict[str, Any]:
    """By verb; the program itself under the empty name. Verbs of a group have its name before their own."""
    command = get_command(app)
    found = {"": command, **getattr(command, "commands", {})}
    for group, inner in list(found.items()):
        if group:
            found |= {f"{group} {name}": one for name, one in getattr(inner, "commands", {}).items()}
    return found


def verbs(app: typer.Typer) -> dict[str, dict[str, bool]]:
    """By verb its long options, and whether each is hidden."""
    return {
        name: {
            option: getattr(parameter, "hidden", False)
            for parameter in one.params
            for option in [*parameter.opts, *parameter.secondary_opts]
            if option.startswith("--")
        }
        | {"--help": True}
        for name, one in commands_of(app).items()
    }


VERBS = {program: verbs(app) for program, app in PROGRAMS.items()}
KNOWN = {option for program in VERBS.values() for options in program.values() for option in options}


def commands(page: Path) -> Iterator[tuple[int, str, str, list[str]]]:
    """Every command line of ours on a page: its line, program, verb and words, continued lines joined."""
    text = re.sub(r"\\\n\s*", lambda found: " " * (len(found.group()) - 1) + "\0", page.read_text(encoding="utf-8"))
    for number, line in enumerate(text.split("\n"), start=1):
        for found in re.finditer(r"(?<![\w./\[-])(interbench|livetalk) ([a-z][a-z-]+)([^`|]*)", line.replace("\0", "")):
            program, verb, rest = found.groups()
            inner = re.match(r" ([a-z][a-z-]+)", rest)
            if inner is not None and f"{verb} {inner[1]}" in VERBS[program]:
                verb, rest = f"{verb} {inner[1]}", rest[inner.end() :]
            if verb in VERBS[program]:
                own = re.sub(r'"[^"]*"', "", rest)  # quoted is the command of another program
                words = re.split(r"\s(?:#|&&|;|>)\s", f" {own} ")[0]
                yield number, program, verb, OPTION.findall(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_that_is_named_exists(page: Path) -> None:
    foreign = {option for options in OTHERS.values() for option in options.split()}
    named = set(OPTION.findall(page.read_text(encoding="utf-8")))
    assert sorted(named - KNOWN - foreign) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_takes_the_options_that_are_shown_with_it(page: Path) -> None:
    wrong = [
        f"{page.name}:{line}: {program} {verb} {option}"
        for line, program, verb, options in commands(page)
        for option in options
        if option not in VERBS[program][verb]
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("program", "option"),
    sorted(
        {
            (program, option)
            for program, of_program in VERBS.items()
            for options in of_program.values()
            for option, hidden in options.items()
            if not hidden and not option.startswith("--no-")
        }
    ),
)
def test_every_option_is_documented(program: str, option: str) -> None:
    pattern = re.compile(re.escape(option) + r"(?![\w-])")
    assert any(pattern.search(page.read_text(encoding="utf-8")) for page in PAGES), f"{program} {option}"


def test_options_of_other_programs_are_still_named() -> None:
    named = {option for page in PAGES for option in OPTION.findall(page.read_text(encoding="utf-8"))}
    assert [option for options in OTHERS.values() for option in options.split() if option not in named] == []


def test_commands_are_found_where_there_are_some() -> None:
    found = [(program, verb) for page in PAGES for _, program, verb, options in commands(page) if options]
    assert len(found) > 30 and {program for program, _ in found} == set(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_verb_says_what_it_does(program: str) -> None:
    found = commands_of(PROGRAMS[program])
    assert len(found) > 8
    assert [name for name, one in found.items() if not (one.help or "").strip()] == []
    assert [name for name, one in found.items() if not one.get_short_help_str()] == []
