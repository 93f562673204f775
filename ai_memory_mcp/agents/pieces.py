"""The pieces of an agent's wiring: which files hold something of ours, and how it gets in, is found and gets out.

An agent has at most three kinds of them: its MCP server entry, hook entries in settings, and a plugin of ours, which
is files and perhaps entries in settings that name it. Nothing here writes; `install` plans with these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ai_memory_mcp.agents import plugin
from ai_memory_mcp.agents.spec import AgentSpec, Os, Places, PluginFile, this_os
from ai_memory_mcp.agents.wiring import Draft, Launch, Part, is_wired, unwire, wire

PARTS: tuple[Part, ...] = ("mcp", "hooks")


@dataclass(frozen=True)
class Target:
    """Whose settings: the user's, or with `project` those inside that folder."""

    user_home: Path
    env: Mapping[str, str] = field(default_factory=dict)
    project: Path | None = None
    os: Os = field(default_factory=this_os)


@dataclass(frozen=True)
class Piece:
    """One file with something of ours. `name` is what the record of an installation calls it."""

    part: Part
    name: str
    path: Path
    wire: Callable[[Draft], None]
    unwire: Callable[[Draft], None]
    is_wired: Callable[[str], bool]


def locate(template: str, spec: AgentSpec, target: Target) -> Path:
    """Return the place of a '~/…' or '%APPDATA%/…' path of the agent, moved where one of its variables says so.

    Of a pattern (`*`) it is the first file that is there, else the pattern itself.
    """
    folder, rest = place_of(template, spec, target)
    found = sorted(folder.glob(rest)) if "*" in rest else []
    return found[0] if found else folder / rest


def place_of(template: str, spec: AgentSpec, target: Target) -> tuple[Path, str]:
    """Return the folder that such a path begins with, and the rest of it."""
    for variable, moves in spec.home_env.items():
        for old, new in moves.items():
            if target.env.get(variable) and (template == old or template.startswith(old + "/")):
                return Path(target.env[variable]) / new, template[len(old) :].lstrip("/")
    home = target.user_home
    for name, usual in (("APPDATA", home / "AppData/Roaming"), ("LOCALAPPDATA", home / "AppData/Local")):
        if template.startswith(f"%{name}%/"):
            return Path(target.env.get(name) or usual), template.removeprefix(f"%{name}%/")
    return home, template.removeprefix("~/")


def places(where: Places, spec: AgentSpec, target: Target) -> list[Path]:
    """Return every place that is meant on this system, for the user or in the target's project."""
    told = where.get(target.os, ())
    if target.project is not None:
        return [target.project / path for path in told]
    return [locate(path, spec, target) for path in told]


def one_of(user: Places, project: Places, spec: AgentSpec, target: Target) -> Path | None:
    """Return the settings file at this level: the first that is there, else the usual one; links are not followed.

    None where the agent has none at this level.
    """
    found = places(project if target.project is not None else user, spec, target)
    usual = [path for path in found if "*" not in str(path)]
    return next((path for path in found if path.exists()), usual[0] if usual else None)


def settings_path(spec: AgentSpec, part: Part, target: Target) -> Path | None:
    """Return the settings file of this part, None where the agent has none at this level."""
    place = spec.mcp if part == "mcp" else spec.hooks
    return None if place is None else one_of(place.user, place.project, spec, target)


def pieces(spec: AgentSpec, target: Target, launch: Launch, parts: Sequence[Part] = PARTS) -> list[Piece]:
    """Return the pieces of this agent's wiring at this level; of a part that it has not, none."""
    found = []
    for part in parts:
        path = settings_path(spec, part, target)
        if path is not None:
            found.append(piece_at(spec, part, path, launch))
    if spec.plugin is not None and "hooks" in parts:
        files = [(file, one_of(file.user, file.project, spec, target)) for file in spec.plugin.files]
        found += [piece_at(spec, _file_name(file), path, launch) for file, path in files if path is not None]
        settings = settings_path(spec, "mcp", target)
        if spec.plugin.entries and files[0][1] is not None and settings is not None:
            found.append(_entries_piece(spec, settings, files[0][1].parent))
    return found


def piece_at(spec: AgentSpec, name: str, path: Path, launch: Launch) -> Piece:
    """Return the piece that is recorded under this name, in this file."""
    kind, _, rest = name.partition(" ")
    if kind == "plugin" and spec.plugin is not None:
        file = next((file for file in spec.plugin.files if _file_name(file) == name), PluginFile(text=plugin.MARK))
        return _file_piece(spec, name, path, file, launch)
    if kind == "entries":
        return _entries_piece(spec, path, Path(rest))
    part: Part = "mcp" if name == "mcp" else "hooks"
    return Piece(
        part,
        name,
        path,
        wire=lambda draft: wire(draft, spec, part, launch),
        unwire=lambda draft: unwire(draft, spec, part, launch),
        is_wired=lambda text: is_wired(text, spec, part, launch),
    )


def _file_name(file: PluginFile) -> str:
    return f"plugin {file.source or file.text}"


def _file_piece(spec: AgentSpec, name: str, path: Path, file: PluginFile, launch: Launch) -> Piece:
    return Piece(
        "hooks",
        name,
        path,
        wire=lambda draft: plugin.wire_file(draft, path, plugin.file_text(file, spec, launch)),
        unwire=lambda draft: plugin.unwire_file(draft, path),
        is_wired=plugin.is_ours,
    )


def _entries_piece(spec: AgentSpec, path: Path, folder: Path) -> Piece:
    return Piece(
        "hooks",
        f"entries {folder}",
        path,
        wire=lambda draft: plugin.wire_entries(draft, spec, folder),
        unwire=lambda draft: plugin.unwire_entries(draft, spec, folder),
        is_wired=lambda text: plugin.has_entries(text, spec, folder),
    )
