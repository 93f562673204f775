"""What an agent's settings say now about our MCP server: the command it would really start, current or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ai_memory_mcp.agents.pieces import Target, settings_path
from ai_memory_mcp.agents.spec import SERVER_KEY, AgentSpec
from ai_memory_mcp.agents.wiring import server_url, value_at
from ai_memory_mcp.errors import InstallError

SPLICED = ("{args}",)  # placeholders that stand for any number of items in a list


@dataclass(frozen=True)
class Entry:
    """The command with its arguments and the variables it gets, or the address of a server."""

    command: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    url: str = ""


def server_entry(spec: AgentSpec, target: Target) -> Entry:
    """Return what the settings at this level say; empty where they say nothing or cannot be read."""
    path = settings_path(spec, "mcp", target)
    if spec.mcp is None or path is None:
        return Entry()
    try:
        text = path.read_bytes().decode("utf-8")
        found = value_at(text, spec.mcp.format, (*spec.mcp.table, SERVER_KEY))
    except (OSError, UnicodeDecodeError, InstallError):
        return Entry()
    url = server_url(spec, found) if isinstance(found, dict) else ""
    values = {} if url else unfill(spec.mcp.entry, found)
    words = [values.get("command", ""), *(values.get("args") or ())]
    env = values.get("env")
    return Entry(
        command=tuple(str(word) for word in words) if words[0] else (),
        env={str(name): str(value) for name, value in env.items()} if isinstance(env, dict) else {},
        url=url,
    )


def unfill(template: Any, filled: Any) -> dict[str, Any]:
    """Return what `wiring.fill` must have been given to make this of the template; what does not fit is left out."""
    if isinstance(template, str) and template[:1] == "{" and template[-1:] == "}":
        return {template[1:-1]: filled}
    found: dict[str, Any] = {}
    if isinstance(template, dict) and isinstance(filled, dict):
        for key, part in template.items():
            if key in filled:
                found |= unfill(part, filled[key])
    if isinstance(template, list) and isinstance(filled, list):
        at = next((place for place, part in enumerate(template) if part in SPLICED), len(template))
        rest = len(template) - at - 1  # what follows the spliced ones
        for part, item in zip(template[:at], filled, strict=False):
            found |= unfill(part, item)
        if at < len(template):
            found |= unfill(template[at], filled[at : len(filled) - rest])
    return found
