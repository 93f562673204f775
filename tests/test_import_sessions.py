"""Past sessions from agents' own transcripts: what really ran, brought in once, dated as it was, and only as history.

The transcripts in tests/transcripts were written by the clients themselves in a run with our hooks; live-keys.json has
what those hooks made of the same runs.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from contextlib import closing
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playing import Player, repository
from remotes import remote, serving

from ai_memory_mcp import retention
from ai_memory_mcp.agents.spec import all_specs
from ai_memory_mcp.cli.main import main
from ai_memory_mcp.config import Config, LlmConfig
from ai_memory_mcp.errors import InputError
from ai_memory_mcp.importing_sessions import ELSEWHERE, GOES_ON, GONE, OLDER, PastReport, import_sessions
from ai_memory_mcp.index import rows
from ai_memory_mcp.llm_queue import Queue
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.memory import Memory
from ai_memory_mcp.model import Observation, Query, Scope, Session
from ai_memory_mcp.project import identify
from ai_memory_mcp.registry import make_known
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.sessions import session_id
from ai_memory_mcp.tombstones import Tombstone
from ai_memory_mcp.transcripts import Head, format_named

SAMPLES = Path(__file__).parent / "transcripts"
LIVE = json.loads((SAMPLES / "live-keys.json").read_text())
FILES = {  # where each client keeps them
    "claude-code": ".claude/projects/-home-dev-project/14026e07-0e83-464c-9e94-1bd16f7d68f3.jsonl",
    "codex": ".codex/sessions/2026/11/26/rollout-2026-11-26T06-41-59-01a21696-eb86-7231-a236-082a6dd1d017.jsonl",
    "gemini": ".gemini/tmp/project/chats/session-2026-11-26T06-42-992f1334.jsonl",
    "opencode": ".local/share/opencode/opencode.db",
    "pi": ".pi/agent/sessions/--home-dev-project--/2026-11-26T06-42-33-530Z_01a21697.jsonl",
    "omp": ".omp/agent/sessions/--home-dev-project--/2026-11-26T06-42-41-434Z_01a21697.jsonl",
}
CLAUDE = "14026e07-0e83-464c-9e94-1bd16f7d68f3"
SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


@pytest.fixture
def project(own_home: Path) -> Path:
    """The folder in which the recorded sessions ran."""
    return repository(own_home / "project")


def recorded(own_home: Path, agent: str, *, ago: float = 7200, **replaced: str) -> Path:
    """Put an agent's recorded transcript where the agent keeps it, as if it ran in this home; with words replaced."""
    path = own_home / FILES[agent]
    path.parent.mkdir(parents=True)
    if agent == "opencode":
        tables = json.loads((SAMPLES / "opencode.json").read_text().replace("/home/dev", str(own_home)))
        with closing(sqlite3.connect(path)) as db, db:
            for name, lines in tables.items():
                db.execute(f"CREATE TABLE {name} ({', '.join(lines[0])})")
                marks = ", ".join("?" * len(lines[0]))
                db.executemany(f"INSERT INTO {name} VALUES ({marks})", [tuple(line.values()) for line in lines])
            db.execute("UPDATE session SET time_updated = ?", (int((time.time() - ago) * 1000),))
        return path
    text = (SAMPLES / f"{agent}.jsonl").read_text().replace("/home/dev", str(own_home))
    for old, new in replaced.items():
        text = text.replace(old, new)
    path.write_text(text)
    os.utime(path, (time.time() - ago, time.time() - ago))
    return path


def bring(memory: Memory, project: Path, **how: Any) -> PastReport:
    how = {"now": datetime.now(timezone.utc), **how}
    return import_sessions(memory, Scope(cwd=str(project)), **how)


def sessions(memory: LocalMemory, project: Path) -> tuple[Session, ...]:
    return memory.sessions(Scope(cwd=str(project)))


def seen(memory: LocalMemory, project: Path) -> tuple[Observation, ...]:
    (session,) = sessions(memory, project)
    return memory.read(Scope(cwd=str(project)), session.id, observations=True).observations


@pytest.mark.parametrize("agent", FILES)
def test_a_real_transcript_becomes_a_session_with_its_page(
    agent: str, memory: LocalMemory, own_home: Path, project: Path
) -> None:
    """Prompts, tool calls, failures and answers of a real run, at their own times, under the agent's own id."""
    recorded(own_home, agent)

    report = bring(memory, project)

    (session,) = sessions(memory, project)
    told = seen(memory, project)
    kinds = [one.kind for one in told]
    assert (session.agent, session.state, session.prompts) == (agent, "closed", 2)
    assert session.native_id in (SAMPLES / f"{agent}.{'json' if agent == 'opencode' else 'jsonl'}").read_text()
    assert (kinds.count("user-prompt"), kinds.count("stop")) == (2, 2)
    assert [one.text for one in told if one.kind == "stop"][1] == "SECOND answer: nothing is committed yet."
    assert next(one for one in told if one.text == "ls /nonexistent-dir").ok is False
    assert {one.at.strftime("%Y-%m-%d %H") for one in told} == {"2026-11-26 06"}
    assert str(session.page).startswith("sessions/2026/11/26-say-hi")
    assert (report.stored, report.pages) == (len(told), 1)


@pytest.mark.parametrize("agent", LIVE)
def test_its_events_have_the_identity_that_the_hooks_gave_them(
    agent: str, memory: LocalMemory, own_home: Path, project: Path
) -> None:
    """The same session, turn and tool-use ids: whoever tells of them second is recognised."""
    recorded(own_home, agent)

    bring(memory, project)

    told = [[one.kind, one.key] for one in seen(memory, project)]
    assert sorted(told) == sorted(LIVE[agent])


@pytest.mark.parametrize("agent", ["claude-code", "gemini", "opencode"])
def test_a_second_import_stores_nothing(agent: str, memory: LocalMemory, own_home: Path, project: Path) -> None:
    """Nor does it count anything: an import is not capture."""
    recorded(own_home, agent)
    bring(memory, project)
    before = memory.status(Scope(cwd=str(project)))

    again = bring(memory, project)

    assert (again.stored, again.pages, again.sources[0].known) == (0, 0, 1)
    after = memory.status(Scope(cwd=str(project)))
    assert (after.counts, after.capture) == (before.counts, before.capture)


def lived(memory: LocalMemory, project: Path, *, session: str = CLAUDE, at: str = "2026-11-26T06:41:52") -> Player:
    """Begin the recorded Claude Code session with hooks."""
    player = Player(memory.res.home, project, session)
    player.now = datetime.fromisoformat(at).replace(tzinfo=timezone.utc)
    return player.start()


def test_what_hooks_told_of_is_left_alone(memory: LocalMemory, own_home: Path, project: Path) -> None:
    """Whatever words and ids they have for it: in that time they said what was to be said."""
    recorded(own_home, "claude-code")
    player = lived(memory, project)
    player.prompt("Please say hi").runs("echo hi-from-shell", "hi-from-shell").says("done")
    player.now += timedelta(seconds=3)
    player.ends()
    memory.ingest()
    before = [one.id for one in seen(memory, project)]

    report = bring(memory, project)

    assert report.stored == 0
    assert [one.id for one in seen(memory, project)] == before


def test_what_happened_before_there_were_hooks_is_added(memory: LocalMemory, own_home: Path, project: Path) -> None:
    """Hooks that were installed in the middle of a session tell of its end only; the transcript has the rest."""
    recorded(own_home, "claude-code", **{"06:41:5": "05:41:5"})
    lived(memory, project, at="2026-11-26T06:45:00").prompt("Go on").says("went on").ends()
    memory.ingest()

    report = bring(memory, project)

    (session,) = sessions(memory, project)
    assert report.stored == 8
    assert session.started < datetime(2026, 11, 26, 6, tzinfo=timezone.utc)
    assert [one.text for one in seen(memory, project) if one.kind == "user-prompt"][-1] == "Go on"


def test_hooks_that_deliver_later_are_recognised(memory: LocalMemory, own_home: Path, project: Path) -> None:
    """Events that another machine's spool kept for a week, of a session that was imported meanwhile."""
    path = recorded(own_home, "claude-code")
    bring(memory, project)
    before = len(seen(memory, project))
    line = next(json.loads(one) for one in path.read_text().splitlines() if "tool_result" in one)
    player = lived(memory, project)
    player.turn, player.ids = 1, False
    fields = {"tool_use_id": line["message"]["content"][0]["tool_use_id"], "prompt_id": line["promptId"]}
    player.call("Bash", {"command": "echo hi-from-shell"}, {"stdout": "hi-from-shell"}, **fields)

    report = memory.ingest()

    assert report.duplicates == 1
    assert len(seen(memory, project)) == before + 1  # the session's start


def test_it_is_history_and_not_handed_over(own_home: Path, home: Path, project: Path) -> None:
    """No handoff for the next session, and no language model reads years of work unasked."""
    recorded(own_home, "claude-code")
    llm = LlmConfig(provider="openai-compatible", model="m", base_url="http://127.0.0.1:9/v1")
    memory = LocalMemory(Resources.at(home, user_home=str(own_home), config=Config(llm=llm)))

    bring(memory, project)

    assert memory.handoffs(Scope(cwd=str(project)), every=True) == ()
    assert Queue(home).every() == []
    assert "say hi" in memory.brief(Scope(cwd=str(project))).text.lower()


def test_a_session_that_goes_on_later_hands_over_as_always(memory: LocalMemory, own_home: Path, project: Path) -> None:
    """It is the same session for the hooks, and is closed as theirs."""
    recorded(own_home, "claude-code")
    bring(memory, project)
    lived(memory, project, at="2026-11-26T07:30:00").works().ends()

    memory.ingest()

    (session,) = sessions(memory, project)
    (handoff,) = memory.handoffs(Scope(cwd=str(project)))
    assert (handoff.from_session, session.prompts) == (session.id, 3)


def test_a_rebuilt_index_knows_that_it_is_history(memory: LocalMemory, own_home: Path, project: Path) -> None:
    """The journal says which events were imported."""
    recorded(own_home, "claude-code")
    bring(memory, project)
    with memory.res.index.read() as db:
        before = rows.sessions(db)

    memory.reindex()

    with memory.res.index.read() as db:
        assert rows.sessions(db) == before
    assert before[0].past
    assert bring(memory, project).stored == 0


def test_a_client_brings_its_past_to_its_server(own_home: Path, home: Path, project: Path, tmp_path: Path) -> None:
    """More than one delivery takes, and all of it arrives."""
    path = recorded(own_home, "pi")
    lines = path.read_text().splitlines()
    call, answer = next((one, two) for one, two in pairwise(lines) if "toolResult" in two)
    for number in range(50):
        more = (call, answer.replace("hi-from-shell", f"{number} " + "much output " * 1300))
        lines += [one.replace("call_f792abbc59074378", f"call_{number}") for one in more]
    path.write_text("\n".join(lines))
    os.utime(path, (1, 1))
    with serving(tmp_path / "server" / "memory") as url:
        home.mkdir()
        (home / "config.toml").write_text(f'[server]\nurl = "{url}"\n')

        report = bring(remote(url, home), project)
        again = bring(remote(url, home), project)

        (session,) = remote(url, home).sessions(Scope(cwd=str(project)))
    assert (report.stored, report.pages, again.stored, session.observations) == (57, 1, 0, 57)


@pytest.mark.parametrize("kind", ["session", "project"])
def test_what_was_taken_out_stays_out(kind: Any, memory: LocalMemory, own_home: Path, project: Path) -> None:
    """The transcript is still there, and nobody wants it in memory any more."""
    recorded(own_home, "claude-code")
    memory.projects()
    place = make_known(memory.res, identify(str(project), str(own_home)), [], now=datetime.now(timezone.utc))
    ident = place.id if kind == "project" else session_id("claude-code", CLAUDE, place.id)
    stone = Tombstone(kind=kind, id=ident, why="erased", at=datetime(2026, 11, 27, tzinfo=timezone.utc))
    memory.res.tombstones.add([stone])

    report = bring(memory, project)

    assert (report.stored, sessions(memory, project)) == (0, ())


def test_what_was_pruned_is_not_brought_back(memory: LocalMemory, own_home: Path, project: Path) -> None:
    recorded(own_home, "claude-code")
    assert bring(memory, project).stored
    later, projects = datetime.now(timezone.utc) + timedelta(days=400), memory.projects()
    pruned = retention.sweep(memory.res, projects, retention.plan(memory.res, projects, now=later), now=later)
    assert [one.what for one in pruned.items] == ["observations"]
    before = sessions(memory, project)

    assert bring(memory, project).stored == 0
    assert not seen(memory, project)
    assert sessions(memory, project) == before


def test_a_helper_has_a_file_of_its_own(memory: LocalMemory, own_home: Path, project: Path) -> None:
    """What a sub-agent said belongs to the session that sent it, and its prompt is no person's."""
    folder = own_home / ".claude/projects/-home-dev-project"
    session = "4ff6d405-b6dd-4cb4-a012-aae613edd685"
    for name, sample in ((f"{session}.jsonl", "helped"), (f"{session}/subagents/agent-ab6.jsonl", "helper")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((SAMPLES / f"claude-code-{sample}.jsonl").read_text().replace("/home/dev", str(own_home)))
        os.utime(path, (1, 1))

    bring(memory, project)

    told = [(one.kind, one.text, bool(one.subagent)) for one in seen(memory, project) if not one.tool]
    assert told == [
        ("user-prompt", "Use a helper please", False),
        ("stop", "FINAL-ANSWER one", False),
        ("subagent-stop", "FINAL-ANSWER two", True),
        ("stop", "FINAL-ANSWER three", False),
    ]


# --- what is wanted, and what is allowed


def test_a_dry_run_only_tells(memory: LocalMemory, own_home: Path, project: Path) -> None:
    """Which agent did how much in which project, and when."""
    recorded(own_home, "claude-code")
    recorded(own_home, "codex")

    report = bring(memory, project, dry_run=True)

    told = [(one.agent, one.project, one.sessions, one.known, one.events) for one in report.sources]
    assert told == [("claude-code", "project", 1, 0, 8), ("codex", "project", 1, 0, 7)]
    assert (memory.projects(), memory.res.spool.pending(), report.stored) == ((), 0, 0)


def test_only_this_project_unless_all_are_asked_for(memory: LocalMemory, own_home: Path, project: Path) -> None:
    """A folder below the repository is this project, too; another repository is not."""
    recorded(own_home, "claude-code")
    recorded(own_home, "pi", **{str(own_home / "project"): str(repository(own_home / "other"))})
    below = project / "src"
    below.mkdir()

    mine = bring(memory, below)
    every = bring(memory, below, everywhere=True)

    assert ([one.agent for one in mine.sources], mine.skipped) == (["claude-code"], {ELSEWHERE: 1})
    assert [(one.project, one.known) for one in every.sources] == [("other", 0), ("project", 1)]


def test_old_unfinished_and_lost_sessions_are_left_out_and_counted(
    memory: LocalMemory, own_home: Path, project: Path
) -> None:
    """A session that goes on has hooks to tell of it; a folder that is gone would make a project of its own."""
    recorded(own_home, "claude-code", ago=30 * 86_400)
    recorded(own_home, "codex", ago=60)
    recorded(own_home, "pi", **{str(project): str(own_home / "removed")})
    since = (datetime.now(timezone.utc) - timedelta(days=2)).date().isoformat()

    report = bring(memory, project, since=since, everywhere=True)

    assert (report.sources, report.skipped) == ((), {OLDER: 1, GOES_ON: 1, GONE: 1})


def test_one_agent_can_be_named_and_a_wrong_one_is_told(memory: LocalMemory, own_home: Path, project: Path) -> None:
    """An agent without a reader names those that have one."""
    recorded(own_home, "claude-code")
    recorded(own_home, "codex")

    assert [one.agent for one in bring(memory, project, agents=["codex"]).sources] == ["codex"]
    with pytest.raises(InputError, match="those of these can: claude-code, codex"):
        bring(memory, project, agents=["zed"])
    with pytest.raises(InputError, match="not a date"):
        bring(memory, project, since="yesterday")


def test_where_capture_is_off_nothing_is_read(memory: LocalMemory, own_home: Path, project: Path) -> None:
    """A project's own word holds for its past as well."""
    path = recorded(own_home, "claude-code")
    head = json.dumps({"sessionId": CLAUDE, "cwd": str(project)})
    path.write_text(f"{head}\n" + "never read\n" * 100 + path.read_text())
    os.utime(path, (1, 1))
    (project / ".ai-memory.toml").write_text("[capture]\nenabled = false\n")

    report = bring(memory, project)

    assert (report.sources, report.skipped) == ((), {"where capture is off": 1})
    assert (memory.projects(), memory.res.spool.pending()) == ((), 0)


def test_capture_rules_and_redaction_hold(memory: LocalMemory, own_home: Path, project: Path) -> None:
    """Prompts that are off, paths that are ignored and secrets stay out, exactly as with hooks."""
    recorded(own_home, "claude-code", **{"SECOND answer": f"The token is {SECRET}: SECOND answer"})
    (project / ".ai-memory.toml").write_text('[capture]\nprompts = false\nignore_paths = ["hello.txt"]\n')

    report = bring(memory, project)

    told = seen(memory, project)
    assert {one.kind for one in told} == {"post-tool", "tool-failure", "stop"}
    assert not any("hello.txt" in one.paths for one in told)
    assert report.sources[0].excluded == 3
    assert "[REDACTED:" in told[-1].text
    for file in memory.res.home.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()


def test_what_was_said_long_ago_is_found(memory: LocalMemory, own_home: Path, project: Path) -> None:
    """The first day's search."""
    recorded(own_home, "opencode")
    bring(memory, project)

    answer = memory.search(Scope(cwd=str(project)), Query(text="nonexistent-dir"))

    assert any("nonexistent-dir" in hit.title for hit in answer.hits)


def test_the_command_tells_what_it_did(own_home: Path, project: Path, monkeypatch: Any, capsys: Any) -> None:
    """For people and as JSON."""
    recorded(own_home, "claude-code")
    monkeypatch.chdir(project)

    assert main(["import", "sessions", "--dry-run"]) == 0
    assert "project  claude-code: 1 new sessions, 0 known, 8 events" in capsys.readouterr().out
    assert main(["import", "sessions", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["stored"], told["sources"][0]["sessions"]) == (8, 1)


# --- files as they are


@pytest.mark.parametrize("agent", FILES)
def test_damaged_transcripts_raise_nothing(agent: str, own_home: Path) -> None:
    """Torn, cut off, with values of another kind: what can be read is read."""
    path = recorded(own_home, agent)
    transcripts = all_specs()[agent].transcripts
    assert transcripts
    reader = format_named(transcripts.format)
    whole = path.read_bytes()
    dice = random.Random(7)
    for _ in range(40):
        at, length = dice.randrange(len(whole)), dice.choice((1, 5, 400))
        path.write_bytes(whole[:at] + dice.choice((b"", b"[", b'"', b"7", b"\xff")) * length + whole[at + length :])
        for head in reader.heads(path):
            reader.said(head)
    for value in ("null", '"x"', "7", "[]", "{}", "[{}]"):
        for key in ("message", "payload", "content", "toolCalls", "timestamp", "$set", "messages", "id"):
            path.write_text(f'{{"type":"user","{key}":{value}}}\n' * 3)
            reader.said(Head(path, "s", "/p", 0)) if agent != "opencode" else reader.heads(path)


def test_codex_waits_for_a_long_command(tmp_path: Path) -> None:
    """What a later look at a running command brings belongs to that command."""
    path = tmp_path / "rollout-x.jsonl"

    def item(number: int, **payload: Any) -> str:
        at = f"2026-11-26T06:42:0{number}Z"
        return json.dumps({"timestamp": at, "type": "response_item", "payload": payload})

    lines = [
        item(1, type="function_call", call_id="a", name="exec_command", arguments='{"cmd": "make test"}'),
        item(2, type="function_call_output", call_id="a", output="Process running with session ID 7\nOutput:\nstart"),
        item(3, type="function_call", call_id="b", name="write_stdin", arguments='{"session_id": 7, "chars": ""}'),
        item(4, type="function_call_output", call_id="b", output="Process exited with code 2\nOutput:\n1 failed"),
    ]
    path.write_text("\n".join(lines))

    last = format_named("codex-rollout").said(Head(path, "s", "/p", 0))[-1]

    assert last.fields["input"] == {"cmd": "make test"}
    assert last.fields["output"] == {"stdout": "1 failed", "exit_code": 2}
