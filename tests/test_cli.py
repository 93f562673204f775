"""The command line as a person or a script meets it: help, JSON shapes, exit codes, what goes where."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ai_memory_mcp.cli.main import build_parser, main
from ai_memory_mcp.config import load_config

ROOT = Path(__file__).parent.parent
TROUBLE = "Deploy\x1b[31m on \x9b5mFriday\x07 \u202egnorw"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A home, a project folder to work in, and the environment pointing there."""
    project = tmp_path / "shop"
    (project / ".git").mkdir(parents=True)
    (project / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    for name in list(os.environ):
        if name.startswith("AI_MEMORY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AI_MEMORY_HOME", str(tmp_path / "memory"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(project)
    return tmp_path


@pytest.fixture
def ask(place, capsys):
    """Run a command in this process; gives its JSON after checking that it succeeded."""

    def run(*words):
        capsys.readouterr()
        code = main([*words, "--json"])
        printed = capsys.readouterr()
        assert (code, printed.err) == (0, "")
        return json.loads(printed.out)

    return run


@pytest.fixture
def fails(place, capsys):
    """Run a command that the user has to mend; gives what it says on stderr."""

    def run(*words):
        capsys.readouterr()
        assert main(list(words)) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("ai-memory-mcp: ")
        return printed.err

    return run


def start(*words, **more):
    """Start a command as a process of its own."""
    settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    env = settings.pop("env", {})
    return subprocess.Popen(
        [sys.executable, "-m", "ai_memory_mcp", *words], env={**os.environ, "PYTHONPATH": str(ROOT), **env}, **settings
    )


def finish(process, given=None):
    """Wait for a process: its exit code, and what it wrote as text."""
    out, err = process.communicate(given, timeout=30)
    return process.returncode, out.decode("utf-8"), (err or b"").decode("utf-8")


def commands(parser=None):
    """The parser of each command, by name (`import markdown` is one)."""
    found = {}
    for action in (parser or build_parser())._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                found |= {f"{name} {more}": one for more, one in commands(command).items()} or {name: command}
    return found


def give_events(place):
    """Have a session of Claude Code wait in the spool."""
    common = {"session_id": "s-1", "cwd": str(place / "shop")}
    events = {
        "SessionStart": {"source": "startup"},
        "UserPromptSubmit": {"prompt": "Find out why the checkout times out", "prompt_id": "t1"},
        "Stop": {"last_assistant_message": "The pool was too small. Next steps:\n- raise it to 20", "prompt_id": "t1"},
        "SessionEnd": {"reason": "other"},
    }
    spool = place / "memory" / "spool"
    spool.mkdir(mode=0o700, parents=True)
    for number, (event, payload) in enumerate(events.items()):
        name = f"{1_795_000_000_000_000_000 + number:020d}-1-{number:08x}"
        entry = {"id": name, "at": 1_795_000_000 + number, "agent": "claude-code", "event": event, "pid": 1}
        where = {"cwd": common["cwd"], "root": common["cwd"], "payload": common | payload}
        (spool / f"{name}-0.json").write_text(json.dumps(entry | where))


# --- help


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_and_every_argument_of_it_is_explained(name):
    command = commands()[name]
    assert len(command.description) > 12
    assert "--json" in command.format_help()
    for action in command._actions:
        assert action.help, f"{name} {action.dest}"
    module, _, function = command.get_default("run").partition(":")
    assert module
    assert function


def test_no_command_is_a_usage_error_that_shows_them_all(place, capsys):
    assert main([]) == 2
    printed = capsys.readouterr().out
    assert all(re.search(rf"^    {name.split()[0]}\b", printed, re.M) for name in commands())


def test_emit_explains_itself_instead_of_waiting_for_an_event(place):
    code, out, _ = finish(start("emit", "--help"))
    assert code == 0
    assert "--stream" in out


# --- the shapes that scripts rely on


def test_search_and_recent_tell_hits(ask):
    ask("write", "Pool size", "--body", "The connection pool holds twenty.", "--kind", "decision", "--tag", "db")
    found = ask("search", "connection pool")
    assert (found["query"], found["project"]) == ("connection pool", "shop")
    assert set(found["hits"][0]) >= {"id", "path", "title", "kind", "project", "snippet", "score", "why"}
    assert found["hits"][0]["path"] == "decisions/pool-size.md"
    assert [page["title"] for page in ask("recent", "--kind", "decision")["pages"]] == ["Pool size"]


def test_search_says_why_and_how_the_project_is_known(ask, capsys):
    ask("write", "Pool size", "--body", "The connection pool holds twenty.", "--kind", "decision")
    main(["search", "connection pool"])
    told = capsys.readouterr().out
    assert "decisions/pool-size.md  100% of the words, words together" in told
    assert "here is project shop, known by " in told


def test_read_gives_back_what_write_stored(ask):
    written = ask("write", "Größe", "--body", "二十 ist genug — für jetzt.")
    assert written["project"] == "shop"
    read = ask("read", written["page"]["path"])
    assert read["page"]["body"].strip() == "二十 ist genug — für jetzt."
    assert ask("search", "二十")["hits"][0]["title"] == "Größe"


def test_history_tells_who_did_what_and_read_gives_the_page_as_it_was(ask):
    for body in ("The pool holds ten.", "The pool holds twenty."):
        ask("write", "Pool size", "--body", body, "--kind", "decision")
    new, old = ask("history", "decisions/pool-size.md", "--diff")["history"]
    assert set(new) == {"commit", "at", "author", "message", "project", "pages", "total"}
    assert (new["author"], new["message"], new["project"]) == ("user", "Update decision: Pool size", "shop")
    assert "+The pool holds twenty." in new["pages"][0]["diff"]
    assert [page["change"] for page in old["pages"]] == ["added"]
    assert {page["path"] for one in ask("history")["history"] for page in one["pages"]} == {
        "decisions/pool-size.md",
        "project.md",
    }
    read = ask("read", "Pool size", "--at", old["commit"][:10])
    assert read["page"]["body"] == "The pool holds ten.\n"
    assert read["revision"]["commit"] == old["commit"]


def test_read_tells_what_belongs_to_a_page(ask):
    ask("write", "Pool size", "--body", "See [[Nowhere]].")
    ask("write", "Pools", "--body", "[[pool-size]]", "--supersedes", "pool size")
    read = ask("read", "Pool size", "--links")
    assert read["links"] == [{"target": "Nowhere", "path": ""}]
    assert read["backlinks"] == read["superseded_by"] == ["notes/pools.md"]
    assert [one["message"] for one in read["history"]] == ["Add note: Pools", "Add note: Pool size"]


def test_feedback_is_told_with_the_page(ask):
    ask("write", "Pool size", "--body", "Ten.")
    told = ask("feedback", "Pool size", "stale", "--note", "Twenty.")
    assert (told["path"], told["verdict"], told["agent"], told["note"]) == (
        "notes/pool-size.md",
        "stale",
        "user",
        "Twenty.",
    )
    assert ask("read", "Pool size")["feedback"] == [told]


def test_sessions_status_ingest_and_reindex_count_the_same(place, ask):
    give_events(place)
    report = ask("ingest")
    assert (report["ingested"], report["sessions_closed"]) == (4, 1)
    session = ask("sessions")["sessions"][0]
    keys = {"id", "agent", "native_id", "state", "started", "ended", "observations", "page"}
    assert keys <= set(session)
    assert (session["agent"], session["native_id"], session["state"]) == ("claude-code", "s-1", "closed")
    before = ask("status")
    assert set(before["project"]) == {"id", "name", "workspace", "root", "resolved_by"}
    assert before["counts"] == {"pages": 1, "sessions": 1, "observations": 4, "handoffs": 1}
    assert before["spool"] == {"pending": 0, "set_aside": 0}
    assert before["capture"] == {"seen": 4, "stored": 4, "duplicates": 0, "filtered": 0, "set_aside": 0}
    assert ask("reindex")["counts"] == before["counts"]
    assert ask("status") == before
    assert [project["name"] for project in ask("projects")["projects"]] == ["shop"]


@pytest.fixture
def vault(place):
    """A folder to import, with something in it that cannot be."""
    folder = place / "vault"
    (folder / "decisions").mkdir(parents=True)
    (folder / "Trees.md").write_text("# About trees\n\nOaks grow slowly.\n")
    (folder / "decisions" / "plant.md").write_text("We plant oaks.\n")
    (folder / "bad\x1b[31m.md").write_bytes(b"\xff")
    (folder / "oak.png").write_bytes(b"\x89PNG")
    return folder


def test_import_tells_what_has_come_and_what_has_not(ask, vault):
    pages = {"Trees.md": "notes/Trees.md", "decisions/plant.md": "decisions/plant.md"}
    told = ask("import", "markdown", str(vault), "--dry-run")
    assert (told["added"], told["dry_run"], ask("recent")) == (pages, True, {"pages": []})
    told = ask("import", "markdown", str(vault))
    assert (told["added"], told["unchanged"], told["other_files"]) == (pages, 0, 1)
    assert (list(told["skipped"].values()), told["kinds"]) == (["not UTF-8"], {"decision": 1, "note": 1})
    assert ask("search", "how fast do oaks grow")["hits"][0]["title"] == "About trees"
    assert ask("import", "markdown", str(vault))["unchanged"] == 2


def test_import_speaks_of_it_to_a_person(place, vault, capsys):
    assert main(["import", "markdown", str(vault), "--dry-run"]) == 0
    assert main(["import", "markdown", str(vault)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "Trees.md → notes/Trees.md\n" in printed.out
    assert f"2 would be added, 0 would be updated, 0 unchanged  project shop, from {vault}\n" in printed.out
    assert f"2 added, 0 updated, 0 unchanged  project shop, from {vault}\n" in printed.out
    assert "of kind decision 1, note 1\n1 left out:\n  bad[31m.md: not UTF-8\n" in printed.out


def test_import_needs_a_kind_of_thing_and_a_folder_that_is_there(place, fails, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["import"])
    assert "WHAT" in capsys.readouterr().err
    assert "there is no folder" in fails("import", "markdown", "nowhere")


@pytest.mark.skipif(sys.platform == "win32", reason="no terminals to be had")
def test_a_terminal_is_shown_how_far_an_import_is(place, vault):
    import pty

    ours, theirs = pty.openpty()
    code, out, _ = finish(start("import", "markdown", str(vault), stderr=theirs))
    shown = os.read(ours, 65536).decode()
    for end in (ours, theirs):
        os.close(end)
    assert code == 0
    assert "2 added" in out
    assert "\x1b" not in out
    assert re.search(r"reading +\[.*\] \d of 3", shown)
    assert shown.endswith("\r\x1b[K")


def test_brief_tells_its_text(place, ask):
    give_events(place)
    told = ask("brief", "--agent", "codex")
    assert "raise it to 20" in told["text"]
    assert told["project"] == "shop"


def test_a_handoff_goes_from_left_to_accepted_to_listed(ask, fails):
    assert ask("handoff") == {"handoffs": []}
    left = ask("handoff", "leave", "--summary", "Half done", "--next-step", "the other half", "--to", "user")
    keys = {"id", "state", "from_agent", "to_agent", "summary", "open_questions", "failed_approaches", "next_steps"}
    assert keys | {"files_touched"} <= set(left["handoffs"][0])
    ident = left["handoffs"][0]["id"]
    assert ask("handoff", "get")["handoffs"][0]["next_steps"] == ["the other half"]
    assert ask("handoff", "accept", ident[:8])["handoffs"][0]["state"] == "accepted"
    assert ask("handoff", "get") == {"handoffs": []}
    assert ask("handoff", "get", ident[:8])["handoffs"][0]["accepted_by"] == "user"
    assert [(one["id"], one["state"]) for one in ask("handoff", "list")["handoffs"]] == [(ident, "accepted")]
    assert "already accepted" in fails("handoff", "close", ident)


def test_a_closed_handoff_is_offered_no_more(ask):
    ident = ask("handoff", "leave", "--summary", "Half done")["handoffs"][0]["id"]
    assert ask("handoff", "close", ident)["handoffs"][0]["state"] == "closed"
    assert ask("handoff", "get") == {"handoffs": []}
    assert [one["state"] for one in ask("handoff")["handoffs"]] == ["closed"]


def test_doctor_tells_findings(place, capsys):
    code = main(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"ok", "findings"}
    assert told["ok"] is (code == 0)
    assert all(set(finding) >= {"level", "message", "fix"} for finding in told["findings"])


# --- what the user has to mend: exit code 1, on stderr, with a way out


def test_an_unknown_project_is_answered_with_did_you_mean(ask, fails):
    ask("write", "A", "--body", "b")
    assert "did you mean shop?" in fails("search", "x", "--project", "shpo")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("[capture\nenabled = true", "line 1"),
        ("[capture]\nmax_text = 'much'", "capture.max_text"),
        ("[catpure]", "catpure"),
    ],
)
def test_broken_settings_are_named_with_file_and_key(place, fails, settings, named):
    (place / "memory").mkdir(mode=0o700)
    (place / "memory" / "config.toml").write_text(settings)
    said = fails("status")
    assert str(place / "memory" / "config.toml") in said
    assert named in said


def test_what_is_not_there_is_said_with_where_to_look(fails):
    assert "search" in fails("read", "no-such-page")
    assert "handoff list" in fails("handoff", "accept", "abcdef12")
    assert "handoff list" in fails("handoff", "get", "abcdef12")
    assert "no handoff is waiting" in fails("handoff", "accept")
    assert "handoff close ID" in fails("handoff", "close")


def test_a_page_is_refused_when_it_is_empty_too_long_or_not_to_be_read(place, fails):
    assert "title and a body" in fails("write", "Empty", "--body", " ")
    (place / "huge.txt").write_text("much too long " * 80_000)
    assert "split it" in fails("write", "Huge", "--file", str(place / "huge.txt"))
    assert "No such file" in fails("write", "Gone", "--file", str(place / "gone.txt"))
    assert "directory" in fails("write", "Folder", "--file", str(place)).lower()


def test_a_path_outside_of_the_wiki_is_refused(fails):
    assert "path" in fails("write", "Out", "--body", "b", "--path", "../../out.md")


def test_a_home_that_cannot_be_made_is_said(place, fails, monkeypatch):
    (place / "file").write_text("")
    monkeypatch.setenv("AI_MEMORY_HOME", str(place / "file" / "memory"))
    assert "a file stands where a folder is needed" in fails("status")


# --- wiring


@pytest.mark.parametrize(("answer", "code", "written"), [("y\n", 0, True), ("n\n", 0, False), ("", 1, False)])
def test_setup_writes_only_on_yes(place, monkeypatch, capsys, answer, code, written):
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    assert main(["setup", "--agent", "claude-code"]) == code
    assert (place / ".claude.json").exists() == (place / ".claude" / "settings.json").exists() == written
    assert ("--yes" in capsys.readouterr().err) == (answer == "")


@pytest.mark.parametrize("url", ["homelab:49374", "ftp://x", "http://", "http://u:secret@x", "http://x?token=1"])
def test_setup_takes_no_address_that_is_none_or_holds_a_secret(fails, url):
    assert "address" in fails("setup", "--agent", "claude-code", "--server-url", url)


def entry_of(place):
    return json.loads((place / ".claude.json").read_text())["mcpServers"]["aimemory"]


def test_setup_makes_this_machine_a_client_and_its_servers_bridges(place, ask, monkeypatch):
    memory = Path(os.environ["AI_MEMORY_HOME"])
    memory.mkdir(parents=True)
    (memory / "config.toml").write_text("# mine\n[server]\ntoken_file = '~/t' # kept\n\n[brief]\nmax_chars = 5000\n")
    monkeypatch.setenv("AI_MEMORY_TOKEN", "aimem_secret")
    ask("setup", "--agent", "claude-code", "--yes", "--server-url", "https://homelab:49374/mcp")
    config = load_config(memory, {})

    assert (config.server.url, config.server.token_file) == ("https://homelab:49374", "~/t")
    assert config.brief.max_chars == 5000
    assert "serve" in entry_of(place)["args"]
    assert "aimem_secret" not in (place / ".claude.json").read_text() + (place / ".claude/settings.json").read_text()
    assert (memory / "token").read_text() == "aimem_secret\n"
    assert (memory / "token").stat().st_mode & 0o777 == 0o600
    before = (memory / "config.toml").read_bytes()
    ask("setup", "--agent", "claude-code", "--yes", "--server-url", "https://homelab:49374")
    assert (memory / "config.toml").read_bytes() == before
    ask("setup", "--agent", "claude-code", "--yes", "--server-url", "local")
    assert load_config(memory, {}).server.url == ""
    assert (memory / "config.toml").read_text().startswith("# mine\n")


def test_setup_asks_for_the_token_where_somebody_can_answer(place, monkeypatch):
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    monkeypatch.delenv("AI_MEMORY_TOKEN", raising=False)
    kept = Path(os.environ["AI_MEMORY_HOME"]) / "token"
    words = ["setup", "--agent", "claude-code", "--yes", "--server-url", "http://homelab:1"]
    spawn = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))"  # with a terminal of its own
    command = [sys.executable, "-c", spawn, sys.executable, "-m", "ai_memory_mcp", *words]
    for answer, expected in ((b"\n", False), (b"aimem_asked\n", True), (b"", True)):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            said = b""
            while (some := os.read(process.stdout.fileno(), 4096)) and b"Token for the server" not in said + some:
                said += some
            assert bool(some) == bool(answer)
            said += process.communicate(answer, timeout=30)[0]
        assert process.returncode == 0, said
        assert b"aimem_asked" not in said
        assert kept.exists() == expected
    assert kept.read_text() == "aimem_asked\n"  # one that is kept is not asked for again


def test_setup_gives_agents_the_address_where_asked(place, ask):
    ask("setup", "--agent", "claude-code", "--yes", "--server-url", "https://homelab:49374/", "--http")
    assert entry_of(place)["url"] == "https://homelab:49374/mcp"
    assert "command" not in entry_of(place)
    assert load_config(Path(os.environ["AI_MEMORY_HOME"]), {}).server.url == "https://homelab:49374"

    ask("setup", "--agent", "claude-code", "--yes")
    assert entry_of(place)["url"] == "https://homelab:49374/mcp"
    ask("setup", "--agent", "claude-code", "--yes", "--server-url", "https://homelab:49374/")
    assert "serve" in entry_of(place)["args"]
    assert "url" not in entry_of(place)


def test_setup_leaves_a_config_alone_that_it_cannot_change(place, fails, monkeypatch):
    assert "--server-url" in fails("setup", "--agent", "claude-code", "--http")
    memory = Path(os.environ["AI_MEMORY_HOME"])
    memory.mkdir(parents=True)
    (memory / "config.toml").write_text("server = 1\n")
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    assert main(["setup", "--agent", "claude-code", "--yes", "--server-url", "http://homelab:1"]) == 1
    assert (memory / "config.toml").read_text() == "server = 1\n"


def test_setup_does_not_say_done_when_a_file_was_left_alone(place, monkeypatch, capsys):
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    (place / ".claude.json").write_text("{")
    assert main(["setup", "--agent", "claude-code", "--yes"]) == 1
    printed = capsys.readouterr()
    assert "left alone" in printed.err
    assert "Done" not in printed.out


# --- the terminal


def test_stored_control_characters_never_reach_the_terminal(place, ask, capsys):
    ask("write", TROUBLE, "--body", f"Body: {TROUBLE}")
    ask("handoff", "leave", "--summary", TROUBLE, "--next-step", TROUBLE)
    path = ask("recent")["pages"][0]["path"]
    judge = ["feedback", path, "stale", "--note", TROUBLE]
    look = (["search", "Friday"], ["recent"], ["read", path, "--links"], ["history", "--diff"])
    for words in (*look, judge, ["read", path], ["handoff"], ["brief"], ["sessions"], ["status"]):
        for form in ([], ["--json"]):
            main([*words, *form])
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", capsys.readouterr().out)
    assert "\x9b" in ask("read", path)["text"]


def test_errors_do_not_repeat_control_characters(fails):
    assert "\x1b" not in fails("read", "no\x1b[31m such page")


def test_nothing_is_coloured_where_no_terminal_is(ask, capsys):
    ask("write", "Plain", "--body", "text")
    main(["recent"])
    assert capsys.readouterr().out.startswith("Plain  note")


# --- exit codes and pipes of real processes


def test_a_command_that_did_its_work_exits_with_0_and_one_that_could_not_with_1(place):
    assert finish(start("projects"))[0] == 0
    code, out, err = finish(start("read", "nothing"))
    assert (code, out) == (1, "")
    assert "there is no page" in err


@pytest.mark.parametrize(
    "words", [["serch"], ["search"], ["search", "x", "--limit", "0"], ["search", "x", "--max-tokens", "9"]]
)
def test_wrong_usage_exits_with_2(place, words, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    assert len(capsys.readouterr().err) < 1500


def test_wrong_usage_of_a_real_process_exits_with_2(place):
    code, _, err = finish(start("recent", "--limit", "many"))
    assert code == 2
    assert "from 1 to 100" in err


def test_a_bug_exits_with_3_and_names_the_log(place):
    plant = (
        "import sys; from ai_memory_mcp.cli import main, use\n"
        "def projects(args): raise ZeroDivisionError('a bug')\n"
        "use.projects = projects; sys.exit(main.main(['projects']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", plant], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    log = place / "memory" / "logs" / "errors.log"
    assert done.returncode == 3
    assert "unexpected ZeroDivisionError: a bug" in done.stderr
    assert str(log) in done.stderr
    assert "Traceback" not in done.stderr
    assert "line 2, in projects" in log.read_text()


def test_ctrl_c_exits_with_130_and_without_a_traceback(place):
    process = start("write", "Title", stdin=subprocess.PIPE, stderr=subprocess.PIPE, env={"PYTHONUNBUFFERED": "1"})
    wait_until_it_reads(process.pid)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, out) == (130, "")
    assert "Traceback" not in err


def wait_until_it_reads(pid):
    """Wait until the process sleeps in a read of its stdin."""
    for _ in range(200):
        wchan = Path(f"/proc/{pid}/syscall")
        if wchan.exists() and wchan.read_text().split()[:2] == ["0", "0x0"]:
            return
        signal.sigtimedwait([], 0.05)
    pytest.skip("this system does not tell what a process waits for")


def test_a_reader_that_goes_away_is_no_error(place, ask):
    ask("write", "Long", "--body", "more than a pipe holds " * 10_000)
    process = start("read", "notes/long.md")
    process.stdout.read(1)
    process.stdout.close()
    assert process.wait(30) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_page_comes_from_standard_input_and_is_utf_8_under_any_locale(place):
    env = {"LC_ALL": "C", "LANG": "C", "PYTHONIOENCODING": "ascii"}
    code, out, _ = finish(start("write", "Größe", stdin=subprocess.PIPE, env=env), "für 二十\n".encode())
    assert code == 0
    assert "in project shop" in out
    code, out, err = finish(start("recent", env=env))
    assert (code, err) == (0, "")
    assert "Größe" in out


def test_input_that_is_not_utf_8_is_kept_as_far_as_it_can_be_read(place, ask):
    assert finish(start("write", "Latin", stdin=subprocess.PIPE), b"gr\xfc\xdfe und mehr\n")[0] == 0
    assert "und mehr" in ask("read", "notes/latin.md")["text"]


def test_a_deleted_working_directory_is_no_error(place, ask):
    ask("write", "Kept", "--body", "text")
    gone = place / "gone"
    gone.mkdir()
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'rmdir ../gone && exec "$0" -m ai_memory_mcp search Kept --everywhere', sys.executable],
        cwd=gone,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    code, out, err = finish(process)
    assert (code, err) == (0, "")
    assert "Kept" in out


# --- what a command may import


@pytest.mark.parametrize("words", [["search", "text"], ["status"]])
def test_looking_imports_neither_git_nor_locks_nor_a_server(place, ask, words):
    ask("write", "A page", "--body", "text")
    shutil.rmtree(place / "memory" / "brief")
    code, _, err = finish(start(*words, env={"PYTHONPROFILEIMPORTTIME": "1"}))
    assert code == 0
    imported = {line.rpartition("|")[2].strip() for line in err.splitlines()}
    assert "ai_memory_mcp.local" in imported
    assert not imported & {"dulwich", "filelock", "asyncio", "sqlite_utils", "mcp", "subprocess", "platformdirs"}


def test_what_goes_for_good_is_shown_and_needs_a_yes(place, ask, fails, capsys, monkeypatch):
    ask("write", "Secret", "--body", "okapi-okapi")
    page = "notes/secret.md"
    for words in (
        ("forget", page, "--for-good"),
        ("purge-project", "shop"),
        ("scrub", "okapi-okapi"),
    ):
        assert ask(*words, "--dry-run")["dry_run"]
        assert main([*words]) == 1
        printed = capsys.readouterr()
        assert "would be" in printed.out
        assert "add --yes" in printed.err
        monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))  # a pipe is nobody who was asked
        assert main([*words]) == 1
    assert ask("read", page)["page"]["path"] == page
    monkeypatch.setattr("sys.stdin", io.StringIO("okapi-okapi\n"))
    assert ask("scrub", "-", "--yes")["places"] == 1
    assert ask("forget", page, "--for-good", "--yes")["pages"] == [page]
    ask("write", "Again", "--body", "x")
    assert "is a page and no session" in fails("purge-session", "notes/again.md", "--yes")
    assert ask("purge-project", "shop", "--yes")["what"] == "project"
    assert ask("projects")["projects"] == []
