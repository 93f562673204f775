"""Sessions of agents, ended in every way at every stage, leave no process, no held lock and no unfinished file behind.

The ordinary run takes some sessions, LEAKS=200 as many as it says.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import filelock
import pytest
from children import opened
from hooking import ROOT
from invariants import events, leftovers, pages
from playing import repository

from ai_memory_mcp.agents.launcher import write_launcher

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found by /proc"),
]
SESSIONS = int(os.environ.get("LEAKS", "7"))
AT_ONCE = 8
STAGES = ("server", "greeted", "worked", "answered")


class Agent:
    """One small agent, and the terminal that it runs in if it has one."""

    def __init__(self, place: Place, session: str, *, terminal: bool) -> None:
        told, self._told = os.pipe()
        self.heard = os.fdopen(told)
        master, slave = os.openpty() if terminal else (-1, -1)
        self.terminal = master
        words = [str(place.launcher), session, str(self._told), *(["terminal"] if terminal else [])]
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "small_agent.py"), *words],
            stdin=slave if terminal else subprocess.PIPE,
            stderr=slave if terminal else None,
            cwd=place.work,
            env=place.env,
            pass_fds=(self._told,),
            start_new_session=True,
        )
        os.close(self._told)
        if terminal:
            os.close(slave)
        self.server = 0

    def reach(self, stage: str) -> None:
        """Wait until it is that far."""
        for line in self.heard:
            word, _, number = line.strip().partition(" ")
            self.server = int(number or self.server)
            if word == stage:
                return
        raise AssertionError(f"it ended before it was {stage}")

    def gone(self) -> None:
        """See it end."""
        self.process.wait(60)
        self.heard.close()
        if self.process.stdin:
            self.process.stdin.close()


def leaves(agent: Agent) -> None:
    agent.process.stdin.close()  # type: ignore[union-attr]
    agent.process.wait(60)
    assert agent.process.returncode == 0


def is_told_to_end(agent: Agent) -> None:
    """As a terminal's owner or a supervisor does it: everybody in its group is told."""
    os.killpg(agent.process.pid, signal.SIGTERM)


def is_killed(agent: Agent) -> None:
    agent.process.kill()


def loses_its_terminal(agent: Agent) -> None:
    os.close(agent.terminal)


def has_its_server_told_to_end(agent: Agent) -> None:
    os.kill(agent.server, signal.SIGTERM)
    leaves(agent)


def has_its_server_killed(agent: Agent) -> None:
    os.kill(agent.server, signal.SIGKILL)
    leaves(agent)


def is_killed_with_all_it_started(agent: Agent) -> None:
    os.killpg(agent.process.pid, signal.SIGKILL)


WAYS: tuple[Callable[[Agent], None], ...] = (
    leaves,
    is_killed,
    loses_its_terminal,
    is_told_to_end,
    has_its_server_killed,
    has_its_server_told_to_end,
    is_killed_with_all_it_started,
)


class Place:
    """A home, a project and a folder for temporary files, where agents are run."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.home = base / "memory"
        self.work = repository(base / "work", remote="git@example.com:me/work.git")
        self.temporary = base / "tmp"
        self.temporary.mkdir()
        self.launcher = write_launcher(self.home, python=sys.executable)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(base),
            "AI_MEMORY_HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(ROOT),
        }

    def session(self, number: int) -> str:
        """Run one session and end it; returns the stage that it had come to."""
        way, stage = WAYS[number % len(WAYS)], STAGES[(number // len(WAYS) + number) % len(STAGES)]
        agent = Agent(self, f"s{number}", terminal=way is loses_its_terminal)
        agent.reach(stage)
        way(agent)
        agent.gone()
        return stage

    def running(self) -> Iterator[str]:
        """Yield the processes that work for this home."""
        for found in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"AI_MEMORY_HOME={self.home}\0".encode() in found.read_bytes():
                    yield f"{found.parent.name} {(found.parent / 'cmdline').read_bytes().decode()}"

    def left_running(self) -> list[str]:
        """Return what still runs when all had the time to end: the last workers are still at work at first."""
        until = time.monotonic() + 60
        while (left := list(self.running())) and time.monotonic() < until:
            time.sleep(0.05)
        return left

    def locks_held(self) -> list[Path]:
        """Return the locks that cannot be had."""
        held = []
        for path in self.home.glob("locks/*.lock"):
            try:
                with filelock.FileLock(path, timeout=0):
                    pass
            except filelock.Timeout:
                held.append(path)
        return held


@pytest.mark.slow
def test_sessions_ended_in_every_way_leave_nothing_behind(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        stages = list(pool.map(place.session, range(SESSIONS)))

    assert place.left_running() == []
    assert place.locks_held() == []
    assert list(place.temporary.iterdir()) == []
    home = place.home
    for path in leftovers(home):  # what was killed in the midst of writing; it is removed when it is an hour old
        os.utime(path, (1, 1))
    memory = opened(str(home))
    memory.ingest()
    memory.close()
    assert [path for path in leftovers(home) if path.suffix != ".holder"] == []
    assert set(events(home).values()) == {1}
    journal = "".join(path.read_text() for path in (home / "journal").rglob("*.jsonl"))
    written = {Path(name).stem for name in pages(home)}
    for number, stage in enumerate(stages):
        assert stage not in ("worked", "answered") or f'"Ask s{number}"' in journal, number
        assert stage != "answered" or f"s{number}" in written, number
