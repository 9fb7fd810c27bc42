"""What edits do to a clip's sound."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from interbench.media.files import MediaFaultError
from interbench.media.picture import picture_times
from interbench.media.pitch import flattened
from interbench.media.reshape import placed_sound
from interbench.media.task import Task

Samples = npt.NDArray[np.float32]


def sound_of(
    task: Task, donor: Task | None, op: str, value: float, begin: float, until_s: float | None
) -> tuple[Samples, int] | None:
    found = placed_sound(task, begin)
    if op == "voice":
        if donor is None:
            raise MediaFaultError("no_audio", "there is no donor for its sound.")
        given = placed_sound(donor, picture_times(donor).start)
        if given is None or found is None:
            raise MediaFaultError("no_audio", "the clip or its donor has no sound track.")
        seconds = len(found[0]) / found[1]
        samples = given[0][: round(seconds * given[1])]
        return np.pad(samples, (0, max(0, round(seconds * given[1]) - len(samples)))), given[1]
    if found is None:
        return None
    samples, rate = found
    if op == "gain":
        return (samples * np.float32(10 ** (value / 20)) if value > -100 else np.zeros_like(samples)), rate
    if op == "desync":
        shift = round(value / 1000 * rate)
        moved = np.zeros_like(samples)
        if shift >= 0:
            moved[shift:] = samples[: len(samples) - shift]
        else:
            moved[:shift] = samples[-shift:]
        return moved, rate
    if op == "monotone":
        return flattened(samples, rate, value), rate
    if op == "hold":
        return np.concatenate([np.zeros(round(value * rate), np.float32), samples]), rate
    if until_s is not None:
        return samples[: max(1, round(until_s * rate))], rate
    return found
