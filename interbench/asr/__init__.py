"""Speech to text: transcribers, and what a transcriber of your own leans on.

The names below are kept; everything else in this room is inside and may change. They are imported when they are used.
"""

from typing import TYPE_CHECKING

from interbench.base.lazy import on_demand

if TYPE_CHECKING:
    from interbench.asr.base import Transcriber, Utterance
    from interbench.asr.sound import nothing_to_hear
    from interbench.base.errors import TranscriberError, UsageError
    from interbench.base.options import Inline
    from interbench.domain.records import ClipFacts, Transcript, Word
    from interbench.media.pool import AUDIO_RATE, encode_audio
else:
    __getattr__ = on_demand(
        __name__,
        {
            "interbench.asr.base": (
                "Transcriber",
                "Utterance",
            ),
            "interbench.asr.sound": ("nothing_to_hear",),
            "interbench.base.errors": (
                "TranscriberError",
                "UsageError",
            ),
            "interbench.base.options": ("Inline",),
            "interbench.domain.records": (
                "ClipFacts",
                "Transcript",
                "Word",
            ),
            "interbench.media.pool": (
                "AUDIO_RATE",
                "encode_audio",
            ),
        },
    )

__all__ = [
    "AUDIO_RATE",
    "ClipFacts",
    "Inline",
    "Transcriber",
    "TranscriberError",
    "Transcript",
    "UsageError",
    "Utterance",
    "Word",
    "encode_audio",
    "nothing_to_hear",
]
