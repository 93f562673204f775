"""Pages per second and memory of `import markdown`: `python tests/benchmarks/bench_import.py [PAGES ...]`; with `peers`
what other memories have kept, 10,000 items of each, and the export of all of it.

Files of 1-2 KB, every other one with front matter, each with a link; in one folder, then 100 to a folder. Each home is
filled by a process of its own, whose peak memory is told; while it works another process searches, and its slowest
answer is told too. The second run has nothing to do.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "ai_memory_mcp"]
RUN = """
import json, sys, time
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
told = open("/proc/self/status").read()  # ru_maxrss begins with what the process was forked from had at most
peak = int(told.partition("VmHWM:")[2].split()[0]) // 1024
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


def fill_peers(base: Path, items: int) -> dict[str, str]:
    """Write what three other memories would have; returns the file of each."""
    chance = random.Random(7)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 10))) for _ in range(10_000)]

    def said(many: int) -> str:
        return " ".join(chance.choices(words, k=many))

    with open(base / "memory.jsonl", "w", encoding="utf-8") as graph:
        for number in range(items):
            entity = {"type": "entity", "name": f"Thing {number}", "entityType": "thing"}
            graph.write(json.dumps({**entity, "observations": [said(20), said(20)]}) + "\n")
        for number in range(items):
            ends = {"from": f"Thing {number}", "to": f"Thing {number * 7 % items}", "relationType": "uses"}
            graph.write(json.dumps({"type": "relation", **ends}) + "\n")
    fill(base / "basic-memory", items, flat=False)
    kinds = ("decision", "bugfix", "discovery", "feature", "change")
    db = sqlite3.connect(base / "claude-mem.db")
    db.executescript(
        "CREATE TABLE sdk_sessions (id, memory_session_id, content_session_id, project, started_at);"
        "CREATE TABLE session_summaries (id, memory_session_id, project, request, created_at);"
        "CREATE TABLE observations (id, memory_session_id, project, type, title, narrative, created_at);"
    )
    at = "2026-09-01T10:00:00Z"
    for number in range(items // 50):
        db.execute("INSERT INTO sdk_sessions VALUES (?, ?, ?, 'x', ?)", (number, f"m{number}", f"c{number}", at))
        db.execute("INSERT INTO session_summaries VALUES (?, ?, 'x', ?, ?)", (number, f"m{number}", said(20), at))
    for number in range(items):
        row = (number, f"m{number // 50}", kinds[number % 5], said(6), said(100), at)
        db.execute("INSERT INTO observations VALUES (?, ?, 'x', ?, ?, ?, ?)", row)
    db.commit()
    db.close()
    return {name: f"{base}/{name}" for name in ("basic-memory", "claude-mem.db", "memory.jsonl")}


def measure_peers(items: int) -> None:
    """Import as much from each of three other memories twice, then export it."""
    with tempfile.TemporaryDirectory() as base:
        env = {**os.environ, "HOME": base, "AI_MEMORY_HOME": f"{base}/memory"}
        found = fill_peers(Path(base), items)
        commands = [
            ["import", "basic-memory", found["basic-memory"]],
            ["import", "claude-mem", found["claude-mem.db"], "--from", "x"],
            ["import", "server-memory", found["memory.jsonl"]],
        ]
        for command in [*(one for one in commands for _ in range(2)), ["export", f"{base}/out.tar.gz"]]:
            started = time.perf_counter()
            project = ["--project", "general"]
            done = subprocess.run([*COMMAND, *command, *project], env=env, cwd=base, check=True, stdout=subprocess.PIPE)
            took = time.perf_counter() - started
            print(f"{' '.join(command[:2]):25} {took:6.1f} s  {done.stdout.decode().splitlines()[0]}", flush=True)


def main() -> None:
    """Measure every number of pages in both shapes, or the other memories."""
    if sys.argv[1:] == ["peers"]:
        measure_peers(10_000)
        return
    for pages in [int(word) for word in sys.argv[1:]] or [50_000]:
        for flat in (True, False):
            measure(pages, flat=flat)


if __name__ == "__main__":
    main()
