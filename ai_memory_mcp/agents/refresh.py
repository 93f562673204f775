"""Bring up to date what is wired already: after an upgrade, when the form of our entries has changed.

Never adds a part: an agent that its user has unwired, or of which only the MCP server is wired, stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ai_memory_mcp.agents import install
from ai_memory_mcp.agents.changes import Installed, Plan, load_installed
from ai_memory_mcp.agents.pieces import PARTS, Target, pieces
from ai_memory_mcp.agents.spec import AgentSpec
from ai_memory_mcp.agents.wiring import Launch, Part


def refresh_plan(
    specs: Sequence[AgentSpec], target: Target, launch: Launch, memory_home: Path
) -> tuple[list[AgentSpec], Plan]:
    """Return the agents that are wired and what bringing them up to date would change; nothing is written.

    With the user's settings as the target, the projects on record are looked at too.
    """
    installed = load_installed(memory_home)
    targets = [target] if target.project else [target, *_projects(specs, target, launch, installed)]
    found: dict[str, AgentSpec] = {}
    whole = Plan()
    for one in targets:
        by_parts: dict[tuple[Part, ...], list[AgentSpec]] = {}
        for spec in specs:
            parts = _wired_parts(spec, one, launch, installed)
            if parts:
                by_parts.setdefault(parts, []).append(spec)
                found[spec.name] = spec
        for parts, agents in by_parts.items():
            plan = install.plan(agents, one, launch, memory_home, parts)
            whole.changes += plan.changes
            whole.already += plan.already
            whole.errors += plan.errors
    return list(found.values()), whole


def _wired_parts(spec: AgentSpec, target: Target, launch: Launch, installed: Installed) -> tuple[Part, ...]:
    """The parts that are wired there; of a file that cannot be read the record tells."""
    state = install.wired(spec, target, launch)
    states = {"mcp": state.mcp, "hooks": state.hooks}
    on_record = {_part(what) for record in installed.files.values() for name, what in record.wired if name == spec.name}
    return tuple(
        part
        for part in PARTS
        if states[part] in ("wired", "outdated") or (states[part] == "broken" and part in on_record)
    )


def _part(recorded: str) -> str:
    """The part that a piece on record belongs to."""
    return recorded if recorded in ("mcp", "trust") else "hooks"


def _projects(specs: Sequence[AgentSpec], target: Target, launch: Launch, installed: Installed) -> Iterator[Target]:
    """The projects whose own settings are on record."""
    roots = set()
    for spec in specs:
        usual = _places(spec, target, launch)
        for path, record in installed.files.items():
            if path in usual or not any(name == spec.name and what != "trust" for name, what in record.wired):
                continue
            above = (folder for folder in Path(path).parents if path in _places(spec, _inside(target, folder), launch))
            roots.update(list(above)[:1])
    for root in sorted(roots):
        yield _inside(target, root)


def _inside(target: Target, project: Path) -> Target:
    return replace(target, project=project)


def _places(spec: AgentSpec, target: Target, launch: Launch) -> set[str]:
    return {os.path.realpath(piece.path) for piece in pieces(spec, target, launch)}
