"""Time of a search against the size of the memory: `python tests/benchmarks/bench_search.py [N ...]`.

N is a number of observations (default 1000 and 20000); a fifth as many pages stand beside them. Prints ms a question
in one process, and wall ms of a cold `python -m ai_memory_mcp search` beside a bare interpreter.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ai_memory_mcp import registry
from ai_memory_mcp.config import Config
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.rows import SessionRow
from ai_memory_mcp.ledger import Ledger
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Observation, Page, Project, Query, Scope
from ai_memory_mcp.project import named_id, workspace_id
from ai_memory_mcp.resources import Resources

NOW = datetime(2026, 11, 22, tzinfo=timezone.utc)
PROJECT = Project(
    id=named_id("default", "bench"), name="bench", workspace="default", workspace_id=workspace_id("default")
)
OF_SESSION = 100  # observations
QUESTIONS = 200


class Words:
    """Text as language has it: few words often, many seldom; the same at every run."""

    def __init__(self) -> None:
        self.random = random.Random(0)
        syllables = [first + second for first in "bdfgklmnprst" for second in "aeiou"]
        self.words = ["".join(self.random.choices(syllables, k=self.random.randint(2, 4))) for _ in range(20_000)]
        self.weights = [1 / (rank + 5) for rank in range(len(self.words))]

    def text(self, count: int) -> str:
        return " ".join(self.random.choices(self.words, self.weights, k=count))


def fill(memory: LocalMemory, words: Words, count: int) -> None:
    """Store observations of about 1 KB and pages of about 2 KB, in the index alone: searching reads nothing else."""
    memory.resolve(Scope())
    registry.record(memory.res, PROJECT, now=NOW)
    for start in range(0, count, 5000):
        with memory.res.index.write() as db:
            ledger = Ledger(db)
            for n in range(start, min(start + 5000, count)):
                session, at = f"s{n // OF_SESSION}", NOW + timedelta(seconds=n)
                if ledger.session(session) is None:
                    row = SessionRow(
                        id=session, agent="codex", native_id=session, project=PROJECT.id, started=at, last=at
                    )
                    ledger.keep(row)
                text = words.text(150)
                ledger.observe(
                    Observation(
                        id=f"o{n}", session=session, at=at, kind="post-tool", title=text[:60], text=text, key=str(n)
                    )
                )
            ledger.flush()
    with memory.res.index.write() as db:
        for n in range(count // 5):
            page = Page(
                id=f"p{n}",
                path=f"notes/{n}.md",
                title=words.text(4),
                kind="note",
                project=PROJECT.id,
                body=words.text(300),
                created=NOW,
                updated=NOW + timedelta(seconds=n),
            )
            rows.put_page(db, page, 0, 0, [])


def times(work: Callable[[int], object], rounds: int) -> str:
    """Run `work` and return p50 and p95 in ms."""
    taken = []
    for n in range(rounds):
        started = time.perf_counter()
        work(n)
        taken.append((time.perf_counter() - started) * 1000)
    quantiles = statistics.quantiles(taken, n=20)
    return f"{statistics.median(taken):8.1f} {quantiles[18]:8.1f}"


def measure(folder: Path, count: int) -> None:
    """Print the figures of one size."""
    memory = LocalMemory(Resources.at(folder / "memory", user_home=str(folder), config=Config()))
    words = Words()
    fill(memory, words, count)
    questions = [words.text(6) for _ in range(QUESTIONS)]
    scope = Scope(project="bench")
    (memory.res.home / "wiki" / PROJECT.workspace_id).rename(folder / "aside")  # no files to compare with the index

    def ask(**fields: object) -> Callable[[int], object]:
        return lambda n: memory.search(scope, Query.model_validate({"text": questions[n], **fields}))

    for what, work in (
        ("pages", ask()),
        ("observations", ask(kinds=("observation",))),
        ("observations of a kind", ask(kinds=("post-tool",))),
    ):
        sys.stdout.write(f"{count:8} {what:28} {times(work, QUESTIONS)}\n")
    env = {**os.environ, "AI_MEMORY_HOME": str(memory.res.home), "HOME": str(folder)}
    env["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent.parent)
    command = [sys.executable, "-m", "ai_memory_mcp", "search", "--project", "bench"]
    for what, run in (
        ("cold search", lambda n: [*command, questions[n]]),
        ("bare python", lambda _: [sys.executable, "-c", ""]),
    ):

        def cold(n: int, run: Callable[[int], list[str]] = run) -> object:
            return subprocess.run(run(n), env=env, cwd=folder, check=True, capture_output=True)

        sys.stdout.write(f"{count:8} {what:28} {times(cold, 10)}\n")


def main() -> None:
    """Measure each size in a temporary folder."""
    sys.stdout.write("       N what                            p50 ms   p95 ms\n")
    for count in [int(word) for word in sys.argv[1:]] or [1_000, 20_000]:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), count)


if __name__ == "__main__":
    main()
