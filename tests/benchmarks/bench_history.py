"""History of a project of many commits: `python tests/benchmarks/bench_history.py [COMMITS]` (10,000 take two minutes).

Recording it whole (what `reindex` does once), then what `history` and `read --at` take, with loose and with packed
objects; beside them git's own log of one page.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bench_wiki import GIT_ENV, cost, page

from ai_memory_mcp import history, registry
from ai_memory_mcp.config import Config
from ai_memory_mcp.index import past
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Project, Scope
from ai_memory_mcp.project import named_id, workspace_id
from ai_memory_mcp.resources import Resources

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
PROJECT = Project(
    id=named_id("default", "bench"), name="bench", workspace="default", workspace_id=workspace_id("default")
)


def path_of(n: int) -> str:
    """A new page in two of three commits, a changed one in the third."""
    n -= n % 3 == 2
    return f"sessions/2026/{n // 900:02}/{n // 30 % 30:02}-page-{n:05}.md"


def measure(folder: Path, commits: int) -> None:
    """Print the figures of a project with so many commits, each of a page and of the generated index page."""
    memory = LocalMemory(Resources.at(folder / "memory", user_home=str(folder), config=Config()))
    memory.resolve(Scope())
    registry.record(memory.res, PROJECT, now=BEGIN)
    wiki = memory.res.wiki(PROJECT)
    for n in range(commits):
        when = BEGIN + timedelta(minutes=n)
        wiki.commit({path_of(n): page(n), "index.md": b"%d\n" % n}, f"commit {n}", author="bench", when=when)
    memory.reindex()
    scope, middle = Scope(project="bench"), path_of(commits // 2)
    at = (BEGIN + timedelta(minutes=commits // 2)).isoformat()
    commit = memory.history(scope, middle)[0].commit

    def record(_: int) -> None:
        with memory.res.index.write() as db:
            past.drop(db, PROJECT.id)
            history.rebuild(db, memory.res, PROJECT)

    def git_log(_: int) -> None:
        subprocess.run(["git", "log", "--", "index.md"], cwd=wiki.folder, env=GIT_ENV, capture_output=True, check=True)

    for form in ("loose", "packed"):
        if form == "packed":
            wiki.pack_if_many(0)
        for what, work, rounds in (
            ("record the whole history", record, 1),
            ("history of the project", lambda _: memory.history(scope), 10),
            ("history of a page", lambda _: memory.history(scope, middle), 10),
            ("the same, every commit", lambda _: memory.history(scope, "index.md", limit=1000), 10),
            ("the same, with diffs", lambda _: memory.history(scope, "index.md", diff=True), 10),
            ("read --at a time", lambda _: memory.read(scope, "index.md", at=at), 10),
            ("read --at a commit", lambda _: memory.read(scope, "index.md", at=commit), 10),
            ("git log of the page", git_log, 3),
        ):
            sys.stdout.write(f"{commits:6} {form:7} {what:28} {cost(work, rounds)}\n")


def main() -> None:
    """Measure in a temporary folder."""
    sys.stdout.write("commits        what                          CPU ms  wall ms\n")
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), int((sys.argv[1:] or ["10000"])[0]))


if __name__ == "__main__":
    main()
