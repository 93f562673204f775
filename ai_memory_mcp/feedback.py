"""Feedback: what readers made of pages and observations. The journal keeps it, so that a rebuilt index knows it too."""

from __future__ import annotations

import json
from typing import NamedTuple

from ai_memory_mcp.index import rows
from ai_memory_mcp.index.db import Connection
from ai_memory_mcp.ledger import Ledger
from ai_memory_mcp.model import Feedback, Project
from ai_memory_mcp.resources import Resources

FILE = "feedback"
MAX_NOTE = 500  # characters


class Target(NamedTuple):
    """What a verdict is about: a page, an observation, or a session that has no page."""

    id: str
    path: str
    title: str


def find(db: Connection, project: Project, ref: str) -> Target | None:
    """Return what `ref` names in a project: a page as `read` takes it, an observation by its id."""
    for _, path in rows.find_pages(db, ref, project.id):
        page = rows.page_record(db, project.id, path)
        if page:
            return Target(page.id, path, page.title)
    title = rows.observation_title(db, project.id, ref)
    if title is not None:
        return Target(ref, "", title)
    for row in rows.find_sessions(db, ref, project.id):
        return Target(row.id, row.page or "", row.title)
    return None


def keep(res: Resources, project: Project, told: Feedback) -> None:
    """Write a verdict to the journal and have the index follow. Raises StorageError.

    This file is not written by ingest, so the index's lock will do: nobody waits for a long ingest.
    """
    record = {"type": "feedback", "project": project.id, **told.model_dump(mode="json", exclude_defaults=True)}
    name = res.journal.name_of(project.id, FILE)
    with res.index.write() as db:
        res.journal.append(name, [json.dumps(record, ensure_ascii=False)])
        Ledger(db).catch_up_file(res.journal, name)
