"""Eight agents emit, two ingest and one searches, all at once: every event is there once and nobody sees an error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from children import CONTEXT, child, emit_many, ingest, ingest_until, opened, search_until
from playing import Player, repository

from ai_memory_mcp.agents.launcher import write_launcher
from ai_memory_mcp.model import Scope

EMITTERS, EVENTS, HOOKS = 8, 500, 6


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
