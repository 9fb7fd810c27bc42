"""Fetches the published checkpoints from the Hugging Face hub, each at one fixed revision."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from livetalk.base import termination
from livetalk.base.errors import LiveTalkError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

REVISIONS_FILE = "revisions.json"
"""The commit at which each repository was fetched into a folder. One that is not pinned below stays at its commit
here."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_GO_ON = (
    "What has arrived is kept; run the command again to go on. Behind a proxy or with a mirror, set HTTPS_PROXY or "
    "HF_ENDPOINT; for a gated repository, HF_TOKEN."
)


class DownloadError(LiveTalkError):
    """A repository can't be fetched."""


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository of the hub and what is taken from it.

    ``revision`` is a commit, or None where none could be established when this was written: then the commit that
    ``main`` stands at is resolved once, written to ``revisions.json`` beside the files, and kept from then on. A
    pattern without a ``*`` is a file that must be there.
    """

    repo_id: str
    folder: str
    revision: str | None
    patterns: tuple[str, ...]
    gigabytes: float
    needed: bool = True
    models: tuple[str, ...] = ()
    """Who alone needs it, of the bidirectional models; fetched where they are asked for."""


REPOSITORIES = (
    Repository("GAIR/LiveTalk-1.3B-V0.1", "LiveTalk-1.3B-V0.1", None, ("model.safetensors", "*.json", "*.md"), 5.7),
    Repository(
        "Wan-AI/Wan2.1-T2V-1.3B",
        "Wan2.1-T2V-1.3B",
        "37ec512624d61f7aa208f7ea8140a131f93afc9a",
        # Not the transformer: LiveTalk's file replaces it.
        ("models_t5_umt5-xxl-enc-bf16.pth", "Wan2.1_VAE.pth", "google/umt5-xxl/*", "*.md"),
        11.9,
    ),
    Repository(
        "facebook/wav2vec2-base-960h",
        "wav2vec2",
        "22aad52d435eb6dbaf354bdad9b0da84ce7d6156",
        ("config.json", "preprocessor_config.json", "model.safetensors", "*.md"),
        0.4,
    ),
    # The bidirectional model LiveTalk was distilled from; LiveTalk does not read it.
    Repository(
        "OmniAvatar/OmniAvatar-1.3B", "OmniAvatar-1.3B", None, ("*.json", "*.pt", "*.safetensors", "*.md"), 1.0, False
    ),
    # What OmniAvatar's files are adapters to.
    Repository(
        "Wan-AI/Wan2.1-T2V-1.3B",
        "Wan2.1-T2V-1.3B",
        "37ec512624d61f7aa208f7ea8140a131f93afc9a",
        ("diffusion_pytorch_model.safetensors",),
        5.7,
        models=("omniavatar-1.3b",),
    ),
    Repository(
        "OmniAvatar/OmniAvatar-14B",
        "OmniAvatar-14B",
        None,
        ("config.json", "pytorch_model.pt", "*.md"),
        1.3,
        models=("omniavatar-14b",),
    ),
    Repository(
        "Wan-AI/Wan2.1-T2V-14B",
        "Wan2.1-T2V-14B",
        None,
        (
            *(f"diffusion_pytorch_model-{part:05}-of-00006.safetensors" for part in range(1, 7)),
            "diffusion_pytorch_model.safetensors.index.json",
            "*.md",
        ),
        57.2,
        models=("omniavatar-14b",),
    ),
)


def download(
    root: Path,
    *,
    revisions: Mapping[str, str] | None = None,
    needed_only: bool = False,
    models: Sequence[str] = (),
    announce: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Fetch every repository into its folder under ``root``; what is already there is kept, what was cut short goes on.

    Args:
        revisions: repository to commit, tag or branch, instead of the pinned one; a tag or branch is resolved to its
            commit first.
        needed_only: leave out what LiveTalk does not read.
        models: bidirectional models whose files are fetched besides.

    Returns:
        The folders.

    Raises:
        DownloadError: unknown repository in ``revisions``, no space, no network, the hub refuses, ``revisions.json`` is
            not readable, or files are missing afterwards.
    """
    from huggingface_hub import HfApi, snapshot_download

    chosen = [repository for repository in REPOSITORIES if _wanted(repository, needed_only, models)]
    given = dict(revisions or {})
    if unknown := set(given) - {repository.repo_id for repository in REPOSITORIES}:
        names = ", ".join(repository.repo_id for repository in REPOSITORIES)
        raise DownloadError(f"No repository {sorted(unknown)[0]!r} is downloaded here; there are {names}.")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"{root} can't be made: {error.strerror}. Choose another place with --to.") from error
    _require_space(root, chosen)
    api, folders = HfApi(), []
    for repository in chosen:
        folder = root / repository.folder
        try:
            commit = fixed_commit(api, repository, root, given.get(repository.repo_id))
            announce(f"{repository.repo_id} @ {commit[:12]} -> {folder} (about {repository.gigabytes:g} GB)")
            sizes = _listed(api, repository, commit)
            snapshot_download(
                repository.repo_id, revision=commit, local_dir=str(folder), allow_patterns=list(repository.patterns)
            )
        except DownloadError:
            raise
        except Exception as error:  # the hub's client lets its HTTP library's errors through, and changes the library
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise DownloadError(f"{repository.repo_id} could not be fetched: {reason}. {_GO_ON}") from error
        # With the hub out of reach half-way, its client takes a folder that exists for a complete one.
        if short := [name for name, size in sizes.items() if not _is_whole(folder / name, size)]:
            raise DownloadError(
                f"{repository.repo_id} has not arrived in full, short of {', '.join(short[:4])}. {_GO_ON}"
            )
        folders.append(folder)
    return folders


def _wanted(repository: Repository, needed_only: bool, models: Sequence[str]) -> bool:
    if repository.models:
        return any(model in models for model in repository.models)
    return repository.needed or not needed_only or "omniavatar-1.3b" in models


def fixed_commit(api: HfApi, repository: Repository, root: Path, given: str | None = None) -> str:
    """The commit to fetch a repository at, written down in ``revisions.json``; a name is resolved to its commit.

    Raises:
        DownloadError: ``revisions.json`` is not readable, or the hub names no commit.
    """
    path = root / REVISIONS_FILE
    known = _known_revisions(path)
    wanted = given or repository.revision or known.get(repository.repo_id, "main")
    commit = wanted if _COMMIT.fullmatch(wanted) else api.repo_info(repository.repo_id, revision=wanted).sha
    if not commit or not _COMMIT.fullmatch(commit):
        raise DownloadError(f"The hub names no commit for {wanted!r} of {repository.repo_id}.")
    if known.get(repository.repo_id) != commit:
        known[repository.repo_id] = commit
        partial = path.with_name(f".{path.name}.part")
        with termination.undivided():
            partial.write_text(json.dumps(known, indent=2) + "\n", "utf-8")
            partial.replace(path)
    return commit


def _known_revisions(path: Path) -> dict[str, str]:
    try:
        known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise DownloadError(f"{path} can't be read ({error}). Mend it, or delete it to resolve anew.") from error
    if not isinstance(known, dict) or not all(isinstance(entry, str) and entry for entry in known.values()):
        raise DownloadError(
            f"{path} is not a table of repositories and commits. Mend it, or delete it to resolve anew."
        )
    return known


def _listed(api: HfApi, repository: Repository, commit: str) -> dict[str, int]:
    """Name and size of every file that is wanted of a repository.

    Raises:
        DownloadError: one that must be there is not.
    """
    from huggingface_hub.hf_api import RepoFile

    sizes = {
        entry.path: entry.size
        for entry in api.list_repo_tree(repository.repo_id, recursive=True, revision=commit)
        if isinstance(entry, RepoFile) and any(fnmatch(entry.path, pattern) for pattern in repository.patterns)
    }
    if absent := [pattern for pattern in repository.patterns if "*" not in pattern and pattern not in sizes]:
        raise DownloadError(
            f"{repository.repo_id} holds no {', '.join(absent)} at {commit}. Choose another commit with --revision."
        )
    return sizes


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _require_space(root: Path, repositories: list[Repository]) -> None:
    wanted: dict[str, float] = {}
    for repository in repositories:  # two may share a folder
        wanted[repository.folder] = wanted.get(repository.folder, 0.0) + repository.gigabytes
    missing = sum(max(0.0, gigabytes - _held(root / folder)) for folder, gigabytes in wanted.items())
    free = shutil.disk_usage(root).free / 1e9
    if free < missing:
        raise DownloadError(
            f"About {missing:.0f} GB of the checkpoints are still to be fetched; {root} has {free:.0f} GB free. Choose "
            "another place with --to."
        )


def _held(folder: Path) -> float:
    """Gigabytes that have arrived, files begun but not finished included."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9
