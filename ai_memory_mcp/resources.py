"""The resources of one AI_MEMORY_HOME in one value, handed to operations. It opens nothing."""

from __future__ import annotations

import os
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from ai_memory_mcp.config import Config
from ai_memory_mcp.index.db import Index
from ai_memory_mcp.journal import Journal
from ai_memory_mcp.model import Project
from ai_memory_mcp.spool import Spool
from ai_memory_mcp.tombstones import Tombstones
from ai_memory_mcp.wiki import ProjectWiki


@dataclass(frozen=True)
class Resources:
    """Spool, journal, index and wikis below `home`; `user_home` is where project look-up stops."""

    home: Path
    user_home: str
    config: Config
    spool: Spool
    journal: Journal
    index: Index
    tombstones: Tombstones

    @classmethod
    def at(cls, home: Path, user_home: str, config: Config) -> Resources:
        """Name the resources of a home folder."""
        return cls(home, user_home, config, Spool(home), Journal(home), Index(home), Tombstones(home))

    def wiki(self, project: Project) -> ProjectWiki:
        """Return the wiki of one project: a git repository of its own."""
        return self.wiki_at(project.workspace_id, project.id)

    def wiki_at(self, workspace_id: str, project_id: str) -> ProjectWiki:
        """Return the wiki in the folder of these ids."""
        return ProjectWiki(self.home / "wiki" / workspace_id / project_id, self.home / "locks")

    def wiki_folders(self, known: Container[str] = ()) -> list[tuple[str, str]]:
        """Return (workspace id, project id) of every wiki on disk, but of the known projects: those cost no look."""
        wikis = self.home / "wiki"
        return sorted(
            (workspace, project)
            for workspace in _names(wikis)
            for project in _names(wikis / workspace)
            if project not in known and (wikis / workspace / project / "project.md").exists()
        )


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
