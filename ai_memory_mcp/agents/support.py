"""The support matrix: what each agent offers us and how well its contract is known, as its description says.

The README's table is this one; a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ai_memory_mcp.agents.spec import SYSTEMS, AgentSpec, Places
from ai_memory_mcp.model import EventKind

HEADER = ("agent", "MCP", "hooks", "brief at start", "session end", "before compaction", "known from", "notes")
EVIDENCE = {"run": "running it", "package": "its package", "docs": "its documents"}


@dataclass(frozen=True)
class Support:
    """One agent. Places are as in its description, of the first system that it has one on; "" where there is none.

    `hooks`: commands in its settings, or a plugin of ours in its own process. `brief`: it is told at session start
    what has been. `session_end`, `pre_compact`: it says when these happen. `evidence`: how its contract is known,
    `seen`: of which version.
    """

    name: str
    title: str
    mcp_place: str
    hooks_by: Literal["settings", "plugin", "none"]
    hooks_place: str
    brief: bool
    session_end: bool
    pre_compact: bool
    evidence: str
    seen: str
    note: str


def support(spec: AgentSpec) -> Support:
    """Return the row of one agent."""
    hooks_by: Literal["settings", "plugin", "none"] = "none"
    hooks_place = ""
    if spec.plugin is not None:
        hooks_by, hooks_place = "plugin", _place(spec.plugin.files[0].user, spec.plugin.files[0].project)
    elif spec.hooks is not None:
        hooks_by, hooks_place = "settings", _place(spec.hooks.user, spec.hooks.project)
    return Support(
        name=spec.name,
        title=spec.title,
        mcp_place=_place(spec.mcp.user, spec.mcp.project) if spec.mcp else "",
        hooks_by=hooks_by,
        hooks_place=hooks_place,
        brief=spec.brief is not None,
        session_end=_tells(spec, "session-end"),
        pre_compact=_tells(spec, "pre-compact"),
        evidence=spec.evidence,
        seen=spec.seen,
        note=spec.note,
    )


def known_from(evidence: str, seen: str) -> str:
    """Say how a contract is known."""
    return f"{EVIDENCE[evidence]}{f' ({seen})' if seen else ''}"


def _place(user: Places, project: Places) -> str:
    found = (where[system][0] for where in (user, project) for system in SYSTEMS if where.get(system))
    return next(found, "")


def _tells(spec: AgentSpec, kind: EventKind) -> bool:
    """Whether the agent says so: a plugin hears every event of the description, commands those that are installed."""
    return any(event.kind == kind and (event.install or spec.plugin is not None) for event in spec.events.values())


def markdown(rows: Iterable[Support]) -> str:
    """Return the matrix as a Markdown table, ended by a line break."""
    lines = [HEADER, ("---",) * len(HEADER), *map(_cells, rows)]
    return "".join(f"|{''.join(f' {cell} |' if cell else ' |' for cell in cells)}\n" for cells in lines)


def _cells(row: Support) -> tuple[str, ...]:
    hooks = {"settings": f"`{row.hooks_place}`", "plugin": f"plugin `{row.hooks_place}`", "none": "none"}
    marks = ("yes" if has else "no" for has in (row.brief, row.session_end, row.pre_compact))
    return (
        f"{row.title} (`{row.name}`)",
        f"`{row.mcp_place}`" if row.mcp_place else "none",
        hooks[row.hooks_by],
        *marks,
        known_from(row.evidence, row.seen),
        row.note.replace("|", "\\|"),
    )
