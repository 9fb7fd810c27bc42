"""Systems under test: the adapter seam, the bundled systems, and what a system of your own leans on.

``from interbench.systems import ClipSystem``: the names below are kept; all else in these rooms is inside and may
change. They are imported when they are used.
"""

from typing import TYPE_CHECKING

from interbench.base.lazy import on_demand

if TYPE_CHECKING:
    from interbench.base.errors import MediaError, ResumeUnsupportedError, SystemLoadError, UsageError
    from interbench.domain.incidents import Incident, IncidentKind
    from interbench.domain.persona import Persona, Voice
    from interbench.media.speech import Speech, synthesize
    from interbench.systems.base import AvatarSystem, Conversation
    from interbench.systems.capabilities import Capabilities
    from interbench.systems.clip import ClipSystem, Reply
    from interbench.systems.events import (
        BargeIn,
        Blocked,
        Completed,
        Event,
        Failed,
        Final,
        FirstFrame,
        FirstSound,
        JsonValue,
        Media,
        Opening,
        PastTurn,
        ProgressReport,
        ReferenceReply,
        ReplyText,
        Retired,
        Shows,
        Submitted,
        Submitting,
        TimedOut,
        TurnRequest,
        UserTurnEnd,
    )
    from interbench.systems.services.http_jobs import field
    from interbench.systems.services.job import Finished, Order, Working, quoted_id
    from interbench.systems.services.rest_job import RestJobSystem
    from interbench.systems.services.service_errors import Ended
else:
    __getattr__ = on_demand(
        __name__,
        {
            "interbench.base.errors": (
                "MediaError",
                "ResumeUnsupportedError",
                "SystemLoadError",
                "UsageError",
            ),
            "interbench.domain.incidents": (
                "Incident",
                "IncidentKind",
            ),
            "interbench.domain.persona": (
                "Persona",
                "Voice",
            ),
            "interbench.media.speech": (
                "Speech",
                "synthesize",
            ),
            "interbench.systems.base": (
                "AvatarSystem",
                "Conversation",
            ),
            "interbench.systems.capabilities": ("Capabilities",),
            "interbench.systems.clip": (
                "ClipSystem",
                "Reply",
            ),
            "interbench.systems.events": (
                "BargeIn",
                "Blocked",
                "Completed",
                "Event",
                "Failed",
                "Final",
                "FirstFrame",
                "FirstSound",
                "JsonValue",
                "Media",
                "Opening",
                "PastTurn",
                "ProgressReport",
                "ReferenceReply",
                "ReplyText",
                "Retired",
                "Shows",
                "Submitted",
                "Submitting",
                "TimedOut",
                "TurnRequest",
                "UserTurnEnd",
            ),
            "interbench.systems.services.http_jobs": ("field",),
            "interbench.systems.services.job": ("Finished", "Order", "Working", "quoted_id"),
            "interbench.systems.services.rest_job": ("RestJobSystem",),
            "interbench.systems.services.service_errors": ("Ended",),
        },
    )

__all__ = [
    "AvatarSystem",
    "BargeIn",
    "Blocked",
    "Capabilities",
    "ClipSystem",
    "Completed",
    "Conversation",
    "Ended",
    "Event",
    "Failed",
    "Final",
    "Finished",
    "FirstFrame",
    "FirstSound",
    "Incident",
    "IncidentKind",
    "JsonValue",
    "Media",
    "MediaError",
    "Opening",
    "Order",
    "PastTurn",
    "Persona",
    "ProgressReport",
    "ReferenceReply",
    "Reply",
    "ReplyText",
    "RestJobSystem",
    "ResumeUnsupportedError",
    "Retired",
    "Shows",
    "Speech",
    "Submitted",
    "Submitting",
    "SystemLoadError",
    "TimedOut",
    "TurnRequest",
    "UsageError",
    "UserTurnEnd",
    "Voice",
    "Working",
    "field",
    "quoted_id",
    "synthesize",
]
