"""What the browser is told: the questions and one showing at a time. No system, score, kind or later one is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from interbench.domain.ratings import WHOLE, Answer, Kind, Showing
from interbench.rating.rubric import rated_dimensions
from interbench.rating.study import Study

STATIC = Path(__file__).resolve().parent / "static"
FILES = ("rate.css", "rate.js", "view.js", "keep_server.js", "keep_pack.js")
"""Beside the page itself, ``rate.html``."""
SKIP_REASONS = ("does not play", "no sound", "I know who made this", "something else")
CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' file:",
        "style-src 'self' file:",
        "media-src 'self' file:",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)


def page_text(*, packed: bool = False) -> str:
    """The page, for a server or for a pack, whose data come as a script."""
    text = (STATIC / "rate.html").read_text(encoding="utf-8").replace("{{csp}}", CSP)
    return text if packed else text.replace('<script src="pack.js"></script>\n', "")


def study_payload(study: Study, rater: str, showings: Sequence[Showing]) -> dict[str, Any]:
    """What stays the same throughout: questions, rules that raters may know, how much there is."""
    return {
        "study": study.id,
        "rater": rater,
        "catalogue": study.catalogue,
        "played": study.settings.played,
        "count": len(showings),
        "minutes": round(sum(showing.play_s for showing in showings) / 60),
        "questions": {key: asdict(rated_dimensions()[key]) | {"sha256": None} for key in study.dimensions},
        "reasons": list(SKIP_REASONS),
    }


def showing_payload(showing: Showing) -> dict[str, Any]:
    """One showing as the page gets it."""
    return {
        "id": showing.id,
        "dimensions": list(showing.dimensions),
        "sound": showing.sound,
        "pair": len(showing.sides) == 2,
        "instruction": _instruction(showing),
        "sides": [
            [
                {
                    "clip": clip.name,
                    "seconds": round(clip.duration_s, 3),
                    "user": clip.user_text,
                    "said": "" if showing.sound else clip.reply_text,
                }
                for clip in side.clips
            ]
            for side in showing.sides
        ],
    }


def answers_payload(answers: Mapping[str, Answer]) -> dict[str, Any]:
    """What a rater has said of one showing, by dimension."""
    return {
        "given": {key: a.choice if a.value is None else a.value for key, a in answers.items() if key != WHOLE},
        "revision": max((a.revision for a in answers.values()), default=0),
        "done": WHOLE in answers,
        "played": max((a.played for a in answers.values()), default=0.0),
        "seconds": max((a.seconds for a in answers.values()), default=0.0),
    }


def _instruction(showing: Showing) -> str:
    if showing.kind is not Kind.INSTRUCTED:
        return ""
    return (
        f"This one checks that the page is read: give it {showing.instructed} in every question, whatever you think of "
        "it."
    )


def script(payload: Any) -> str:
    """A script that holds ``payload`` as one string of JSON, for a page that can fetch nothing. Pure ASCII."""
    text = json.dumps(payload, separators=(",", ":"), allow_nan=False)
    literal = text.replace("\\", "\\\\").replace("'", "\\'").replace("<", "\\x3c").replace(">", "\\x3e")
    return f"window.interbenchPack = '{literal}';\n"
