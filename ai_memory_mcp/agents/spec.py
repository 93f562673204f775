"""`AgentSpec`: the declarative description of one agent, read from `agent_configs/<agent>/agent.toml`.

Adding an agent is adding a folder. Nothing here knows an agent by name.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ai_memory_mcp.errors import ConfigError, InputError
from ai_memory_mcp.model import EventKind, ToolFamily

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SERVER_KEY = "aimemory"  # our MCP server in agents' settings; every agent builds its tool names from it


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EventSpec(_Part):
    """One hook event of the agent: our kind, and how it is installed (`timeout` in the agent's unit)."""

    kind: EventKind
    timeout: int = 10
    matcher: str | None = None
    install: bool = True


class McpSpec(_Part):
    """Where and how the agent lists MCP servers. `entry` is a template, see `wiring.fill`.

    "json" says that the agent itself refuses comments and trailing commas there, "jsonc" that it takes them.
    """

    format: Literal["json", "jsonc", "toml"]
    user: str
    project: str = ""
    table: tuple[str, ...]
    entry: dict[str, Any]


class HooksSpec(_Part):
    """Where and how the agent lists hooks. `group` is a template for one event, see `wiring.fill`.

    `trust_file` is where the agent keeps which hooks its user has approved, when it asks for that.
    """

    format: Literal["json", "jsonc"]
    user: str
    project: str = ""
    table: tuple[str, ...]
    group: dict[str, Any]
    trust: str = ""
    trust_file: str = ""


class BriefSpec(_Part):
    """How the agent takes a brief: at which event, in which output shape, at most how many characters."""

    event: str
    shape: Literal["hookSpecificOutput", "additionalContext", "additional_context", "text"]
    limit: int = 9000


class SessionSpec(_Part):
    """How the stdio server learns the agent's session: an environment variable or a path into `_meta`."""

    server_env: str = ""
    root_env: str = ""
    meta: tuple[str, ...] = ()


class AgentSpec(_Part):
    """One agent. `fields` maps our field names to places in the payload (dots go down, first hit wins).

    `home_env`: variable -> {path it moves: where that is inside the folder named by the variable}.
    """

    name: str
    title: str
    executables: tuple[str, ...] = ()
    homes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    home_env: dict[str, dict[str, str]] = Field(default_factory=dict)
    session: SessionSpec = SessionSpec()
    mcp: McpSpec | None = None
    hooks: HooksSpec | None = None
    brief: BriefSpec | None = None
    events: dict[str, EventSpec] = Field(default_factory=dict)
    fields: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    tools: dict[ToolFamily, tuple[str, ...]] = Field(default_factory=dict)


def configs_dir() -> Path:
    """Return the folder with the agents' descriptions: inside the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "agent_configs"
    return inside if inside.is_dir() else package.parent / "agent_configs"


@lru_cache(maxsize=1)
def all_specs() -> dict[str, AgentSpec]:
    """Read every description, by name. Raises ConfigError naming the file that is wrong."""
    specs: dict[str, AgentSpec] = {}
    for path in sorted(configs_dir().glob("*/agent.toml")):
        try:
            spec = AgentSpec.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, ValidationError) as error:
            raise ConfigError(f"{path} is not a valid agent description: {error}") from error
        specs[spec.name] = spec
    return specs


def find_spec(name: str) -> AgentSpec:
    """Return the agent with this name or alias. Raises InputError listing the known ones."""
    specs = all_specs()
    for spec in specs.values():
        if name == spec.name or name in spec.aliases:
            return spec
    raise InputError(f"unknown agent '{name}'; known: {', '.join(specs)}")


def pick(payload: dict[str, Any], places: tuple[str, ...]) -> Any:
    """Return the first value that is there (and not None) at one of the dotted places, else None."""
    for place in places:
        value: Any = payload
        for part in place.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None
