"""The trust entries of hooks in an agent's TOML settings: `[hooks.state."<file>:<event>:<group>:<hook>"]`.

A key names its hook by position, so it is only ours while our hook stands there. The file in it is the path
as the agent spells it, which may or may not be the real one: both forms are looked at.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ai_memory_mcp.agents import jsonedit, tomledit
from ai_memory_mcp.agents.spec import AgentSpec
from ai_memory_mcp.agents.wiring import Draft, Launch, drop_table, own_hooks, set_table
from ai_memory_mcp.errors import InstallError

TRUST_TABLE = ("hooks", "state")


def own_trust_keys(spec: AgentSpec, hooks_file: Path, launch: Launch) -> list[tuple[str, ...]]:
    """Return the trust key of each hook of ours in this file, in every spelling of the file's path."""
    try:
        spots = own_hooks(hooks_file.read_text(encoding="utf-8"), spec, launch)
    except (OSError, ValueError, InstallError):
        return []
    spellings = dict.fromkeys((str(hooks_file), os.path.realpath(hooks_file)))
    return [tuple(f"{path}:{snake(event)}:{group}:{inner or 0}" for path in spellings) for event, group, inner in spots]


def moved_trust_keys(spec: AgentSpec, hooks_file: Path, launch: Launch) -> dict[str, str]:
    """Return the keys of others' hooks that change when ours go: old -> new, safe to rename in this order."""
    try:
        text = hooks_file.read_text(encoding="utf-8")
        own = set(own_hooks(text, spec, launch))
    except (OSError, ValueError, InstallError):
        return {}
    spellings = dict.fromkeys((str(hooks_file), os.path.realpath(hooks_file)))
    moved: dict[str, str] = {}
    for event in dict.fromkeys(event for event, _, _ in own):
        groups = jsonedit.get(text, (*(spec.hooks.table if spec.hooks else ()), event))
        for old, new in _shifts(event, groups, own):
            moved |= {f"{path}:{snake(event)}:{old}": f"{path}:{snake(event)}:{new}" for path in spellings}
    return moved


def _shifts(event: str, groups: list[Any], own: set[tuple[str, int, int | None]]) -> Iterator[tuple[str, str]]:
    """Yield 'group:hook' before and after for each hook that stays."""
    stay = [index for index in range(len(groups)) if (event, index, None) not in own]
    for new_group, group in enumerate(stay):
        hooks = groups[group].get("hooks") if isinstance(groups[group], dict) else None
        count = len(hooks) if isinstance(hooks, list) else 0
        kept = [index for index in range(count) if (event, group, index) not in own]
        for new_hook, hook in enumerate(kept):
            if (group, hook) != (new_group, new_hook):
                yield f"{group}:{hook}", f"{new_group}:{new_hook}"


def snake(event: str) -> str:
    """Return SessionStart (or sessionStart) as session_start."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", event).lower()


def wire_trust(draft: Draft, hashes: dict[str, str]) -> None:
    """Write a trust entry for each key. Raises EditError."""
    for key, value in hashes.items():
        entry = {**(tomledit.get(draft.text, (*TRUST_TABLE, key)) or {}), "trusted_hash": value}
        if set_table(draft, (*TRUST_TABLE, key), entry):
            draft.notes.append(("trust hook", Path(key).name))


def unwire_trust(draft: Draft, keys: Collection[str], moved: dict[str, str]) -> None:
    """Take out the entries of these hooks, and recorded ones that are as we wrote them; rename moved ones.

    Raises EditError.
    """
    recorded = [key for key in map(_trust_key, list(draft.trace.tables)) if key]
    for key in reversed(list(dict.fromkeys([*sorted(keys), *recorded]))):
        path = (*TRUST_TABLE, key)
        entry = tomledit.get(draft.text, path)
        written = draft.trace.tables.get(json.dumps(path), "")
        if entry is not None and (key in keys or tomledit.get(written, path) == entry):
            drop_table(draft, path)
            draft.notes.append(("remove trust of hook", Path(key).name))
    for old, new in moved.items():
        state = tomledit.get(draft.text, TRUST_TABLE) or {}
        if old in state and new not in state:
            draft.text = tomledit.rename(draft.text, (*TRUST_TABLE, old), new)
            draft.notes.append(("move trust of hook", Path(old).name))


def _trust_key(path: str) -> str:
    *table, key = json.loads(path)
    return str(key) if tuple(table) == TRUST_TABLE else ""
