"""What our entries look like in an agent's settings text, and how they get in, are found, and get out again.

Pure: text in, text out. A `Draft` is one settings text on its way; its `Trace` remembers what an exact
removal needs. Ours are the server key `aimemory` and the hooks whose command is the launcher and the agent.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ai_memory_mcp.agents import jsonedit, tomledit, yamledit
from ai_memory_mcp.agents.jsonedit import EditError
from ai_memory_mcp.agents.spec import SERVER_KEY, AgentSpec, EventSpec, Format
from ai_memory_mcp.errors import InstallError

Part = Literal["mcp", "hooks"]
LOCAL = "local"


@dataclass(frozen=True)
class Launch:
    """How an agent starts us: the server's absolute command and arguments, and the hook launcher's path.

    `runner`: the words before the launcher, where it is no program itself. With `url` agents are to reach the
    MCP server at that address instead of starting one; LOCAL takes that back, "" leaves it as it is.
    """

    command: str
    args: tuple[str, ...]
    emit: str
    env: dict[str, str] = field(default_factory=dict)
    runner: tuple[str, ...] = ()
    url: str = ""

    @property
    def hook(self) -> tuple[str, ...]:
        """The command of a hook, without agent and event."""
        return (*self.runner, self.emit)


class Trace(BaseModel):
    """What we put into one file. `created` containers go when empty; `empty`: what empty ones held before.

    `base` are the places of single values that the file needs besides our hooks.
    """

    model_config = ConfigDict(extra="forbid")

    created: list[tuple[str | int, ...]] = Field(default_factory=list)
    empty: dict[str, str] = Field(default_factory=dict)
    tables: dict[str, str] = Field(default_factory=dict)
    entries: dict[str, dict[str, Any]] = Field(default_factory=dict)
    base: list[tuple[str, ...]] = Field(default_factory=list)


@dataclass
class Draft:
    """A settings text being changed, the trace of our entries in it, and what was done: verb and name."""

    text: str
    trace: Trace = field(default_factory=Trace)
    notes: list[tuple[str, str]] = field(default_factory=list)


def wire(draft: Draft, spec: AgentSpec, part: Part, launch: Launch) -> None:
    """Put our entries of this part in, or bring them up to date. Raises EditError; no change is no note."""
    if part == "mcp":
        _wire_mcp(draft, spec, launch)
    else:
        _wire_hooks(draft, spec, launch)


def unwire(draft: Draft, spec: AgentSpec, part: Part, launch: Launch) -> None:
    """Take our entries of this part out. Raises EditError; none there is no note."""
    if part == "mcp":
        _unwire_mcp(draft, spec)
    else:
        _unwire_hooks(draft, spec, launch)


def is_wired(text: str, spec: AgentSpec, part: Part, launch: Launch) -> bool:
    """Tell whether any entry of ours is there, current or not. Raises EditError."""
    if part == "mcp":
        return spec.mcp is not None and value_at(text, spec.mcp.format, (*spec.mcp.table, SERVER_KEY)) is not None
    return any(own_hooks(text, spec, launch))


def emit_line(launch: Launch, spec: AgentSpec, event: str) -> str:
    """Return the hook's command as one shell line."""
    return join_words((*launch.hook, spec.name, event))


def join_words(words: Sequence[str]) -> str:
    """Return words as one line for a shell, or for Windows, where a backslash is no escape."""
    if any("\\" in word for word in words):
        return subprocess.list2cmdline(words)
    return shlex.join(words)


Spot = tuple[str, int, int | None]


def own_hooks(text: str, spec: AgentSpec, launch: Launch) -> list[Spot]:
    """Return where our hooks are: event ("" in a flat list), index of the group, index in it (None: all of it)."""
    assert spec.hooks is not None
    table = None if jsonedit.is_blank(text) else jsonedit.get(text, spec.hooks.table)
    events = {"": table} if spec.hooks.flat else table
    found: list[Spot] = []
    for event, groups in events.items() if isinstance(events, dict) else ():
        for index, group in enumerate(groups if isinstance(groups, list) else ()):
            found += [(event, index, inner) for inner in _own_in_group(group, spec, launch)]
    return found


def _own_in_group(group: Any, spec: AgentSpec, launch: Launch) -> list[int | None]:
    if not isinstance(group, dict):
        return []
    hooks = group.get("hooks")
    if not isinstance(hooks, list):
        return [None] if _own_event(group, spec, launch) else []
    own = [index for index, hook in enumerate(hooks) if _own_event(hook, spec, launch)]
    return [None] if own and len(own) == len(hooks) else list(own)


def _own_event(hook: Any, spec: AgentSpec, launch: Launch) -> str:
    """Return the event of a hook that is ours, '' of any other."""
    if not isinstance(hook, dict):
        return ""
    for name in ("command", "bash"):
        words = _words(hook.get(name), hook.get("args"))
        launcher, agent, event = words[-3:] if len(words) >= 3 else ("", "", "")
        if agent == spec.name and _file_name(launcher) == _file_name(launch.emit):
            return event
    return _own_event(hook.get("action"), spec, launch)


def _file_name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _words(command: Any, args: Any) -> list[str]:
    if isinstance(command, list):
        return [str(word) for word in command]
    if isinstance(args, list):
        return [str(word) for word in (command, *args)]
    try:
        if isinstance(command, str) and "\\" in command:
            return [word.strip('"') for word in shlex.split(command, posix=False)]
        return shlex.split(command) if isinstance(command, str) else []
    except ValueError:
        return []


# MCP server


def _wire_mcp(draft: Draft, spec: AgentSpec, launch: Launch) -> None:
    assert spec.mcp is not None
    require_readable(draft, spec.mcp.format)
    path = (*spec.mcp.table, SERVER_KEY)
    existing = value_at(draft.text, spec.mcp.format, path)
    if existing is not None and not isinstance(existing, dict):
        raise EditError(f"{'.'.join(path)} holds something else than a server; rename or delete it")
    entry = _server_entry(spec, launch, existing)
    if existing is not None and bool(server_url(spec, existing)) != bool(server_url(spec, entry)):
        forms = {*spec.mcp.entry, *(spec.mcp.http or {})}  # an entry of both forms would be neither
        existing = {key: value for key, value in existing.items() if key not in forms}
        merged = {**existing, **entry}
    else:
        merged = entry if existing is None else _merged(existing, entry, draft.trace.entries.get(spec.name, {}))
    draft.trace.entries[spec.name] = entry
    if merged == existing:
        return
    if spec.mcp.format == "toml":
        _set_table(draft, path, merged, existing is None)
    elif spec.mcp.format == "yaml":
        _set_entry(draft, path, merged, existing is None)
    elif existing is None:
        insert(draft, path, merged)
    else:
        draft.text = jsonedit.replace(draft.text, path, merged)
    draft.notes.append((f"{'add' if existing is None else 'update'} MCP server", SERVER_KEY))


def _server_entry(spec: AgentSpec, launch: Launch, existing: dict[str, Any] | None) -> dict[str, Any]:
    assert spec.mcp is not None
    url = "" if launch.url == LOCAL else launch.url or server_url(spec, existing)
    template = spec.mcp.http if url else spec.mcp.entry
    if template is None:
        raise InstallError(f"{spec.title} can only start MCP servers itself; it cannot be given the address of one")
    values = {"command": launch.command, "args": launch.args, "env": launch.env, "url": url}
    entry: dict[str, Any] = fill(template, values)
    return entry


def server_url(spec: AgentSpec, entry: dict[str, Any] | None) -> str:
    """Return the address at which this entry reaches our server, '' for one that starts it."""
    template = (spec.mcp.http if spec.mcp else None) or {}
    told = (entry.get(name) for name, value in template.items() if value == "{url}") if entry else ()
    return next((url for url in told if isinstance(url, str)), "")


def _unwire_mcp(draft: Draft, spec: AgentSpec) -> None:
    assert spec.mcp is not None
    path = (*spec.mcp.table, SERVER_KEY)
    if value_at(draft.text, spec.mcp.format, path) is None:
        return
    if spec.mcp.format == "toml":
        drop_table(draft, path)
    elif spec.mcp.format == "yaml":
        _drop_entry(draft, path)
    else:
        remove(draft, path)
    draft.notes.append(("remove MCP server", SERVER_KEY))


def fill(template: Any, values: dict[str, Any]) -> Any:
    """Fill a template: "{name}" becomes the value; a tuple is spliced into a list, empty ones left out."""
    if isinstance(template, dict):
        filled = {key: fill(item, values) for key, item in template.items()}
        return {key: item for key, item in filled.items() if item is not None and item != {}}
    if isinstance(template, list):
        parts = [fill(item, values) for item in template]
        return [word for part in parts for word in (part if isinstance(part, tuple) else (part,))]
    if isinstance(template, str) and template[:1] == "{" and template[-1:] == "}":
        return values[template[1:-1]]
    return template


def _merged(existing: dict[str, Any], ours: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Ours over what is there: what the user added stays, what we once wrote and no longer want goes."""
    gone = {key for key, value in before.items() if key not in ours and existing.get(key) == value}
    merged = {key: value for key, value in existing.items() if key not in gone}
    for key, value in ours.items():
        old = existing.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merged(old, value, before.get(key, {})) if both and old is not None else value
    return merged


def require_readable(draft: Draft, form: Format) -> None:
    """Refuse JSON that the agent itself would not read; TOML and YAML are read by each edit. Raises EditError."""
    if form in ("toml", "yaml"):
        return
    if not jsonedit.is_blank(draft.text):
        jsonedit.scan(draft.text)
    if form == "json":
        jsonedit.require_strict(draft.text)
    elif form == "jsonc":
        jsonedit.require_jsonc(draft.text)


def value_at(text: str, form: Format, path: tuple[str, ...]) -> Any:
    """Return what a settings text of this format says at the path, None for nothing. Raises EditError."""
    if form == "toml":
        return tomledit.get(text, path)
    if form == "yaml":
        return yamledit.get(text, path)
    return None if jsonedit.is_blank(text) else jsonedit.get(text, path)


# Hooks


def wanted_groups(spec: AgentSpec, launch: Launch) -> dict[str, dict[str, Any]]:
    """Return the group to install for each event."""
    events = {name: event for name, event in spec.events.items() if event.install}
    return {name: _group(spec, launch, name, event) for name, event in events.items()}


def _group(spec: AgentSpec, launch: Launch, name: str, event: EventSpec) -> dict[str, Any]:
    assert spec.hooks is not None
    values = {
        "emit": launch.hook[0],
        "emit_args": (*launch.hook[1:], spec.name, name),
        "emit_line": emit_line(launch, spec, name),
        "event": name,
        "label": f"{SERVER_KEY}-{name}",
        "timeout": event.timeout * (1000 if spec.hooks.timeout_unit == "ms" else 1),
        "matcher": event.matcher,
        "background": event.background or None,
    }
    group: dict[str, Any] = fill(event.group or spec.hooks.group, values)
    return group


def _wire_hooks(draft: Draft, spec: AgentSpec, launch: Launch) -> None:
    assert spec.hooks is not None
    require_readable(draft, spec.hooks.format)
    wanted = wanted_groups(spec, launch)
    own = [(spot, _event_at(draft.text, spec, spot, launch)) for spot in own_hooks(draft.text, spec, launch)]
    kept = {event: spot for spot, event in reversed(own) if event in wanted}
    for spot, event in reversed(own):
        if kept.get(event) == spot:
            _update_hook(draft, spec, spot, wanted[event])
        else:
            remove(draft, _hook_path(spec, spot))
            draft.notes.append(("remove hook", event))
    for event in wanted:
        if event not in kept:
            path = _list_path(spec, event)
            groups = None if jsonedit.is_blank(draft.text) else jsonedit.get(draft.text, path)
            index = len(groups) if isinstance(groups, list) else 0
            insert(draft, (*path, index), wanted[event])
            draft.notes.append(("add hook", event))
    _wire_base(draft, spec.hooks.base)


def _wire_base(draft: Draft, base: dict[str, Any], above: tuple[str, ...] = ()) -> None:
    """Put single values in that the file must have besides; one that is there already stays as it is."""
    for key, value in base.items():
        path = (*above, key)
        if isinstance(value, dict):
            _wire_base(draft, value, path)
        elif jsonedit.get(draft.text, path) is None:
            insert(draft, path, value)
            draft.trace.base.append(path)


def _event_at(text: str, spec: AgentSpec, spot: Spot, launch: Launch) -> str:
    """Return the event of the hook of ours at this place."""
    hook = jsonedit.get(text, _hook_path(spec, spot))
    inner = hook.get("hooks")
    return spot[0] or _own_event(inner[0] if isinstance(inner, list) else hook, spec, launch)


def _update_hook(draft: Draft, spec: AgentSpec, spot: Spot, group: dict[str, Any]) -> None:
    assert spec.hooks is not None
    path = _hook_path(spec, spot)
    existing = jsonedit.get(draft.text, path)
    ours = group if spot[2] is None else group["hooks"][0]
    owned = {key: value for key, value in existing.items() if key in spec.hooks.group}
    merged = _merged(existing, ours, owned)
    if merged != existing:
        draft.text = jsonedit.replace(draft.text, path, merged)
        draft.notes.append(("update hook", spot[0]))


def _unwire_hooks(draft: Draft, spec: AgentSpec, launch: Launch) -> None:
    assert spec.hooks is not None
    for spot in reversed(own_hooks(draft.text, spec, launch)):
        event = _event_at(draft.text, spec, spot, launch)
        remove(draft, _hook_path(spec, spot))
        draft.notes.append(("remove hook", event))
    left = None if jsonedit.is_blank(draft.text) else jsonedit.get(draft.text, spec.hooks.table)
    if not left or all((*spec.hooks.table, key) in draft.trace.base for key in left):
        for path in reversed(draft.trace.base):
            if not jsonedit.is_blank(draft.text) and jsonedit.get(draft.text, path) is not None:
                remove(draft, path)
        draft.trace.base = []


def _list_path(spec: AgentSpec, event: str) -> tuple[str, ...]:
    assert spec.hooks is not None
    return spec.hooks.table if spec.hooks.flat else (*spec.hooks.table, event)


def _hook_path(spec: AgentSpec, spot: Spot) -> tuple[str | int, ...]:
    event, group, inner = spot
    return (*_list_path(spec, event), group, *(() if inner is None else ("hooks", inner)))


# Text surgery that keeps the trace


def insert(draft: Draft, path: tuple[str | int, ...], value: Any) -> None:
    """Add a value to a JSON text, so that `remove` can undo it. Raises EditError."""
    if jsonedit.is_blank(draft.text):
        draft.text = jsonedit.add_root(draft.text)
        draft.trace.created.append(())
    data = jsonedit.get(draft.text, ())
    for depth in range(len(path)):
        inner = jsonedit.inside(draft.text, path[:depth])
        if inner is None:
            draft.trace.created.append(path[:depth])
        elif not inner.strip() and path[:depth] not in draft.trace.created:
            draft.trace.empty[json.dumps(path[:depth])] = inner
    after = jsonedit.insert(draft.text, path, value)
    _check(after, _with(data, path, value), path)
    draft.text = after


def remove(draft: Draft, path: tuple[str | int, ...]) -> None:
    """Take a value out of a JSON text, and the containers that `insert` made for it. Raises EditError."""
    while True:
        above = path[:-1]
        data = jsonedit.get(draft.text, ())
        after = jsonedit.remove(draft.text, path, draft.trace.empty.get(json.dumps(above), ""))
        _check(after, _without(data, path), path)
        draft.text = after
        if above not in draft.trace.created or (jsonedit.inside(after, above) or "").strip():
            return
        if not above:
            draft.text = jsonedit.drop_root(after)
            return
        path = above


def _with(data: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """The data with a value added at the path: new containers along it, the rest shared."""
    if not path:
        return value
    key = path[0]
    if isinstance(key, int):
        items = list(data or ())
        items[key : key + 1] = [_with(items[key] if key < len(items) else None, path[1:], value)]
        return items
    return {**(data or {}), key: _with((data or {}).get(key), path[1:], value)}


def _without(data: Any, path: tuple[str | int, ...]) -> Any:
    """The data without the value at the path."""
    key = path[0]
    if len(path) > 1:
        return _with(data, (key,), _without(data[key], path[1:]))
    if isinstance(key, int):
        return [*data[:key], *data[key + 1 :]]
    return {name: item for name, item in data.items() if name != key}


def _check(text: str, expected: Any, path: tuple[str | int, ...]) -> None:
    if jsonedit.scan(text).value != expected:
        raise EditError(f"{'.'.join(map(str, path))} cannot be changed safely; change it by hand")


def _set_entry(draft: Draft, path: tuple[str, ...], value: dict[str, Any], new: bool) -> None:
    """Put an entry into a YAML text, so that `_drop_entry` can undo it, or write it anew."""
    if not new:
        draft.text = yamledit.replace(draft.text, path, value)
        return
    for above in (path[:depth] for depth in range(len(path))):
        inner = yamledit.inside(draft.text, above)
        if inner is None:
            draft.trace.created.append(above)
        elif not yamledit.get(draft.text, above) and above not in draft.trace.created:
            draft.trace.empty[json.dumps(above)] = inner
    draft.text = yamledit.insert(draft.text, path, value)


def _drop_entry(draft: Draft, path: tuple[str, ...]) -> None:
    """Take an entry out of a YAML text, and the mappings that `_set_entry` made for it, where they are empty again."""
    above = path[:-1]
    draft.text = yamledit.remove(draft.text, path, draft.trace.empty.get(json.dumps(above), " {}"))
    if above in draft.trace.created and not yamledit.get(draft.text, above):
        _drop_entry(draft, above)


def _set_table(draft: Draft, path: tuple[str, ...], table: dict[str, Any], new: bool) -> None:
    if not new:
        draft.text = tomledit.replace(draft.text, path, table)
        return
    after = tomledit.append(draft.text, path, table)
    draft.trace.tables[json.dumps(path)] = after[len(draft.text) :]
    draft.text = after


def set_table(draft: Draft, path: tuple[str, ...], table: dict[str, Any]) -> bool:
    """Put a TOML table in or bring it up to date; tell whether the text changed. Raises EditError."""
    existing = tomledit.get(draft.text, path)
    if existing == table:
        return False
    _set_table(draft, path, table, existing is None)
    return True


def drop_table(draft: Draft, path: tuple[str, ...]) -> None:
    """Take a TOML table out. Raises EditError."""
    draft.text = tomledit.remove(draft.text, path, draft.trace.tables.pop(json.dumps(path), ""))
