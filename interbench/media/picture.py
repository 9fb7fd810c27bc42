"""Which frame of a foreign clip is on screen when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from av.container import InputContainer

from interbench.media.files import truncated
from interbench.media.task import Task


@dataclass(slots=True)
class Showing:
    """When frames are shown. Seconds on the file's own timestamps."""

    task: Task
    times: list[float] = field(default_factory=list)
    start: float = 0.0
    last: float = 0.0
    stay: float = 0.0
    """How long the first packet says its frame stays."""

    def add(self, time: float) -> None:
        self.start, self.last = (min(self.start, time), max(self.last, time)) if self.times else (time, time)
        self.times.append(time)
        self.task.check_time(self.last - self.start)

    def add_stay(self, packet: av.Packet[Any]) -> None:
        if not self.stay and packet.duration and packet.time_base is not None:
            self.stay = float(packet.duration * packet.time_base)

    def end(self) -> float:
        """End of the last frame's stay, taken to be as long as that of frames usually is.

        Packets with reordered frames carry durations in the order of decoding, which don't belong to their frames.
        """
        if len(self.times) > 1:
            return self.last + float(np.median(np.diff(np.sort(self.times))))
        self.task.check_time(self.stay)
        return self.last + (self.stay or 0.04)


def picture_times(task: Task) -> Showing:
    """When the frames of a clip are shown, from the packets' timestamps."""
    showing = Showing(task)
    with task.open() as container:
        for packet in container.demux(task.picture(container)):
            if packet.pts is not None and packet.time_base is not None and not packet.is_discard:
                showing.add_stay(packet)
                showing.add(float(packet.pts * packet.time_base))
    return showing


def on_screen(
    task: Task, container: InputContainer, stream: av.VideoStream, wanted: Iterable[float]
) -> Iterator[av.VideoFrame]:
    """For each of the ascending times ``wanted`` the frame shown then: the last one that is not later."""
    shown: av.VideoFrame | None = None
    times = iter(wanted)
    time = next(times, None)
    for frame in container.decode(stream):
        task.check_picture(frame.width, frame.height)
        while shown is not None and time is not None and frame.time is not None and time < frame.time:
            yield shown
            time = next(times, None)
        if time is None:
            return
        shown = frame
    if shown is None:
        raise truncated("its picture track holds no frame that can be decoded")
    while time is not None:
        yield shown
        time = next(times, None)
