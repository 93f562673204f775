"""Seconds and memory of `forget-sweep`: `python tests/benchmarks/bench_sweep.py [PAGES [SESSIONS]]` (20,000 and 2,000).

Half of the pages are due, half of the sessions (20 observations each) are to be pruned, a quarter to be compressed. The
plan and the sweep run in a process of their own, whose peak memory is told; while it sweeps another process searches.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

from bench_import import SEARCH, fill
from playing import DEAD, Player, repository

from ai_memory_mcp.config import Config
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Scope
from ai_memory_mcp.resources import Resources

RUN = """
import json, time
from collections import Counter
from ai_memory_mcp.local import open_local
memory, times = open_local(), []
for step in (memory.plan_sweep, lambda: memory.sweep(planned), memory.close):
    started = time.perf_counter()
    planned = step() or planned
    times.append(time.perf_counter() - started)
told = open("/proc/self/status").read()  # ru_maxrss begins with what the process was forked from had at most
peak = int(told.partition("VmHWM:")[2].split()[0]) // 1024
print(json.dumps({"items": Counter(one.what for one in planned.items), "times": times, "peak": peak}))
"""


def aged(folder: Path) -> None:
    """Have half of the files say that they are of long ago."""
    every = sorted(folder.rglob("*.md"), key=lambda path: path.name)  # what stays must not link to them
    for number, path in enumerate(every):
        year = 2016 if number < len(every) // 2 else datetime.now(timezone.utc).year
        text = path.read_text()
        head = "" if text.startswith("---") else "---\n---\n"
        path.write_text((head + text).replace("---\n", f"---\nupdated: {year}-01-01\n", 1))


def play(home: Path, work: Path, sessions: int) -> None:
    """Spool sessions, half of them of more than a year ago."""
    for number in range(sessions):
        days = (400, 40, 400, 5)[number % 4]
        player = Player(home, work, f"session {number}", ago=days * 86_400 + number, pid=DEAD).start()
        player.prompt(f"Please mend part {number}")
        for call in range(16):
            player.runs(f"make part{call}", f"part {call} is made " * 40)
        player.says("It is mended.").ends()


def main(pages: int, sessions: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        home, work = base / "memory", repository(base / "work")
        memory = LocalMemory(Resources.at(home, name, Config()))
        fill(base / "files", pages, flat=False)
        aged(base / "files")
        memory.import_markdown(Scope(project="general"), base / "files")
        play(home, work, sessions)
        memory.ingest()
        memory.close()
        env = {**os.environ, "HOME": name, "AI_MEMORY_HOME": str(home)}
        search = subprocess.Popen(
            [sys.executable, "-c", SEARCH], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        time.sleep(1)
        done = subprocess.run([sys.executable, "-c", RUN], env=env, stdout=subprocess.PIPE, text=True, check=True)
        told = json.loads(done.stdout)
        plan, sweep, close = told["times"]
        print(f"{pages:,} pages, {sessions:,} sessions: {told['items']}")
        print(f"plan {plan:.1f} s, sweep {sweep:.1f} s, close {close:.1f} s, at most {told['peak']} MB")
        print(search.communicate("\n")[0].strip())


if __name__ == "__main__":
    given = [int(word.replace(",", "")) for word in sys.argv[1:]]
    main(*(*given, *(20_000, 2_000)[len(given) :]))
