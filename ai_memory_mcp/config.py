"""Settings: `config.toml` in AI_MEMORY_HOME, each key also as AI_MEMORY_<SECTION>__<KEY>.

The one reader of the environment (beside `emit`).
`emit` reads the same file on its own (through a compiled copy), because pydantic would cost it ten times its start.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ai_memory_mcp.errors import ConfigError
from ai_memory_mcp.place import default_home

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CaptureConfig(_Section):
    """What is captured, everywhere; a project's `.ai-memory.toml` may only narrow it."""

    enabled: bool = True
    prompts: bool = True
    tools: bool = True
    assistant: bool = True
    max_text: int = Field(default=16_384, ge=256)
    ignore_paths: tuple[str, ...] = ()


class RedactConfig(_Section):
    """More secrets to redact (regular expressions) and texts that are none (substrings)."""

    patterns: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()

    @field_validator("patterns")
    @classmethod
    def _compiles(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"'{pattern}' is not a regular expression: {error}") from error
        return patterns


class SessionConfig(_Section):
    """When an unfinished session counts as over once another one starts (`idle_minutes`), and in any case."""

    idle_minutes: int = Field(default=10, ge=1)
    abandoned_minutes: int = Field(default=60, ge=1)


class HandoffConfig(_Section):
    """How long a handoff waits before it expires."""

    expires_days: int = Field(default=14, ge=1)


class BriefConfig(_Section):
    """How long a brief may be, in characters; agents cut or drop what is longer than about 10,000."""

    max_chars: int = Field(default=9_000, ge=1_000, le=9_000)


class Config(_Section):
    """All settings, checked."""

    capture: CaptureConfig = CaptureConfig()
    redact: RedactConfig = RedactConfig()
    session: SessionConfig = SessionConfig()
    handoff: HandoffConfig = HandoffConfig()
    brief: BriefConfig = BriefConfig()


def environment() -> dict[str, str]:
    """Return the process environment."""
    return dict(os.environ)


def home_folder(env: Mapping[str, str]) -> Path:
    """Return AI_MEMORY_HOME as an absolute path. Raises ConfigError where not even a home folder is known."""
    told = default_home(dict(env))
    if not told:
        raise ConfigError("neither AI_MEMORY_HOME nor HOME is set; set AI_MEMORY_HOME to a folder")
    return Path(os.path.abspath(os.path.expanduser(told)))


def user_home(env: Mapping[str, str]) -> str:
    """Return the user's home folder, '' when unknown."""
    return env.get("HOME") or env.get("USERPROFILE", "")


def load_config(home: Path, env: Mapping[str, str]) -> Config:
    """Read config.toml and the environment. Raises ConfigError naming the file, the key and what is wrong."""
    path = home / "config.toml"
    raw: dict[str, Any] = {}
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; correct it or move it away") from error
    for name, value in env.items():
        section, double, key = name.removeprefix("AI_MEMORY_").lower().partition("__")
        if name.startswith("AI_MEMORY_") and double and section in Config.model_fields:
            raw.setdefault(section, {})[key] = _typed(value)
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {where}: {first['msg']}") from error


def _typed(value: str) -> Any:
    """Read an environment value as TOML would (`true`, `3`, `["a"]`), else as plain text."""
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value
