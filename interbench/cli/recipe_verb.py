"""What the verb ``recipe`` does: list recipes, show one or a turn of it, check a checkout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from interbench.base import termination
from interbench.base.errors import UsageError
from interbench.base.foreign import NotJsonError, parsed_json
from interbench.pipeline.config import load_settings
from interbench.pipeline.set_options import with_options
from interbench.report.notes import counted
from interbench.systems.recipes.checkout import check_checkout
from interbench.systems.recipes.model import Recipe, load_recipe, recipe_names
from interbench.systems.recipes.system import RecipeSystem
from interbench.systems.recipes.turn import Places, prepare, read_facts
from interbench.systems.registry import SystemSpec


def run(what: str, name: str | None, turn: Path | None, config: Path | None, options: Iterable[str]) -> int:
    """Do what the command line asks for; the exit status.

    Raises:
        InterbenchError: there is no such recipe, or the turn is none.
    """
    if turn is not None and what != "show":
        raise UsageError(f"--turn is for `interbench recipe show NAME`, not for {what}.")
    if what == "list":
        return _list()
    if name is None:
        raise UsageError(f"Name a recipe: interbench recipe {what} NAME. There are {', '.join(recipe_names())}.")
    system = _system(name, config, options)
    if what == "check":
        return _check(name, system)
    if turn is None:
        _show(system.recipe)
    else:
        _show_turn(system.recipe, turn)
    return 0


def _system(name: str, config: Path | None, options: Iterable[str]) -> RecipeSystem:
    settings = with_options(load_settings({"systems": [name]}, config), options)
    spec = SystemSpec.parse(name, settings.system)
    system = spec.factory()()
    if not isinstance(system, RecipeSystem):
        raise UsageError(f"The system {name!r} has no recipe. There are {', '.join(recipe_names())}.")
    return system


def _list() -> int:
    rows = [load_recipe(name) for name in recipe_names()]
    wide = max(len(recipe.name) for recipe in rows)
    for recipe in rows:
        sys.stdout.write(f"{recipe.name:{wide}}  {recipe.title}\n")
    return 0


def _show(recipe: Recipe) -> None:
    """For people."""
    cost = recipe.cost
    costs = [
        f"{cost.vram_gb:g} GB" if cost.vram_gb is not None else "",
        f"{cost.seconds_per_second:g} s of a GPU per second of clip" if cost.seconds_per_second is not None else "",
    ]
    kept = {
        None: "no: a process for each turn",
        "fifo": "yes, fed by a named pipe",
        "module": "yes, its functions called",
        "server": "yes, it is a server",
    }
    lines = [
        f"{recipe.name}: {recipe.title}",
        f"repository   https://github.com/{recipe.repository} at {recipe.commit}",
        *([f"beside       {recipe.beside}"] if recipe.beside else []),
        f"licence      {recipe.licence}",
        f"environment  {recipe.install}",
        f"command      {' '.join(recipe.argv)}",
        f"files        {', '.join(recipe.files) or 'none'}",
        f"output       {recipe.output.glob}",
        f"weights kept {kept[recipe.keep.kind if recipe.keep else None]}",
        f"cost         {', '.join(filter(None, costs)) or 'not known'}{f' ({cost.basis})' if cost.basis else ''}",
        *(f"checkpoint   {one.path}{f'  from {one.source}' if one.source else ''}" for one in recipe.checkpoints),
        *(f"caveat       {caveat}" for caveat in recipe.caveats),
        *(f"read in      {source}" for source in recipe.read),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _show_turn(recipe: Recipe, path: Path) -> None:
    try:
        data = parsed_json(path.read_bytes())
    except (OSError, NotJsonError) as error:
        raise UsageError(f"The turn {path} can't be read: {error}.") from None
    prepared = prepare(recipe, read_facts(data), Places.symbolic())
    sys.stdout.write(json.dumps(prepared.golden(), indent=1, ensure_ascii=False) + "\n")


def _check(name: str, system: RecipeSystem) -> int:
    home = system.require_home()
    checked = termination.run(check_checkout(system.recipe, home, system.python))
    for one in checked:
        sys.stdout.write(f"{one.level:>5}  {one.text}\n")
    wrong = sum(one.level == "wrong" for one in checked)
    sys.stdout.write(f"\n{name}: {counted(wrong, 'thing')} to mend.\n" if wrong else f"\n{name}: ready.\n")
    return 1 if wrong else 0
