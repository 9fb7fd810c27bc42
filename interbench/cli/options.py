"""Options that several verbs share: name, type, help and range of each stand here and nowhere else."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from interbench.cli.grouped import Group
from interbench.pipeline.setting_texts import SETTING_TEXTS


class Format(enum.StrEnum):
    terminal = "terminal"
    md = "md"
    csv = "csv"
    latex = "latex"
    json = "json"


class Mode(enum.StrEnum):
    published = "published"
    observed = "observed"
    observed_keypoints = "observed+keypoints"


class Stills(enum.StrEnum):
    even = "even"
    dense = "dense"


class AfterFailure(enum.StrEnum):
    go_on = "continue"
    stop = "stop"


def _setting(name: str, *flags: str) -> Any:
    """The option that sets ``name``, with the help that the setting itself has."""
    return typer.Option(*flags, help=SETTING_TEXTS[name].help_with_default)


Transcriber = Annotated[str | None, _setting("transcriber")]
Judge = Annotated[str | None, _setting("judge")]
Repeats = Annotated[int | None, _setting("repeats")]
Personas = Annotated[Path | None, _setting("personas")]
OnCluster = Annotated[str | None, _setting("cluster")]
Ears = Annotated[str | None, _setting("ears")]
JudgeServers = Annotated[str | None, _setting("judge_servers", "--judge-servers")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME.OPTION=VALUE",
        help="Set an option of a system (by its label), of the judge or of the transcriber: livetalk.size=tiny, "
        "judge.temperature=0; may be repeated. `interbench list systems --options` shows what there is.",
    ),
]
JudgeMode = Annotated[
    Mode | None,
    typer.Option(
        help="How a vision-language judge reads: the published rubrics, those that count what can be observed, or the "
        "latter with the author's key points; short for --set judge.mode=… [default: observed]"
    ),
]
Sampling = Annotated[
    Stills | None,
    typer.Option(
        help="What it sees of a clip: stills over its length, or besides more of its beginning and its pauses; short "
        "for --set judge.sampling=… [default: even]"
    ),
]
Config = Annotated[
    Path | None, typer.Option("--config", help="A TOML file with settings; the command line comes before it.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Plain lines instead of progress bars.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit status 5 where a system has completed none of its turns.")]
Audit = Annotated[
    Path | None,
    typer.Option("--audit", help="An audit of the same judge (interbench audit), for a footnote per column."),
]
RunFolder = Annotated[Path, typer.Argument(help="A run folder.")]
PrintedAs = Annotated[Format, typer.Option("--format", "-f", help="How to print it.")]
Dimensions = Annotated[
    str | None, typer.Option("--dimensions", help="Only these dimensions, comma-separated: --dimensions MVC,CU.")
]
WhoseVerdicts = Annotated[str | None, typer.Option(help="Whose verdicts, where a run has several judges.")]
BootstrapSeed = Annotated[int, typer.Option(help="Seed of the bootstrap.")]
Replicates = Annotated[int, typer.Option(help="Of the bootstrap over scenarios.")]
WithPublished = Annotated[bool, typer.Option("--with-published", help="Quote the paper's rows beneath.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]


@dataclass(frozen=True, slots=True)
class Playing(Group):
    """Settings of the verbs that play, by name; None where nothing was said."""

    out: Annotated[Path | None, _setting("out", "--out", "-o")] = None
    scenarios: Annotated[str | None, _setting("scenarios")] = None
    only: Annotated[list[str] | None, _setting("only")] = None
    categories: Annotated[list[str] | None, _setting("categories", "--category")] = None
    limit: Annotated[int | None, _setting("limit")] = None
    shard: Annotated[str | None, _setting("shard")] = None
    personas: Personas = None
    rotate_personas: Annotated[bool | None, _setting("rotate_personas", "--rotate-personas")] = None
    systems: Annotated[str | None, _setting("systems", "--systems", "-s")] = None
    transcriber: Transcriber = None
    judge: Judge = None
    repeats: Repeats = None
    concurrency: Annotated[int | None, _setting("concurrency")] = None
    seed: Annotated[int | None, _setting("seed")] = None
    deadline_s: Annotated[float | None, _setting("deadline_s", "--deadline")] = None
    after_failure: Annotated[AfterFailure | None, _setting("after_failure")] = None
    script: Annotated[str | None, _setting("script")] = None
    words: Annotated[str | None, _setting("words")] = None
    speech: Annotated[str | None, _setting("speech")] = None
    cluster: OnCluster = None
    renderers: Annotated[int | None, _setting("renderers")] = None
    clips_via: Annotated[str | None, _setting("clips_via", "--clips-via")] = None
    ears: Ears = None
    judge_servers: JudgeServers = None
    max_usd: Annotated[float | None, _setting("max_usd", "--max-usd")] = None
    max_video_seconds: Annotated[float | None, _setting("max_video_seconds", "--max-video-seconds")] = None
    retry: Annotated[str | None, _setting("retry")] = None

    def settings(self) -> dict[str, Any]:
        """As the settings take them."""
        return asdict(self) | {"systems": listed(self.systems), "retry": listed(self.retry)}


def listed(text: str | None) -> list[str] | None:
    """The names in a comma-separated option; None if it was not given."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def judge_options(options: list[str] | None, mode: Mode | None, sampling: Stills | None) -> list[str]:
    """What ``--set`` says, after what the judge's own flags say."""
    short = {"mode": mode, "sampling": sampling}
    return [*(f"judge.{name}={value.value}" for name, value in short.items() if value is not None), *(options or ())]
