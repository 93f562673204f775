"""Eight agents emit, two ingest and one searches, all at once: every event is there once and nobody sees an error.

And then everything that processes do to a memory, all at once: for some seconds, or for the CROWD=120 that are told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import crowd
import pytest
from children import CONTEXT, child, emit_many, ingest, ingest_until, opened, search_until
from invariants import events, git_problems, journals, leftovers, pages, rows_of, said, spooled, wikis
from playing import Player, repository
from remotes import HttpServer, Machine

from ai_memory_mcp.agents.launcher import write_launcher
from ai_memory_mcp.markdown import parse
from ai_memory_mcp.model import Scope

EMITTERS, EVENTS, HOOKS = 8, 500, 6
SECONDS = float(os.environ.get("CROWD", "4"))


@pytest.fixture
def work(own_home: Path) -> Path:
    return repository(own_home / "work", remote="git@example.com:me/work.git")


def test_every_event_is_there_once(home: Path, own_home: Path, work: Path) -> None:
    stop, results = CONTEXT.Event(), CONTEXT.Queue()
    others = [child(ingest_until, str(home), stop, results) for _ in range(2)]
    others.append(child(search_until, str(home), str(work), stop, results))
    emitters = [child(emit_many, str(home), f"s{number}", played(work, number), results) for number in range(EMITTERS)]
    hooks = [hook(home, own_home, work, number) for number in range(HOOKS)]
    for emitter in emitters:
        emitter.join(60)
    assert [one.communicate(timeout=30)[0] for one in hooks] == [b""] * HOOKS
    assert [one.returncode for one in hooks] == [0] * HOOKS
    stop.set()
    errors = [error for _ in [*others, *emitters] for error in results.get(timeout=60)]
    for one in others:
        one.join(60)
    memory = opened(str(home))
    memory.ingest()
    memory.close()

    assert errors == []
    assert [path.name for path in (home / "logs").glob("*") if path.name != "slow.log"] == []  # no complaint
    assert Counter(stored(home)) == Counter({f"s{number}": EVENTS for number in range(EMITTERS)} | {"hooks": HOOKS})
    status = memory.status(Scope(cwd=str(work)))
    assert status.capture.seen == status.capture.stored == EMITTERS * EVENTS + HOOKS
    assert status.problems == ()
    assert status.spool == {"pending": 0, "set_aside": 0}
    assert status.counts.handoffs == status.counts.pages == EMITTERS
    assert list((home / "locks").glob("*.holder")) == []
    wiki = next((home / "wiki").glob("*/*/.git")).parent
    assert git(wiki, "fsck", "--strict", "--no-dangling").returncode == 0
    assert git(wiki, "status", "--porcelain").stdout == ""
    assert len(git(wiki, "ls-tree", "-r", "--name-only", "HEAD").stdout.splitlines()) == 2 * EMITTERS + 1


def played(work: Path, number: int) -> list[tuple[str, dict[str, object]]]:
    """A whole session of EVENTS events."""
    found: list[tuple[str, dict[str, object]]] = [("SessionStart", {"source": "startup"})]
    for call in range(EVENTS - 3):
        tool = {"tool_name": "Bash", "tool_input": {"command": f"make {call}"}, "tool_response": {"stdout": "ok"}}
        found.append(("PostToolUse", {**tool, "tool_use_id": f"{number}-{call}"}))
    found[1:1] = [("UserPromptSubmit", {"prompt": f"question {number}"})]
    found.append(("SessionEnd", {"reason": "other"}))
    return [(event, {"cwd": str(work), **payload}) for event, payload in found]


def hook(home: Path, own_home: Path, work: Path, number: int) -> subprocess.Popen[bytes]:
    """One real hook process, as an agent starts it."""
    payload = {"session_id": "hooks", "cwd": str(work), "prompt": f"prompt {number}", "prompt_id": f"p{number}"}
    env = {"HOME": str(own_home), "AI_MEMORY_HOME": str(home), "PATH": "/usr/bin:/bin"}
    command = [str(write_launcher(home, python=sys.executable)), "claude-code", "UserPromptSubmit"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
    assert process.stdin
    process.stdin.write(json.dumps(payload).encode())
    process.stdin.flush()
    return process


def stored(home: Path) -> list[str]:
    """Return the agent's session id of every observation in the journal; no id may be there twice."""
    natives, found, ids = {}, [], []
    for path in (home / "journal").glob("*/*.jsonl"):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if record["type"] == "session":
                natives[record["id"]] = record["native_id"]
            elif record["type"] == "observation":
                found.append(natives[record["session"]])
                ids.append(record["id"])
    assert len(ids) == len(set(ids))
    return found


def git(wiki: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(wiki), *args], capture_output=True, text=True, check=False)


def test_two_ingests_at_once_share_the_work(home: Path, work: Path) -> None:
    for number in range(5):
        Player(home, work, f"s{number}", ago=3000 - 100 * number).start().works().ends()
    results = CONTEXT.Queue()
    both = [child(ingest, str(home), results) for _ in range(2)]
    counts = [results.get(timeout=30) for _ in both]
    for one in both:
        one.join(30)

    assert sum(counts) == 40
    memory = opened(str(home))
    assert memory.status(Scope(cwd=str(work))).counts.model_dump() == {
        "pages": 5,
        "sessions": 5,
        "observations": 40,
        "handoffs": 5,
    }


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="processes and descriptors are counted by /proc")
def test_everything_at_once_harms_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "user")
    home, cwd = machine.home, repository(machine.user / "work", remote=crowd.REMOTE)
    bare = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", bare], check=True)
    server = HttpServer(machine).start()
    told = {"sync": str(bare), "deliver": server.url}
    stop, results = CONTEXT.Event(), CONTEXT.Queue()
    running = {
        name: child(crowd.work, name, str(home), str(cwd), told.get(name, ""), stop, results) for name in crowd.ROLES
    }
    pids = {name: one.pid for name, one in running.items()} | {"serve-http": server.process.pid}
    counted = descriptors(pids, SECONDS)
    zombies = ended_children(set(pids.values()))
    stop.set()
    done = [results.get(timeout=120) for _ in running]
    for one in running.values():
        one.join(60)
    assert [name for name, one in running.items() if one.is_alive()] == []
    assert server.stop() == 0
    assert left_running(tmp_path) == []

    assert [error for _, _, wrong, _ in done for error in wrong] == []
    assert min(number for _, number, _, _ in done) > 0
    assert zombies == []
    assert {name: grown for name, grown in growth(counted).items() if grown > 2} == {}
    facts = [fact for *_, found in done for fact in found]
    assert not_once(home, cwd, facts) == []
    assert_sound(home, cwd)
    assert subprocess.run(["git", "-C", bare, "fsck", "--strict", "--no-dangling"], capture_output=True).returncode == 0


def descriptors(pids: dict[str, int], seconds: float) -> dict[str, list[int]]:
    """Count the open descriptors of processes, again and again for so many seconds."""
    found: dict[str, list[int]] = {name: [] for name in pids}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name, pid in pids.items():
            with suppress(FileNotFoundError):
                found[name].append(len(os.listdir(f"/proc/{pid}/fd")))
        time.sleep(0.1)
    return found


def growth(counted: dict[str, list[int]]) -> dict[str, int]:
    """Return by how many descriptors each process has grown that stay open, from the first third on to the last."""
    thirds = {
        name: (found[len(found) // 6 : len(found) // 3], found[-len(found) // 3 :]) for name, found in counted.items()
    }
    return {name: min(late) - min(early) for name, (early, late) in thirds.items() if early}


def ended_children(parents: set[int]) -> list[str]:
    """Return the children of these processes that have ended and that nobody has asked for, for a second."""
    seen: Counter[str] = Counter()
    for _ in range(10):
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                name, _, rest = path.read_text().rpartition(")")
                state, parent = rest.split()[:2]
                if state == "Z" and int(parent) in parents:
                    seen[name] += 1
        time.sleep(0.1)
    return [name for name, count in seen.items() if count == 10]


def left_running(base: Path) -> list[str]:
    """Return what still works for a home below the folder, when the last workers have had the time to end."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"AI_MEMORY_HOME={base}".encode() in path.read_bytes():
                    found.append((path.parent / "cmdline").read_text())
        if not found:
            return []
        time.sleep(0.1)
    return found


def not_once(home: Path, cwd: Path, facts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return what somebody was told is there and is not there exactly once."""
    memory = opened(str(home))
    memory.ingest()
    memory.lint(Scope(cwd=str(cwd)))  # this notices every edit by hand, be the project large
    memory.close()
    there = pages(home)
    records = (json.loads(line) for path in journals(home) for line in said(path).splitlines())
    counted = Counter(("prompt", one["text"]) for one in records if one.get("kind") == "user-prompt")
    counted.update(("page", "/".join(Path(name).parts[3:])) for name in there)
    counted.update(("title", str(parse(text)[0].get("title"))) for text in there.values())
    return [fact for fact in facts if counted[fact] != 1]


def assert_sound(home: Path, cwd: Path) -> None:
    """All that holds of a memory that is at rest."""
    memory = opened(str(home))
    status = memory.status(Scope(cwd=str(cwd)))
    memory.history(Scope(cwd=str(cwd)))
    assert status.problems == ()
    assert (status.spool, spooled(home)) == ({"pending": 0, "set_aside": 0}, set())
    assert set(events(home).values()) == {1}
    assert [git_problems(wiki) for wiki in wikis(home)] == [""] * len(wikis(home))
    for path in leftovers(home):  # of servers that were killed; removed when they are an hour old
        os.utime(path, (1, 1))
    memory.ingest()
    memory.close()
    assert [path for path in leftovers(home) if path.suffix != ".holder"] == []
    assert not (home / "logs" / "emit.log").exists(), "a hook complained"
    grown = rows_of(home)
    memory.reindex()
    anew = rows_of(home)
    assert [table for table, rows in grown.items() if anew[table] != rows] == []
