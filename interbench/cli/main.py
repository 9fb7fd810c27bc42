"""The command line: verbs only. Each calls one function elsewhere; imports are lazy so that ``--help`` is quick."""

from __future__ import annotations

import enum
import errno
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from interbench.cli.cluster_verb import cluster
from interbench.cli.grouped import grouped
from interbench.cli.options import (
    Audit,
    BootstrapSeed,
    Config,
    Dimensions,
    DryRun,
    Ears,
    Format,
    Host,
    Judge,
    JudgeMode,
    JudgeServers,
    OnCluster,
    Personas,
    Playing,
    PrintedAs,
    Quiet,
    Repeats,
    Replicates,
    RunFolder,
    Sampling,
    Set,
    Strict,
    Transcriber,
    WhoseVerdicts,
    WithPublished,
    judge_options,
    listed,
)
from interbench.cli.single_verb import single

if TYPE_CHECKING:
    from interbench.pipeline.run import Stage


class _Verbs(TyperGroup):
    """The verbs; a value that can't be used is told without the name of the library that noticed."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


app = typer.Typer(
    name="interbench",
    cls=_Verbs,
    help="Benchmark for multi-turn conversations with video avatars.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(single, name="single")
app.add_typer(cluster, name="cluster")


class What(enum.StrEnum):
    systems = "systems"
    transcribers = "transcribers"
    judges = "judges"
    metrics = "metrics"
    dimensions = "dimensions"
    scenarios = "scenarios"
    personas = "personas"


class RecipeVerb(enum.StrEnum):
    list = "list"
    show = "show"
    check = "check"


class RatingMode(enum.StrEnum):
    absolute = "absolute"
    pairs = "pairs"
    both = "both"


class By(enum.StrEnum):
    category = "category"
    persona = "persona"
    tier = "tier"
    stressed = "stressed"


class New(enum.StrEnum):
    scenario = "scenario"


def _playing(*stages: Stage) -> Callable[..., None]:
    """A verb that plays: what it is told is kept with the run, also for stages that come later."""

    def play(
        playing: Playing,
        judge_mode: JudgeMode = None,
        sampling: Sampling = None,
        options: Set = None,
        config: Config = None,
        dry_run: DryRun = False,
        strict: Strict = False,
        quiet: Quiet = False,
    ) -> None:
        from interbench.cli.commands import execute_and_report, print_plan
        from interbench.pipeline.config import load_settings
        from interbench.pipeline.plan import make_plan
        from interbench.pipeline.set_options import with_options

        told = judge_options(options, judge_mode, sampling)
        plan = make_plan(with_options(load_settings(playing.settings(), config), told))
        if dry_run:
            print_plan(plan)
        else:
            execute_and_report(plan, stages, quiet=quiet, strict=strict)

    return grouped(play)


run = app.command(
    "run", help="Play, transcribe, judge, and print the table. The same command again goes on where it was."
)(_playing("drive", "transcribe", "judge"))
drive = app.command("drive", help="Play the scenarios only.")(_playing("drive"))


@app.command()
def merge(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders of shards (--shard) of one plan.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The run folder to make.")],
    partial: Annotated[
        bool, typer.Option("--partial", help="Also where shards are missing or not finished; tables then say so.")
    ] = False,
) -> None:
    """Make one run out of the shards of a plan, which stay as they are."""
    from interbench.cli import merge_verb

    merge_verb.merge(folders, out, partial=partial)


@app.command()
def transcribe(
    folder: RunFolder,
    transcriber: Transcriber = None,
    options: Set = None,
    config: Config = None,
    quiet: Quiet = False,
    cluster: OnCluster = None,
    ears: Ears = None,
) -> None:
    """Transcribe what has been played."""
    from interbench.cli.commands import execute_and_report
    from interbench.pipeline.plan import resume_plan

    changes = {"transcriber": transcriber, "cluster": cluster, "ears": ears}
    plan = resume_plan(folder, config, changes, options or ())
    execute_and_report(plan, ("transcribe",), quiet=quiet)


@app.command()
def judge(
    folder: RunFolder,
    judge: Judge = None,
    judge_mode: JudgeMode = None,
    sampling: Sampling = None,
    repeats: Repeats = None,
    transcriber: Transcriber = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only scenarios of this id or pattern (memory-*); may be repeated.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many scenarios.")] = None,
    sample: Annotated[
        int | None, typer.Option(help="Only so many scenarios, drawn at random; the same ones every time.")
    ] = None,
    options: Set = None,
    config: Config = None,
    dry_run: DryRun = False,
    strict: Strict = False,
    quiet: Quiet = False,
    cluster: OnCluster = None,
    ears: Ears = None,
    judge_servers: JudgeServers = None,
) -> None:
    """Judge what has been played, transcribing what is not yet."""
    from interbench.cli.commands import execute_and_report, print_judging
    from interbench.pipeline.plan import resume_plan

    changes = {"judge": judge, "repeats": repeats, "transcriber": transcriber}
    changes |= {"cluster": cluster, "ears": ears, "judge_servers": judge_servers}
    whole = resume_plan(folder, config, changes, judge_options(options, judge_mode, sampling))
    plan = whole.narrowed(only or (), limit=limit, sample=sample, seed=whole.settings.seed)
    if dry_run:
        print_judging(plan, len(whole.systems) * len(whole.planned_scenarios))
    else:
        execute_and_report(plan, ("transcribe", "judge"), quiet=quiet, strict=strict)


@app.command("check-judge")
def check_judge(
    judge: Annotated[str, typer.Argument(help="URL of a server, name, or module:Class.")],
    judge_mode: JudgeMode = None,
    sampling: Sampling = None,
    options: Set = None,
    config: Config = None,
    key: Annotated[
        str | None, typer.Option("--dimension", help="Which verdict to ask for. [default: MVC, or look]")
    ] = None,
) -> None:
    """Try out a judge: start it, let it give one verdict, and say in plain words what is wrong with it."""
    from interbench.cli.commands import print_judge_check

    raise typer.Exit(print_judge_check(judge, config, judge_options(options, judge_mode, sampling), key))


@app.command()
def table(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Run folders, or CSV files system,scenario,dimension,score. label=RUN puts label/ before the names of "
            "its systems."
        ),
    ],
    format_: PrintedAs = Format.terminal,
    precision: Annotated[int, typer.Option(help="Digits after the point (md, latex, terminal).")] = 2,
    intervals: Annotated[bool, typer.Option(help="Show 95 % intervals (md, latex, terminal).")] = True,
    means: Annotated[
        bool, typer.Option("--means", help="Raw means on the judge's scale instead of percentiles.")
    ] = False,
    all_columns: Annotated[
        bool, typer.Option("--all-columns", help="Also columns in which nothing was measured.")
    ] = False,
    dimensions: Dimensions = None,
    by: Annotated[
        By | None,
        typer.Option("--by", help="Apart by category, persona, tier or stressed dimension."),
    ] = None,
    compare: Annotated[
        str | None, typer.Option(help="Two systems, comma-separated: print their paired comparison instead.")
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="Pool with this frozen pool; see --write-reference.")] = None,
    write_reference: Annotated[
        Path | None, typer.Option(help="Write this table's pool to a file, to be used with --reference.")
    ] = None,
    judge: WhoseVerdicts = None,
    seed: BootstrapSeed = 0,
    with_published: WithPublished = False,
    humans: Annotated[bool, typer.Option("--humans", help="With rows of what people rated (interbench rate).")] = False,
    audit: Audit = None,
) -> None:
    """Pool scores to percentiles and print the table."""
    from interbench.cli.results import print_table

    print_table(
        sources,
        form=format_.value,
        precision=precision,
        intervals=intervals,
        means=means,
        all_columns=all_columns,
        dimensions=listed(dimensions),
        by=None if by is None else by.value,
        compare=listed(compare),
        reference=reference,
        write_reference=write_reference,
        judge=judge,
        seed=seed,
        published=with_published,
        humans=humans,
        audit=audit,
    )


@app.command()
def items(
    sources: Annotated[
        list[str], typer.Argument(help="Run folders, or CSV files system,scenario,dimension,score, of several systems.")
    ],
    format_: PrintedAs = Format.terminal,
    dimensions: Dimensions = None,
    apart: Annotated[bool, typer.Option("--apart", help="A row per dimension instead of one per scenario.")] = False,
    judge: WhoseVerdicts = None,
) -> None:
    """How single scenarios work: mean, spread, discrimination and ceiling over the systems of the runs."""
    from interbench.cli.results import print_items

    print_items(sources, form=format_.value, dimensions=listed(dimensions), apart=apart, judge=judge)


@app.command()
def scores(
    sources: Annotated[
        list[str], typer.Argument(help="Run folders. label=RUN puts label/ before the names of its systems.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write to this file. [default: standard output]")
    ] = None,
    judge: WhoseVerdicts = None,
) -> None:
    """Print the raw scores as CSV, a row per judgement; `interbench table` reads it."""
    from interbench.cli.results import write_scores

    write_scores(sources, out, judge)


@app.command()
def report(
    sources: Annotated[
        list[str], typer.Argument(help="A run folder, or several to be compared: before=RUN after=RUN.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Where to. [default: RUN/report, RUN/report.zip or RUN/report.html]"),
    ] = None,
    portable: Annotated[bool, typer.Option(help="Copy the media into the report, so that it can be moved.")] = False,
    zipped: Annotated[bool, typer.Option("--zip", help="One archive with the media, to be mailed.")] = False,
    single_page: Annotated[
        bool, typer.Option("--single-page", help="One HTML file with the results, without conversations and clips.")
    ] = False,
    title: Annotated[str | None, typer.Option(help="Headline. [default: the folder's name]")] = None,
    judge: WhoseVerdicts = None,
    audit: Audit = None,
) -> None:
    """Write the HTML report of a run, or of several with what changed between them."""
    from interbench.cli.results import make_report

    made = make_report(
        sources,
        out,
        portable=portable,
        zipped=zipped,
        single_page=single_page,
        judge=judge,
        title=title,
        audit=audit,
    )
    typer.echo(made)


@app.command()
def rate(
    folder: RunFolder,
    name: Annotated[
        str | None, typer.Option("--as", help="Rate yourself, under this name; only its keyed hash is kept.")
    ] = None,
    mode: Annotated[
        RatingMode | None, typer.Option(help="Each conversation on the scale, pairs, or both. [default: absolute]")
    ] = None,
    items: Annotated[
        int | None, typer.Option(help="Conversations of all systems together, in whole scenarios. [default: 60]")
    ] = None,
    raters: Annotated[int | None, typer.Option(help="Places for raters. [default: 3]")] = None,
    per_item: Annotated[int | None, typer.Option(help="Raters of each conversation or pair. [default: 3]")] = None,
    dimensions: Annotated[
        str | None, typer.Option(help="Asked of each conversation, comma-separated. [default: all]")
    ] = None,
    pair_dimensions: Annotated[
        str | None, typer.Option(help="Asked of each pair, comma-separated. [default: OIE]")
    ] = None,
    silent: Annotated[
        float | None, typer.Option(help="Share of the conversations also asked without sound. [default: 0.2]")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of what is drawn. [default: 0]")] = None,
    study: Annotated[Path | None, typer.Option(help="Make it with the settings of a published study.json.")] = None,
    pack: Annotated[
        Path | None, typer.Option(help="Write a folder per rater here, to be sent, and don't serve.")
    ] = None,
    imports: Annotated[
        list[Path] | None, typer.Option("--import", help="Take over a file that a pack has saved; may be repeated.")
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Print how far the raters are.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write all answers to this CSV file.")] = None,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8400,
) -> None:
    """Let people rate a run, blind, in a browser. The first call makes the study, the same again goes on with it."""
    from interbench.cli import rating_verbs

    settings = {
        "mode": None if mode is None else mode.value,
        "items": items,
        "raters": raters,
        "per_item": per_item,
        "dimensions": listed(dimensions),
        "pair_dimensions": listed(pair_dimensions),
        "silent": silent,
        "seed": seed,
    }
    rating_verbs.rate(
        folder,
        settings,
        study_file=study,
        name=name,
        host=host,
        port=port,
        pack=pack,
        imports=imports or (),
        status=status,
        export=export,
    )


@app.command()
def agree(
    folder: RunFolder,
    format_: PrintedAs = Format.terminal,
    judge: WhoseVerdicts = None,
    replicates: Replicates = 2000,
    seed: BootstrapSeed = 0,
) -> None:
    """How far people agree with one another, and the judge with them."""
    from interbench.cli.rating_verbs import print_agreement

    print_agreement(folder, format_.value, judge, replicates, seed)


@app.command()
def arena(
    folder: RunFolder,
    format_: PrintedAs = Format.terminal,
    judge: WhoseVerdicts = None,
    replicates: Replicates = 2000,
    seed: BootstrapSeed = 0,
) -> None:
    """People's votes between pairs as expected win rates, and the judge's on the same pairs."""
    from interbench.cli.rating_verbs import print_arena

    print_arena(folder, format_.value, judge, replicates, seed)


@app.command()
def audit(
    folder: Annotated[Path, typer.Argument(help="A run folder whose clips are edited; with --report, an audit's.")],
    judge: Judge = None,
    judge_mode: JudgeMode = None,
    sampling: Sampling = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The audit's folder. [default: RUN-audit, beside the run]")
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="Whose conversations are edited. [default: the run's only intact puppet]")
    ] = None,
    scenarios: Annotated[int | None, typer.Option(help="How many. [default: 48; with --quick 12]")] = None,
    repeats: Annotated[
        int | None, typer.Option(help="Judgements of every conversation. [default: 3; with --quick 1]")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Only defects that aim at these dimensions, comma-separated: --only EA,NI.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="The strongest of each defect alone, on 12 scenarios, with fewer frames.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print clips, verdicts, tokens and what they can decide, and do nothing.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Judge nothing: compute everything again from an audit's folder.")
    ] = False,
    require: Annotated[
        str | None, typer.Option(help="Exit status 3 unless these dimensions pass: --require EA,MVC.")
    ] = None,
    cold: Annotated[
        bool,
        typer.Option("--cold", help="The judge's servers were started anew just now: judge the control once more."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    options: Set = None,
    config: Config = None,
    quiet: Quiet = False,
) -> None:
    """Put a judge on trial: plant graded defects in a run's clips and words, and see what it makes of them."""
    from interbench.cli import audit_verb

    audit_verb.audit(
        folder,
        out=out,
        asked={
            "scenarios": scenarios,
            "repeats": repeats,
            "only": listed(only) or (),
            "quick": quick,
            "seed": seed,
            "system": system,
            "cold": cold,
        },
        judge=judge,
        options=judge_options(options, judge_mode, sampling),
        config=config,
        only_plan=plan,
        only_report=report,
        require=listed(require) or (),
        quiet=quiet,
    )


@app.command()
def jobs(
    folder: RunFolder,
    cancel: Annotated[bool, typer.Option("--cancel", help="Ask the services to stop them.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Give them up without asking; they may cost money.")] = False,
    options: Set = None,
    config: Config = None,
) -> None:
    """List remote jobs that are in flight; cancel them or give them up."""
    from interbench.cli.costs import list_jobs

    list_jobs(folder, config, options or (), cancel=cancel, forget=forget)


@app.command("judge-server")
def judge_server(
    media: Annotated[
        Path, typer.Option(help="Folder with the runs; the servers read clips from it, and from nowhere else.")
    ] = Path("runs"),
    model: Annotated[
        str | None, typer.Option(help="Checkpoint. [default: Qwen3-VL-30B-A3B-Instruct, as FP8 on an 80 GB card]")
    ] = None,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the first server; the next GPU gets the next port.")] = 8000,
    only_print: Annotated[bool, typer.Option("--print", help="Only print the commands.")] = False,
) -> None:
    """Start vLLM as the judge on the GPUs of this machine, one server per GPU, and print their URLs."""
    from interbench.judge.vlm import serve

    serve.run(media=media.resolve(), model=model, host=host, port=port, only_print=only_print, tell=typer.echo)


@app.command("list")
def list_(
    what: Annotated[What | None, typer.Argument(help="What to list; without it, the names of everything.")] = None,
    scenarios: Annotated[str, typer.Option(help="Which scenario set.")] = "all",
    with_options: Annotated[
        bool, typer.Option("--options", help="With the options that can be set, their types and defaults.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List systems, transcribers, judges, metrics, dimensions, scenarios or personas, those of plug-ins included."""
    from interbench.cli import list_verb

    list_verb.show(what and what.value, scenarios=scenarios, with_options=with_options, as_json=as_json)


@app.command()
def recipe(
    what: Annotated[RecipeVerb, typer.Argument(help="list them, show one, or check a checkout against it.")],
    name: Annotated[str | None, typer.Argument(help="A recipe's name, or the label of a system with one.")] = None,
    turn: Annotated[
        Path | None,
        typer.Option(
            help="For show: a JSON file with a turn (scenario, turn, seed, prompt, speech.samples). Prints command, "
            "environment and files of that turn as JSON, with @system for the checkout and @turn for the turn's folder."
        ),
    ] = None,
    options: Set = None,
    config: Config = None,
) -> None:
    """Recipes for published systems: list them, show what one does, check that its checkout is ready."""
    from interbench.cli import recipe_verb

    raise typer.Exit(recipe_verb.run(what.value, name, turn, config, options or ()))


@app.command()
def validate(
    source: Annotated[
        str, typer.Argument(help="A scenario set: a bundled name, a folder, a file, or a Hub id.")
    ] = "all",
    personas: Personas = None,
    rehearse: Annotated[
        str | None,
        typer.Option(
            "--rehearse",
            metavar="PATTERN",
            help="Instead, print what the user of these scenarios (an id or a pattern) says to three scripted systems.",
        ),
    ] = None,
) -> None:
    """Check a scenario set and name every defect with file, line and field."""
    if rehearse is not None:
        from interbench.cli.set_verbs import print_rehearsal

        print_rehearsal(source, rehearse)
        return
    from interbench.cli.commands import print_defects

    raise typer.Exit(print_defects(source, personas))


@app.command()
def speak(
    folder: Annotated[Path, typer.Argument(help="Folder of a scenario set.")],
    command: Annotated[
        str | None,
        typer.Option(help="Another synthesizer: a command with {text} or {text_file} and {out}, a WAV file to write."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="An OpenAI-compatible speech server that speaks instead.")] = None,
    model: Annotated[str | None, typer.Option(help="The model's name on that server.")] = None,
    voices: Annotated[
        str | None, typer.Option(help="Voices of that server, comma-separated; each scenario gets one of them.")
    ] = None,
    key_env: Annotated[str | None, typer.Option(help="Environment variable that holds that server's key.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Speak also what has not changed.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Speak also lines of which there is a recording of your own.")
    ] = False,
    transcriber: Annotated[
        str | None, typer.Option(help="Let this transcriber hear the set, and print its word errors by voice.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Speak the user's lines of a scenario set that are new or have changed, in their moods."""
    from interbench.cli.set_verbs import Speaker, speak_set

    speaker = Speaker(command, url, model, tuple(listed(voices) or ()), key_env)
    speak_set(folder, speaker, everything=everything, overwrite=overwrite, transcriber=transcriber, quiet=quiet)


@app.command()
def new(
    what: Annotated[New, typer.Argument(help="What to begin.")],
    folder: Annotated[Path, typer.Argument(help="Folder of a scenario set; made if it is not there.")],
    name: Annotated[str, typer.Option("--id", help="Its id.")] = "my-001",
    turns: Annotated[int, typer.Option(help="How many turns.")] = 3,
) -> None:
    """Add a scenario to be filled in to a set; `interbench validate` says what is still to be said."""
    from interbench.cli.set_verbs import begin_scenario

    begin_scenario(folder, name, turns)


@app.command("check-system")
def check_system(
    system: Annotated[str, typer.Argument(help="name, name:variant or module:Class.")],
    options: Set = None,
    config: Config = None,
    deadline_s: Annotated[float, typer.Option("--deadline", help="Seconds per turn.")] = 120.0,
    keep: Annotated[Path | None, typer.Option(help="Keep the clips in this folder.")] = None,
    transcriber: Transcriber = None,
) -> None:
    """Try out an adapter and say in plain words what is wrong with it."""
    from interbench.cli.commands import print_conformance

    raise typer.Exit(print_conformance(system, config, options or (), deadline_s, keep, transcriber))


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

    try:
        app()
    except InterbenchError as error:
        sys.stderr.write(f"interbench: {error}\n")
        sys.exit(error.exit_code)
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
