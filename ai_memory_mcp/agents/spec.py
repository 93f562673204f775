"""`AgentSpec`: the declarative description of one agent, read from `agent_configs/<agent>/agent.toml`.

Adding an agent is adding a folder. Nothing here knows an agent by name.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ai_memory_mcp.errors import ConfigError, InputError
from ai_memory_mcp.model import EventKind, ToolFamily

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SERVER_KEY = "aimemory"  # our MCP server in agents' settings; every agent builds its tool names from it


Os = Literal["linux", "macos", "windows"]
SYSTEMS: tuple[Os, ...] = ("linux", "macos", "windows")
Format = Literal["json", "jsonc", "json5", "toml", "yaml"]


def this_os() -> Os:
    """Return the operating system we run on; WSL is linux."""
    return {"win32": "windows", "darwin": "macos"}.get(sys.platform, "linux")  # type: ignore[return-value]


def _per_os(told: Any) -> Any:
    """One path, or a list of them of which the first that is there counts, for all systems or for each."""
    if not isinstance(told, dict):
        told = dict.fromkeys(SYSTEMS, told)
    return {system: (paths,) if isinstance(paths, str) else paths for system, paths in told.items()}


# Where something is: "~/…", "%APPDATA%/…" or "%LOCALAPPDATA%/…" for a user, relative in a project; may hold `*`.
Places = Annotated[dict[Os, tuple[str, ...]], BeforeValidator(_per_os)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EventSpec(_Part):
    """One hook event of the agent: our kind, and how it is installed. `timeout` is in seconds.

    `when`: the payload must hold these values ("*": any but an empty one, "": an empty one or none), else the event
    is not one of ours.
    `background`: the agent need not wait for it. `group` replaces the template of `HooksSpec`. Not `install`ed ones
    are known when they come.
    """

    kind: EventKind
    timeout: int = 10
    matcher: str | None = None
    install: bool = True
    background: bool = False
    when: dict[str, Any] = Field(default_factory=dict)
    group: dict[str, Any] | None = None


class McpSpec(_Part):
    """Where and how the agent lists MCP servers. `entry` and `http` are templates, see `wiring.fill`.

    "json" says that the agent itself refuses comments and trailing commas there, "jsonc" that it takes them,
    "json5" that it takes all of JSON5.
    `http` is the entry for a server at an address; None where the agent only starts servers itself.
    """

    format: Format
    user: Places = Field(default_factory=dict)
    project: Places = Field(default_factory=dict)
    table: tuple[str, ...]
    entry: dict[str, Any]
    http: dict[str, Any] | None = None


class HooksSpec(_Part):
    """Where and how the agent lists hooks. `group` is a template for one event, see `wiring.fill`.

    `table` holds a list for each event, or with `flat` one list for all. `base`: what the file must hold besides.
    `answer`: what a hook must print that has nothing to say. `trust_file` is where the agent keeps which hooks its
    user has approved, when it asks for that.
    """

    format: Literal["json", "jsonc", "json5"]
    user: Places = Field(default_factory=dict)
    project: Places = Field(default_factory=dict)
    table: tuple[str, ...]
    group: dict[str, Any]
    flat: bool = False
    base: dict[str, Any] = Field(default_factory=dict)
    timeout_unit: Literal["s", "ms"] = "s"
    answer: str = ""
    trust: str = ""
    trust_file: str = ""


class PluginFile(_Part):
    """One file of ours in the agent's folders: a script of `hook_scripts/`, or the text itself."""

    source: str = ""
    text: str = ""
    user: Places = Field(default_factory=dict)
    project: Places = Field(default_factory=dict)


class PluginEntry(_Part):
    """What the agent's settings (the file with its MCP servers) must say of the plugin: a value, or a list's item.

    `listed`: only where the list names others, for an empty one does not restrict anything.
    """

    path: tuple[str, ...]
    value: Any = None
    item: Any = None
    listed: bool = False


class PluginSpec(_Part):
    """The plugin of an agent that runs scripts of ours in its own process instead of hook commands.

    In `entries`, "{folder}" is the folder of the first file.
    """

    files: tuple[PluginFile, ...]
    entries: tuple[PluginEntry, ...] = ()


class BundleFile(_Part):
    """One file of a plugin: JSON by a template (see `bundle`), or a script of `hook_scripts/`."""

    path: str
    data: Any = None
    script: str = ""


class BundleSpec(_Part):
    """A ready plugin in the agent's own format. `root` is the agent's word for the plugin's folder.

    `pack`: the name of the archive in which the agent wants it. `install`: what a user does to install it. `group`
    replaces the template of `HooksSpec`.
    """

    root: str
    install: str
    pack: str = ""
    group: dict[str, Any] | None = None
    files: tuple[BundleFile, ...]


class BriefSpec(_Part):
    """How the agent takes a brief: at which event, in which output shape, at most how many characters.

    `late` is the event of a prompt whose answer may still carry what the start had no time to wait for, or what
    nobody would hear: to a start with the `unheard` values in its payload the agent takes no answer. `once`: the agent
    tells of a start again and again; a session that has its brief is only told of another handoff.
    """

    event: str
    shape: Literal["hookSpecificOutput", "additionalContext", "additional_context", "injectSteps", "text"]
    limit: int = 9000
    late: str = ""
    once: bool = False
    unheard: dict[str, Any] = Field(default_factory=dict)


class TranscriptSpec(_Part):
    """Where the agent's answer stands when its event does not hold it: in a file of JSON lines with a `type` each.

    At `event`, the payload's `path` names the file. The answer is the `text` (dots go down) of the last line of type
    `said`, if none of the types `asked` comes after it; it joins the payload as `last_assistant_message`. With a `time`
    (its name in lines and payload alike) the file is waited for until its last line is as late as the event.
    """

    event: str
    path: str
    said: str
    asked: tuple[str, ...]
    text: str
    time: str = ""


class TranscriptsSpec(_Part):
    """Where the agent keeps its own record of past sessions: files that match `user`, in a `format` that
    `transcripts` can read."""

    format: str
    user: Places


class SessionSpec(_Part):
    """How the stdio server learns the agent's session: an environment variable or a path into `_meta`."""

    server_env: str = ""
    root_env: str = ""
    meta: tuple[str, ...] = ()


class AgentSpec(_Part):
    """One agent. `fields` maps our field names to places in the payload (dots go down, first hit wins).

    `home_env`: variable -> {path it moves: where that is inside the folder named by the variable}.
    `foreign`: payload field -> the agent it gives away, when that agent also runs the hooks of this one.
    `evidence`: its contract was seen by running it, read in its package, or only in documents; `seen` says of what.
    `encoded`: our fields that come as JSON text. `arguments`: our names of tools' arguments -> the agent's.
    `tools` may hold patterns (`mcp_*`); `own_tools` are ours, where a tool's name does not tell its server.
    """

    name: str
    title: str
    evidence: Literal["run", "package", "docs"] = "docs"
    seen: str = ""
    note: str = ""
    executables: tuple[str, ...] = ()
    homes: Places = Field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    home_env: dict[str, dict[str, str]] = Field(default_factory=dict)
    session: SessionSpec = SessionSpec()
    mcp: McpSpec | None = None
    hooks: HooksSpec | None = None
    plugin: PluginSpec | None = None
    bundle: BundleSpec | None = None
    brief: BriefSpec | None = None
    transcript: TranscriptSpec | None = None
    transcripts: TranscriptsSpec | None = None
    foreign: dict[str, str] = Field(default_factory=dict)
    events: dict[str, EventSpec] = Field(default_factory=dict)
    fields: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    encoded: tuple[str, ...] = ()
    arguments: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    tools: dict[ToolFamily, tuple[str, ...]] = Field(default_factory=dict)
    own_tools: tuple[str, ...] = ()

    def kind_of(self, event: str) -> EventKind:
        """Return our kind of one of its events, `other` for one that it is not known to have."""
        return self.events[event].kind if event in self.events else "other"


def configs_dir() -> Path:
    """Return the folder with the agents' descriptions: inside the package, or beside it in a checkout."""
    return _data_dir("agent_configs")


def scripts_dir() -> Path:
    """Return the folder with the scripts that agents run, likewise."""
    return _data_dir("hook_scripts")


def _data_dir(name: str) -> Path:
    package = Path(__file__).resolve().parent.parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


@lru_cache(maxsize=1)
def all_specs() -> dict[str, AgentSpec]:
    """Read every description, by name. Raises ConfigError naming the file that is wrong."""
    return {path.parent.name: _read(path) for path in sorted(configs_dir().glob("*/agent.toml"))}


@lru_cache(maxsize=64)
def named_spec(name: str) -> AgentSpec | None:
    """Return the agent with this name without reading the others' descriptions; None for an unknown one.

    Raises ConfigError when its description is wrong.
    """
    path = configs_dir() / name / "agent.toml"
    return _read(path) if re.fullmatch("[a-z0-9-]+", name) and path.exists() else None


def _read(path: Path) -> AgentSpec:
    try:
        return AgentSpec.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise ConfigError(f"{path} is not a valid agent description: {error}") from error


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
