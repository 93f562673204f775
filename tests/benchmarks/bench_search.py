"""Time of a search against the size of the memory: `python tests/benchmarks/bench_search.py [--dir DIR] [N ...]`.

N is a number of observations of about 1 KB (default 20,000 and 100,000; 1,000,000 takes half an hour to fill), with a
twentieth as many pages, over 500 projects of which the largest has a fifth of everything. Prints ms a question (p50 and
p95) for ours and, on the same tables in the same run, for what FTS5 alone takes for a bounded query: bm25 of the newest
2,000 rows that have any of the words. With --dir a filled memory is kept and used again. Then: eight processes that
search while another ingests, and cold processes beside a bare interpreter.

    python tests/benchmarks/bench_search.py --text FOLDER 100000

measures pages of real text instead: N stretches of 2,000 characters of the .py, .md, .rst, .txt and .js files below
FOLDER in one project, and questions of six words that follow each other in such a text.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playing import Player

from ai_memory_mcp.config import Config
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.rows import SessionRow
from ai_memory_mcp.ledger import Ledger
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Observation, Page, Project, Query, Scope
from ai_memory_mcp.project import named_id, workspace_id
from ai_memory_mcp.resources import Resources

NOW = datetime(2026, 11, 22, tzinfo=timezone.utc)
PROJECTS = 500
OF_SESSION = 100  # observations
QUESTIONS = 200
WINDOW = 2_000
BATCH = 5_000


def project(number: int) -> Project:
    """Return one of the projects; number 0 is the largest."""
    name = f"bench{number}"
    return Project(id=named_id("default", name), name=name, workspace="default", workspace_id=workspace_id("default"))


class Words:
    """Text as language has it: few words often, many seldom; the same at every run."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        dice = random.Random(0)
        syllables = [first + second for first in "bdfgklmnprst" for second in "aeiou"]
        self.words = ["".join(dice.choices(syllables, k=dice.randint(2, 4))) for _ in range(20_000)]
        self.weights: list[float] = []
        for rank in range(len(self.words)):
            self.weights.append((self.weights[-1] if self.weights else 0) + 1 / (rank + 5))

    def text(self, count: int) -> str:
        return " ".join(self.random.choices(self.words, cum_weights=self.weights, k=count))


def owner(session: int) -> int:
    """Return the project of a session: a fifth belong to the largest, the others are spread."""
    return 0 if session % 5 == 0 else 1 + session % (PROJECTS - 1)


def fill(memory: LocalMemory, words: Words, count: int) -> None:
    """Store observations of about 1 KB and pages of about 2 KB, in the index alone: searching reads nothing else."""
    memory.resolve(Scope())
    for number in range(PROJECTS):
        with memory.res.index.write() as db:
            rows.put_project(db, project(number))
    begun = time.perf_counter()
    for start in range(0, count, BATCH):
        with memory.res.index.write() as db:
            ledger = Ledger(db)
            for n in range(start, min(start + BATCH, count)):
                session, at = f"s{n // OF_SESSION}", NOW + timedelta(seconds=n)
                if ledger.session(session) is None:
                    where = project(owner(n // OF_SESSION)).id
                    row = SessionRow(id=session, agent="codex", native_id=session, project=where, started=at, last=at)
                    ledger.keep(row)
                text = words.text(150)
                seen = Observation(id=f"o{n}", session=session, at=at, kind="post-tool", title=text[:60], text=text)
                ledger.observe(seen.model_copy(update={"key": str(n)}))
            ledger.flush()
    for start in range(0, count // 20, BATCH):
        with memory.res.index.write() as db:
            for n in range(start, min(start + BATCH, count // 20)):
                page = Page(
                    id=f"p{n}",
                    path=f"notes/{n}.md",
                    title=words.text(4),
                    kind="note",
                    project=project(owner(n)).id,
                    body=words.text(300),
                    created=NOW,
                    updated=NOW + timedelta(seconds=n),
                )
                rows.put_page(db, page, 0, 0, [])
    with memory.res.index.write() as db:  # nothing is left to settle: that is another benchmark's
        for row in rows.unsettled(db):
            rows.put_session(db, row.model_copy(update={"dirty": False, "state": "closed"}))
    size = memory.res.index.path.stat().st_size
    print(f"{count:9} filled in {time.perf_counter() - begun:,.0f} s; {size / 1e6:,.0f} MB, {size / count:,.0f} B each")


def times(work: Callable[[int], object], rounds: int) -> str:
    """Run `work` and return p50 and p95 in ms."""
    taken = []
    for n in range(rounds):
        started = time.perf_counter()
        work(n)
        taken.append((time.perf_counter() - started) * 1000)
    quantiles = statistics.quantiles(taken, n=20)
    return f"{statistics.median(taken):8.1f} {quantiles[18]:8.1f}"


def bounded(db: sqlite3.Connection, table: str, question: str) -> list[tuple[int]]:
    """Ask FTS5 alone: rank the newest WINDOW rows that have any of the words."""
    match = "{body} : (" + " OR ".join(f'"{word}"' for word in question.split()) + ")"
    newest = f"SELECT rowid FROM {table}_fts WHERE {table}_fts MATCH ? ORDER BY rowid DESC LIMIT 1 OFFSET {WINDOW - 1}"
    edge = db.execute(newest, (match,)).fetchone()
    ranked = f"SELECT rowid FROM {table}_fts WHERE {table}_fts MATCH ? AND rowid >= ? ORDER BY rank LIMIT 10"
    return db.execute(ranked, (match, edge[0] if edge else 0)).fetchall()


def questions() -> list[str]:
    """Return questions of six words."""
    words = Words(seed=1)
    return [words.text(6) for _ in range(QUESTIONS)]


def search(folder: Path, seconds: float, found: multiprocessing.Queue[float]) -> None:
    """Search for some seconds in a process of its own; puts ms of each question."""
    memory = opened(folder)
    asked, until, n = questions(), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        started = time.perf_counter()
        memory.search(Scope(project="bench0"), Query(text=asked[n % QUESTIONS], kinds=("observation",)))
        found.put((time.perf_counter() - started) * 1000)
        n += 1


def together(folder: Path, count: int, *, busy: bool, seconds: float = 10) -> None:
    """Search in eight processes, with or without another one that stores observations all the time."""
    found: multiprocessing.Queue[float] = multiprocessing.Queue()
    searchers = [multiprocessing.Process(target=search, args=(folder, seconds, found)) for _ in range(8)]
    for one in searchers:
        one.start()
    taken: list[float] = []
    until = time.monotonic() + seconds
    stored, words, memory = 0, Words(seed=2), opened(folder)
    work = folder / "work"
    work.mkdir(exist_ok=True)
    (work / ".ai-memory.toml").write_text('project = "busy"\n')
    while any(one.is_alive() for one in searchers):
        while not found.empty():
            taken.append(found.get())
        if busy and time.monotonic() < until:
            player = Player(memory.res.home, work, f"busy{time.monotonic_ns()}")
            for n in range(100):
                player.runs(f"make part-{n}", words.text(150))
            memory.ingest()
            stored += 100
        time.sleep(0.05)
    while not found.empty():
        taken.append(found.get())
    quantiles = statistics.quantiles(taken, n=20)
    what = f"8 searchers, {stored / seconds:,.0f} stored/s" if busy else "8 searchers, quiet"
    failed = sum(one.exitcode != 0 for one in searchers)
    print(f"{count:9} {what:34} {statistics.median(taken):8.1f} {quantiles[18]:8.1f}   failed: {failed}")


def opened(folder: Path) -> LocalMemory:
    """Open the memory of a folder."""
    return LocalMemory(Resources.at(folder / "memory", user_home=str(folder), config=Config()))


def measure(folder: Path, count: int) -> None:
    """Print the figures of one size."""
    memory = opened(folder)
    if not (folder / "filled").exists():
        fill(memory, Words(), count)
        (folder / "filled").touch()
    asked = questions()
    everywhere = Scope(workspace="default")

    def ask(scope: Scope, **fields: object) -> Callable[[int], object]:
        return lambda n: memory.search(scope, Query.model_validate({"text": asked[n], **fields}))

    db = sqlite3.connect(f"{memory.res.index.path.as_uri()}?mode=ro", uri=True)
    large, small = Scope(project="bench0"), Scope(project="bench7")
    seen = {"kinds": ("observation",)}
    for what, work in (
        ("FTS5 alone: observations", lambda n: bounded(db, "observations", asked[n])),
        ("observations, all projects", ask(everywhere, everywhere=True, **seen)),
        ("FTS5 alone: observations, again", lambda n: bounded(db, "observations", asked[n])),
        ("observations, largest project", ask(large, **seen)),
        ("observations, a small project", ask(small, **seen)),
        ("FTS5 alone: pages", lambda n: bounded(db, "passages", asked[n])),
        ("pages, all projects", ask(everywhere, everywhere=True, kinds=("note",))),
        ("pages, largest project", ask(large, kinds=("note",))),
        ("anything, largest project", ask(large)),
    ):
        print(f"{count:9} {what:34} {times(work, QUESTIONS)}", flush=True)
    db.close()
    together(folder, count, busy=False)
    together(folder, count, busy=True)
    env = {**os.environ, "AI_MEMORY_HOME": str(memory.res.home), "HOME": str(folder)}
    env["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent.parent)
    command = [sys.executable, "-m", "ai_memory_mcp", "search", "--project", "bench0"]
    for what, run in (
        ("cold search", lambda n: [*command, asked[n]]),
        ("bare python", lambda _: [sys.executable, "-I", "-c", "pass"]),
    ):

        def cold(n: int, run: Callable[[int], list[str]] = run) -> object:
            return subprocess.run(run(n), env=env, cwd=folder, check=True, capture_output=True)

        print(f"{count:9} {what:34} {times(cold, 20)}", flush=True)


def stretches(folder: Path, count: int) -> Iterator[str]:
    """Yield texts of 2,000 characters from the files below a folder."""
    paths = (path for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".md", ".rst", ".txt", ".js"))
    found = 0
    for path in paths:
        if found < count and path.is_file() and path.stat().st_size < 1_000_000:
            text = path.read_text(encoding="utf-8", errors="replace")
            for start in range(0, len(text) - 1_000, 2_000):
                found += 1
                if found <= count:
                    yield text[start : start + 2_000]


def measure_text(folder: Path, source: Path, count: int) -> None:
    """Print the figures for pages of real text."""
    memory = opened(folder)
    memory.resolve(Scope())
    dice = random.Random(0)
    asked: list[str] = []
    stored = 0
    texts = stretches(source, count)
    while batch := list(islice(texts, BATCH)):
        with memory.res.index.write() as db:
            rows.put_project(db, project(0))
            for text in batch:
                line = max(text.splitlines() or [""], key=len).strip()
                page = Page(
                    id=f"p{stored}",
                    path=f"notes/{stored}.md",
                    title=line[:60] or "untitled",
                    kind="note",
                    project=project(0).id,
                    body=text,
                    created=NOW,
                    updated=NOW,
                )
                rows.put_page(db, page, 0, 0, [])
                stored += 1
        for text in dice.choices(batch, k=20):
            words = re.findall(r"[A-Za-z_]{3,}", text)
            start = dice.randrange(max(1, len(words) - 6))
            asked.append(" ".join(words[start : start + 6]))
    dice.shuffle(asked)
    db = sqlite3.connect(f"{memory.res.index.path.as_uri()}?mode=ro", uri=True)
    scope = Scope(project="bench0")
    for what, work in (
        ("FTS5 alone: pages of real text", lambda n: bounded(db, "passages", asked[n])),
        ("pages of real text", lambda n: memory.search(scope, Query(text=asked[n], kinds=("note",)))),
        ("anything, pages of real text", lambda n: memory.search(scope, Query(text=asked[n]))),
    ):
        print(f"{stored:9} {what:34} {times(work, min(QUESTIONS, len(asked)))}", flush=True)
    db.close()


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", nargs="*", type=int, default=[20_000, 100_000])
    parser.add_argument("--dir", type=Path, help="keep the filled memories here")
    parser.add_argument("--text", type=Path, help="pages of real text, from this folder")
    options = parser.parse_args()
    print("        N what                                 p50 ms   p95 ms")
    for count in options.counts:
        if options.text:
            with tempfile.TemporaryDirectory() as name:
                measure_text(Path(name), options.text, count)
        elif options.dir:
            folder = options.dir / str(count)
            folder.mkdir(parents=True, exist_ok=True)
            measure(folder, count)
        else:
            with tempfile.TemporaryDirectory() as name:
                measure(Path(name), count)


if __name__ == "__main__":
    main()
