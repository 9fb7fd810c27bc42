"""A small film that talks, for programs that stand in for talking heads; imports nothing of ours, to start fast."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def write_talk(
    path: Path,
    speech: Path,
    *,
    size: tuple[int, int] = (96, 64),
    fps: int = 10,
    lead_s: float = 0.0,
    most_s: float = 600.0,
    sound: bool = True,
    panels: int = 0,
) -> Path:
    """A small real MP4 that talks: a moving bar as long as the sound of the file ``speech`` (any that PyAV reads).

    Args:
        lead_s: silence before the speech.
        most_s: the clip ends here.
        sound: whether it has a sound track.
        panels: that many pictures side by side with 2 pixels between and around them, each of ``size``; the last one
            is blue.
    """
    with av.open(str(speech)) as source:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=16_000)
        pieces = [piece.to_ndarray()[0] for frame in source.decode(audio=0) for piece in resampler.resample(frame)]
    samples = np.concatenate([np.zeros(round(lead_s * 16_000), np.float32), *pieces])[: round(most_s * 16_000)]
    width, height = (panels * (size[0] + 2) + 2, size[1] + 4) if panels else size
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        track = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
        for number in range(max(1, round(len(samples) / 16_000 * fps))):
            picture = np.full((height, width, 3), 90, np.uint8)
            picture[:, (number * 7) % width : (number * 7) % width + 6] = 200
            if panels:
                picture[:, -size[0] - 2 :] = (20, 40, 220)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        if track is None:
            return path
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return path
