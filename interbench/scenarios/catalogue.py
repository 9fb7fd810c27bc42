"""Where scenario sets lie: the bundled ones by name and version, folders, files, datasets of the Hugging Face Hub.

A set may say of itself, in ``set.json`` beside its scenario files, which version it is, which text betrays it in
training data, of which files it consists, and that it is private.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from interbench.base.bundled import data_path
from interbench.base.errors import ScenarioError
from interbench.domain.guards import Phrase

SCENARIOS = "scenarios.jsonl"
PERSONAS = "personas.jsonl"
FACTS = "set.json"
LATEST = "2"

_HUB_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_NAMED = re.compile(r"(?P<name>[a-z]+)(?:@(?P<version>\w+))?")


@dataclass(frozen=True, slots=True)
class Bundled:
    """A named part of a version of the bundled set."""

    files: tuple[str, ...]
    tag: str | None = None
    """Only scenarios that carry it."""


BUNDLED: Mapping[str, Mapping[str, Bundled]] = {
    "1": {
        "starter": Bundled((SCENARIOS,), "starter"),
        "all": Bundled((SCENARIOS,)),
    },
    "2": {
        "starter": Bundled(("tier1.jsonl",), "starter"),
        "all": Bundled(("tier1.jsonl",)),
        "long": Bundled(("long.jsonl",)),
        "hard": Bundled(("hard.jsonl",)),
        "everything": Bundled(("tier1.jsonl", "long.jsonl", "hard.jsonl")),
    },
}
"""Version -> name -> what it is made of, below ``scenarios/v<version>``."""
TIERS: Mapping[str, int] = {"tier1.jsonl": 1, "long.jsonl": 2, "hard.jsonl": 3}
"""Files whose scenarios are all of one tier."""


class SetFacts(BaseModel):
    """What ``set.json`` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = Field("", pattern=r"^[\w.-]{0,32}$", description="Of the texts; printed with every result.")
    canary: Phrase | None = Field(None, description="A text that stands in every line, and nowhere else in the world.")
    files: tuple[str, ...] = Field((SCENARIOS,), min_length=1, description="Scenario files, in the order of playing.")
    frozen: bool = Field(False, description="A published version: nothing of it is spoken anew.")
    private: bool = Field(False, description="Its texts, clips and transcripts are left out of reports.")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a set was found."""

    name: str
    """As results name it: ``all@2``, or the folder's or file's name with the version that it gives itself."""
    root: Path
    files: tuple[Path, ...]
    facts: SetFacts
    tag: str | None = None
    """Only scenarios that carry it belong to the set."""


def bundled_names() -> tuple[str, ...]:
    """The names of the bundled sets, those of the latest version first."""
    older = [f"{name}@{version}" for version, sets in BUNDLED.items() if version != LATEST for name in sets]
    return (*BUNDLED[LATEST], *older)


def find_set(source: str | Path) -> Place:
    """Where the set that ``source`` means lies; see :func:`interbench.scenarios.sets.load_set`.

    Raises:
        ScenarioError: there is none.
    """
    if isinstance(source, str) and (named := _NAMED.fullmatch(source)) and (place := _bundled(**named.groupdict())):
        return place
    path = Path(source)
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        if path.suffix != ".jsonl":
            raise ScenarioError(f"{path} is not a scenario file: give a .jsonl file or the folder that holds one.")
        facts = read_facts(path.parent)
        return Place(_versioned(path.stem, facts), path.parent, (path,), facts)
    if isinstance(source, str) and (match := _HUB_ID.fullmatch(source)) and path.suffix != ".jsonl":
        found = _folder(_download(match["repo"], match["revision"]))
        return Place(_versioned(source, found.facts), found.root, found.files, found.facts)
    raise ScenarioError(
        f"There is no scenario set {str(source)!r}. Give one of {', '.join(bundled_names())}, a folder or .jsonl file "
        f"that exists, or the id of a dataset on the Hugging Face Hub (org/name)."
    )


def read_facts(folder: Path) -> SetFacts:
    """What the set in ``folder`` says of itself; nothing where it has no ``set.json``.

    Raises:
        ScenarioError: it can't be read.
    """
    file = folder / FACTS
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return SetFacts()
    except (OSError, ValueError) as error:
        raise ScenarioError(f"{file} can't be read: {error}.") from error
    try:
        return SetFacts.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ScenarioError(f"{file}: {where + ': ' if where else ''}{first['msg']}. See docs/scenarios.md.") from error


def _bundled(name: str, version: str | None) -> Place | None:
    if not any(name in sets for sets in BUNDLED.values()):
        return None
    wanted = version or LATEST
    part = BUNDLED.get(wanted, {}).get(name)
    if part is None:
        having = [f"{name}@{known}" for known, sets in BUNDLED.items() if name in sets]
        raise ScenarioError(f"There is no set {name}@{wanted}; there is {' and '.join(having)}.")
    root = data_path("scenarios") / f"v{wanted}"
    files = tuple(root / file for file in part.files)
    if missing := [file.name for file in files if not file.is_file()]:
        raise ScenarioError(f"The set {name}@{wanted} is not complete here: {root} has no {', '.join(missing)}.")
    return Place(f"{name}@{wanted}", root, files, read_facts(root), part.tag)


def _folder(path: Path) -> Place:
    facts = read_facts(path)
    if missing := [file for file in facts.files if not (path / file).is_file()]:
        inner = sorted(child.name for child in path.iterdir() if (child / FACTS).is_file())
        hint = f" It holds sets: {', '.join(str(path / name) for name in inner)}." if inner else ""
        raise ScenarioError(
            f"{path} is not a scenario set: it has no {', '.join(missing)}.{hint} See docs/scenarios.md."
        )
    for file in facts.files:
        if Path(file).name != file:
            raise ScenarioError(f"{path / FACTS}: {file!r} must be the name of a file in the same folder.")
    return Place(_versioned(path.resolve().name, facts), path, tuple(path / file for file in facts.files), facts)


def _versioned(name: str, facts: SetFacts) -> str:
    return f"{name}@{facts.version}" if facts.version and "@" not in name else name


def _download(repo: str, revision: str | None) -> Path:
    """The folder of a dataset repository of the Hugging Face Hub, fetched into the user's cache."""
    try:
        from huggingface_hub import snapshot_download  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ScenarioError(
            f"There is no folder {repo!r} here, and to fetch the dataset of that name from the Hugging Face Hub the "
            f'extra "hub" is needed: pip install "interbench[hub]".'
        ) from None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "interbench" / "scenarios" / f"{repo}@{revision or 'main'}".replace("/", "--")
    try:
        # A local folder rather than the Hub's cache, whose links lead out of the set.
        snapshot_download(repo, repo_type="dataset", revision=revision, local_dir=folder)
    except Exception as error:
        raise ScenarioError(
            f"There is no folder {repo!r} here, and the dataset of that name can't be fetched from the Hugging Face "
            f"Hub: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
        ) from error
    if not (folder / SCENARIOS).is_file() and not (folder / FACTS).is_file():
        raise ScenarioError(
            f"The dataset {repo!r} on the Hugging Face Hub is not a scenario set: it has no {SCENARIOS} at its top."
        )
    return folder
