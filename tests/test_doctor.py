"""Doctor: each fault that can be brought about is found, and named with the one command that mends it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from remotes import serving, token

from ai_memory_mcp.agents.launcher import write_launcher
from ai_memory_mcp.away import pause
from ai_memory_mcp.cli.main import main
from ai_memory_mcp.config import Config, ServerConfig
from ai_memory_mcp.doctor import Wiring, examine
from ai_memory_mcp.files import locked
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, Scope
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.trying import try_server

SETUP = "ai-memory-mcp setup --agent claude-code"
NOW = datetime.now(timezone.utc)
CLAUDE = Wiring("claude-code", "Claude Code", "wired", "wired")
OURS = (sys.executable, "-m", "ai_memory_mcp", "serve")

# An MCP server that notes how it was started, and answers everything alike.
SERVER = """
import json, os, sys
with open({record!r}, "a") as file:
    file.write(json.dumps({{"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd()}}) + "\\n")
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        print(json.dumps({{"jsonrpc": "2.0", "id": asked["id"], "result": {answer}}}), flush=True)
{end}
"""


class Patient:
    """A memory with one captured session and one page, and its examination."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.project = base / "shop"
        (self.project / ".git").mkdir(parents=True)
        (self.project / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
        self.res = Resources.at(base / "memory", str(base), Config())
        self.home = self.res.home
        self.memory = LocalMemory(self.res)
        write_launcher(self.home, sys.executable)
        self.spool("e1", {"prompt": "Why is the checkout slow?"})
        self.memory.ingest()
        self.memory.write(Scope(cwd=str(self.project)), Draft(title="Pool", body="Twenty."))
        self.memory.close()
        self.wiki = next(self.home.glob("wiki/*/*"))

    def spool(self, ident: str, payload: dict[str, str] | str, age: float = 0) -> None:
        """Have an event wait; a text stands for a file that is no event."""
        where = {"cwd": str(self.project), "root": str(self.project)}
        entry = {"id": ident, "at": NOW.timestamp(), "agent": "claude-code", "event": "UserPromptSubmit", **where}
        folder = self.home / "spool"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{ident}-0.json"
        path.write_text(
            payload if isinstance(payload, str) else json.dumps(entry | {"payload": {"session_id": "s"} | payload})
        )
        os.utime(path, (NOW.timestamp() - age,) * 2)

    def examine(self, *wiring: Wiring, env=None, cwd="", now=NOW):
        """Return (level, message, fix) of the findings."""
        found = examine(
            self.res, wiring or (CLAUDE,), env=env or {}, cwd=cwd or str(self.project), python=sys.executable, now=now
        )
        return [(one.level, one.message, one.fix) for one in found]

    def fault(self, *wiring: Wiring, **more):
        """Return the only finding that is not ok."""
        found = [one for one in self.examine(*wiring, **more) if one[0] != "ok"]
        assert len(found) == 1, found
        return found[0]


@pytest.fixture
def patient(tmp_path):
    return Patient(tmp_path)


@pytest.fixture
def patient_with_server(patient, tmp_path):
    """A patient that is a client of a server, and the server's address."""
    with serving(tmp_path / "server" / "memory") as url:
        config = Config(server=ServerConfig(url=url))
        patient.res = Resources.at(patient.home, str(patient.base), config)
        yield patient, tmp_path / "server" / "memory"


def test_a_server_that_answers_is_told(patient_with_server):
    patient, _ = patient_with_server
    assert ("ok", f"the server {patient.res.config.server.url} answers and takes events", "") in patient.examine()


def test_a_server_that_refuses_us_is_an_error(patient_with_server):
    patient, home = patient_with_server
    reader = token(home, read_only=True)
    for env in ({}, {"AI_MEMORY_TOKEN": "aimem_wrong"}, {"AI_MEMORY_TOKEN": reader}):
        found = [one for one in patient.examine(env=env) if "--server-url" in one[2]]
        assert [level for level, _, _ in found] == ["error"]


def test_a_server_that_is_away_is_a_warning_that_says_since_when(patient):
    config = Config(server=ServerConfig(url="http://127.0.0.1:9"))
    patient.res = Resources.at(patient.home, str(patient.base), config)
    pause(patient.home, "gone", now=NOW.timestamp() - 7200)
    found = [one for one in patient.examine() if "127.0.0.1:9" in one[1]]
    assert [level for level, _, _ in found] == ["warning"]
    assert "away for 2 hours" in found[0][1]


def test_a_healthy_memory_has_no_faults_and_tells_its_accounts(patient):
    found = patient.examine(now=datetime.now(timezone.utc) + timedelta(minutes=10))
    assert {level for level, _, _ in found} == {"ok"}
    messages = " / ".join(message for _, message, _ in found)
    assert "the index is whole: 1 pages, 1 observations" in messages
    assert "1 events seen = 1 stored, 0 duplicates, 0 filtered, 0 set aside; 0 lost" in messages
    assert "Claude Code: MCP and hooks are wired; its last event came 1" in messages  # 10 minutes ago, or a little more


def test_examining_changes_nothing(patient):
    def files():
        return {
            path: path.read_bytes() for path in patient.home.rglob("*") if path.is_file() and path.suffix != ".db-shm"
        }

    before = files()
    patient.examine()
    assert files() == before


def test_a_memory_that_is_not_there_yet_is_no_error(tmp_path):
    res = Resources.at(tmp_path / "memory", str(tmp_path), Config())
    found = examine(res, (), env={}, cwd="", python=sys.executable, now=NOW)
    assert [(one.level, one.fix) for one in found] == [
        ("warning", "ai-memory-mcp setup"),
        ("warning", "ai-memory-mcp agents"),
    ]
    assert not res.home.exists()


def test_a_home_that_others_can_read_is_a_warning(patient):
    patient.home.chmod(0o755)
    level, message, fix = patient.fault()
    assert (level, fix) == ("warning", f"chmod 700 {patient.home}")
    assert "755" in message


def test_a_home_that_is_a_file_is_an_error(patient):
    shutil.rmtree(patient.home)
    patient.home.write_text("")
    level, message, _ = patient.examine()[0]
    assert level == "error"
    assert "is not a folder" in message


def test_broken_settings_are_an_error_and_the_rest_is_still_looked_at(patient):
    (patient.home / "config.toml").write_text("[capture]\nmax_text = 'much'\n")
    (patient.project / ".ai-memory.toml").write_text("project = [")
    found = patient.examine()
    errors = [message for level, message, _ in found if level == "error"]
    assert len(errors) == 2
    assert "config.toml: capture.max_text" in errors[0]
    assert str(patient.project / ".ai-memory.toml") in errors[1]
    assert any("events seen" in message for _, message, _ in found)


def test_events_that_wait_for_hours_are_a_warning(patient):
    patient.spool("e2", {"prompt": "young"}, age=60)
    told = [message for level, message, _ in patient.examine() if level == "ok" and " wait to be " in message]
    assert re.fullmatch(r"1 events wait to be taken in, the oldest for \d+ (seconds|minutes)", *told)
    patient.spool("e1-old", {"prompt": "old"}, age=3 * 3600)
    level, message, fix = patient.fault()
    assert (level, fix) == ("warning", "ai-memory-mcp ingest")
    assert message == "2 events wait to be taken in, the oldest for 3 hours"


def test_what_is_set_aside_is_told_with_its_reason(patient):
    patient.spool("e2", "no event at all")
    patient.memory.ingest()
    level, message, fix = patient.fault()
    assert (level, fix) == ("warning", "ai-memory-mcp ingest --retry")
    assert message.startswith("1 set aside: not an event")


def test_events_set_aside_and_then_gone_count_as_lost(patient):
    patient.spool("e2", "no event at all")
    patient.memory.ingest()
    shutil.rmtree(patient.home / "spool" / "set-aside")
    level, message, _ = patient.fault()
    assert level == "warning"
    assert "1 of the events set aside are gone" in message
    assert any("1 lost" in message for _, message, _ in patient.examine())


def test_complaints_of_the_last_day_are_counted(patient):
    (patient.home / "logs").mkdir(exist_ok=True)
    stamp = "%Y-%m-%dT%H:%M:%SZ"
    times = [NOW - timedelta(days=3), NOW - timedelta(hours=3), NOW - timedelta(minutes=3)]
    lines = [f"{when.strftime(stamp)} OSError No space left on device: /x/{at}" for at, when in enumerate(times)]
    (patient.home / "logs" / "emit.log").write_text("\n".join(["torn line", *lines]) + "\n")
    level, message, _ = patient.fault()
    assert level == "warning"
    assert message.startswith("hooks failed 2 times in the last 24 hours")
    assert message.endswith("/x/2")


def test_a_crash_of_the_worker_is_told_by_its_last_line(patient):
    (patient.home / "logs").mkdir(exist_ok=True)
    trace = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\nZeroDivisionError: division by zero\n'
    (patient.home / "logs" / "errors.log").write_text(f"{NOW.strftime('%Y-%m-%dT%H:%M:%SZ')} x ingest\n{trace}")
    expected = "commands failed once in the last 24 hours, last: ZeroDivisionError: division by zero"
    assert patient.fault()[:2] == ("warning", expected)


def test_a_damaged_index_is_an_error(patient):
    for name in ("index.db-wal", "index.db-shm"):
        (patient.home / name).unlink(missing_ok=True)
    path = patient.home / "index.db"
    data = bytearray(path.read_bytes())
    data[8192:40_960] = b"\xff" * 32_768
    path.write_bytes(data)
    found = [(level, fix) for level, _, fix in patient.examine() if level == "error"]
    assert ("error", "ai-memory-mcp reindex") in found


def test_an_index_that_is_missing_or_behind_is_told(patient):
    journal = next(patient.home.glob("journal/*/*.jsonl"))
    with journal.open("a") as file:
        file.write('{"type": "none"}\n')
    assert patient.fault()[::2] == ("warning", "ai-memory-mcp reindex")
    journal.write_text("")
    level, message, fix = patient.fault()
    assert (level, fix) == ("error", "ai-memory-mcp reindex")
    assert journal.name in message
    patient.res.index.discard()
    assert patient.fault() == ("warning", "there is no index; the next command builds it", "ai-memory-mcp reindex")


def test_a_lock_whose_holder_died_or_hangs_is_told(patient):
    holder = patient.home / "locks" / "ingest.lock.holder"
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    holder.write_text(done.stdout)
    level, message, fix = patient.fault()
    assert (level, fix) == ("warning", "ai-memory-mcp ingest")
    assert "died holding ingest.lock" in message
    patient.memory.ingest()
    assert not holder.exists()
    holder.write_text(f"{os.getpid()}\n")
    assert all(level == "ok" for level, _, _ in patient.examine())
    os.utime(holder, (NOW.timestamp() - 600,) * 2)
    assert patient.fault()[2] == f"kill {os.getpid()}"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("MERGE_HEAD", "0" * 40, "a merge is unfinished"),
        ("HEAD", "0" * 40, "damaged"),
        ("HEAD", None, "no branch is checked out"),
    ],
)
def test_a_wiki_that_cannot_be_committed_to_is_an_error(patient, name, content, told):
    git = patient.wiki / ".git"
    (git / name).write_text(content or (git / "refs/heads/main").read_text())
    level, message, fix = patient.fault()
    assert level == "error"
    assert told in message
    assert fix.startswith(f"git -C {patient.wiki} ")


def test_pages_edited_by_hand_are_a_remark(patient):
    (patient.wiki / "notes" / "pool.md").write_text("# Pool\n\nThirty.\n")
    assert any("1 pages" in message and level == "ok" for level, message, _ in patient.examine())


def test_a_launcher_that_is_gone_or_does_nothing_is_an_error(patient):
    launcher = patient.home / "bin" / "emit"
    text = launcher.read_text()
    launcher.write_text(text.replace(sys.executable, "/no/such/python"))
    level, message, fix = patient.fault()
    assert (level, fix) == ("error", "ai-memory-mcp setup")
    assert "ran without effect" in message
    launcher.chmod(0o600)
    assert "cannot be run" in patient.fault()[1]
    launcher.unlink()
    assert "is missing" in patient.fault()[1]
    assert all(level == "ok" for level, _, _ in patient.examine(replace(CLAUDE, hooks="unsupported")))


def test_a_launcher_of_another_installation_is_a_warning(patient):
    launcher = patient.home / "bin" / "emit"
    launcher.write_text(launcher.read_text() + "# older\n")
    assert patient.fault()[::2] == ("warning", "ai-memory-mcp setup")


def test_trying_the_launcher_leaves_no_event_in_the_memory(patient):
    before = patient.memory.status(Scope(cwd=str(patient.project))).capture
    patient.examine()
    assert list((patient.home / "spool").glob("*.json")) == []
    assert patient.memory.status(Scope(cwd=str(patient.project))).capture == before


@pytest.mark.parametrize(
    ("change", "level", "words", "fix"),
    [
        ({"mcp": "missing"}, "warning", "MCP server not wired", SETUP),
        ({"mcp": "missing", "hooks": "missing"}, "warning", "MCP server and hooks not", SETUP),
        ({"hooks": "outdated"}, "warning", "older form", SETUP),
        ({"trusted": False}, "warning", "until they are approved", "ai-memory-mcp setup --trust-codex-hooks"),
        ({"command": ("/no/such/command",)}, "error", "/no/such/command cannot be run (No such file", SETUP),
        (
            {"mcp": "broken", "errors": ("/x.json: line 3",)},
            "error",
            "/x.json: line 3",
            f"mend the file there, then {SETUP}",
        ),
    ],
)
def test_each_fault_of_an_agents_wiring_is_told_with_its_remedy(patient, change, level, words, fix):
    found = patient.fault(replace(CLAUDE, **change))
    assert found[::2] == (level, fix)
    assert words in found[1]


def test_an_agent_that_never_sent_anything_is_told(patient):
    messages = [message for _, message, _ in patient.examine(replace(CLAUDE, name="codex", title="Codex"))]
    assert "Codex: MCP and hooks are wired; no event came yet" in messages


def test_the_last_event_of_an_agent_with_a_fault_is_told_too(patient):
    messages = [message for _, message, _ in patient.examine(replace(CLAUDE, trusted=False))]
    assert any(re.fullmatch(r"Claude Code: its last event came \d+ \w+ ago", one) for one in messages)
    messages = [message for _, message, _ in patient.examine(replace(CLAUDE, hooks="missing"))]
    assert not any("last event" in one for one in messages)


def test_an_agent_without_hooks_or_without_mcp_is_told_plainly(patient):
    found = patient.examine(
        replace(CLAUDE, name="x", title="X", hooks="unsupported"),
        replace(CLAUDE, mcp="unsupported"),
        replace(CLAUDE, name="y", title="Y", url="https://memory.example/mcp"),
    )
    messages = [message for level, message, _ in found if level == "ok"]
    assert "X: MCP is wired; it has no hooks, so what it does is not captured" in messages
    assert any(message.startswith("Claude Code: hooks are wired, it has no MCP; its last") for message in messages)
    assert "Y: MCP is wired to https://memory.example/mcp, hooks are wired; no event came yet" in messages


@pytest.fixture
def server(tmp_path):
    """Make an MCP server to start; gives its command and where it notes how it was started."""

    def make(answer='{"tools": [{"name": "x"}]}', end=""):
        script, record = tmp_path / "server.py", tmp_path / "started"
        script.write_text(SERVER.format(record=str(record), answer=answer, end=end))
        return (sys.executable, str(script)), record

    return make


def test_our_own_server_is_started_and_found_to_work(patient):
    env = {"CLAUDE_CODE_SESSION_ID": "s", "PATH": os.defpath}
    assert all(level == "ok" for level, _, _ in patient.examine(replace(CLAUDE, command=OURS), env=env))
    assert try_server((*OURS, "--agent", "claude-code"), {}) == ""


def test_a_server_is_started_as_the_agent_would_but_with_nothing_of_ours_to_touch(patient, server):
    command, record = server()
    agent = replace(
        CLAUDE, command=(*command, "serve", "--agent", "x"), env={"MORE": "1", "AI_MEMORY_HOME": str(patient.home)}
    )
    doctors = {"PATH": "/p", "CLAUDE_CODE_SESSION_ID": "of doctor", "AI_MEMORY_SESSION__IDLE_MINUTES": "7"}
    assert all(level == "ok" for level, _, _ in patient.examine(agent, replace(agent, name="y"), env=doctors))
    (line,) = record.read_text().splitlines()  # once for both
    started = json.loads(line)
    assert started["argv"] == ["serve"]
    assert {name: started["env"].get(name) for name in (*doctors, "MORE")} == {
        "PATH": "/p",
        "CLAUDE_CODE_SESSION_ID": None,
        "AI_MEMORY_SESSION__IDLE_MINUTES": None,
        "MORE": "1",
    }
    assert started["env"]["AI_MEMORY_HOME"].startswith(started["cwd"])
    assert not Path(started["cwd"]).exists()


@pytest.mark.parametrize(
    ("answer", "end", "told"),
    [
        ("{}", "", "does not work: it offers no tools"),
        (
            "sys.exit('no module named x')",
            "",
            "does not work: it ended without an answer to initialize; it says: no mod",
        ),
        ("print('hello')", "", "does not work: it writes what is no JSON: hello"),
        ("__import__('time').sleep(60)", "", "does not work: it does not answer initialize"),
        ('{"tools": [1]}', "import time; time.sleep(60)", "goes on when its agent has ended"),
    ],
)
def test_a_server_that_does_not_do_as_it_should_is_told_and_ended(server, answer, end, told):
    command, _ = server(answer, end)
    assert try_server(command, {}, limit=3.0).startswith(told)


def test_a_server_that_does_not_work_is_an_error_of_its_agent(patient, server):
    command, _ = server("{}")
    level, message, fix = patient.fault(replace(CLAUDE, command=command))
    assert (level, fix) == ("error", SETUP)
    assert message == f"Claude Code: its MCP server {' '.join(command)} does not work: it offers no tools"


def test_what_lies_on_disk_is_told_and_logs_that_grow_are_a_warning(patient):
    message = next(message for _, message, _ in patient.examine() if " on disk: " in message)
    assert re.search(r"^\d+ KB on disk: .*index \d+ KB", message)
    assert "wiki" in message
    log = patient.home / "logs" / "errors.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as file:
        file.truncate(30 * 10**6)
    level, message, fix = patient.fault()
    assert (level, fix) == ("warning", f"rm {log}")
    assert message == f"{log.parent} has grown to 30 MB"


def test_who_holds_a_lock_now_is_told(patient):
    with locked(patient.home / "locks" / "ingest.lock", timeout=5):
        messages = [message for level, message, _ in patient.examine() if level == "ok"]
    assert any(re.fullmatch(rf"process {os.getpid()} has held ingest.lock for \d+ seconds", one) for one in messages)


def test_the_command_that_an_agents_settings_name_is_tried(patient, monkeypatch, capsys):
    (patient.base / ".claude").mkdir()
    monkeypatch.setenv("AI_MEMORY_HOME", str(patient.home))
    monkeypatch.setenv("HOME", str(patient.base))
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.chdir(patient.project)
    assert main(["setup", "--yes"]) == 0
    assert main(["doctor"]) == 0
    settings = patient.base / ".claude.json"
    settings.write_text(settings.read_text().replace(str(Path(sys.executable).parent), "/gone"))
    capsys.readouterr()
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out
    assert "Claude Code: MCP server wired in an older form" in told
    assert re.search(r"Claude Code: its MCP server /gone/\S+ .*serve cannot be run", told)


def test_wiring_in_the_settings_of_the_project_here_counts(patient, monkeypatch, capsys):
    (patient.base / ".claude").mkdir()
    monkeypatch.setenv("AI_MEMORY_HOME", str(patient.home))
    monkeypatch.setenv("HOME", str(patient.base))
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.chdir(patient.project)
    assert main(["setup", "--yes", "--project"]) == 0
    capsys.readouterr()
    assert main(["doctor"]) == 0
    assert "Claude Code: MCP and hooks are wired" in capsys.readouterr().out
    monkeypatch.chdir(patient.base)
    assert main(["doctor"]) == 0
    assert "Claude Code: MCP server and hooks not wired" in capsys.readouterr().out


def test_the_command_exits_with_1_on_an_error_only(patient, monkeypatch, capsys):
    monkeypatch.setenv("AI_MEMORY_HOME", str(patient.home))
    monkeypatch.setenv("HOME", str(patient.base))
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.chdir(patient.project)
    assert main(["doctor"]) == 0
    (patient.home / "config.toml").write_text("[capture\n")
    capsys.readouterr()
    assert main(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert any("config.toml" in one["message"] for one in told["findings"] if one["level"] == "error")


@pytest.mark.parametrize("text", ["{", '{\n  // a comment\n  "model": "opus"\n}\n'])
def test_a_settings_file_of_an_agent_that_does_not_parse_is_an_error(patient, monkeypatch, capsys, text):
    (patient.base / ".claude").mkdir()
    (patient.base / ".claude" / "settings.json").write_text(text)
    monkeypatch.setenv("AI_MEMORY_HOME", str(patient.home))
    monkeypatch.setenv("HOME", str(patient.base))
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    monkeypatch.chdir(patient.project)
    assert main(["doctor"]) == 1
    assert ".claude/settings.json" in capsys.readouterr().out
