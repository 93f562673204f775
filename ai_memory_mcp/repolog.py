"""The user's own repository, looked at with the `git` that is on this machine: its files, tags and commits.

Bounded and harmless: nothing is written, fetched or asked for, and no program that a repository may name (pagers,
diff drivers, file watchers) is run. A folder without git has its files, and no history. What `excluded` names is not
there for anybody: no file of it, and no mention in a commit's list.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from ai_memory_mcp.errors import InputError
from ai_memory_mcp.processes import run

COMMITS = 10_000
FILES = 50_000
PATIENCE = 60.0  # seconds for one question
BODY = 4_000  # characters of a message
_QUIET = ("-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "-c", "log.showSignature=false")
_FORMAT = "--format=%x1e%H%x1f%ct%x1f%an%x1f%s%x1f%b%x1f"
_SKIPPED = {"node_modules", "__pycache__", "target", "dist", "build", "vendor", "venv", "third_party"}
_LATEST = 253_402_300_799  # Unix time; datetime knows no later one


class RepoCommit(NamedTuple):
    """A commit: its message in two parts, and the files that it changed."""

    id: str
    at: datetime
    author: str
    subject: str
    body: str
    files: tuple[str, ...]


class Repo(NamedTuple):
    """A repository or a part of one, or a plain folder: `root`, how git is to be called (None: it is no repository),
    and which files are to be left alone."""

    root: Path
    env: Mapping[str, str] | None
    excluded: Callable[[str], bool]

    def files(self) -> list[str]:
        """Return the tracked files, of a plain folder all that are not hidden, by name; at most FILES. What lies in
        folders of installed packages is left out. Raises InputError when git cannot be asked."""
        names = _walked(self.root) if self.env is None else self._git("ls-files", "-z").split("\0")
        found = (name for name in names if name and _SKIPPED.isdisjoint(name.split("/")[:-1]))
        return [name for name in found if not self.excluded(name)][:FILES]

    def commits(self, since: str = "") -> list[RepoCommit]:
        """Return the newest commits that are no merges, at most COMMITS, after a date (ISO) if one is given."""
        if self.env is None or not self._git("rev-list", "-n1", "--all").strip():
            return []
        what = ["log", f"-n{COMMITS}", "--no-merges", "--no-renames", "--no-ext-diff", "--no-textconv", "--name-only"]
        told = self._git(*what, "--relative", _FORMAT, *([f"--since={since}"] if since else []), "HEAD", "--", ".")
        return [commit for part in told.split("\x1e")[1:] if (commit := self._commit(part))]

    def tags(self, limit: int = 20) -> list[tuple[str, datetime]]:
        """Return the newest tags with their times."""
        if self.env is None:
            return []
        form = "--format=%(refname:short)%1f%(creatordate:unix)"
        told = self._git("for-each-ref", "--sort=-creatordate", f"--count={limit}", form, "refs/tags")
        pairs = (line.split("\x1f") for line in told.splitlines() if "\x1f" in line)
        return [(name, _time(int(at))) for name, at in pairs if at.isdigit()]

    def text(self, name: str, limit: int) -> str:
        """Return the beginning of a file as text, '' for what is binary, a link or not there."""
        path = self.root / name
        try:
            if path.is_symlink() or not path.is_file():
                return ""
            with open(path, "rb") as file:
                data = file.read(limit)
        except OSError:
            return ""
        return "" if b"\0" in data else data.decode("utf-8", "replace").replace("\r\n", "\n")

    def changed(self, name: str) -> datetime | None:
        """Return when a file on the disk changed, to the second; None when it is gone."""
        try:
            return _time(int((self.root / name).stat().st_mtime))
        except OSError:
            return None

    def _commit(self, part: str) -> RepoCommit | None:
        fields = part.split("\x1f")
        if len(fields) != 6 or not fields[1].isdigit():
            return None
        names = tuple(line for line in fields[5].split("\n") if line and not self.excluded(line))
        body = re.sub(r"\n{3,}", "\n\n", fields[4].strip())[:BODY]
        return RepoCommit(fields[0], _time(int(fields[1])), fields[2], fields[3].strip(), body, names)

    def _git(self, *words: str) -> str:
        command = ["git", *_QUIET, "--no-pager", "--no-optional-locks", *words]
        try:
            done = run(command, env=self.env or {}, cwd=self.root, limit=PATIENCE)
        except subprocess.TimeoutExpired:
            told = f"git {words[0]} took longer than {PATIENCE:g} s in {self.root}"
            raise InputError(f"{told}; --since reads less of the history") from None
        except OSError as error:
            raise InputError(f"git cannot be run ({error.strerror}); it has to be on the path") from error
        if done.returncode:
            said = " ".join(done.stderr.split())[-300:]
            raise InputError(f"git {words[0]} failed in {self.root}: {said}")
        return done.stdout


def opened(
    root: Path, env: Mapping[str, str], excluded: Callable[[str], bool] = lambda _: False, *, git: bool = True
) -> Repo:
    """Look at a repository or a folder in one (`git`), or at a plain folder. `env` is what git is called in; nothing
    of a partial clone is fetched."""
    if not git:
        return Repo(root, None, excluded)
    kept = {name: value for name, value in env.items() if not name.startswith("GIT_")}
    quiet = {"GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C.UTF-8"}
    return Repo(root, {**kept, **quiet}, excluded)


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(min(max(seconds, 0), _LATEST), timezone.utc)


def _walked(root: Path) -> list[str]:
    found: list[str] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
        inside = Path(folder).relative_to(root)
        found += [(inside / name).as_posix() for name in sorted(names) if not name.startswith(".")]
        if len(found) >= FILES:
            break
    return found[:FILES]
