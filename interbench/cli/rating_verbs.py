"""What the verbs ``rate``, ``agree`` and ``arena`` do."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from interbench.base.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from interbench.rating.study import Study
    from interbench.report.people import People
    from interbench.report.tables import Format
    from interbench.store.ratings import Ratings


def rate(
    folder: Path,
    settings: Mapping[str, Any],
    *,
    study_file: Path | None,
    name: str | None,
    host: str,
    port: int,
    pack: Path | None,
    imports: Sequence[Path],
    status: bool,
    export: Path | None,
) -> None:
    """Make a study where there is none, then do what was asked: pack, import, tell, export, or serve."""
    if status or export is not None:
        _tell_status(folder, export)
        return
    from interbench.base.loops import run_to_end
    from interbench.rating.settings import make_settings, read_settings
    from interbench.rating.study import make_study, open_study, require_study, write_study_file
    from interbench.store.ratings import Ratings
    from interbench.store.run_folder import Run

    serving = pack is None and not imports
    if serving:
        _require_extra()
    with Run(folder, write=False):
        pass
    with Ratings(folder, write=True) as ratings:
        study = require_study(ratings) if imports else open_study(ratings)
        if study is None:
            base = None if study_file is None else read_settings(study_file)
            study = run_to_end(make_study(ratings, make_settings(dict(settings), base), typer.echo))
            _tell_made(ratings, study)
        else:
            _require_same(folder, study, settings, study_file)
            write_study_file(ratings, study)
        for path in imports:
            from interbench.rating.pack import import_ratings

            done = import_ratings(ratings, study, path)
            typer.echo(f"{done.path}: {done.answers} answers of {done.rater}, {done.new} of them new.")
        if pack is not None:
            from interbench.rating.pack import write_packs

            for written in write_packs(ratings, study, pack, ratings.raters()):
                typer.echo(str(written))
        if serving:
            _serve(ratings, study, name, host, port)


def _serve(ratings: Ratings, study: Study, name: str | None, host: str, port: int) -> None:
    from interbench.rating.serve import serve

    alone = None
    if name is not None:
        hashed = study.name_hash(name)
        alone = ratings.named(hashed) or ratings.take_place(hashed)
        if alone is None:
            raise UsageError(
                f"All {len(ratings.raters())} places of the study are taken, none of them by {name!r}. Check the name; "
                "a study has as many places as it was made with (--raters)."
            )
    serve(ratings, study, host=host, port=port, alone=alone, tell=typer.echo)


def _require_extra() -> None:
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"Serving the page needs {' and '.join(missing)}: pip install 'interbench[rate]'. Packs (--pack) need "
            "nothing more."
        )


def _require_same(folder: Path, study: Study, given: Mapping[str, Any], study_file: Path | None) -> None:
    """A study's settings don't change once it is made."""
    from interbench.rating.settings import read_settings

    wanted = {key: value for key, value in given.items() if value is not None}
    if study_file is not None:
        wanted = read_settings(study_file).model_dump() | wanted
    held = study.settings.model_dump()

    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else value

    other = [key for key, value in wanted.items() if plain(value) != plain(held[key])]
    if other:
        was = ", ".join(f"{key.replace('_', '-')} {plain(held[key])}" for key in other)
        raise UsageError(
            f"{folder} has a study already, with {was}; what raters were told to do can't change under them. Leave "
            f"these options out to go on with it, or move ratings.sqlite and ratings/ away to begin another."
        )


def _tell_made(ratings: Ratings, study: Study) -> None:
    from interbench.rating.study import STUDY_FILE

    facts = study.facts
    shown = facts["shown_per_rater"]
    items = len(facts["systems"]) * len(facts["scenarios"])
    typer.echo(
        f"Study {study.id}: {items} conversations ({len(facts['systems'])} systems on {len(facts['scenarios'])} "
        f"scenarios), {len(shown)} raters with {min(shown.values())} to {max(shown.values())} showings each, checks "
        f"among them. Its settings are in {ratings.folder / STUDY_FILE}."
    )
    if facts["left_out"]:
        first = facts["left_out"][0]
        typer.echo(
            f"{len(facts['left_out'])} conversations can't be shown and count as missing (first: {first['system']} on "
            f"{first['scenario']}: {first['why']})."
        )


def _tell_status(folder: Path, export: Path | None) -> None:
    from interbench.rating.export import export_csv
    from interbench.rating.results import read_ratings

    said = read_ratings(folder)
    if export is not None:
        try:
            export.write_text(export_csv(said), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{export} can't be written: {error.strerror or error}.") from error
        typer.echo(str(export))
        return
    typer.echo(f"Study {said.study.id}")
    for rater, order in said.assigned.items():
        done = sum((rater, name) in said.answers for name in order)
        stood = said.diligence.get(rater)
        checks = "" if stood is None else f", {stood.checks - len(stood.failed)} of {stood.checks} checks passed"
        if stood is not None and stood.hurry is not None:
            checks += f", median time {stood.hurry:.1f} of the play time"
        out = f"; left out: {'; '.join(stood.out)}" if stood is not None and stood.out else ""
        typer.echo(f"{rater}: {done} of {len(order)}{checks}{out}")


def _people(folder: Path, judge: str | None, replicates: int, seed: int) -> People:
    from interbench.rating.results import read_ratings
    from interbench.report.collect import read_records
    from interbench.report.people import collect_people

    if replicates < 40 or seed < 0:
        raise UsageError("Ask for 40 replicates or more, and a seed of 0 or more.")
    return collect_people(read_records(folder, judge), read_ratings(folder), replicates=replicates, seed=seed)


def print_agreement(folder: Path, form: str, judge: str | None, replicates: int, seed: int) -> None:
    """How people agree with one another, and the judge with them."""
    from interbench.report.people_tables import render_agreement, render_agreement_rich

    people = _people(folder, judge, replicates, seed)
    if not people.said.study.settings.absolute:
        raise UsageError(f"The study of {folder} compares pairs only; see interbench arena {folder}.")
    _print(form, lambda f: render_agreement(people, f), lambda width: render_agreement_rich(people, width))


def print_arena(folder: Path, form: str, judge: str | None, replicates: int, seed: int) -> None:
    """People's votes as win rates, and the judge's on the same pairs."""
    from interbench.report.people_tables import render_arena, render_arena_rich

    people = _people(folder, judge, replicates, seed)
    if not people.said.study.settings.pairs:
        raise UsageError(f"The study of {folder} holds no pairs; make one with --mode pairs or --mode both.")
    _print(form, lambda f: render_arena(people, f), lambda width: render_arena_rich(people, width))


def _print(form: str, text: Callable[[Format], str], for_terminal: Callable[[int], RenderableType]) -> None:
    if form == "terminal":
        from rich.console import Console

        console = Console()
        console.print(for_terminal(console.width))
    else:
        sys.stdout.write(text(cast("Format", form)))
