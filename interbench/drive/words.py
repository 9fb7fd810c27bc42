"""What avatars are told to say, and who makes it up: one choice for all systems of a run without words of their own.

``script``: the scenario's own replies, or those of the writer that ``--script`` names. ``chat:URL``: a chat model that
answers the user, with the conversation so far. ``thinker``: a model that hears the user, thinks and speaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from interbench.base.errors import UsageError
from interbench.base.options import Options, options_of
from interbench.domain.records import Script
from interbench.drive.script import ScriptWriter, Writer
from interbench.drive.thinker import ThinkerWriter
from interbench.drive.voice import Espeak, ReplySpeaker, Speaker, SpeechCommand, SpeechServer, Synthesizer
from interbench.scenarios.plan import PlannedScenario
from interbench.store.run_folder import Run
from interbench.systems.prompting import cut_words

WORDS = "script, chat:URL, thinker or thinker:URL"
SPEECH = "espeak, command, or the URL of a server with /v1/audio/speech"


class OwnReplies:
    """The replies that the scenarios' authors wrote.

    Args:
        words: most words of a reply; None for whole replies.
    """

    def __init__(self, *, words: int | None = None) -> None:
        if words is not None and words < 1:
            raise UsageError(f"words_options: words = {words} leaves nothing to say; give at least 1.")
        self.words = words
        self.identity: Mapping[str, Any] = {"writer": "scenario", "words": words}

    async def reply(self, planned: PlannedScenario, turn: int) -> Script:
        text = planned.references[turn - 1].reply
        return Script(text) if self.words is None else Script(*cut_words(text, self.words))


@dataclass(frozen=True, slots=True)
class Told:
    """Who makes up the replies of systems that don't, and who speaks them."""

    kind: Literal["script", "chat", "thinker"]
    writer: Writer
    speaker: Speaker
    words: Mapping[str, Any]
    """What the words depend on."""
    asked_for: bool
    """Whether the user chose where the words come from; a service that costs money is told nothing unasked."""

    @property
    def identity(self) -> dict[str, Any]:
        """For the manifest."""
        return {"words": {"from": self.kind, **self.words}, "speech": dict(self.speaker.identity)}


def check_choice(
    words: str | None, words_options: Mapping[str, Any], speech: str | None, speech_options: Mapping[str, Any]
) -> None:
    """Refuse what can be known to be wrong before a run folder is opened; raises as :func:`tell`."""
    kind, _ = _kind(words or "script")
    if kind == "thinker" and (speech is not None or speech_options):
        raise UsageError("--words thinker speaks its replies itself; leave --speech and speech_options out.")
    options = words_choice(words).check(words_options)
    if kind == "script":
        OwnReplies(**options)
    speech_choice(speech).check(speech_options)


def _kind(words: str) -> tuple[Literal["script", "chat", "thinker"], str]:
    head, _, url = words.partition(":")
    if head == "script" and not url:
        return "script", ""
    if head == "chat" and url:
        return "chat", url
    if head == "thinker":
        return "thinker", url
    raise UsageError(f"--words {words!r} is not known; give {WORDS}.")


def words_choice(words: str | None) -> Options:
    """What ``words_options`` may hold."""
    kind, url = _kind(words or "script")
    if kind == "script":
        return options_of(OwnReplies, "words of the scenarios (--words script)")
    if kind == "chat":
        return options_of(ScriptWriter, "chat model (--words)", positional=2)
    return options_of(ThinkerWriter, "thinker (--words)", positional=2 if url else 1)


def speech_choice(speech: str | None) -> Options:
    """What ``speech_options`` may hold."""
    speech = speech or "espeak"
    if "://" in speech:
        return options_of(SpeechServer, "speech server (--speech)", positional=1)
    if speech == "command":
        return options_of(SpeechCommand, "speech command (--speech command)")
    if speech == "espeak":
        return options_of(Espeak, "synthesizer (--speech espeak)")
    raise UsageError(f"--speech {speech!r} is not known; give {SPEECH}.")


def tell(
    run: Run,
    *,
    script: ScriptWriter | None = None,
    words: str | None = None,
    words_options: Mapping[str, Any] | None = None,
    speech: str | None = None,
    speech_options: Mapping[str, Any] | None = None,
) -> Told:
    """Who makes up and speaks the replies of a run.

    Args:
        run: where they are kept.
        script: the writer that ``--script`` names, if there is one.
        words: as :data:`WORDS` says; None for ``script``.
        speech: as :data:`SPEECH` says; None for the core's synthesizer.

    Raises:
        UsageError: a name, an option or an address is wrong.
    """
    check_choice(words, words_options or {}, speech, speech_options or {})
    kind, url = _kind(words or "script")
    options = words_choice(words).check(words_options or {})
    if kind == "thinker":
        thinker = ThinkerWriter(run, url, **options) if url else ThinkerWriter(run, **options)
        return Told(kind, thinker, thinker, thinker.words, asked_for=True)
    writer: Writer
    if kind == "chat":
        writer = ScriptWriter(run, url, **options)
        identity: Mapping[str, Any] = writer.identity
    elif script is not None:
        if options:
            raise UsageError("With --script the budget of words stands in script_options; leave words_options out.")
        writer, identity = script, script.identity
    else:
        own = OwnReplies(**options)
        writer, identity = own, own.identity
    speaker = ReplySpeaker(run, _synthesizer(speech, speech_choice(speech).check(speech_options or {})))
    return Told(kind, writer, speaker, identity, asked_for=words is not None or script is not None)


def _synthesizer(speech: str | None, options: Mapping[str, Any]) -> Synthesizer:
    if speech is not None and "://" in speech:
        return SpeechServer(speech, **options)
    return SpeechCommand(**options) if speech == "command" else Espeak()
