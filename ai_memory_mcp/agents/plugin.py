"""Plugins of ours for agents that run scripts in their own process: the files' text, and the entries that name them.

A file is wholly ours; it is known by the mark in it. The text is put together from `hook_scripts/`: `stream.js`, the
part that all of them share, stands where a script says `@STREAM@`, so that each file can be loaded on its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ai_memory_mcp.agents import jsonedit
from ai_memory_mcp.agents.jsonedit import EditError
from ai_memory_mcp.agents.spec import AgentSpec, PluginEntry, PluginFile, scripts_dir
from ai_memory_mcp.agents.wiring import Draft, Launch, fill, insert, remove, require_readable

MARK = "ai-memory-mcp"


def file_text(file: PluginFile, spec: AgentSpec, launch: Launch) -> str:
    """Return what the file is to hold: the script, with the command of the hook in it."""
    command = [*launch.hook, "--agent", spec.name, "--stream"]
    return script_text(file.source, json.dumps(command, ensure_ascii=False)) if file.source else file.text


def script_text(source: str, command: str, server: str = "undefined") -> str:
    """Return a script of `hook_scripts/` with what all share in it.

    `command` and `server` are expressions of JavaScript: the hook's command, and the MCP server's entry for a plugin
    that has to bring it along.
    """
    text = (scripts_dir() / source).read_text(encoding="utf-8")
    text = text.replace("@STREAM@", (scripts_dir() / "stream.js").read_text(encoding="utf-8").rstrip("\n"))
    return text.replace("@COMMAND@", command).replace("@SERVER@", server)


def is_ours(text: str) -> bool:
    """Tell whether a file holds our mark."""
    return MARK in text


def wire_file(draft: Draft, path: Path, text: str) -> None:
    """Put the text in. Raises EditError where somebody else's file stands."""
    if draft.text == text:
        return
    if draft.text.strip() and not is_ours(draft.text):
        raise EditError(f"a file of this name that is not ours is already there; move {path.name} away")
    draft.notes.append(("update plugin" if draft.text else "add plugin", path.name))
    draft.text = text


def unwire_file(draft: Draft, path: Path) -> None:
    """Empty a file of ours; an empty file goes."""
    if draft.text and is_ours(draft.text):
        draft.text = ""
        draft.notes.append(("remove plugin", path.name))


# Entries in the agent's settings that name the plugin


def wire_entries(draft: Draft, spec: AgentSpec, folder: Path) -> None:
    """Put in what the settings must say of the plugin, or bring it up to date. Raises EditError."""
    if spec.mcp is not None:
        require_readable(draft, spec.mcp.format)
    for entry, wanted in _entries(spec, folder):
        found = _get(draft.text, entry.path)
        if entry.item is not None:
            if wanted not in (found or ()) and (found or not entry.listed):
                insert(draft, (*entry.path, len(found or ())), wanted)
                draft.notes.append(("add plugin to", ".".join(entry.path)))
        elif found is None:
            insert(draft, entry.path, wanted)
            draft.notes.append(("add plugin", ".".join(entry.path)))
        elif not _holds(found, wanted):
            draft.text = jsonedit.replace(draft.text, entry.path, _over(found, wanted))
            draft.notes.append(("update plugin", ".".join(entry.path)))


def unwire_entries(draft: Draft, spec: AgentSpec, folder: Path) -> None:
    """Take these entries out again. Raises EditError."""
    for entry, wanted in reversed(_entries(spec, folder)):
        found = _get(draft.text, entry.path)
        if entry.item is not None and isinstance(found, list) and wanted in found:
            remove(draft, (*entry.path, found.index(wanted)))
            draft.notes.append(("remove plugin from", ".".join(entry.path)))
        elif entry.item is None and found is not None:
            remove(draft, entry.path)
            draft.notes.append(("remove plugin", ".".join(entry.path)))


def has_entries(text: str, spec: AgentSpec, folder: Path) -> bool:
    """Tell whether any of these entries is there. Raises EditError."""
    for entry, wanted in _entries(spec, folder):
        found = _get(text, entry.path)
        if found is not None and (entry.item is None or wanted in found):
            return True
    return False


def _entries(spec: AgentSpec, folder: Path) -> list[tuple[PluginEntry, Any]]:
    assert spec.plugin is not None
    values = {"folder": str(folder)}
    return [(entry, fill(entry.value if entry.item is None else entry.item, values)) for entry in spec.plugin.entries]


def _get(text: str, path: tuple[str, ...]) -> Any:
    return None if jsonedit.is_blank(text) else jsonedit.get(text, path)


def _holds(found: Any, wanted: Any) -> bool:
    if isinstance(found, dict) and isinstance(wanted, dict):
        return all(key in found and _holds(found[key], value) for key, value in wanted.items())
    return bool(found == wanted)


def _over(found: Any, wanted: Any) -> Any:
    if not isinstance(found, dict) or not isinstance(wanted, dict):
        return wanted
    return {**found, **{key: _over(found.get(key), value) for key, value in wanted.items()}}
