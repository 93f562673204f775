"""Bootstrap, joined: the repository lies on this machine, its memory perhaps on a server, so the pages are made here
and go in as an import.

Capture rules hold as in the hooks: where capture is off nothing is read, and ignored paths are not there. A folder with
settings of its own (`.ai-memory.toml`) is left to a bootstrap there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from functools import cache, partial
from pathlib import Path

from ai_memory_mcp import bootstrap, bootstrap_excerpts, hooksettings, making
from ai_memory_mcp.config import environment, home_folder, user_home
from ai_memory_mcp.errors import AiMemoryError, InputError, NotFoundError
from ai_memory_mcp.memory import Memory, Progress
from ai_memory_mcp.model import Enriched, Excerpt, ImportReport, Resolved, Scope
from ai_memory_mcp.place import MARKER, find_root
from ai_memory_mcp.repolog import opened


def bootstrap_project(
    memory: Memory,
    scope: Scope,
    *,
    since: datetime | None = None,
    dry_run: bool = False,
    llm: bool = False,
    progress: Progress = lambda *_: None,
) -> ImportReport:
    """Make pages of what the repository in the scope's folder says, of its history what came after `since`; with `llm`
    have the language model make more of it. Where that fails, the pages by rule are there and the report says why.

    Raises InputError where there is no project, where capture is off, and when git cannot be asked.
    """
    env = environment()
    home = home_folder(env)
    root, marker = find_root(scope.cwd, user_home(env))
    if not root or not os.path.isdir(root):
        raise InputError(f"{scope.cwd or 'this'} is no project; run this in one, or name its folder")
    part = os.path.dirname(marker)  # a part of a repository may be a project of its own
    here = part if part.startswith(root + os.sep) else root
    excluded = _excluded(os.fspath(home), env, here, marker)
    repo = opened(Path(here), env, excluded, git=os.path.exists(os.path.join(root, ".git")))
    resolved = memory.resolve(scope)
    project = resolved.project
    name = project.name if project else os.path.basename(here)
    shared = project.id if project and resolved.by == "remote" else ""
    after = since.isoformat() if since else ""
    overview, *others = bootstrap.pages(repo, name, since=after, progress=progress)
    files = {page.path: page.text(shared) for page in (overview, *others)}
    bring_in = partial(making.bring_in, memory, scope, home=home, of=f"bootstrap {here}", name=name, progress=progress)
    kept = _kept(memory, scope, resolved)
    refused: set[str] = set()
    if kept and not files.keys() <= {overview.path, *kept}:  # some are new, or were taken out of memory
        refused = bring_in(files, dry_run=True).skipped.keys() - kept.keys()
    overview = bootstrap.with_contents(overview, [page for page in others if page.path not in refused], kept)
    report = bring_in({**files, overview.path: overview.text(shared)}, dry_run=dry_run)
    enriched = (
        _enriched(memory, scope, bootstrap_excerpts.excerpts(repo, [overview, *others], after), dry_run, progress)
        if llm
        else None
    )
    return report.model_copy(update={"folder": here, "enriched": enriched})


def _enriched(
    memory: Memory, scope: Scope, excerpts: tuple[Excerpt, ...], dry_run: bool, progress: Progress
) -> Enriched:
    progress("asking", 0, 1)
    try:
        return memory.enrich(scope, excerpts, dry_run=dry_run)
    except AiMemoryError as error:
        return Enriched(state="failed", note=str(error))


def _kept(memory: Memory, scope: Scope, resolved: Resolved) -> dict[str, str]:
    """Return the pages that the overview of an earlier run leads to and that are there still, path -> its line: a run
    that reads less of the history does not make them all, and does not remove any."""
    try:
        found = memory.read(scope, bootstrap.OVERVIEW, links=True) if resolved.project else None
    except NotFoundError:
        found = None
    if not found or not found.page or found.page.path != bootstrap.OVERVIEW:
        return {}
    there = {link.path for link in found.links}
    return {path: line for path, line in bootstrap.contents(found.page.body).items() if path in there}


def _excluded(home: str, env: dict[str, str], root: str, marker: str) -> Callable[[str], bool]:
    """Return what tells whether a file below `root` is to be left alone: one that capture rules ignore, or that lies
    in a folder with settings of its own. Raises InputError where nothing at all is captured."""
    settings = [hooksettings.user_settings(home, env)]
    if marker:
        settings.append(hooksettings.settings_from(home, marker))
    for one in settings:
        if reason := hooksettings.refused(one, "session-start"):
            raise InputError(f"nothing of {root} is read: {reason} there, see [capture] in {marker or 'config.toml'}")

    @cache
    def apart(folder: str) -> bool:
        return bool(folder) and (os.path.exists(f"{root}/{folder}/{MARKER}") or apart(folder.rpartition("/")[0]))

    return lambda name: apart(name.rpartition("/")[0]) or any(hooksettings.ignores(one, root, name) for one in settings)
