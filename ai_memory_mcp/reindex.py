"""Reindex: build the index anew from wiki and journal alone. The caller holds the ingest lock."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import suppress

from ai_memory_mcp import history, pages, registry
from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.index import rows, vectors
from ai_memory_mcp.ledger import Ledger
from ai_memory_mcp.model import Project
from ai_memory_mcp.resources import Resources


def rebuild(res: Resources) -> None:
    """Throw the index away and make it again: projects, pages, history, handoffs, sessions, observations, counts.

    Nothing else is read than files; marked complete only at the end, so that an interrupted run is begun again.
    """
    res.index.discard()
    with res.index.write() as db:
        for project in _on_disk(res, known=()):
            rows.put_project(db, project)
            stamps = res.wiki(project).scan({}).added
            for path in sorted(stamps, key=lambda path: (stamps[path], path)):  # search takes later rows for newer ones
                pages.index_file(db, res, project, path)
            with suppress(StorageError):  # a damaged repository takes its history with it, not the pages
                history.rebuild(db, res, project)
        Ledger(db).catch_up(res.journal)
        if res.config.embedding.provider and vectors.path_in(res.home).exists():
            from ai_memory_mcp import embed  # not at the top: few need it

            with suppress(StorageError):  # a damaged file of vectors takes itself with it, not the index
                embed.restore(db, res)
        rows.set_meta(db, "complete", "1")


def catch_up(res: Resources) -> None:
    """Index what a crash, or a folder put there by hand, left unknown: projects and ends of journal files.

    The pages of such a project are then noticed like edits by hand, which also commits them.
    """
    with res.index.write() as db:
        for project in _on_disk(res, known={project.id for project in rows.projects(db)}):
            rows.put_project(db, project)
        Ledger(db).catch_up(res.journal)


def _on_disk(res: Resources, known: Container[str]) -> Iterator[Project]:
    """Yield every project that has a front page, but the known ones."""
    for workspace_id, project_id in res.wiki_folders(known):
        yield registry.on_disk(res.wiki_at(workspace_id, project_id).folder)
