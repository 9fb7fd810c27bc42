"""The settings of a run: file < environment < command line.

A settings file is TOML with the field names of :class:`Settings`; every field that is no table can also be set by an
environment variable ``INTERBENCH_<FIELD>`` (lists comma-separated). Unknown names are refused everywhere. Keys and
tokens never stand in settings: adapters and judges read them from environment variables that the settings may name.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from interbench.base.errors import UsageError
from interbench.base.masking import mask
from interbench.base.options import near
from interbench.pipeline.setting_texts import SETTING_TEXTS

PREFIX = "INTERBENCH_"
_RESERVED = re.compile(
    r"^INTERBENCH_(LOAD_PLUGINS|IMPORT_FROM|VLLM_PYTHON|CHROMIUM|(JUDGE|TRANSCRIBER)_MODEL|[A-Z0-9_]*(KEY|TOKEN))$"
)


def _setting(name: str, **limits: Any) -> Any:
    text = SETTING_TEXTS[name]
    return Field(text.default, description=text.help, **limits)


def _table(name: str) -> Any:
    return Field(default_factory=dict, description=SETTING_TEXTS[name].help)


class Settings(BaseModel):
    """Everything a run can be told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    out: Path = _setting("out")
    scenarios: str = _setting("scenarios")
    only: tuple[str, ...] = _setting("only")
    categories: tuple[str, ...] = _setting("categories")
    limit: int | None = _setting("limit", ge=1)
    shard: str | None = _setting("shard")
    personas: Path | None = _setting("personas")
    rotate_personas: bool = _setting("rotate_personas")
    systems: tuple[str, ...] = _setting("systems")
    system: dict[str, dict[str, Any]] = _table("system")
    transcriber: str = _setting("transcriber")
    transcriber_options: dict[str, Any] = _table("transcriber_options")
    judge: str = _setting("judge")
    judge_options: dict[str, Any] = _table("judge_options")
    repeats: int = _setting("repeats", ge=1, le=100)
    concurrency: int = _setting("concurrency", ge=1, le=256)
    seed: int = _setting("seed", ge=0, lt=2**31)
    deadline_s: float = _setting("deadline_s", gt=0, le=86_400)
    after_failure: Literal["continue", "stop"] = _setting("after_failure")
    script: str | None = _setting("script")
    script_options: dict[str, Any] = _table("script_options")
    words: str | None = _setting("words")
    words_options: dict[str, Any] = _table("words_options")
    speech: str | None = _setting("speech")
    speech_options: dict[str, Any] = _table("speech_options")
    cluster: str | None = _setting("cluster")
    renderers: int | None = _setting("renderers", ge=1, le=4096)
    clips_via: str | None = _setting("clips_via")
    ears: str | None = _setting("ears")
    judge_servers: str | None = _setting("judge_servers")
    judge_server: dict[str, Any] = _table("judge_server")
    max_usd: float | None = _setting("max_usd", ge=0)
    max_video_seconds: float | None = _setting("max_video_seconds", ge=0)
    retry: tuple[Literal["failed", "timed_out", "blocked", "retired", "not_played"], ...] = _setting("retry")

    @property
    def judge_name(self) -> str:
        """What makes the judge; where nodes are to serve it, the one for an address that is not known yet."""
        return self.judge if self.judge_servers is None else "http://127.0.0.1:9"

    def public(self) -> dict[str, Any]:
        """The settings as JSON types, with anything that looks like a secret masked."""
        masked: dict[str, Any] = mask(self.model_dump(mode="json"))
        return masked


def load_settings(flags: Mapping[str, Any], file: Path | None = None) -> Settings:
    """Merge the settings file, the environment and the flags (those that are not None).

    Raises:
        UsageError: naming the file or variable and the field that is wrong.
    """
    return merged_settings(
        (str(file), read_settings_file(file)),
        ("the environment", _from_environment(os.environ)),
        ("the command line", {name: value for name, value in flags.items() if value is not None}),
    )


def merged_settings(*sources: tuple[str, Mapping[str, Any]]) -> Settings:
    """Settings by name from several sources, of which later ones come before earlier ones.

    Args:
        sources: what each is called in messages, and what it says.

    Raises:
        UsageError: naming the source and the field that is wrong.
    """
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for source, values in sources:
        for name, value in values.items():
            merged[name] = value
            origin[name] = source
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise UsageError(_explain(error, origin)) from None


def _explain(error: ValidationError, origin: Mapping[str, str]) -> str:
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(Settings.model_fields)
        return (
            f"The setting {where!r} in {origin.get(field, 'the settings')} is unknown. Known settings: {known}."
            f"{near(where, Settings.model_fields)}"
        )
    why = first["msg"].removeprefix("Value error, ")
    return f"The setting {where!r} in {origin.get(field, 'the settings')} is wrong: {why}."


def read_settings_file(file: Path | None) -> dict[str, Any]:
    """The settings that stand in a TOML file, unchecked."""
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(f"There is no settings file {file}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The settings file {file} can't be read: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The settings file {file} is not valid TOML: {error}.") from None


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX) or _RESERVED.match(variable):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in Settings.model_fields:
            known = ", ".join(PREFIX + field.upper() for field in Settings.model_fields)
            raise UsageError(f"The environment variable {variable} is no setting. Known are {known}.")
        annotation = str(Settings.model_fields[name].annotation)
        value: Any = environment[variable]
        if annotation.startswith("tuple"):
            value = [part.strip() for part in value.split(",") if part.strip()]
        elif annotation.startswith("dict"):
            raise UsageError(
                f"{variable}: options given as a table can only stand in a settings file (--config), or one by one on "
                f"the command line (--set)."
            )
        found[name] = value
    return found
