"""Pages per second and memory of `import markdown`: `python tests/benchmarks/bench_import.py [PAGES ...]`.

Files of 1-2 KB, every other one with front matter, each with a link; in one folder, then 100 to a folder. Each home is
filled by a process of its own, whose peak memory is told; while it works another process searches, and its slowest
answer is told too. The second run has nothing to do.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "ai_memory_mcp"]
RUN = """
import json, resource, sys, time
from pathlib import Path
from ai_memory_mcp.local import open_local
from ai_memory_mcp.model import Scope
began = {}
def progress(step, done, total):
    began.setdefault(step, time.perf_counter())
started, cpu = time.perf_counter(), time.process_time()
memory = open_local()
report = memory.import_markdown(Scope(project="general"), Path(sys.argv[1]), progress=progress)
memory.close()
ends = [*list(began.values())[1:], time.perf_counter()]
steps = {step: end - at for (step, at), end in zip(began.items(), ends)}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps({"pages": len(report.added), "unchanged": report.unchanged, "steps": steps, "peak": peak,
                  "wall": time.perf_counter() - started, "cpu": time.process_time() - cpu}))
"""
SEARCH = """
import sys, time
from ai_memory_mcp.local import open_local
from ai_memory_mcp.model import Query, Scope
memory, slowest, count = open_local(), 0.0, 0
while not sys.stdin.closed and not __import__("select").select([sys.stdin], [], [], 0.2)[0]:
    started = time.perf_counter()
    memory.search(Scope(project="general"), Query(text="words about something"))
    slowest, count = max(slowest, time.perf_counter() - started), count + 1
print(f"{count} searches meanwhile, the slowest took {slowest * 1000:.0f} ms")
"""


def fill(folder: Path, pages: int, *, flat: bool) -> None:
    """Write the files to import."""
    chance = random.Random(7)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(30_000)]
    for number in range(pages):
        head = f"---\ntitle: Page {number}\ntags: [one, two]\ndate: 2024-05-06\n---\n" if number % 2 else ""
        text = " ".join(chance.choices(words, k=chance.randint(140, 280)))
        path = folder / ("" if flat else f"part {number // 100}") / f"page {number:06}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{head}# Page {number}\n\n{text}\n\nNext: [[page {number + 1:06}]]\n", encoding="utf-8")


def measure(pages: int, *, flat: bool) -> None:
    """Import so many files twice and print what it took."""
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base, "docs")
        fill(folder, pages, flat=flat)
        env = {**os.environ, "HOME": base, "AI_MEMORY_HOME": f"{base}/memory"}
        subprocess.run(
            [*COMMAND, "write", "Words", "--body", "about something"],
            env=env,
            cwd=base,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        searching = subprocess.Popen(
            [sys.executable, "-c", SEARCH], env=env, cwd=base, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for shape in ("flat" if flat else "nested", "again"):
            told = run(folder, env, base)
            rate = (told["pages"] + told["unchanged"]) / told["wall"]
            steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in told["steps"].items())
            print(
                f"{pages:7} {shape:7} {told['wall']:7.1f} s {told['cpu']:7.1f} s CPU {rate:8.0f} pages/s"
                f" {told['peak']:5} MiB  ({steps})",
                flush=True,
            )
        print(f"        {searching.communicate('enough')[0].strip()}")
        afterwards(env, base)


def run(folder: Path, env: dict[str, str], base: str) -> dict[str, float]:
    """Import in a process of its own."""
    done = subprocess.run([sys.executable, "-c", RUN, folder], env=env, cwd=base, check=True, stdout=subprocess.PIPE)
    told: dict[str, float] = json.loads(done.stdout)
    return told


def afterwards(env: dict[str, str], base: str) -> None:
    """Print what a write costs in the filled project; git has to find the repository sound."""
    wiki = next(Path(base, "memory", "wiki").glob("*/*/.git")).parent
    before = size(wiki / ".git")
    started = time.perf_counter()
    for number in range(5):
        subprocess.run(
            [*COMMAND, "write", f"New {number}", "--body", "x"],
            env=env,
            cwd=base,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    took = (time.perf_counter() - started) / 5
    grown = (size(wiki / ".git") - before) // 5
    subprocess.run(["git", "-C", wiki, "fsck", "--strict", "--no-dangling"], check=True, capture_output=True)
    print(f"        a `write` then takes {took * 1000:.0f} ms and {grown // 1024} KiB of history", flush=True)


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Measure every number of pages in both shapes."""
    for pages in [int(word) for word in sys.argv[1:]] or [50_000]:
        for flat in (True, False):
            measure(pages, flat=flat)


if __name__ == "__main__":
    main()
