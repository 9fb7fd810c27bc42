"""Which metric a name on the command line means."""

from __future__ import annotations

from interbench.base.registry import Registry
from interbench.single.base import Metric

METRICS: Registry[Metric] = Registry(
    "metric",
    Metric,  # type: ignore[type-abstract]
    "interbench.metrics",
    {
        "fid": "interbench.single.metrics.fid:Fid",
        "fvd": "interbench.single.metrics.fvd:Fvd",
        "sync": "interbench.single.metrics.sync:Sync",
        "iqa": "interbench.single.metrics.qalign:Iqa",
        "ase": "interbench.single.metrics.qalign:Ase",
        "lips": "interbench.single.metrics.lips:Lips",
    },
)
SPEED = "speed"
"""Beside them: measured by playing, not by looking at clips."""
DEFAULT = ("fid", "fvd", "sync", "iqa", "ase")
