"""CPU of one-page commits against the size of the project: `python tests/benchmarks/bench_wiki.py`."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from dulwich import porcelain

from ai_memory_mcp.wiki import ProjectWiki

NOW = datetime(2026, 11, 22, tzinfo=timezone.utc)
ROUNDS = 20
GIT_ENV = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "user",
    "GIT_AUTHOR_EMAIL": "user@example.org",
    "GIT_COMMITTER_NAME": "user",
    "GIT_COMMITTER_EMAIL": "user@example.org",
}


def cpu() -> float:
    """Seconds of CPU of this process and of the children it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def cost(work: Callable[[int], object], rounds: int = ROUNDS) -> str:
    """CPU and wall milliseconds of one round, the first (imports) apart."""
    work(-1)
    started, wall = cpu(), time.perf_counter()
    for n in range(rounds):
        work(n)
    return f"{(cpu() - started) / rounds * 1000:8.1f} {(time.perf_counter() - wall) / rounds * 1000:8.1f}"


def page(n: int) -> bytes:
    """About one KB of page."""
    return f"---\ntitle: Page {n}\nkind: note\n---\n".encode() + b"Some words about a topic. " * 40


def path_of(n: int, *, flat: bool) -> str:
    """Flat: all in notes/. Else folders of at most 200 entries."""
    return f"notes/a-page-about-a-topic-{n:05}.md" if flat else f"sessions/{n // 5000}/{n // 150 % 34}/page-{n:05}.md"


def measure(folder: Path, pages: int, *, flat: bool) -> None:
    """Print the figures of one shape of project."""
    wiki = ProjectWiki(folder / "project", folder / "locks")
    wiki.commit({path_of(n, flat=flat): page(n) for n in range(pages)}, "all", author="bench", when=NOW)

    def ours(n: int) -> None:
        wiki.commit({path_of(pages + 1 + n, flat=flat): page(n)}, f"page {n}", author="bench", when=NOW)

    def refresh(n: int) -> None:
        ours(1000 + n)
        wiki.refresh_git_index()

    def with_git(n: int) -> None:
        name = path_of(pages + 3000 + n, flat=flat)
        (wiki.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (wiki.folder / name).write_bytes(page(n))
        subprocess.run(["git", "add", name], cwd=wiki.folder, env=GIT_ENV, check=True)
        subprocess.run(["git", "commit", "-qm", "x"], cwd=wiki.folder, env=GIT_ENV, check=True)

    def with_porcelain(n: int) -> None:
        name = path_of(pages + 5000 + n, flat=flat)
        (wiki.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (wiki.folder / name).write_bytes(page(n))
        porcelain.add(str(wiki.folder), [str(wiki.folder / name)])
        porcelain.commit(str(wiki.folder), b"x", author=b"a <a@b>", committer=b"a <a@b>")

    known = wiki.scan({}).added
    shape = f"{pages:6} {'flat' if flat else 'nested':7}"
    for what, work, rounds in (
        ("commit", ours, ROUNDS),
        ("scan", lambda _: wiki.scan(known), 5),
        ("commit + refresh_git_index", refresh, 3),
        ("git add + git commit", with_git, 5),
        ("porcelain.add + commit", with_porcelain, 2),
    ):
        sys.stdout.write(f"{shape} {what:28} {cost(work, rounds)}\n")
    dirty = subprocess.run(["git", "status", "--porcelain"], cwd=wiki.folder, env=GIT_ENV, capture_output=True)
    assert dirty.stdout == b"", dirty.stdout[:200]


def main() -> None:
    """Measure all shapes in a temporary folder."""
    sys.stdout.write("pages  shape   what                          CPU ms  wall ms\n")
    for pages, flat in ((100, False), (100, True), (20_000, False), (20_000, True)):
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), pages, flat=flat)


if __name__ == "__main__":
    main()
