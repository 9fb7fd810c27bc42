"""Fetches the published checkpoints from the Hugging Face hub, each at one fixed revision."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from livetalk.errors import LiveTalkError

#: Revisions of repositories that are not pinned below, as resolved by the first download into a folder.
REVISIONS_FILE = "revisions.json"

_COMMIT = re.compile(r"[0-9a-f]{40}")


class DownloadError(LiveTalkError):
    """A repository cannot be fetched."""


@dataclass(frozen=True)
class Repository:
    """One repository of the hub and what is taken from it.

    `revision` is a commit, or None where none could be established when this was written: then the commit that `main`
    stands at is resolved once, written to `revisions.json` beside the files, and kept from then on.
    """

    repo_id: str
    folder: str
    revision: str | None
    patterns: tuple[str, ...]
    gigabytes: float
    needed: bool = True


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
    # The bidirectional model LiveTalk was distilled from; inference does not read it.
    Repository(
        "OmniAvatar/OmniAvatar-1.3B", "OmniAvatar-1.3B", None, ("*.json", "*.pt", "*.safetensors", "*.md"), 1.0, False
    ),
)


def download(
    root: Path,
    *,
    revisions: Mapping[str, str] | None = None,
    needed_only: bool = False,
    announce: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Fetch every repository into its folder under `root`; what is already there is kept, what was cut short goes on.

    Args:
        revisions: repository to commit, tag or branch, instead of the pinned one.
        needed_only: leave out what inference does not read.

    Returns:
        The folders.

    Raises:
        DownloadError: unknown repository in `revisions`, no space, no network, or the hub refuses.
    """
    from huggingface_hub import snapshot_download

    chosen = [repository for repository in REPOSITORIES if repository.needed or not needed_only]
    given = dict(revisions or {})
    if unknown := set(given) - {repository.repo_id for repository in REPOSITORIES}:
        names = ", ".join(repository.repo_id for repository in REPOSITORIES)
        raise DownloadError(f"No repository {sorted(unknown)[0]!r} is downloaded here; there are {names}.")
    root.mkdir(parents=True, exist_ok=True)
    _require_space(root, chosen)
    folders = []
    for repository in chosen:
        folder = root / repository.folder
        try:
            revision = given.get(repository.repo_id) or pinned_revision(repository, root)
            announce(f"{repository.repo_id} @ {revision[:12]} -> {folder} (about {repository.gigabytes:g} GB)")
            snapshot_download(
                repository.repo_id, revision=revision, local_dir=str(folder), allow_patterns=list(repository.patterns)
            )
        except Exception as error:  # the hub's client lets its HTTP library's errors through, and changes the library
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise DownloadError(
                f"{repository.repo_id} could not be fetched: {reason}. What has arrived is kept; run the command again "
                "to go on. Behind a proxy or with a mirror, set HTTPS_PROXY or HF_ENDPOINT; for a gated repository, "
                "HF_TOKEN."
            ) from error
        folders.append(folder)
    return folders


def pinned_revision(repository: Repository, root: Path) -> str:
    """The repository's fixed commit; where none is known yet, today's, written down for every later call."""
    if repository.revision is not None:
        return repository.revision
    from huggingface_hub import HfApi

    path = root / REVISIONS_FILE
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    if not _COMMIT.fullmatch(known.get(repository.repo_id, "")):
        commit = HfApi().repo_info(repository.repo_id, revision="main").sha
        if not commit:
            raise ValueError("the hub names no commit for its main branch")
        known[repository.repo_id] = commit
        path.write_text(json.dumps(known, indent=2) + "\n", "utf-8")
    return str(known[repository.repo_id])


def _require_space(root: Path, repositories: list[Repository]) -> None:
    missing = sum(repository.gigabytes for repository in repositories if not (root / repository.folder).exists())
    free = shutil.disk_usage(root).free / 1e9
    if free < missing:
        raise DownloadError(
            f"The checkpoints need about {missing:.0f} GB; {root} has {free:.0f} GB free. Choose another place with "
            "--to."
        )
