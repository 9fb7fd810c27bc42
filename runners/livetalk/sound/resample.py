"""Sound that arrives in pieces, brought to another rate without a seam."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import soxr

Samples = npt.NDArray[np.float32]


class StreamResampler:
    """Resamples mono sound piece by piece, just as ``soxr.resample`` would all of it at once.

    soxr's high quality looks 20 to 42 ms ahead (24 to 16 kHz: 37): so much of what was pushed comes with later pieces.

    Args:
        rate_in: samples per second that come.
        rate_out: samples per second wanted.

    Raises:
        ValueError: a rate that is not positive.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        if rate_in <= 0 or rate_out <= 0:
            raise ValueError(f"rates must be positive, got {rate_in} and {rate_out}")
        self._rates = rate_in, rate_out
        self._stream = None if rate_in == rate_out else soxr.ResampleStream(rate_in, rate_out, 1, "float32", "HQ")
        self._ended = False

    def push(self, samples: Samples, last: bool = False) -> Samples:
        """Mono float32 samples, perhaps none, in; those that are ready out.

        With ``last`` the rest comes too, so that all of it together has round(taken · rate_out / rate_in) samples.

        Raises:
            ValueError: samples of another kind, or after the last ones.
        """
        if self._ended:
            raise ValueError("the sound has ended: make a new resampler for the next one")
        if samples.dtype != np.float32 or samples.ndim != 1:
            raise ValueError(f"expected mono float32 samples, got {samples.dtype} {list(samples.shape)}")
        self._ended = last
        if self._stream is None:
            return samples
        out: Samples = self._stream.resample_chunk(np.ascontiguousarray(samples), last=last)
        return out
