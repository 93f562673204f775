"""The resources of one AI_MEMORY_HOME in one value, handed to operations. It opens nothing."""

from __future__ import annotations

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

    def wiki_folders(self) -> list[tuple[str, str]]:
        """Return (workspace id, project id) of every wiki on disk."""
        return sorted(
            (path.parent.parent.name, path.parent.name) for path in (self.home / "wiki").glob("*/*/project.md")
        )
