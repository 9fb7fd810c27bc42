"""What the live bench does, so that a command line can say it without loading what the bench needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from livetalk.base.errors import OptionError
from livetalk.base.flags import Flag
from livetalk.live.settings import LiveSettings

Encoder: TypeAlias = Annotated[str, Flag("Video encoder: libx264, h264_nvenc; auto is the GPU's if it has one.")]


@dataclass(frozen=True, slots=True)
class LiveLoad:
    """With --live.

    Raises:
        OptionError: there would be nothing to measure.
    """

    turns: Annotated[int, Flag("Turns whose time to first frame is taken; 3 are heard to the end.", minimum=3)] = 30
    conversations: Annotated[
        int, Flag("Conversations at once that are tried; the device must have room for as many.", minimum=1)
    ] = 4
    seconds: Annotated[float, Flag("How long each number of them is tried, in real time.", minimum=1)] = 30.0
    encoder: Encoder = LiveSettings().encoder

    def __post_init__(self) -> None:
        if self.turns < 3 or self.conversations < 1 or self.seconds <= 0:
            raise OptionError("At least 3 turns and 1 conversation of some seconds must be measured.")


@dataclass(frozen=True, slots=True)
class SheetOptions:
    """Sheet: all that a machine can tell, in one go."""

    sheet: Annotated[
        Path | None,
        Flag(
            "Folder for sheet.json, sheet.md and logs. Whatever else was asked for: environment, parity, agreement of "
            "every way of computing, attention kernels, benches, a profile, the live system.",
            default="no sheet",
        ),
    ] = None
    minutes: Annotated[
        float, Flag("How long the sheet may take; the number of blocks and turns follows.", minimum=0.1, maximum=1440)
    ] = 8.0
    fixtures: Annotated[Path, Flag("Fixture folder of the sheet's parity.")] = Path("tests/livetalk/golden")
