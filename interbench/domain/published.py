"""Tables of the paper, quoted as published and never as reproduced.

Source: arXiv 2512.23576. The figures of Table 2 are relative to the paper's own pool of three systems, on scenarios and
prompts that were not published. Veo 3.0 was retired on 2026-06-30 and the Sora 2 API was shut down on 2026-09-24.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SOURCE = "arXiv 2512.23576, Table 2"
PUBLISHED_KEYS = ("EA", "NI", "MVC", "CN", "SR", "IC", "LC", "CU", "OIE")
"""The columns of that table. Dimensions of ours that are not among them were not published."""


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One method as the paper reports it."""

    system: str
    fps: float | None
    """Frames per second; None where the paper prints a dash."""
    latency_s: float
    percentiles: Mapping[str, float]
    """By dimension key, of those that were published."""


def _row(system: str, fps: float | None, latency_s: float, *percentiles: float) -> PublishedRow:
    return PublishedRow(system, fps, latency_s, dict(zip(PUBLISHED_KEYS, percentiles, strict=True)))


PUBLISHED: tuple[PublishedRow, ...] = (
    _row("Veo3", None, 61.46, 23.51, 24.68, 26.68, 24.93, 25.17, 17.21, 20.56, 20.05, 19.07),
    _row("Sora2", None, 121.85, 75.78, 72.20, 25.85, 74.32, 66.68, 50.01, 65.07, 68.80, 53.09),
    _row("LiveTalk", 24.82, 1.16, 59.54, 60.42, 87.26, 56.32, 72.02, 81.27, 75.20, 72.65, 81.59),
)


SINGLE_SOURCE, ABLATION_SOURCE = "arXiv 2512.23576, Table 1", "arXiv 2512.23576, Table 3"


@dataclass(frozen=True, slots=True)
class PublishedSingle:
    """One method as the paper reports it for single clips, as far as the figures are at hand here.

    Of Table 1's 21 rows (three data sets, six systems and the ground truth) these are known: the speed columns, which
    are the same for all three sets; and of HDTF alone the ground truth's synchrony and one OmniAvatar row whose size
    was not noted. Nothing of AVSpeech and CelebV-HQ is. Table 3 (HDTF, 100 clips of 5 s) gives LiveTalk's whole row.
    """

    system: str
    figures: Mapping[str, float]
    """By key of the column."""
    source: str = SINGLE_SOURCE


PUBLISHED_SINGLE: tuple[PublishedSingle, ...] = (
    PublishedSingle("ground truth, HDTF", {"sync_c": 8.06, "sync_d": 7.31}),
    PublishedSingle("AniPortrait", {"fps": 0.38, "latency_s": 211.77}),
    PublishedSingle("Hallo3", {"fps": 0.21, "latency_s": 589.69}),
    PublishedSingle("FantasyTalking", {"fps": 0.35, "latency_s": 232.06}),
    PublishedSingle("OmniAvatar-14B", {"fps": 0.20, "latency_s": 412.5}),
    PublishedSingle("OmniAvatar-1.3B", {"fps": 0.97, "latency_s": 83.44}),
    PublishedSingle(
        "OmniAvatar (one of the two), HDTF", {"fid": 8.82, "fvd": 151.3, "sync_c": 6.29, "iqa": 3.91, "ase": 2.30}
    ),
    PublishedSingle("LiveTalk-1.3B", {"fps": 24.82, "latency_s": 0.33}),
    PublishedSingle(
        "LiveTalk-1.3B, HDTF",
        {"fid": 13.68, "fvd": 190.07, "sync_c": 4.50, "sync_d": 11.00, "iqa": 4.13, "ase": 2.52},
        ABLATION_SOURCE,
    ),
)
