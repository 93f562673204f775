"""Reindex: build the index anew from wiki and journal alone. The caller holds the ingest lock."""

from __future__ import annotations

from collections.abc import Container

from ai_memory_mcp import pages, registry
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.ledger import Ledger
from ai_memory_mcp.resources import Resources


def rebuild(res: Resources) -> None:
    """Throw the index away and make it again: projects, pages, handoffs, sessions, observations, counts.

    Nothing else is read than files; marked complete only at the end, so that an interrupted run is begun again.
    """
    res.index.discard()
    with res.index.write() as db:
        _wikis(db, res, known=())
        Ledger(db).catch_up(res.journal)
        rows.set_meta(db, "complete", "1")


def catch_up(res: Resources) -> None:
    """Index what a crash, or a folder put there by hand, left unknown: whole wikis and ends of journal files."""
    with res.index.write() as db:
        _wikis(db, res, known={project.id for project in rows.projects(db)})
        Ledger(db).catch_up(res.journal)


def _wikis(db: Connection, res: Resources, known: Container[str]) -> None:
    """Index every project on disk but the known ones."""
    for workspace_id, project_id in res.wiki_folders():
        if project_id in known:
            continue
        wiki = res.wiki_at(workspace_id, project_id)
        text = wiki.read(registry.FRONT_PAGE).decode("utf-8", "replace")
        project = registry.from_front_page(text, project_id, workspace_id)
        rows.put_project(db, project)
        for path in wiki.paths():
            pages.index_file(db, res, project, path)
