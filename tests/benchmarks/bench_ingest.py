"""What ingest costs: events per second of one core, and closing a session of 300 observations.

    python tests/benchmarks/bench_ingest.py [EVENTS]

Budgets: 2,000 events/s; 300 ms CPU for the close. The last line is what a person waits for at a session start when a
killed session of 300 events has to be compiled first (the hook gives up at 1.5 s).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from playing import DEAD, Player, repository

from ai_memory_mcp import ingest, settle
from ai_memory_mcp.agents.launcher import write_launcher
from ai_memory_mcp.config import Config
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Scope
from ai_memory_mcp.resources import Resources

OUTPUT = "\n".join(f"tests/test_case_{number}.py::test_behaviour_{number} PASSED" for number in range(20))


def main() -> None:
    """Print one line per figure."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    base = Path(tempfile.mkdtemp(prefix="bench-ingest-"))
    try:
        bulk(base / "bulk", events)
        close(base / "close")
        start(base / "start")
    finally:
        shutil.rmtree(base)


def busy(player: Player, calls: int) -> Player:
    """Play calls with outputs of a realistic size (about 1 KB each), with a prompt every twenty."""
    for number in range(calls):
        if number % 20 == 0:
            player.prompt(f"Please look at part {number} of the parser and make its tests pass")
        elif number % 3 == 0:
            player.edits(f"src/part_{number % 40}.py", "old line\n" * 10, "new line\n" * 12)
        else:
            player.runs(f"pytest tests/test_case_{number}.py -q", OUTPUT)
    return player


def opened(base: Path) -> LocalMemory:
    """Open a memory in an empty home."""
    repository(base / "work")
    return LocalMemory(Resources.at(base / "memory", str(base), Config()))


def bulk(base: Path, events: int) -> None:
    """Ingest many events of ten sessions (no settling)."""
    memory = opened(base)
    for session in range(10):
        busy(Player(base / "memory", base / "work", f"s{session}", ago=3000 - session), events // 10)
    memory.reindex()
    begun, cpu = time.perf_counter(), time.process_time()
    with ingest.lock(memory.res, 1):
        report, _ = ingest.drain(memory.res, now=datetime.now(timezone.utc))
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    print(f"ingest: {report.ingested / cpu:,.0f} events/s of CPU, {report.ingested / wall:,.0f} of wall time")


def close(base: Path) -> None:
    """Close a session of 300 observations in a process that has closed one before."""
    memory = opened(base)
    for session in ("warm", "measured"):
        busy(Player(base / "memory", base / "work", session, ago=2000), 300).says("All of it is done.").ends()
        with ingest.lock(memory.res, 1):
            _, places = ingest.drain(memory.res, now=datetime.now(timezone.utc))
            begun, cpu = time.perf_counter(), time.process_time()
            settle.settle(memory.res, places, now=datetime.now(timezone.utc))
            wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    print(f"close of 300 observations: {cpu * 1000:.0f} ms CPU, {wall * 1000:.0f} ms wall")


def start(base: Path) -> None:
    """Start a session where a killed one of 300 events waits, through the hook's own process."""
    memory = opened(base)
    launcher = write_launcher(base / "memory", python=sys.executable)
    env = {"PATH": os.environ["PATH"], "HOME": str(base), "AI_MEMORY_HOME": str(base / "memory")}
    busy(Player(base / "memory", base / "work", "killed", ago=2000, pid=DEAD), 300)
    payload = {"session_id": "next", "cwd": str(base / "work"), "hook_event_name": "SessionStart", "source": "startup"}
    begun = time.perf_counter()
    command = [str(launcher), "claude-code", "SessionStart"]
    told = subprocess.run(command, input=json.dumps(payload).encode(), env=env, capture_output=True, check=True)
    wall = time.perf_counter() - begun
    whole = b"Handoff from the last session" in told.stdout
    print(f"session start with a killed one waiting: {wall * 1000:.0f} ms, handoff in the brief: {whole}")
    time.sleep(1)  # the worker may still be tidying up
    assert memory.handoffs(Scope(cwd=str(base / "work")))


if __name__ == "__main__":
    main()
