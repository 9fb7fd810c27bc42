"""What a judge counted, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from interbench.report.notes import counted


def judge_lines(summary: Mapping[str, Any]) -> list[str]:
    """A judge's summary as lines: what is known by name in words and only if it is not zero, the rest as it is."""
    left = dict(summary)
    lines = [f"judge: {line}" for line in _counts(left)]
    for name, value in left.items():
        told = value if isinstance(value, list) else ["unknown, the judge does not say" if value is None else value]
        lines += [f"judge: {one}" if name == "remarks" else f"judge: {name.replace('_', ' ')} {one}" for one in told]
    return lines


def _counts(left: dict[str, Any]) -> Iterator[str]:
    if calls := left.pop("calls", 0):
        read, written = left.pop("prompt_tokens", 0), left.pop("completion_tokens", 0)
        reused = left.pop("prompt_tokens_reused", 0)
        if reused is None:
            cached = " (the server does not say how many from its cache)"
        else:
            cached = f" ({reused:,} of them from the server's cache)" if reused else ""
        busiest = left.pop("most_in_flight", 0)
        at_once = f", at most {busiest} at once" if busiest > 1 else ""
        yield f"{counted(calls, 'call')}{at_once}; {read:,} tokens read{cached}, {written:,} written"
    for name in ("calls", "prompt_tokens", "prompt_tokens_reused", "prompt_tokens_computed", "completion_tokens",
                 "most_in_flight"):  # fmt: skip
        left.pop(name, None)
    for name, noun, what in (
        ("asked_again", "answer", "without a boxed score, asked for again"),
        ("videos_resent", "video", "sent again, because the server had forgotten it"),
        ("retries", "request", "tried again, because the server was busy, down or failing"),
    ):
        if count := left.pop(name, 0):
            yield f"{counted(count, noun)} {what}"
    usd = left.pop("usd", None)
    if usd is not None:
        yield f"{usd:.4f} USD at the prices per token that were set"


def spoken_rate(verdicts: int, seconds: float) -> str:
    """How long all of it took (more than 0 seconds), and how many verdicts that is per minute."""
    minutes, rest = divmod(round(seconds), 60)
    took = f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
    return f"time: {took}, {60 * verdicts / seconds:.1f} verdicts per minute"
