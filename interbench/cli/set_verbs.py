"""What the verbs ``speak`` and ``new`` do."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from interbench.base import termination
from interbench.base.errors import UsageError
from interbench.base.progress import make_progress
from interbench.media.speech import SynthesizerCommand
from interbench.pipeline.hearing import check_voices
from interbench.report.grid import visible
from interbench.report.notes import counted
from interbench.scenarios.rehearsal import SCRIPTED, rehearse
from interbench.scenarios.sets import load_set
from interbench.scenarios.speech_server import SpeechServer
from interbench.scenarios.template import add_scenario
from interbench.scenarios.user_audio import BUILT_IN, Synthesizer, built_in, render


def speak_set(
    folder: Path,
    speaker: Speaker,
    *,
    everything: bool = False,
    overwrite: bool = False,
    transcriber: str | None = None,
    quiet: bool = False,
) -> None:
    """Speak what is new or changed, say how much that was, and how well a transcriber hears each voice."""
    from interbench.asr.registry import make_transcriber

    # Before anything is spoken, which may take long and cost money: is there such a transcriber?
    listener = None if transcriber is None else make_transcriber(transcriber, {})
    synthesizer, label = speaker.made()
    with make_progress(quiet=quiet) as progress:
        count = render(
            folder,
            synthesizer=synthesizer,
            label=label,
            everything=everything,
            overwrite=overwrite,
            progress=progress,
        )
    sys.stdout.write(f"{folder}: {counted(count, 'file')} spoken.\n")
    if listener is not None:
        for line in termination.run(check_voices(load_set(folder), listener)):
            sys.stdout.write(f"{line}\n")


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks a set: the built-in synthesizer, a command, or a server."""

    command: str | None = None
    url: str | None = None
    model: str | None = None
    voices: tuple[str, ...] = ()
    key_env: str | None = None

    def made(self) -> tuple[Synthesizer, str]:
        """The synthesizer and its label.

        Raises:
            UsageError: the options contradict one another, or lack something.
        """
        if self.command is not None and self.url is not None:
            raise UsageError("A set is spoken by a command or by a server: give --command or --url, not both.")
        if self.url is not None:
            server = SpeechServer(self.url, model=self.model, voices=self.voices, key_env=self.key_env)
            return server, server.label
        if self.model is not None or self.voices or self.key_env is not None:
            raise UsageError("--model, --voices and --key-env are about a speech server; name it with --url.")
        return (built_in, BUILT_IN) if self.command is None else (SynthesizerCommand(self.command), self.command)


def print_rehearsal(source: str, pattern: str) -> None:
    """What the user says to each of three scripted systems, by scenario and turn."""
    for scenario in load_set(source).select([pattern]).scenarios:
        sys.stdout.write(f"{scenario.id}\n")
        for name, answer in SCRIPTED.items():
            for spoken in rehearse(scenario, answer):
                why = f" [{spoken.guard}]" if spoken.variant else ""
                wrong = f"  WRONG: {spoken.presumes}" if spoken.presumes else ""
                sys.stdout.write(visible(f"  {name}, turn {spoken.turn}: {spoken.text}{why}{wrong}") + "\n")


def begin_scenario(folder: Path, name: str, turns: int) -> None:
    """Add a scenario to be filled in, and say what comes next."""
    file = add_scenario(folder, name, turns)
    sys.stdout.write(
        f"{file}: {name} added, with {counted(turns, 'turn')} to be filled in.\n"
        f"What is still to be said:   interbench validate {folder}\n"
        f"The user's voice:           interbench speak {folder}\n"
    )
