"""CPU of one write against the size of the project: `python tests/benchmarks/bench_write.py [PAGES ...]`.

Through LocalMemory (`write` and `leave_handoff`, each closed as a command would), through a search, and through
`ProjectWiki.commit` alone; nested (at most 200 entries in a folder) and flat (all in notes/). A write in a project of
20,000 pages is to cost at most twice one in a project of 100.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bench_wiki import cost, page, path_of

from ai_memory_mcp import registry
from ai_memory_mcp.config import Config
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, HandoffDraft, Project, Query, Scope
from ai_memory_mcp.project import named_id, workspace_id
from ai_memory_mcp.resources import Resources

NOW = datetime(2026, 11, 22, tzinfo=timezone.utc)
PROJECT = Project(
    id=named_id("default", "bench"), name="bench", workspace="default", workspace_id=workspace_id("default")
)


def filled(folder: Path, pages: int, *, flat: bool) -> LocalMemory:
    """A memory with one project of so many pages, scanned, committed and settled."""
    memory = LocalMemory(Resources.at(folder / "memory", user_home=str(folder), config=Config()))
    memory.resolve(Scope())
    registry.record(memory.res, PROJECT, now=NOW)
    wiki = memory.res.wiki(PROJECT)
    wiki.commit({path_of(n, flat=flat): page(n) for n in range(pages)}, "all", author="bench", when=NOW)
    memory.search(Scope(project="bench"), Query(text="topic"))
    memory.ingest()
    memory.close()
    return memory


def measure(folder: Path, pages: int, *, flat: bool) -> None:
    """Print the figures of one shape of project."""
    res = filled(folder, pages, flat=flat).res
    scope = Scope(project="bench")

    def write(n: int) -> None:
        memory = LocalMemory(res)
        memory.write(scope, Draft(title=f"New {n}", body="Some words. " * 80, path=path_of(pages + 1 + n, flat=flat)))
        memory.close()

    def handoff(n: int) -> None:
        memory = LocalMemory(res)
        memory.leave_handoff(scope, HandoffDraft(summary=f"Go on with part {n}"))
        memory.close()

    def commit(n: int) -> None:
        path = path_of(pages + 1000 + n, flat=flat)
        res.wiki(PROJECT).commit({path: page(n)}, "one", author="bench", when=NOW)

    def search(_: int) -> None:
        LocalMemory(res).search(scope, Query(text="words about nothing"))

    shape = f"{pages:6} {'flat' if flat else 'nested':7}"
    for what, work in (("write", write), ("leave_handoff", handoff), ("wiki.commit", commit), ("search", search)):
        sys.stdout.write(f"{shape} {what:28} {cost(work)}\n")
    memory = LocalMemory(res)
    memory.ingest()
    memory.close()
    folder = res.wiki(PROJECT).folder
    dirty = subprocess.run(["git", "status", "--porcelain"], cwd=folder, capture_output=True, check=True)
    assert dirty.stdout == b"", dirty.stdout[:200]


def main() -> None:
    """Measure all shapes in a temporary folder."""
    sys.stdout.write("pages  shape   what                          CPU ms  wall ms\n")
    for flat in (False, True):
        for pages in [int(word) for word in sys.argv[1:]] or [100, 20_000]:
            with tempfile.TemporaryDirectory() as folder:
                measure(Path(folder), pages, flat=flat)


if __name__ == "__main__":
    main()
