"""A small memory of three projects with short ways to fill and ask it: pages and observations without commits."""

from __future__ import annotations

from copy import copy
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ai_memory_mcp import markdown, pages, registry
from ai_memory_mcp.config import Config, SearchConfig
from ai_memory_mcp.index.rows import SessionRow
from ai_memory_mcp.ledger import Ledger
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Answer, Observation, Page, Project, Query, Scope
from ai_memory_mcp.project import named_id, workspace_id
from ai_memory_mcp.resources import Resources

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)


def project(name: str, workspace: str = "default") -> Project:
    return Project(id=named_id(workspace, name), name=name, workspace=workspace, workspace_id=workspace_id(workspace))


class Library:
    """A memory of a few projects, with short ways to fill and ask it."""

    def __init__(self, base: Path, config: Config | None = None) -> None:
        self.base = base
        self.memory = LocalMemory(Resources.at(base / "memory", user_home=str(base), config=config or Config()))
        self.memory.resolve(Scope())
        self.projects = {name: project(name) for name in ("one", "two")} | {"three": project("three", "acme")}
        for one in self.projects.values():
            registry.record(self.memory.res, one, now=NOW)
        self.count = 0

    def page(self, title: str, body: str, name: str = "one", **fields: Any) -> str:
        """Store a page without the price of a commit; returns its path."""
        self.count += 1
        owner = self.projects[name]
        path = fields.pop("path", f"notes/{self.count:04}.md")
        page = Page(
            **{"id": f"id-{self.count}", "kind": "note", "created": NOW, "updated": NOW, **fields},
            path=path,
            title=title,
            body=body,
            project=owner.id,
        )
        file = self.memory.res.wiki(owner).folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(markdown.text_from(page, ""), encoding="utf-8")
        with self.memory.res.index.write() as db:
            pages.index_file(db, self.memory.res, owner, path)
        return path

    def seen(self, text: str, name: str = "one", session: str = "s", agent: str = "codex", **fields: Any) -> str:
        """Store an observation; returns its id."""
        self.count += 1
        owner = self.projects[name]
        at = fields.pop("at", NOW + timedelta(seconds=self.count))
        told = {"id": f"o-{self.count}", "kind": "user-prompt", "title": text[:60], "key": str(self.count), **fields}
        with self.memory.res.index.write() as db:
            ledger = Ledger(db)
            key = f"{session}-{owner.name}"
            if ledger.session(key) is None:
                ledger.keep(SessionRow(id=key, agent=agent, native_id=key, project=owner.id, started=at, last=at))
            ledger.observe(Observation(session=key, at=at, text=text, **told))
            ledger.flush()
        return str(told["id"])

    def without(self, *parts: str) -> Library:
        """The same memory, asked with parts of the ranking switched off."""
        other = copy(self)
        config = Config(search=SearchConfig(without=parts))
        other.memory = LocalMemory(Resources.at(self.base / "memory", user_home=str(self.base), config=config))
        return other

    def ask(self, text: str, name: str = "one", **fields: Any) -> Answer:
        scope = Scope(project=self.projects[name].id) if name else Scope()
        return self.memory.search(scope, Query(text=text, **fields))

    def titles(self, text: str, name: str = "one", **fields: Any) -> list[str]:
        return [hit.title for hit in self.ask(text, name, **fields).hits]
