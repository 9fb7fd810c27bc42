"""What each setting means and what it is where nobody says: written once, for the settings and the command line.

Light on purpose: ``interbench --help`` imports it and nothing that validates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_SYSTEMS = (
    "puppet",
    "puppet:drift",
    "puppet:off-topic",
    "puppet:partial",
    "puppet:amnesiac",
    "still",
    "text-only",
    "echo",
    "boilerplate",
    "livetalk",
)


@dataclass(frozen=True, slots=True)
class SettingText:
    """One setting for people."""

    help: str
    default: Any = None
    """None if nothing is set, or if it is a table."""
    default_words: str = ""
    """The default for people, where its value would not say it."""

    @property
    def help_with_default(self) -> str:
        words = self.default_words or ("" if self.default in (None, ()) else str(self.default))
        return f"{self.help} [default: {words}]" if words else self.help


SETTING_TEXTS: Mapping[str, SettingText] = {
    "out": SettingText("The run folder.", Path("runs/default")),
    "scenarios": SettingText(
        "starter, all, long, hard, everything (all@1: version 1), a folder, a JSON Lines file, or a Hub id (org/name).",
        "starter",
    ),
    "only": SettingText("Scenario id or pattern such as travel-*; several are possible.", ()),
    "categories": SettingText("Category to play; several are possible.", ()),
    "limit": SettingText("At most this many scenarios."),
    "shard": SettingText(
        "Play only this part of the plan, such as 2/8: whole scenarios, evenly dealt out. `interbench merge` brings "
        "the shards together."
    ),
    "personas": SettingText("A folder with photographs or personas of your own."),
    "rotate_personas": SettingText(
        "Pair personas and scenarios anew, by the seed, instead of as the set pairs them.", False
    ),
    "systems": SettingText(
        "Systems to test: name, name:variant, module:Class, or label= any of these; on the command line "
        "comma-separated.",
        DEFAULT_SYSTEMS,
        "the puppet, four of its defects, four controls, and livetalk where it is installed",
    ),
    "system": SettingText("Tables of options by system label."),
    "transcriber": SettingText(
        "A transcriber's name (see `interbench list transcribers`), module:Class, or the URL of an endpoint.",
        "auto",
        "funasr if installed, else given",
    ),
    "transcriber_options": SettingText("Table of the transcriber's options."),
    "judge": SettingText(
        "A judge's name (see `interbench list judges`), module:Class, or the URL(s) of OpenAI-compatible servers, "
        "comma-separated.",
        "signals",
    ),
    "judge_options": SettingText("Table of the judge's options."),
    "repeats": SettingText("Judgements of every dimension.", 1),
    "concurrency": SettingText("Conversations played at the same time.", 2),
    "seed": SettingText("Seed of everything random.", 0),
    "deadline_s": SettingText("Seconds after which a turn has timed out.", 600.0, "600"),
    "after_failure": SettingText("What a failed turn means for later ones: continue or stop.", "continue"),
    "script": SettingText("URL of the OpenAI-compatible server that writes the replies of scripted systems."),
    "script_options": SettingText(
        "Table of options for the writer of replies: model, words, seed, key_env, timeout_s."
    ),
    "words": SettingText(
        "What systems without words of their own say: script (the scenario's replies, or the writer's of --script), "
        "chat:URL (a chat model), thinker:URL (a model that hears the user and speaks).",
        None,
        "script",
    ),
    "words_options": SettingText("Table of options for what is said: model, words, key_env ..."),
    "speech": SettingText(
        "Who speaks for systems without a voice: espeak, command, or the URL of a server with /v1/audio/speech.",
        None,
        "espeak",
    ),
    "speech_options": SettingText("Table of options for who speaks: command, model, voice, key_env, timeout_s."),
    "cluster": SettingText(
        "Play on the machines of a Ray cluster: auto (the one this machine is in), or HOST:PORT of its head."
    ),
    "renderers": SettingText(
        "On a cluster, how many renderers each system has.",
        None,
        "as many as there are GPUs for; one per node for systems without",
    ),
    "clips_via": SettingText(
        "On a cluster, how clips come from the nodes: a folder that all machines see, or a URI such as s3://bucket/path.",
        None,
        "through Ray",
    ),
    "ears": SettingText(
        "On a cluster, how many transcribers, and of how many GPUs: 2, or 2x0.5; 0 for the one of this machine.",
        None,
        "1 on a CPU, if the transcriber listens",
    ),
    "judge_servers": SettingText(
        "On a cluster, how many vLLM servers for the judge, and of how many GPUs each: 4, or 4x2."
    ),
    "judge_server": SettingText("Table of options for these servers: model, context, extra, command, ready_s."),
    "max_usd": SettingText("The most the run folder may spend, in US dollars."),
    "max_video_seconds": SettingText("The most video the run folder may ask paid services for, in seconds."),
    "retry": SettingText(
        "Outcomes of earlier invocations to play again: failed, timed_out, blocked, retired, not_played; on the "
        "command line comma-separated.",
        (),
    ),
}
