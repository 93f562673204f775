"""Reindex: build the index anew from wiki and journal alone. The caller holds the ingest lock."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

from ai_memory_mcp import history, pages, registry
from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.index import rows, vectors
from ai_memory_mcp.ledger import Ledger
from ai_memory_mcp.model import Project
from ai_memory_mcp.resources import Resources


def rebuild(res: Resources) -> None:
    """Make the index again: projects, pages, history, handoffs, sessions, observations, counts.

    It is built beside the one that there is, which answers until the new one is complete and takes its place. Nothing
    else is read than files. A run that was interrupted leaves the old index, and is begun again.
    """
    fresh = replace(res, index=res.index.beside())
    fresh.index.discard()
    with fresh.index.write() as db:
        for project in _on_disk(res, known=()):
            rows.put_project(db, project)
            stamps = res.wiki(project).scan({}).added
            edited = _uncommitted(res, project, stamps)
            for path in sorted(stamps, key=lambda path: (stamps[path], path)):  # search takes later rows for newer ones
                pages.index_file(db, res, project, path, kept=path not in edited)
            with suppress(StorageError):  # a damaged repository takes its history with it, not the pages
                history.rebuild(db, res, project)
        Ledger(db, res.tombstones).catch_up(res.journal)
        if res.config.embedding.provider and vectors.path_in(res.home).exists():
            from ai_memory_mcp import embed  # not at the top: few need it

            with suppress(StorageError):  # a damaged file of vectors takes itself with it, not the index
                embed.restore(db, res)
        rows.set_meta(db, "complete", "1")
    res.index.become(fresh.index, lambda: _catch_up_pages(fresh))


def _catch_up_pages(fresh: Resources) -> None:
    """Take in what was written while the index was built. The caller keeps writers of the old one out."""
    catch_up(fresh)
    with fresh.index.read() as db:
        projects = rows.projects(db)
    for project in projects:
        with fresh.index.read() as db:
            known = rows.page_stamps(db, project.id)
        seen = fresh.wiki(project).scan(known)
        changed = [path for path, one in seen.changed.items() if not pages.is_indexed(known[path], one)]
        edited = _uncommitted(fresh, project, [*changed, *seen.added])
        with fresh.index.write() as db:
            for path in (*changed, *seen.added, *seen.vanished):
                pages.index_file(db, fresh, project, path, kept=path not in edited)
        history.catch_up(fresh, project)


def _uncommitted(res: Resources, project: Project, paths: Iterable[str]) -> Container[str]:
    """Return which pages were edited by hand and never committed: in the new index nothing else would tell."""
    try:
        return res.wiki(project).uncommitted(paths)
    except StorageError:  # a damaged repository
        return ()


def catch_up(res: Resources) -> None:
    """Index what a crash, or a folder put there by hand, left unknown: projects and ends of journal files.

    The pages of such a project are then noticed like edits by hand, which also commits them.
    """
    with res.index.write() as db:
        for project in _on_disk(res, known={project.id for project in rows.projects(db)}):
            rows.put_project(db, project)
        Ledger(db, res.tombstones).catch_up(res.journal)


def _on_disk(res: Resources, known: Container[str]) -> Iterator[Project]:
    """Yield every project that has a front page, but the known ones."""
    for workspace_id, project_id in res.wiki_folders(known):
        yield registry.on_disk(res.wiki_at(workspace_id, project_id).folder)
