"""The command line: verbs only. Each calls one function elsewhere; imports are lazy so that ``--help`` is quick."""

from __future__ import annotations

import enum
import errno
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from interbench.pipeline.run import Stage

app = typer.Typer(
    name="interbench",
    help="Benchmark for multi-turn conversations with video avatars.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class What(enum.StrEnum):
    systems = "systems"
    scenarios = "scenarios"
    judges = "judges"
    dimensions = "dimensions"


class Format(enum.StrEnum):
    terminal = "terminal"
    md = "md"
    csv = "csv"
    latex = "latex"
    json = "json"


class AfterFailure(enum.StrEnum):
    go_on = "continue"
    stop = "stop"


Out = Annotated[Path | None, typer.Option("--out", "-o", help="The run folder. [default: runs/default]")]
Scenarios = Annotated[
    str | None,
    typer.Option(help="starter, all, a folder, a JSON Lines file, or a Hub id (org/name). [default: starter]"),
]
Only = Annotated[list[str] | None, typer.Option(help="Scenario id or pattern (travel-*); may be repeated.")]
Categories = Annotated[list[str] | None, typer.Option("--category", help="Category; may be repeated.")]
Limit = Annotated[int | None, typer.Option(help="At most this many scenarios.")]
Personas = Annotated[Path | None, typer.Option(help="A folder with photographs or personas of your own.")]
Systems = Annotated[
    str | None,
    typer.Option(
        "--systems",
        "-s",
        help="Comma-separated: name, name:variant, module:Class, or label= any of these. "
        "[default: the puppet and four of its defects]",
    ),
]
LiveTalkUrl = Annotated[
    str | None,
    typer.Option("--livetalk-url", help="Server for the system livetalk: any that speaks the conversation protocol."),
]
LiveTalkSize = Annotated[
    str | None,
    typer.Option(
        "--livetalk-size",
        help="Size of the server that the system livetalk starts itself; tiny needs no GPU. [default: 1.3B]",
    ),
]
Transcriber = Annotated[
    str | None,
    typer.Option(help="given, funasr, or the URL of an endpoint. [default: funasr if installed, else given]"),
]
Judge = Annotated[
    str | None,
    typer.Option(help="signals, or the URL(s) of an OpenAI-compatible server, comma-separated. [default: signals]"),
]
Repeats = Annotated[int | None, typer.Option(help="Judgements of every dimension. [default: 1]")]
Concurrency = Annotated[int | None, typer.Option(help="Conversations played at the same time. [default: 2]")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random. [default: 0]")]
Deadline = Annotated[float | None, typer.Option("--deadline", help="Seconds per turn. [default: 600]")]
After = Annotated[
    AfterFailure | None, typer.Option(help="What a failed turn means for later ones. [default: continue]")
]
Retry = Annotated[
    str | None, typer.Option(help="Play turns with these outcomes again: failed,timed_out,blocked,retired,not_played.")
]
Script = Annotated[
    str | None,
    typer.Option(help="URL of the OpenAI-compatible server that writes the replies of scripted systems."),
]
MaxUsd = Annotated[float | None, typer.Option("--max-usd", help="The most the run folder may spend, in US dollars.")]
MaxVideo = Annotated[
    float | None, typer.Option("--max-video-seconds", help="The most video the run may ask paid services for.")
]
Config = Annotated[Path | None, typer.Option("--config", help="A TOML file with settings; flags come before it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Plain lines instead of progress bars.")]
RunFolder = Annotated[Path, typer.Argument(help="A run folder.")]


def _list(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _play(stages: tuple[Stage, ...], config: Path | None, dry_run: bool, quiet: bool, **options: Any) -> None:
    """Play; ``options`` are settings by name."""
    from interbench.base.errors import UsageError
    from interbench.cli.commands import execute_and_report, print_plan
    from interbench.pipeline.config import load_settings
    from interbench.pipeline.run import make_plan

    for name in ("systems", "retry"):
        options[name] = _list(options[name])
    plan = make_plan(load_settings(options, config))
    if (options["livetalk_url"] or options["livetalk_size"]) and not any(s.name == "livetalk" for s in plan.systems):
        raise UsageError(
            "--livetalk-url and --livetalk-size are for the system livetalk, which is not among those to test; add it "
            "with --systems livetalk."
        )
    if dry_run:
        print_plan(plan)
    else:
        execute_and_report(plan, stages, quiet=quiet)


def _go_on(folder: Path, config: Path | None, changes: dict[str, Any], stages: tuple[Stage, ...], quiet: bool) -> None:
    """What ``transcribe`` and ``judge`` have in common."""
    from interbench.cli.commands import execute_and_report
    from interbench.pipeline.run import resume_plan

    execute_and_report(resume_plan(folder, config, changes), stages, quiet=quiet)


def _playing(stages: tuple[Stage, ...]) -> Callable[..., None]:
    """A verb that plays: what it is told is kept with the run, also for stages that come later."""

    def play(
        out: Out = None,
        scenarios: Scenarios = None,
        only: Only = None,
        categories: Categories = None,
        limit: Limit = None,
        personas: Personas = None,
        systems: Systems = None,
        livetalk_url: LiveTalkUrl = None,
        livetalk_size: LiveTalkSize = None,
        transcriber: Transcriber = None,
        judge: Judge = None,
        repeats: Repeats = None,
        concurrency: Concurrency = None,
        seed: Seed = None,
        deadline_s: Deadline = None,
        after_failure: After = None,
        script: Script = None,
        max_usd: MaxUsd = None,
        max_video_seconds: MaxVideo = None,
        retry: Retry = None,
        config: Config = None,
        dry_run: DryRun = False,
        quiet: Quiet = False,
    ) -> None:
        _play(**{**locals(), "stages": stages})

    return play


run = app.command(
    "run", help="Play, transcribe, judge, and print the table. The same command again goes on where it was."
)(_playing(("drive", "transcribe", "judge")))
drive = app.command("drive", help="Play the scenarios only.")(_playing(("drive",)))


@app.command()
def transcribe(folder: RunFolder, transcriber: Transcriber = None, config: Config = None, quiet: Quiet = False) -> None:
    """Transcribe what has been played."""
    _go_on(folder, config, {"transcriber": transcriber}, ("transcribe",), quiet)


@app.command()
def judge(
    folder: RunFolder,
    judge: Judge = None,
    repeats: Repeats = None,
    transcriber: Transcriber = None,
    config: Config = None,
    quiet: Quiet = False,
) -> None:
    """Judge what has been played, transcribing what is not yet."""
    changes = {"judge": judge, "repeats": repeats, "transcriber": transcriber}
    _go_on(folder, config, changes, ("transcribe", "judge"), quiet)


@app.command()
def table(
    sources: Annotated[list[Path], typer.Argument(help="Run folders, or CSV files system,scenario,dimension,score.")],
    format_: Annotated[Format, typer.Option("--format", "-f", help="How to print it.")] = Format.terminal,
    precision: Annotated[int, typer.Option(help="Digits after the point (md, latex, terminal).")] = 2,
    intervals: Annotated[bool, typer.Option(help="Show 95 % intervals (md, latex, terminal).")] = True,
    compare: Annotated[
        str | None, typer.Option(help="Two systems, comma-separated: print their paired comparison instead.")
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="Pool with this frozen pool; see --write-reference.")] = None,
    write_reference: Annotated[
        Path | None, typer.Option(help="Write this table's pool to a file, to be used with --reference.")
    ] = None,
    judge: Annotated[str | None, typer.Option(help="Whose verdicts, where a run has several judges.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    with_published: Annotated[bool, typer.Option("--with-published", help="Quote the paper's rows beneath.")] = False,
) -> None:
    """Pool scores to percentiles and print the table."""
    from interbench.cli.commands import print_table

    print_table(
        sources,
        form=format_.value,
        precision=precision,
        intervals=intervals,
        compare=_list(compare),
        reference=reference,
        write_reference=write_reference,
        judge=judge,
        seed=seed,
        published=with_published,
    )


@app.command()
def report(
    folder: RunFolder,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to. [default: FOLDER/report]")] = None,
    portable: Annotated[bool, typer.Option(help="Copy the media into the report, so that it can be moved.")] = False,
    judge: Annotated[str | None, typer.Option(help="Whose verdicts, where a run has several judges.")] = None,
) -> None:
    """Write the HTML report of a run."""
    from interbench.cli.commands import make_report

    typer.echo(make_report(folder, out, portable=portable, judge=judge))


@app.command()
def jobs(
    folder: RunFolder,
    cancel: Annotated[bool, typer.Option("--cancel", help="Ask the services to stop them.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Give them up without asking; they may cost money.")] = False,
    config: Config = None,
) -> None:
    """List remote jobs that are in flight; cancel them or give them up."""
    from interbench.cli.costs import list_jobs

    list_jobs(folder, config, cancel=cancel, forget=forget)


@app.command("judge-server")
def judge_server(
    media: Annotated[
        Path, typer.Option(help="Folder with the runs; the servers read clips from it, and from nowhere else.")
    ] = Path("runs"),
    model: Annotated[
        str | None, typer.Option(help="Checkpoint. [default: Qwen3-VL-30B-A3B-Instruct, as FP8 on an 80 GB card]")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the first server; the next GPU gets the next port.")] = 8000,
    only_print: Annotated[bool, typer.Option("--print", help="Only print the commands.")] = False,
) -> None:
    """Start vLLM as the judge on the GPUs of this machine, one server per GPU, and print their URLs."""
    from interbench.judge.vlm import serve

    serve.run(media=media.resolve(), model=model, host=host, port=port, only_print=only_print, tell=typer.echo)


@app.command("list")
def list_(
    what: Annotated[What, typer.Argument(help="What to list.")],
    scenarios: Annotated[str, typer.Option(help="Which scenario set.")] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List systems, scenarios, judges or dimensions."""
    from interbench.cli import list_verb as listing

    listing.show(what.value, scenarios=scenarios, as_json=as_json)


@app.command()
def validate(
    source: Annotated[str, typer.Argument(help="A scenario set: starter, all, a folder, a file, or a Hub id.")] = "all",
    personas: Personas = None,
) -> None:
    """Check a scenario set and name every defect with file, line and field."""
    from interbench.cli.commands import print_defects

    raise typer.Exit(print_defects(source, personas))


@app.command("check-system")
def check_system(
    system: Annotated[str, typer.Argument(help="name, name:variant or module:Class.")],
    config: Config = None,
    livetalk_url: LiveTalkUrl = None,
    livetalk_size: LiveTalkSize = None,
    deadline_s: Annotated[float, typer.Option("--deadline", help="Seconds per turn.")] = 120.0,
    keep: Annotated[Path | None, typer.Option(help="Keep the clips in this folder.")] = None,
    transcriber: Transcriber = None,
) -> None:
    """Try out an adapter and say in plain words what is wrong with it."""
    from interbench.cli.commands import print_conformance

    options = {
        "systems": [system],
        "livetalk_url": livetalk_url,
        "livetalk_size": livetalk_size,
        "transcriber": transcriber,
    }
    raise typer.Exit(print_conformance(options, config, deadline_s, keep))


def _version(show: bool) -> None:
    if show:
        from interbench import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    return


def main() -> None:
    """Run the command line; errors of ours are printed as one paragraph, without a traceback."""
    from interbench.base.errors import InterbenchError
    from interbench.base.streams import settle_streams

    settle_streams()
    status = 130

    def terminate(number: int, frame: FrameType | None) -> None:
        """End as on Ctrl-C, so that nothing is left behind then either."""
        nonlocal status
        status = 128 + number
        handler = signal.getsignal(signal.SIGINT)
        if not callable(handler):
            raise KeyboardInterrupt
        handler(signal.SIGINT, frame)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, terminate)
    try:
        app()
    except InterbenchError as error:
        sys.stderr.write(f"interbench: {error}\n")
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, SystemExit) as end:
        # Typer makes an exit with this status of an interruption.
        if isinstance(end, SystemExit) and end.code != 130:
            raise
        sys.stderr.write("interbench: interrupted; the same command again goes on from here.\n")
        sys.exit(status)
    except BrokenPipeError:
        # Whoever reads our output has gone (`interbench table ... | head`): nothing is left to say, nor to whom.
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" ({error.filename})" if error.filename else ""
        sys.stderr.write(f"interbench: the disk is full{where}. Free some space and give the same command again.\n")
        sys.exit(1)
