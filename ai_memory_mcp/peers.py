"""Imports of what other memories have kept: each is read into pages by a module of its own (`peers_…`), redacted
before anything is written, and goes in as files that a program has made: what was edited here since stays.

Nothing of a source is changed, and a source that cannot be read as a whole brings in nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ai_memory_mcp import making, markdown, peers_basic_memory, peers_claude_mem, peers_server_memory
from ai_memory_mcp.config import environment, home_folder, load_config
from ai_memory_mcp.errors import InputError
from ai_memory_mcp.importing import GENERATED
from ai_memory_mcp.memory import Memory, Progress
from ai_memory_mcp.model import ImportReport, Project, Scope, Value
from ai_memory_mcp.peers_pages import Made
from ai_memory_mcp.redact import Redactor

EVERY = 100_000  # sessions of one project
MOST = 512 * 2**20  # characters; what a server takes at once


class PeerReport(Value):
    """What an import of several projects did, or would do, for each; `left_out`: project there -> why. Of `captured`
    sessions memory has its own page: what was made of them comes as notes."""

    imports: tuple[ImportReport, ...]
    left_out: dict[str, str]
    captured: int = 0


class _Home(NamedTuple):
    folder: Path
    redactor: Redactor


def basic_memory(
    memory: Memory, scope: Scope, folder: Path, *, dry_run: bool = False, progress: Progress = lambda *_: None
) -> ImportReport:
    """Bring the notes of a basic-memory folder in as pages. Raises InputError for a folder that is none."""
    home = _home()
    made, skipped = peers_basic_memory.pages(folder, home.folder, home.redactor, progress)
    report = _bring(memory, scope, made, home, "basic-memory", folder, dry_run=dry_run, progress=progress)
    return report.model_copy(update={"skipped": dict(sorted({**report.skipped, **skipped}.items()))})


def server_memory(
    memory: Memory, scope: Scope, file: Path, *, dry_run: bool = False, progress: Progress = lambda *_: None
) -> ImportReport:
    """Bring the entities of a file of the MCP server server-memory in as pages. Raises InputError for another file."""
    home = _home()
    made = peers_server_memory.pages(file, home.redactor)
    return _bring(memory, scope, made, home, "server-memory", file, dry_run=dry_run, progress=progress)


def claude_mem(
    memory: Memory,
    scope: Scope,
    file: Path,
    *,
    named: Sequence[str] = (),
    everywhere: bool = False,
    dry_run: bool = False,
    progress: Progress = lambda *_: None,
) -> PeerReport:
    """Bring the sessions of a claude-mem database in as pages: those of the project of the scope's name, of the
    projects `named` there, or `everywhere` of each into the project of the same name that memory knows. A session that
    memory has captured itself comes as a note, without what was asked.

    Raises InputError for another file, and where nothing in it is of the project; StorageError for one that is locked
    or damaged.
    """
    home = _home()
    there = peers_claude_mem.projects(file)
    if everywhere:
        wanted, left_out = _by_name(there, memory.projects())
    else:
        wanted, left_out = {scope: _chosen(there, named, memory, scope)}, {}
    made = peers_claude_mem.pages(
        file, list(wanted.values()), [_captured(memory, target) for target in wanted], home.redactor
    )
    reports = (
        _bring(memory, target, found.pages, home, "claude-mem", file, dry_run=dry_run, progress=progress)
        for target, found in zip(wanted, made, strict=True)
    )
    return PeerReport(imports=tuple(reports), left_out=left_out, captured=sum(found.captured for found in made))


def _captured(memory: Memory, scope: Scope) -> dict[str, datetime]:
    """Return the sessions that memory has of a project: their agents' ids, and when they began."""
    found = memory.sessions(scope, limit=EVERY) if memory.resolve(scope).project else ()
    return {session.native_id: session.started for session in found if session.native_id}


def _chosen(there: Mapping[str, int], named: Sequence[str], memory: Memory, scope: Scope) -> list[str]:
    """Return the projects there that are meant. Raises InputError where there are none."""
    listed = ", ".join(f"{name} ({count:,})" for name, count in there.items()) or "none"
    if unknown := [name for name in named if name not in there]:
        raise InputError(f"there is no project {unknown[0]!r} in it; its projects, with how much they have: {listed}")
    if named:
        return list(named)
    resolved = memory.resolve(scope)
    project = resolved.project
    told = {resolved.root, *(project.roots if project else ())}
    names = {Path(root).name.casefold() for root in told if root} | ({project.name.casefold()} if project else set())
    found = [name for name in there if _plain(name) in names]
    if not found:
        here = project.name if project else "this folder"
        raise InputError(f"nothing in it is of {here}; say --from NAME, or --all. Its projects: {listed}")
    return found


def _by_name(there: Iterable[str], known: Sequence[Project]) -> tuple[dict[Scope, list[str]], dict[str, str]]:
    """Return which projects there go where, and why others go nowhere."""
    wanted: dict[Scope, list[str]] = {}
    left_out = {}
    for name in there:
        same = [project for project in known if project.name.casefold() == _plain(name)]
        if len(same) == 1:
            wanted.setdefault(Scope(project=same[0].id), []).append(name)
        else:
            why = "several projects are called so" if same else "no project is called so"
            left_out[name] = f"{why}; bring it in with --project and --from"
    return wanted, left_out


def _plain(name: str) -> str:
    """A work tree is called `repository/tree` there."""
    return name.partition("/")[0].casefold()


def _bring(
    memory: Memory,
    scope: Scope,
    pages: Iterable[Made],
    home: _Home,
    peer: str,
    source: Path,
    *,
    dry_run: bool,
    progress: Progress,
) -> ImportReport:
    files: dict[str, str] = {}
    times: dict[str, float] = {}
    secret: set[str] = set()
    size = 0
    for page in pages:
        files[page.path] = (
            page.text if page.head is None else markdown.set_keys(page.text, {**page.head, GENERATED: peer})
        )
        size += len(page.text)
        if size > MOST:
            raise InputError(f"{source} says more than {MOST // 2**20} million characters; nothing was brought in")
        if page.at:
            times[page.path] = page.at
        if page.redacted:
            secret.add(page.path)
    report = making.bring_in(
        memory,
        scope,
        files,
        home.folder,
        of=f"{peer} {source.absolute()} {scope.project}",
        name=f"{peer} {source.name}",
        times=times,
        dry_run=dry_run,
        progress=progress,
    )
    redacted = len(secret & {*report.added, *report.updated})
    return report.model_copy(update={"folder": str(source), "redacted": max(redacted, report.redacted)})


def _home() -> _Home:
    env = environment()
    folder = home_folder(env)
    rules = load_config(folder, env).redact
    return _Home(folder, Redactor(extra=rules.patterns, allow=rules.allow))
