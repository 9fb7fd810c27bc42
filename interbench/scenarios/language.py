"""What of the harness does not speak a scenario's language yet."""

from __future__ import annotations

from collections.abc import Iterator

from interbench.domain.persona import Persona, Voice
from interbench.domain.scenario import Scenario

_ENGLISH = "en"


def language_warnings(scenario: Scenario, persona: Persona | None) -> Iterator[tuple[str, str]]:
    """(field, what its author should know) pairs; ``persona`` is None where the set has none of that name."""
    language = _plain(scenario.language)
    voices = [("user_voice", "the user speaks", scenario.user_voice or Voice())]
    if persona is not None:
        voices.append(("persona", f"{persona.id} speaks", persona.voice))
    for field, who, voice in voices:
        if _plain(voice.variant) != language:
            yield (
                field,
                f"{who} with the voice {voice.variant!r} in a scenario whose language is {scenario.language!r}; give a "
                f"voice of that language",
            )
    if language != _ENGLISH:
        yield (
            "language",
            f"{scenario.language!r}: key points are matched by rules of English (write the phrasings into `accept`), "
            f"the bundled rubrics are English, and the default transcriber hears English only (choose another)",
        )


def _plain(name: str) -> str:
    """``en`` of ``en-us+f3``."""
    return name.partition("+")[0].partition("-")[0]
