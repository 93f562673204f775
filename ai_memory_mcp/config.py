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
from typing import Any, Literal, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ai_memory_mcp import place
from ai_memory_mcp.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "AI_MEMORY_"
SHORT = {  # variables with a short name
    "AI_MEMORY_SERVER_URL": ("server", "url"),
    "AI_MEMORY_LLM_PROVIDER": ("llm", "provider"),
    "AI_MEMORY_LLM_MODEL": ("llm", "model"),
    "AI_MEMORY_LLM_BASE_URL": ("llm", "base_url"),
    "AI_MEMORY_EMBEDDING_PROVIDER": ("embedding", "provider"),
    "AI_MEMORY_EMBEDDING_MODEL": ("embedding", "model"),
    "AI_MEMORY_EMBEDDING_BASE_URL": ("embedding", "base_url"),
}
TOKEN = "AI_MEMORY_TOKEN"
KEY_VARIABLES = {  # the providers' own; an OpenAI-compatible endpoint is given no other service's key unasked
    "anthropic": ("ANTHROPIC_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "voyage": ("VOYAGE_API_KEY",),
}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class CaptureConfig(_Section):
    """What is captured, everywhere; a project's `.ai-memory.toml` may only narrow it."""

    enabled: bool = Field(default=True, description="Capture anything at all.")
    prompts: bool = Field(default=True, description="Capture what you type.")
    tools: bool = Field(default=True, description="Capture the agents' tool calls and their results.")
    assistant: bool = Field(default=True, description="Capture the agents' own messages.")
    max_text: int = Field(
        default=16_384, ge=256, description="Characters kept of one text; of a longer one the beginning and the end."
    )
    ignore_paths: tuple[str, ...] = Field(
        default=(),
        description="Tool calls that touch such a path are not captured: globs like secrets/** or *.pem,"
        " relative to the project.",
    )


class RedactConfig(_Section):
    """What is a secret, beside what is recognised anyway."""

    patterns: tuple[str, ...] = Field(default=(), description="Regular expressions of more secrets to redact.")
    allow: tuple[str, ...] = Field(default=(), description="Texts that look like secrets and are none.")

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
    """When a session without an end counts as over."""

    idle_minutes: int = Field(
        default=10, ge=1, description="Minutes without an event, once another session starts in the project."
    )
    abandoned_minutes: int = Field(default=60, ge=1, description="Minutes without an event, in any case.")


class HandoffConfig(_Section):
    """Handoffs that nobody takes."""

    expires_days: int = Field(default=14, ge=1, description="Days that a handoff waits before it expires.")


class BriefConfig(_Section):
    """What an agent is told when a session starts."""

    max_chars: int = Field(
        default=9_000,
        ge=1_000,
        le=9_000,
        description="Characters of a brief; agents cut or drop what is longer than about 10,000.",
    )


SEARCH_PARTS = (
    *("adjacent", "near", "cover", "inside", "context", "speaker", "time"),
    *("authority", "dates", "links", "feedback", "typos", "meaning"),
)


class SearchConfig(_Section):
    """How search ranks."""

    without: tuple[str, ...] = Field(
        default=(), description=f"Parts of the ranking to switch off: {', '.join(SEARCH_PARTS)}."
    )

    @field_validator("without")
    @classmethod
    def _known(cls, parts: tuple[str, ...]) -> tuple[str, ...]:
        for part in parts:
            if part not in SEARCH_PARTS:
                raise ValueError(f"'{part}' is no part of the ranking; known are {', '.join(SEARCH_PARTS)}")
        return parts


class ServerConfig(_Section):
    """The server that this machine is a client of."""

    url: str = Field(
        default="",
        description="Address of the server that keeps the memory, like http://homelab:49374; none: this one.",
    )
    token_file: str = Field(
        default="", description="File that holds the token for it; by default `token` in AI_MEMORY_HOME."
    )


class _ProviderConfig(_Section):
    """Where a provider is found and what it is told of who asks."""

    base_url: str = Field(default="", description="Address of the endpoint, where it is not the provider's own.")
    api_key_env: str = Field(default="", description="Variable that holds the key, where not the provider's own.")
    api_key_file: str = Field(default="", description="File that holds the key, readable by you alone.")

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        from urllib.parse import urlsplit  # not at the top: only who has an address pays for it

        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError(f"'{url}' is no address like https://host/v1")
        if parts.username or parts.password:
            raise ValueError("a key does not belong into the address; use api_key_file or api_key_env")
        return url.rstrip("/")


class LlmConfig(_ProviderConfig):
    """The language model that makes better pages. Without a provider nothing of it happens."""

    provider: Literal["", "anthropic", "openai", "gemini", "openai-compatible"] = Field(
        default="", description="Who is asked; openai-compatible is anything that speaks OpenAI's protocol at base_url."
    )
    model: str = Field(default="", description="The model, by the provider's own name for it.")
    automatic: bool = Field(
        default=True, description="Ask by itself, in the background, when a session ends or is compacted."
    )
    daily_tokens: int = Field(
        default=500_000, ge=0, description="Tokens that may be spent in a day (UTC), in and out together."
    )
    timeout_seconds: int = Field(default=120, ge=1, le=600, description="Seconds that one answer may take.")

    @property
    def by_itself(self) -> bool:
        """Whether sessions are consolidated without anybody asking for it."""
        return bool(self.provider) and self.automatic


class EmbeddingConfig(_ProviderConfig):
    """The embedding model by which search finds what is meant, too. Without a provider nothing of it happens."""

    provider: Literal["", "openai", "voyage", "gemini", "openai-compatible"] = Field(
        default="", description="Who is asked; openai-compatible is anything that has OpenAI's /embeddings at base_url."
    )
    model: str = Field(default="", description="The model, by the provider's own name for it.")
    automatic: bool = Field(default=True, description="Embed what is new by itself, in the background.")
    observations: int = Field(
        default=2_000, ge=0, description="How many of a project's newest observations are embedded beside its pages."
    )
    daily_tokens: int = Field(default=5_000_000, ge=0, description="Tokens that may be spent in a day (UTC).")
    wait_ms: int = Field(
        default=800, ge=0, le=10_000, description="How long a search waits for its question's embedding, milliseconds."
    )
    timeout_seconds: int = Field(
        default=60, ge=1, le=600, description="Seconds that the embeddings of one batch of texts may take."
    )


class SyncConfig(_Section):
    """Where projects are synced with other machines. Without a remote nothing is sent anywhere."""

    remote: str = Field(default="", description="Git repository for all projects, a branch for each.")
    remotes: dict[str, str] = Field(
        default_factory=dict, description="Projects with one of their own, as workspace/project or project."
    )
    every_minutes: int = Field(default=10, ge=0, description="How often a server syncs by itself; 0 is never.")
    push: bool = Field(default=True, description="Send what is new here.")
    pull: bool = Field(default=True, description="Take in what is new there.")

    @field_validator("remote")
    @classmethod
    def _is_a_remote(cls, url: str) -> str:
        if url and (reason := remote_fault(url)):
            raise ValueError(f"it {reason}")
        return url

    @field_validator("remotes")
    @classmethod
    def _are_remotes(cls, urls: dict[str, str]) -> dict[str, str]:
        for name, url in urls.items():
            if reason := remote_fault(url):
                raise ValueError(f"that of {name} {reason}")
        return urls


class RetentionConfig(_Section):
    """What forget-sweep takes out, and whether it is done by itself."""

    automatic: bool = Field(
        default=False,
        description="Sweep by itself, once a day: compress and prune the journal, take out pages of sessions and"
        " handoffs whose time is over, and pages that have expired. What somebody wrote stays until you sweep.",
    )
    observation_days: int = Field(
        default=365, ge=30, description="Days that the raw observations of a compiled session are kept."
    )
    compress_days: int = Field(default=30, ge=1, description="Days after which the journal of a session is compressed.")
    journal_mb: int = Field(
        default=2_000, ge=1, description="Megabytes of journal; beyond it the oldest compiled sessions are pruned."
    )


class Config(_Section):
    """All settings, checked. The README explains every key."""

    capture: CaptureConfig = CaptureConfig()
    redact: RedactConfig = RedactConfig()
    session: SessionConfig = SessionConfig()
    handoff: HandoffConfig = HandoffConfig()
    brief: BriefConfig = BriefConfig()
    search: SearchConfig = SearchConfig()
    server: ServerConfig = ServerConfig()
    llm: LlmConfig = LlmConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    sync: SyncConfig = SyncConfig()
    retention: RetentionConfig = RetentionConfig()


def remote_fault(url: str) -> str:
    """Say why a text cannot be the address of a git remote, '' when it can; the text itself is not repeated."""
    if not url.strip() or url != url.strip() or url.startswith("-") or not url.isprintable():
        return "is no address of a git repository"
    if re.match(r"\w[\w+.-]*::", url):
        return "is no address like ssh://…, https://…, file:///… or a folder"
    told = re.match(r"\w[\w+.-]*://([^/]*)@", url)
    if told and (":" in told[1] or len(told[1]) > 32):
        return "holds a password or token; leave it to git's credential helper, or use ssh"
    return ""


def environment() -> dict[str, str]:
    """Return the process environment."""
    return dict(os.environ)


def home_folder(env: Mapping[str, str]) -> Path:
    """Return AI_MEMORY_HOME as an absolute path. Raises ConfigError where not even a home folder is known."""
    told = place.default_home(dict(env))
    if not told:
        raise ConfigError("neither AI_MEMORY_HOME nor HOME is set; set AI_MEMORY_HOME to a folder")
    return Path(os.path.abspath(os.path.expanduser(told)))


def user_home(env: Mapping[str, str]) -> str:
    """Return the user's home folder, '' when unknown."""
    return place.user_home(dict(env))


def api_key(asked: LlmConfig | EmbeddingConfig, env: Mapping[str, str]) -> str:
    """Return the provider's key, '' where none is found: from the file, the variable, the provider's own variable.

    Raises ConfigError for a file that cannot be read or that others can read.
    """
    if asked.api_key_file:
        return read_token(Path(os.path.expanduser(asked.api_key_file)))
    names = (asked.api_key_env,) if asked.api_key_env else KEY_VARIABLES.get(asked.provider, ())
    return next((env[name].strip() for name in names if env.get(name, "").strip()), "")


def load_config(home: Path, env: Mapping[str, str]) -> Config:
    """Read config.toml and the environment. Raises ConfigError naming the file or variable, the key and the fault."""
    path = home / "config.toml"
    raw: dict[str, Any] = {}
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; correct it or move it away") from error
    named = _variables(env)
    for (section, key), name in named.items():
        if isinstance(raw.setdefault(section, {}), dict):
            raw[section][key] = _typed(env[name], Config.model_fields[section].annotation, key)
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("; ".join(_fault(fault, path, named) for fault in error.errors())) from error


def server_token(home: Path, config: Config, env: Mapping[str, str]) -> str:
    """Return the token for the server, '' for none: AI_MEMORY_TOKEN, else what stands in its file.

    Raises ConfigError for a file that others may read, or that was named and cannot be read.
    """
    if told := env.get(TOKEN, "").strip():
        return told
    named = config.server.token_file
    return read_token(Path(os.path.expanduser(named)) if named else home / "token", required=bool(named))


def read_token(path: Path, *, required: bool = True) -> str:
    """Return the token in a file ('' where none is required and there is none). Raises ConfigError."""
    try:
        if os.name == "posix" and path.stat().st_mode & 0o077 and path.stat().st_uid == os.getuid():
            raise ConfigError(f"{path} holds a token and can be read by others; run: chmod 600 {path}")
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        if not required:
            return ""
        raise ConfigError(f"the token file {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token file {path} cannot be read: {error}") from error


def _variables(env: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """Return (section, key) -> variable of the settings that stand in the environment; empty ones count as unset."""
    found = {place: name for name, place in SHORT.items() if env.get(name, "").strip()}
    for name in sorted(env):
        section, double, key = name.removeprefix(PREFIX).lower().partition("__")
        if name.startswith(PREFIX) and double and section in Config.model_fields and env[name].strip():
            found[section, key] = name
    return found


def _typed(value: str, section: Any, key: str) -> Any:
    """Read a variable's value: a list as TOML, JSON or separated by commas; anything else as TOML would, or as text."""
    field = section.model_fields.get(key)
    is_list = field is not None and field.annotation == tuple[str, ...]
    if field is not None and (field.annotation is str or get_origin(field.annotation) is Literal):
        return value.strip()
    try:
        read = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        read = {"true": True, "false": False}.get(value.strip().lower(), value)
    if is_list and not isinstance(read, list):
        return [part.strip() for part in value.split(",") if part.strip()] if "," in value else [value]
    return read


def _fault(fault: Any, path: Path, named: Mapping[tuple[str, str], str]) -> str:
    """Say what is wrong with one setting, and where it stands."""
    section, key = (*(str(part) for part in fault["loc"]), "", "")[:2]
    where = named.get((section, key)) or f"{path}: {section}.{key}".rstrip(".")
    if fault["type"] != "extra_forbidden":
        return f"{where}: {fault['msg']}"
    import difflib  # 8 ms, for a mistake only

    model = Config if not key else type(getattr(Config(), section))
    close = difflib.get_close_matches(key or section, model.model_fields, n=1)
    known = f"did you mean {close[0]}?" if close else f"known are {', '.join(model.model_fields)}"
    return f"{where}: there is no such setting; {known}"
