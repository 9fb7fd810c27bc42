"""The settings of a run: file < environment < flags.

A settings file is TOML with the field names of :class:`Settings`; every field can also be set by an environment
variable ``INTERBENCH_<FIELD>`` (lists comma-separated). Unknown names are refused everywhere. Keys and tokens never
stand in settings: adapters and judges read them from environment variables that the settings may name.
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

PREFIX = "INTERBENCH_"
_RESERVED = re.compile(
    r"^INTERBENCH_(LOAD_PLUGINS|VLLM_PYTHON|CHROMIUM|(JUDGE|TRANSCRIBER)_MODEL|[A-Z0-9_]*(KEY|TOKEN))$"
)
_USERINFO = re.compile(r"(\w+://)[^/@\s]+@")
_SECRET = re.compile(r"(api_?key|token|secret|password|authorization)$", re.IGNORECASE)

DEFAULT_SYSTEMS = ("puppet", "puppet:drift", "puppet:off-topic", "puppet:partial", "puppet:amnesiac")


class Settings(BaseModel):
    """Everything a run can be told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    out: Path = Field(Path("runs/default"), description="The run folder.")
    scenarios: str = Field("starter", description="starter, all, a folder, a JSON Lines file, or a Hub id.")
    only: tuple[str, ...] = Field((), description="Scenario ids or patterns such as travel-*.")
    categories: tuple[str, ...] = Field((), description="Categories to play.")
    limit: int | None = Field(None, ge=1, description="At most this many scenarios.")
    personas: Path | None = Field(None, description="A folder with photographs or personas of your own.")
    systems: tuple[str, ...] = Field(DEFAULT_SYSTEMS, description="Systems to test.")
    system: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Options by system label.")
    livetalk_url: str | None = Field(
        None, description="Address of a server that speaks the conversation protocol, for the system livetalk."
    )
    livetalk_size: str | None = Field(
        None, description="Model size of the server that the system livetalk starts where it has no address."
    )
    transcriber: str = Field("auto", description="given, funasr, an endpoint's URL, or auto.")
    transcriber_options: dict[str, Any] = Field(default_factory=dict)
    judge: str = Field("signals", description="signals, or the URL(s) of an OpenAI-compatible server.")
    judge_options: dict[str, Any] = Field(default_factory=dict)
    repeats: int = Field(1, ge=1, le=100, description="Judgements of every dimension.")
    concurrency: int = Field(2, ge=1, le=256, description="Conversations played at the same time.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of everything random.")
    deadline_s: float = Field(600.0, gt=0, le=86_400, description="Seconds after which a turn has timed out.")
    after_failure: Literal["continue", "stop"] = Field(
        "continue", description="What a failed turn means for later ones."
    )
    script: str | None = Field(
        None, description="URL of the OpenAI-compatible server that writes the replies of scripted systems."
    )
    script_options: dict[str, Any] = Field(default_factory=dict, description="model, words, seed, key_env.")
    max_usd: float | None = Field(None, ge=0, description="The most the run folder may spend, in US dollars.")
    max_video_seconds: float | None = Field(None, ge=0, description="The most video it may ask paid services for.")
    retry: tuple[Literal["failed", "timed_out", "blocked", "retired", "not_played"], ...] = Field(
        (), description="Outcomes of earlier invocations to play again."
    )

    @property
    def system_defaults(self) -> dict[str, dict[str, Any]]:
        """Options that have a setting of their own, by the name of the built-in system they are for."""
        return {"livetalk": {"url": self.livetalk_url, "size": self.livetalk_size}}

    def public(self) -> dict[str, Any]:
        """The settings as JSON types, with anything that looks like a secret masked."""
        masked: dict[str, Any] = mask(self.model_dump(mode="json"))
        return masked


def mask(value: Any) -> Any:
    """``value`` without the values of secret-looking keys and without passwords in URLs.

    Names of environment variables (``*_env``) stay.
    """
    if isinstance(value, Mapping):
        return {
            key: "***" if _SECRET.search(str(key)) and item not in (None, "") else mask(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [mask(item) for item in value]
    if isinstance(value, str):
        return _USERINFO.sub(r"\1***@", value)
    return value


def load_settings(flags: Mapping[str, Any], file: Path | None = None) -> Settings:
    """Merge the settings file, the environment and the flags (those that are not None).

    Raises:
        UsageError: naming the file or variable and the field that is wrong.
    """
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for source, values in (
        (str(file), read_settings_file(file)),
        ("the environment", _from_environment(os.environ)),
        ("the command line", {name: value for name, value in flags.items() if value is not None}),
    ):
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
        return f"The setting {where!r} in {origin.get(field, 'the settings')} is unknown. Known settings: {known}."
    return f"The setting {where!r} in {origin.get(field, 'the settings')} is wrong: {first['msg']}."


def read_settings_file(file: Path | None) -> dict[str, Any]:
    """The settings that stand in a TOML file, unchecked."""
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
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
            raise UsageError(f"{variable}: options given as a table can only stand in a settings file (--config).")
        found[name] = value
    return found
