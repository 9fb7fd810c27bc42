"""Which file system a folder lies on: a ledger with more than one machine about must not lie on a network's.

SQLite's write-ahead log is shared memory among those who open it, and its locks are the file system's: over a network
neither can be relied on (https://sqlite.org/wal.html, https://sqlite.org/lockingv3.html).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from interbench.base.errors import StoreError

_NETWORK = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "fhgfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
        *("ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs"),
    }
)
_LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.overlayfs", "fuse.ntfs", "fuse.ntfs-3g", "fuse.exfat"})
_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system."""

    point: Path
    kind: str
    source: str

    @property
    def network(self) -> bool:
        """Whether other machines may have it mounted, too."""
        kind = self.kind.lower()
        return kind in _NETWORK or (kind.startswith("fuse.") and kind not in _LOCAL_FUSE)


def mount_of(path: Path, mounts: Path = _MOUNTS) -> Mount | None:
    """The file system that ``path`` lies on; None where the system does not tell (all but Linux)."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    real, found = path.resolve(), None
    for line in lines:
        fields, _, rest = line.partition(" - ")
        words, of = fields.split(), rest.split()
        if len(words) < 5 or len(of) < 2:
            continue
        point = Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), words[4]))
        # Of several over one another the last one is seen.
        if real.is_relative_to(point) and (found is None or len(point.parts) >= len(found.point.parts)):
            found = Mount(point, of[0], of[1])
    return found


def require_local(folder: Path, mounts: Path = _MOUNTS) -> None:
    """Refuse a network file system for the ledger of a run over many machines.

    Raises:
        StoreError: naming the mount.
    """
    mount = mount_of(folder, mounts)
    if mount is not None and mount.network:
        raise StoreError(
            f"The run folder {folder} lies on {mount.point}, a network file system ({mount.kind}, {mount.source}), and "
            f"a ledger that is written there can be damaged. Give --out a folder on a disk of this machine; clips may "
            f"still come through {mount.point}, with --clips-via."
        )
