"""Small clips, and checkpoints of the published formats with weights by formula."""

from __future__ import annotations

from pathlib import Path

import pytest
from single_kit import moving, write_i3d, write_inception, write_s3fd, write_syncnet, write_video


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the four small published files, as INTERBENCH_METRICS_WEIGHTS names it."""
    folder = tmp_path_factory.mktemp("weights")
    write_inception(folder / "pt_inception-2015-12-05-6726825d.pth")
    write_i3d(folder / "i3d_pretrained_400.pt")
    write_syncnet(folder / "syncnet_v2.model")
    write_s3fd(folder / "sfd_face.pth")
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips each in ``real``, ``systems/sham`` (the same files) and ``systems/other`` (16 frames a second, one of
    them without sound)."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(3):
        name = f"c{number}.mp4"
        write_video(folder / "real" / name, moving(256, number), frames=11)
        sham = folder / "systems" / "sham" / name
        sham.parent.mkdir(parents=True, exist_ok=True)
        sham.write_bytes((folder / "real" / name).read_bytes())
        write_video(folder / "systems" / "other" / name, moving(256, 20 + number), frames=7, fps=16, silent=number == 2)
    return folder
