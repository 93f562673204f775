"""Ingest stores every event exactly once, puts what it cannot read aside, and never lets one place block another."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from datetime import datetime, timezone
from pathlib import Path

import pytest
from playing import Player, put, repository, spool

from ai_memory_mcp import ingest
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Query, Scope

NOW = datetime.now(timezone.utc)


def observation_ids(memory: LocalMemory) -> list[str]:
    """Return the ids of all observations in the journal, doubles included."""
    found = []
    for path in sorted(memory.res.journal.folder.glob("*/*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if record["type"] == "observation":
                found.append(record["id"])
    return found


def scope(cwd: Path) -> Scope:
    return Scope(cwd=str(cwd))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return repository(tmp_path / "work")


@pytest.mark.parametrize("ids", [True, False], ids=["with ids", "without ids"])
@pytest.mark.parametrize("agent", ["claude-code", "codex"])
def test_hooks_installed_twice_store_every_event_once(
    home: Path, memory: LocalMemory, work: Path, agent: str, ids: bool
) -> None:
    player = Player(home, work, "s1", agent=agent, ids=ids)
    player.send("SessionStart", source="startup", times=2)
    player.send("UserPromptSubmit", prompt="mend the parser", times=2)
    answer = {"stdout": "ok", "stderr": ""} if agent == "claude-code" else "ok"
    player.send("PostToolUse", tool_name="Bash", tool_input={"command": "make"}, tool_response=answer, times=2)
    player.send("Stop", last_assistant_message="It is mended.", times=2)
    player.send("SessionEnd", reason="other", times=2)
    memory.ingest()

    status = memory.status(scope(work))

    assert status.counts.observations == 5
    assert status.capture.model_dump() == {"seen": 10, "stored": 5, "duplicates": 5, "filtered": 0, "set_aside": 0}
    assert len(observation_ids(memory)) == 5
    assert status.counts.model_dump() == {"pages": 1, "sessions": 1, "observations": 5, "handoffs": 1}


def test_an_entry_that_comes_back_is_not_stored_again(home: Path, memory: LocalMemory, work: Path) -> None:
    Player(home, work, "s1").start().works().ends()
    kept = {path.name: path.read_bytes() for path in (home / "spool").glob("*.json")}
    memory.ingest()
    before = memory.status(scope(work)).model_dump()
    for name, data in kept.items():
        put(home, name, data)
    report = memory.ingest()

    assert report.model_dump(exclude={"delivered", "sessions_closed", "handoffs"}) == {
        "ingested": 0,
        "duplicates": 0,
        "filtered": 0,
        "set_aside": 0,
    }
    assert memory.status(scope(work)).model_dump() == before
    assert len(observation_ids(memory)) == len(kept)


def test_the_same_words_later_are_another_event(home: Path, memory: LocalMemory, work: Path) -> None:
    player = Player(home, work, "s1", ids=False)
    player.prompt("go on")
    player.now = player.now.replace(microsecond=0)
    for _ in range(6):
        player.send("Notification", message="x" * 5)
    player.prompt("go on")
    memory.ingest()

    assert memory.sessions(scope(work))[0].prompts == 2


@pytest.mark.parametrize("times", [1, 2], ids=["once", "doubly installed"])
def test_every_compaction_of_a_turn_is_stored_however_soon_it_follows_the_last(
    home: Path, memory: LocalMemory, work: Path, times: int
) -> None:
    player = Player(home, work, "s1", agent="codex")
    player.send("UserPromptSubmit", prompt="mend the parser", times=times)
    for _ in range(3):
        player.send("PreCompact", trigger="auto", times=times)
        player.send("PostCompact", trigger="auto", times=times)
        player.send("SessionStart", source="compact", times=times)
    memory.ingest()

    (session,) = memory.sessions(scope(work))
    seen = [one.kind for one in memory.read(scope(work), session.id, observations=True).observations]

    assert seen == ["user-prompt", *["pre-compact", "post-compact", "session-start"] * 3]


def test_what_a_subagent_of_copilot_does_belongs_to_the_session_that_started_it(
    home: Path, memory: LocalMemory, work: Path
) -> None:
    main, helper = (Player(home, work, name, agent="copilot", ids=False) for name in ("s1", "a1"))
    whose = {"agent_id": "a1", "parent_agent_id": "s1"}
    main.prompt("mend the parser")
    helper.prompt("look for tests", **whose)
    helper.runs("ls tests", **whose)
    helper.send("SubagentStop", session_id="s1", last_assistant_message="There are 3.", **whose)
    memory.ingest()

    (session,) = memory.sessions(scope(work))
    seen = memory.read(scope(work), session.id, observations=True).observations

    assert session.native_id == "s1"
    assert [(one.kind, one.subagent) for one in seen] == [
        ("user-prompt", ""),
        ("user-prompt", "a1"),
        ("post-tool", "a1"),
        ("subagent-stop", "a1"),
    ]


def test_a_compaction_that_came_to_nothing_does_not_hide_the_next(home: Path, memory: LocalMemory, work: Path) -> None:
    player = Player(home, work, "s1").prompt("mend the parser").send("PreCompact", trigger="auto")
    player.runs("make", "ok").send("PreCompact", trigger="auto").send("PostCompact", trigger="auto")
    memory.ingest()

    (session,) = memory.sessions(scope(work))
    seen = [one.kind for one in memory.read(scope(work), session.id, observations=True).observations]

    assert seen == ["user-prompt", "pre-compact", "post-tool", "pre-compact", "post-compact"]


def test_a_double_is_seen_across_any_boundary_of_time(home: Path, memory: LocalMemory, work: Path) -> None:
    for number in range(20):
        player = Player(home, work, f"s{number}", ids=False)
        player.now = NOW.replace(second=9, microsecond=990_000 + number * 500)
        player.send("SessionStart", source="startup", times=3)
    memory.ingest()

    assert memory.status(scope(work)).counts.observations == 20


def test_a_quick_second_run_of_a_session_ends_it_again(home: Path, memory: LocalMemory, work: Path) -> None:
    player = Player(home, work, "s1", agent="claude-code")
    for run in range(3):  # claude -p --continue: a start and an end each, within seconds
        player.start("startup" if not run else "resume").prompt(f"question {run}").says("answer").ends()
    memory.ingest()

    session = memory.sessions(scope(work))[0]
    assert (session.state, session.prompts, session.observations) == ("closed", 3, 12)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an event"),
        (b'{"v":1,"id":"x","at":', "not an event"),
        (os.urandom(300), "not an event"),
        (b'{"v":1,"id":5,"at":"never","agent":[]}', "not an event"),
        (b"[]", "not an event"),
        (b"\xef\xbb\xbfnull", "not an event"),
    ],
    ids=["empty", "torn", "binary", "wrong types", "array", "null"],
)
def test_an_unreadable_entry_is_set_aside_with_its_reason(
    home: Path, memory: LocalMemory, work: Path, data: bytes, reason: str
) -> None:
    put(home, "00000000000000000001-1-aaaa-0123456789abcdef.json", data)
    Player(home, work, "s1").prompt("hello")
    memory.ingest()

    status = memory.status(scope(work))

    assert status.spool == {"pending": 0, "set_aside": 1}
    assert status.capture.set_aside == 1
    assert reason in status.problems[0]
    assert status.counts.observations == 1


def test_what_was_set_aside_is_taken_in_once_it_is_readable(home: Path, memory: LocalMemory, work: Path) -> None:
    spool(home, work, "claude-code", "UserPromptSubmit", {"session_id": "s1", "prompt": "hello"}, at=NOW)
    path = next((home / "spool").glob("*.json"))
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    for _ in range(3):  # trying again in vain changes nothing
        memory.ingest()
        assert memory.status(scope(work)).capture.model_dump(exclude_defaults=True) == {"seen": 1, "set_aside": 1}
        assert (home / "spool" / "set-aside" / path.name).exists()
        assert memory.res.spool.retry() == 1
    path.write_bytes(whole)
    memory.ingest()

    status = memory.status(scope(work))
    assert status.capture.model_dump(exclude_defaults=True) == {"seen": 1, "stored": 1}
    assert status.spool == {"pending": 0, "set_aside": 0}
    assert status.problems == ()
    memory.reindex()
    assert memory.status(scope(work)) == status


def test_a_broken_marker_sets_its_events_aside_and_no_others(
    home: Path, memory: LocalMemory, work: Path, tmp_path: Path
) -> None:
    other = repository(tmp_path / "other")
    (other / ".ai-memory.toml").write_text("project = ")
    Player(home, other, "s1").prompt("hello")
    Player(home, work, "s2").prompt("hello")
    memory.ingest()

    status = memory.status(scope(work))
    assert (status.counts.observations, status.capture.set_aside) == (1, 1)
    assert ".ai-memory.toml" in status.problems[0]
    (other / ".ai-memory.toml").write_text('project = "mended"\n')
    memory.res.spool.retry()
    memory.ingest()
    assert memory.status(scope(other)).counts.observations == 1


def test_unknown_agents_events_and_sessions_are_kept(home: Path, memory: LocalMemory, work: Path) -> None:
    spool(home, work, "brandnew", "Surprise", {"session_id": "s1", "message": "a purple elephant"}, at=NOW)
    spool(home, work, "claude-code", "Brandnew", {"session_id": "s2", "prompt": "a green elephant"}, at=NOW)
    spool(home, work, "claude-code", "UserPromptSubmit", {"prompt": "no session here"}, at=NOW)
    spool(home, work, "claude-code", "UserPromptSubmit", {"session_id": 7, "prompt": ["odd"]}, at=NOW)
    memory.ingest()

    sessions = memory.sessions(scope(work))
    assert sum(session.observations for session in sessions) == 4
    assert {session.agent for session in sessions} == {"brandnew", "claude-code"}
    hits = memory.search(scope(work), Query(text="elephant", kinds=("observation",))).hits
    assert len(hits) == 2


def test_events_of_a_folder_that_is_gone_reach_its_project(home: Path, memory: LocalMemory, tmp_path: Path) -> None:
    gone = repository(tmp_path / "gone", remote="git@example.com:me/gone.git")
    Player(home, gone, "s1").start().prompt("first")
    memory.ingest()
    Player(home, gone, "s1").prompt("second").ends()
    shutil.rmtree(gone)
    memory.ingest()

    assert [project.name for project in memory.projects()] == ["gone"]
    assert memory.sessions(Scope(project="gone"))[0].prompts == 2


def test_a_corrupt_index_is_built_anew(home: Path, memory: LocalMemory, work: Path) -> None:
    Player(home, work, "s1").start().works().ends()
    memory.ingest()
    before = memory.status(scope(work), figures=False)
    (home / "index.db").write_bytes(os.urandom(8192))

    assert memory.status(scope(work), figures=False) == before


def test_garbage_for_an_index_in_an_empty_home_does_no_harm(home: Path, memory: LocalMemory, work: Path) -> None:
    (home / "index.db").write_bytes(b"not a database at all" * 100)
    assert memory.status(scope(work)).counts.pages == 0


def test_an_index_of_a_newer_version_is_built_anew(home: Path, memory: LocalMemory, work: Path) -> None:
    Player(home, work, "s1").start().works().ends()
    memory.ingest()
    before = memory.status(scope(work), figures=False)
    db = sqlite3.connect(home / "index.db")
    db.execute("PRAGMA user_version = 99")
    db.close()

    assert memory.status(scope(work), figures=False) == before


def test_damaged_journal_lines_cost_no_others(home: Path, memory: LocalMemory, work: Path) -> None:
    Player(home, work, "s1").start().prompt("one")
    memory.ingest()
    path = next(memory.res.journal.folder.glob("*/*.jsonl"))
    with open(path, "ab") as file:
        file.write(b'{"type":"observation","id":3}\n{"type":"close"}\nrubbish\n{"type":"observation","id":"torn')
    Player(home, work, "s1", ago=200).prompt("two")
    memory.ingest()
    assert memory.status(scope(work)).counts.observations == 3
    memory.reindex()
    Player(home, work, "s1", ago=100).prompt("three").ends()
    memory.ingest()

    assert memory.status(scope(work)).counts.observations == 5
    assert len(memory.read(scope(work), "s1", observations=True).observations) == 5
    assert len(set(observation_ids_leniently(path))) == 5


def observation_ids_leniently(path: Path) -> list[str]:
    found = []
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if record.get("type") == "observation" and isinstance(record["id"], str):
            found.append(record["id"])
    assert len(found) == len(set(found))
    return found


def test_a_long_backlog_is_taken_in_in_steps_oldest_first(home: Path, memory: LocalMemory, work: Path) -> None:
    player = Player(home, work, "s1")
    for number in range(50):
        player.prompt(f"question {number}")
    memory.reindex()
    with ingest.lock(memory.res, 1):
        report, _ = ingest.drain(memory.res, now=NOW, limit=20)

    assert (report.ingested, memory.res.spool.pending()) == (20, 30)
    assert memory.status(scope(work)).counts.observations == 50


def test_filtered_events_are_counted_and_leave_no_words(home: Path, memory: LocalMemory, work: Path) -> None:
    name = spool(home, work, "claude-code", "UserPromptSubmit", {"session_id": "s1", "prompt": "quokka"}, at=NOW)
    path = next((home / "spool").glob("*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "filtered": "prompts are off", "payload": {}}))
    assert memory.ingest().filtered == 1

    assert memory.status(scope(work)).capture.model_dump(exclude_defaults=True) == {"seen": 1, "filtered": 1}
    assert memory.sessions(scope(work)) == ()
    assert name in (home / "journal/unstored.jsonl").read_text()


def test_calls_of_our_own_tools_are_no_observations(home: Path, memory: LocalMemory, work: Path) -> None:
    """What memory answered is stored already: kept again, a search would find its own question first."""
    player = Player(home, work, "one").start().prompt("What do we know of the parser?")
    player.call("mcp__aimemory__memory_search", {"query": "parser"}, [{"type": "text", "text": "1. **The parser**"}])
    player.ends()
    report = memory.ingest()

    assert (report.ingested, report.filtered) == (3, 1)
    assert memory.status(Scope(cwd=str(work))).capture.filtered == 1
    assert "memory_search" not in memory.read(Scope(cwd=str(work)), "one", observations=True).text


@pytest.mark.parametrize(
    ("agent", "event", "name"),
    [
        ("cursor", "postToolUse", {"tool_name": "MCP:{}"}),
        ("windsurf", "post_mcp_tool_use", {"tool_info": {"mcp_tool_name": "{}"}}),
        ("antigravity", "PostToolUse", {"toolCall": {"name": "{}", "args": None}}),
    ],
)
def test_our_own_tools_are_known_where_agents_leave_the_server_out(
    home: Path, memory: LocalMemory, work: Path, agent: str, event: str, name: dict[str, object]
) -> None:
    player = Player(home, work, "one", agent=agent)
    ids = {"conversationId": "one", "trajectory_id": "one"}
    for tool in ("memory_search", "memory.write", "query"):
        player.send(event, **ids, **json.loads(json.dumps(name).replace("{}", tool)))
    report = memory.ingest()

    assert (report.ingested, report.filtered) == (1, 2)


def test_an_agent_that_is_gone_has_ended_what_it_left_open_and_only_that(
    home: Path, memory: LocalMemory, work: Path
) -> None:
    other = Player(home, work, "other", pid=7).start().works()
    player = Player(home, work, "s1").start().works()
    player.send("agent-gone")
    memory.ingest()

    states = {session.native_id: session.state for session in memory.sessions(scope(work), limit=9)}
    assert states == {"s1": "closed", "other": "open"}
    assert kinds(memory).count("other") == 0

    other.session = "never heard of"  # as a server is told at its start, before the agent takes up another session
    other.send("agent-gone")
    memory.ingest()

    states = {session.native_id: session.state for session in memory.sessions(scope(work), limit=9)}
    assert states == {"s1": "closed", "other": "closed"}
    assert kinds(memory).count("session-end") == 0


def test_of_several_sessions_in_one_process_none_is_ended_by_guess(home: Path, memory: LocalMemory, work: Path) -> None:
    for name in ("one", "two"):
        Player(home, work, name).start().works()
    Player(home, work, "", ago=1).send("agent-gone")
    memory.ingest()

    assert [session.state for session in memory.sessions(scope(work), limit=9)] == ["open", "open"]


def kinds(memory: LocalMemory) -> list[str]:
    """Return the kind of every observation in the journal."""
    paths = memory.res.journal.folder.glob("*/*.jsonl")
    records = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return [record["kind"] for record in records if record["type"] == "observation"]
