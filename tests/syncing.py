"""Machines that sync with a git remote, for tests."""

from __future__ import annotations

import subprocess
from datetime import datetime, timezone
from pathlib import Path

from playing import repository

from ai_memory_mcp import pages
from ai_memory_mcp.config import Config, SyncConfig
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, Project, Scope, Synced
from ai_memory_mcp.resources import Resources

ORIGIN = "git@github.com:me/app.git"
GIT = ["git", "-c", "user.name=u", "-c", "user.email=u@example.org", "-c", "core.hooksPath=/dev/null"]


def git(folder: Path, *args: str) -> str:
    done = subprocess.run([*GIT, "-C", str(folder), *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Machine:
    """A machine with a clone of one repository, and its memory."""

    def __init__(self, base: Path, remote: Path | str, *, origin: str = ORIGIN, folder: str = "app") -> None:
        self.work = repository(base / folder, remote=origin)
        self.res = Resources.at(base / "memory", str(base), Config(sync=SyncConfig(remote=str(remote))))
        self.memory = LocalMemory(self.res)
        self.scope = Scope(cwd=str(self.work))

    @property
    def project(self) -> Project:
        found = self.memory.resolve(self.scope).project
        assert found
        return found

    @property
    def wiki(self) -> Path:
        return self.res.wiki(self.project).folder

    def sync(self, **options: bool) -> Synced:
        """Sync the project; it has to go well."""
        one = self.memory.sync(self.scope, **options).projects[0]  # type: ignore[arg-type]
        assert one.state in ("synced", "unchanged", "planned"), one.note
        return one

    def fails(self) -> str:
        one = self.memory.sync(self.scope).projects[0]
        assert one.state == "failed"
        return one.note

    def write(self, title: str, body: str, path: str = "") -> str:
        return self.memory.write(self.scope, Draft(title=title, body=body, path=path)).path

    def save(self, texts: dict[str, str | None]) -> None:
        pages.save(self.res, self.project, texts, "Edit", when=datetime.now(timezone.utc))

    def texts(self) -> dict[str, str]:
        found = (path for path in self.wiki.rglob("*") if path.is_file() and ".git" not in path.parts)
        return {str(path.relative_to(self.wiki)): path.read_text(encoding="utf-8") for path in found}

    def healthy(self) -> bool:
        """Tell whether git finds nothing wrong, and nothing uncommitted."""
        self.memory.close()
        self.res.wiki(self.project).refresh_git_index()
        git(self.wiki, "fsck", "--full", "--strict", "--no-dangling")
        return git(self.wiki, "status", "--porcelain") == ""
