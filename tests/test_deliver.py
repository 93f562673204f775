"""Machines that are clients of a server: their events get there in order and count once, whatever happens between."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playing import Player, put, repository
from remotes import PROGRAM, HttpServer, Machine, local, remote, serving, token

from ai_memory_mcp.agents.launcher import write_launcher
from ai_memory_mcp.away import FIRST_PAUSE, LONGEST_PAUSE, away_since, pause, paused, resume
from ai_memory_mcp.book import Book
from ai_memory_mcp.deliver import BATCH, BATCH_BYTES, Client, deliver
from ai_memory_mcp.errors import AccessError, ConfigError, InputError, ServerError, StorageError
from ai_memory_mcp.link import Link, server_parts
from ai_memory_mcp.model import Draft, Query, Scope
from ai_memory_mcp.remote import RemoteMemory
from ai_memory_mcp.server import hook as hook_of_server
from ai_memory_mcp.spool import Spool

REMOTE = "git@example.com:zoo/okapi.git"


def client(home: Path, url: str, secret: str = "") -> Client:
    return Client.at(home, str(home.parent), Link(url, secret))


def waiting(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "spool").glob("*.[je]*"))


# --- two machines, one project


def test_clones_on_two_machines_share_one_memory_and_one_handoff(url: str, tmp_path: Path) -> None:
    a, b = tmp_path / "a" / "memory", tmp_path / "b" / "memory"
    ours, theirs = repository(a.parent / "okapi", remote=REMOTE), repository(b.parent / "deep/clone", remote=REMOTE)
    first, second = remote(url, a), remote(url, b)
    Player(a, ours, "one", ago=900).start().works("the okapi").ends()
    first.ingest()

    (handoff,) = second.handoffs(Scope(cwd=str(theirs)))
    brief = second.brief(Scope(cwd=str(theirs)), agent="codex")
    assert "okapi" in brief.text
    Player(b, theirs, "two", agent="codex").start().offered(handoff.id).prompt("go on")
    assert second.handoffs(Scope(cwd=str(theirs))) == ()
    (taken,) = first.handoffs(Scope(cwd=str(ours)), every=True)
    assert taken.accepted_by.startswith("codex ")
    assert [project.name for project in first.projects()] == ["okapi"]
    assert len(second.search(Scope(cwd=str(theirs)), Query(text="okapi", kinds=("session",))).hits) == 1


def test_folders_of_one_path_on_two_machines_are_two_projects(url: str, tmp_path: Path) -> None:
    """What has no remote is known by its own machine alone, even where all paths are the same."""
    shared = tmp_path / "home" / "me" / "app"
    memories = []
    for name in ("a", "b", "c", "d"):
        memories.append(RemoteMemory(tmp_path / name / "memory", str(tmp_path), Link(url)))
        shared.mkdir(parents=True)
        if name in ("a", "b"):
            repository(shared)
        memories[-1].write(Scope(cwd=str(shared)), Draft(title=f"On {name}", body="text"))
        shared.rename(tmp_path / name / "app")
    names = [project.name for project in memories[0].projects()]

    assert len(set(names)) == 4
    for name, memory in zip("abcd", memories, strict=True):
        (tmp_path / name / "app").rename(shared)
        assert [hit.title for hit in memory.recent(Scope(cwd=str(shared)))] == [f"On {name}"]
        shared.rename(tmp_path / name / "app")


def test_processes_of_two_machines_with_one_number_are_two(server: Path, url: str, tmp_path: Path) -> None:
    """A session that runs on another machine is not over because its process number is nobody's, or another's, here."""
    for name, session in (("a", "one"), ("b", "two")):
        home = tmp_path / name / "memory"
        work = repository(home.parent / "okapi", remote=REMOTE)
        Player(home, work, session, pid=2**31 - 2, ago=5).start().prompt(f"hello from {name}")
        remote(url, home).ingest()

    sessions = local(server).sessions(Scope(project="okapi"))
    assert [one.state for one in sessions] == ["open", "open"]
    assert len({one.pid for one in sessions}) == 2


def test_a_machine_that_was_its_own_memory_finds_it_again_on_a_server_that_got_it(tmp_path: Path) -> None:
    home, server = tmp_path / "me" / "memory", tmp_path / "server" / "memory"
    folder = home.parent / "plain"
    folder.mkdir(parents=True)
    local(home).write(Scope(cwd=str(folder)), Draft(title="From before", body="text"))
    server.parent.mkdir()
    subprocess.run(["cp", "-r", str(home), str(server)], check=True)
    with serving(server) as url:
        assert [hit.title for hit in remote(url, home).recent(Scope(cwd=str(folder)))] == ["From before"]


def test_events_of_a_folder_that_is_gone_belong_where_it_belonged(server: Path, url: str, tmp_path: Path) -> None:
    home = tmp_path / "a" / "memory"
    work = repository(home.parent / "okapi")
    Player(home, work, "one", ago=900).start().prompt("first")
    remote(url, home).ingest()
    Player(home, work, "one", ago=800).prompt("second")
    work.rename(tmp_path / "gone")
    subprocess.run(["rm", "-r", str(tmp_path / "gone")], check=True)
    remote(url, home).ingest()

    (session,) = local(server).sessions(Scope(project="okapi"))
    assert session.prompts == 2


# --- what may go wrong


def test_an_event_that_cannot_be_read_is_set_aside_alone(server: Path, url: str, tmp_path: Path) -> None:
    home = tmp_path / "a" / "memory"
    work = repository(home.parent / "okapi")
    Player(home, work, "one", ago=900).start().prompt("hello")
    for number, more in enumerate(({"problem": "no JSON"}, {"filtered": "prompts are off"})):
        ident = f"{number + 1:020d}-1-aa"
        put(home, f"{ident}-0.json", json.dumps({"id": ident, "at": 1, "agent": "codex", "event": "Stop", **more}))
    memory = remote(url, home)
    for _ in range(2):
        capture = memory.status(Scope()).capture
        assert (capture.seen, capture.stored, capture.filtered, capture.set_aside) == (4, 2, 1, 1)
        assert [reason for _, reason in local(server).res.spool.kept_aside()] == ["no JSON"]
        assert local(server).res.spool.retry() == 1


@pytest.mark.parametrize("data", [b"", b"{}\nnot json\n", b"\n\n"])
def test_a_damaged_file_of_events_is_set_aside_whole(home: Path, data: bytes) -> None:
    put(home, "00000000000000000001-1-aa-0123-2.events", data)
    local(home).ingest()

    assert waiting(home) == []
    assert [name for name, _ in local(home).res.spool.kept_aside()] == ["00000000000000000001-1-aa-0123-2.events"]


def test_a_batch_that_comes_again_counts_once(server: Path, url: str, tmp_path: Path) -> None:
    home = tmp_path / "a" / "memory"
    work = repository(home.parent / "okapi")
    Player(home, work, "one", ago=900).start().works().ends()
    entries = {path.name: path.read_bytes() for path in (home / "spool").glob("*.json")}
    for _ in range(3):
        for name, data in entries.items():
            put(home, name, data)
        remote(url, home).ingest()
    capture = local(server).status(Scope()).capture

    assert (capture.seen, capture.stored, capture.duplicates) == (len(entries), len(entries), 0)


def test_order_is_kept_over_many_batches(server: Path, url: str, tmp_path: Path) -> None:
    home = tmp_path / "a" / "memory"
    player = Player(home, repository(home.parent / "okapi"), "one", ago=9000).start()
    for number in range(2 * BATCH):
        player.prompt(f"prompt {number}")
    report = remote(url, home).ingest()

    assert report.delivered == 2 * BATCH + 1
    seen = local(server).read(Scope(project="okapi"), "one", observations=True).observations
    assert [one.text for one in seen[1:]] == [f"prompt {number}" for number in range(2 * BATCH)]


def test_a_file_of_several_events_goes_only_when_all_of_them_are_there(server: Path, url: str, tmp_path: Path) -> None:
    """Such a file can be larger than a batch, and may begin in the middle of one."""
    home = tmp_path / "a" / "memory"
    player = Player(home, repository(home.parent / "okapi"), "one", ago=9000).start()
    for number in range(5):
        player.prompt(f"prompt {number} " + "x" * (BATCH_BYTES // 3))
    spool = Spool(home)
    several = spool.read(spool.names())[2:]
    spool.drop(several)
    spool.add([entry.event for entry in several if entry.event])
    done = deliver(client(home, url), now=time.time(), wait=1.0)

    assert (done.sent, done.set_aside, waiting(home)) == (6, 0, [])
    local(server).ingest()
    seen = local(server).read(Scope(project="okapi"), "one", observations=True).observations
    assert [one.text[:8] for one in seen[1:]] == [f"prompt {number}" for number in range(5)]


def test_an_event_too_large_for_a_proxy_is_set_aside_and_keeps_nothing_waiting(
    server: Path, url: str, tmp_path: Path
) -> None:
    home = tmp_path / "a" / "memory"
    work = repository(home.parent / "okapi")
    player = Player(home, work, "one", ago=900).start()
    player.send("Stop", last_assistant_message="x" * 9 * 2**20).prompt("after")
    done = deliver(client(home, url), now=time.time(), wait=1.0)

    assert (done.sent, done.set_aside, waiting(home)) == (2, 1, [])
    (reason,) = (home / "spool/set-aside").glob("*.reason")
    assert "too large" in reason.read_text()


def test_what_the_server_refuses_for_good_is_set_aside_with_its_reason(server: Path, url: str, tmp_path: Path) -> None:
    home = tmp_path / "a" / "memory"
    secret = token(server, workspaces=["zoo"])
    Player(home, repository(home.parent / "okapi"), "one").start()
    done = deliver(client(home, url, secret), now=time.time(), wait=1.0)

    assert (done.sent, done.set_aside) == (0, 1)
    (reason,) = (home / "spool/set-aside").glob("*.reason")
    assert "bound to zoo" in reason.read_text()


def test_a_server_on_the_same_home_takes_nothing_away(tmp_path: Path) -> None:
    home = tmp_path / "a" / "memory"
    Player(home, repository(home.parent / "okapi"), "one", ago=900).start().prompt("hello")
    before = waiting(home)
    with serving(home) as url, pytest.raises(InputError, match="very same AI_MEMORY_HOME"):
        deliver(client(home, url), now=time.time(), wait=1.0)
    local(home).ingest()

    assert len(before) == 2
    assert local(home).sessions(Scope(project="okapi"))[0].prompts == 1


def test_without_a_good_token_everything_is_kept(server: Path, url: str, tmp_path: Path) -> None:
    home = tmp_path / "a" / "memory"
    Player(home, repository(home.parent / "okapi"), "one").start()
    good = token(server)
    for secret, error in (
        ("", AccessError),
        ("aimem_wrong", AccessError),
        (token(server, "r", read_only=True), AccessError),
    ):
        with pytest.raises(error):
            deliver(client(home, url, secret), now=time.time(), wait=1.0)
        assert len(waiting(home)) == 1
    assert deliver(client(home, url, good), now=time.time(), wait=1.0).sent == 1


def test_while_the_server_is_away_nothing_is_lost_and_hooks_do_not_wait_for_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "laptop", url="http://127.0.0.1:9")
    work = repository(machine.user / "okapi")
    Player(machine.home, work, "one").start().prompt("hello")
    before = waiting(machine.home)

    said = machine.run("search", "hello", cwd=work, code=1).stderr
    assert "cannot be reached" in said
    assert "kept here" in said
    machine.run("ingest", "--quiet")  # the worker: silent
    assert waiting(machine.home) == before
    assert away_since(machine.home)
    assert paused(machine.home, now=time.time())


def test_a_server_that_takes_no_events_just_now_is_asked_all_the_same(
    server: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook_of_server, "MOST_WAITING", -1)
    home = tmp_path / "a" / "memory"
    Player(home, repository(home.parent / "okapi"), "one").start()

    assert remote(url, home).projects() == ()
    assert len(waiting(home)) == 1
    with pytest.raises(ServerError, match="too much to do"):
        deliver(client(home, url), now=time.time(), wait=1.0)


def test_pauses_grow_and_end_with_the_first_success(home: Path) -> None:
    home.mkdir(parents=True)
    lengths = []
    for number in range(12):
        now = 1000.0 * number
        assert not paused(home, now=now)
        pause(home, "away", now=now)
        lengths.append(next(step for step in range(1, 400) if not paused(home, now=now + step)))
    resume(home)

    assert lengths[0] == FIRST_PAUSE
    assert lengths == sorted(lengths)
    assert lengths[-1] == LONGEST_PAUSE
    assert away_since(home) is None
    pause(home, "away", now=10_000_000.0)
    assert not paused(home, now=5.0)  # the clock was set back


def test_who_answers_nonsense_is_no_server(tmp_path: Path) -> None:
    class Other(BaseHTTPRequestHandler):
        status = 200

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(self.status)
            self.send_header("Location", "https://elsewhere/")
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *_: object) -> None:
            return

    home = tmp_path / "a" / "memory"
    Player(home, repository(home.parent / "okapi"), "one").start()
    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{httpd.server_address[1]}"
        for status, words in ((200, "version"), (302, "has moved"), (500, "answers 500"), (404, "answers 404")):
            Other.status = status
            with pytest.raises(ServerError, match=words):
                remote(url, home).projects()
        httpd.shutdown()
        thread.join()
    assert len(waiting(home)) == 1


@pytest.mark.parametrize("url", ["homelab:49374", "ftp://x", "http://", "http://u:p@x", "http://x?t=1", "http://x:abc"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        server_parts(url)


def test_an_address_may_have_a_path_and_the_end_that_agents_are_given() -> None:
    assert server_parts("https://x.example/memory/mcp").path == "/memory"
    assert server_parts("http://x.example:1/").path == ""


def test_a_damaged_record_of_the_machine_is_told_and_nothing_is_overwritten(url: str, tmp_path: Path) -> None:
    home = tmp_path / "a" / "memory"
    home.mkdir(parents=True)
    (home / "machine.json").write_text("{")
    with pytest.raises(StorageError, match="damaged"):
        remote(url, home).write(Scope(cwd=str(tmp_path)), Draft(title="t", body="b"))

    assert (home / "machine.json").read_text() == "{"


def test_many_writers_of_the_machines_record_lose_nothing(tmp_path: Path) -> None:
    home = tmp_path / "a" / "memory"
    folders = [tmp_path / f"folder{number}" for number in range(12)]
    for folder in folders:
        folder.mkdir()
    threads = [
        threading.Thread(target=lambda folder=folder: Book(home, str(tmp_path)).origin(str(folder), keep=True))
        for folder in folders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    record = json.loads((home / "machine.json").read_text())
    assert sorted(project["name"] for project in record["projects"]) == sorted(folder.name for folder in folders)


# --- real processes


@pytest.mark.slow
def test_a_server_that_is_killed_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    server = HttpServer(Machine(tmp_path, "desk")).start()
    machines = [Machine(tmp_path, name, url=server.url) for name in ("a", "b")]
    players = [
        Player(one.home, repository(one.user / "okapi", remote=REMOTE), one.user.name, ago=9000).start()
        for one in machines
    ]
    stop = threading.Event()

    def keep_delivering(machine: Machine) -> None:
        while not stop.is_set():
            subprocess.run([*PROGRAM, "ingest"], env=machine.env, cwd=machine.user, capture_output=True, check=False)

    threads = [threading.Thread(target=keep_delivering, args=(one,)) for one in machines]
    for thread in threads:
        thread.start()
    chance = random.Random(7)
    prompts = 0
    try:
        for _ in range(4):
            for _ in range(60):
                prompts += 1
                for player in players:
                    player.prompt(f"prompt {prompts} of {player.session}")
                time.sleep(0.005)
            time.sleep(chance.random() * 0.5)
            server.kill()
            server.start()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for machine in machines:
        machine.run("ingest")
        assert waiting(machine.home) == []
    server.stop()

    memory = local(server.machine.home)
    memory.ingest()
    sessions = {one.native_id: one for one in memory.sessions(Scope(project="okapi"))}
    assert {name: one.prompts for name, one in sessions.items()} == {"a": prompts, "b": prompts}
    for name in sessions:
        seen = memory.read(Scope(project="okapi"), name, observations=True).observations
        assert [one.text for one in seen[1:]] == [f"prompt {number} of {name}" for number in range(1, prompts + 1)]
    capture = memory.status(Scope()).capture
    assert (capture.seen, capture.stored) == (2 * prompts + 2, 2 * prompts + 2)


@pytest.mark.slow
def test_a_client_that_is_killed_while_delivering_delivers_the_rest_once(tmp_path: Path) -> None:
    server = HttpServer(Machine(tmp_path, "desk")).start()
    machine = Machine(tmp_path, "a", url=server.url)
    player = Player(machine.home, repository(machine.user / "okapi", remote=REMOTE), "one", ago=9000).start()
    for number in range(1500):
        player.prompt(f"prompt {number}")
    try:
        for _ in range(6):
            process = subprocess.Popen([*PROGRAM, "ingest", "--quiet"], env=machine.env, cwd=machine.user)
            before = len(waiting(machine.home))
            while process.poll() is None and len(waiting(machine.home)) == before:
                time.sleep(0.005)
            process.kill()
            process.wait()
        machine.run("ingest")
    finally:
        server.stop()

    memory = local(server.machine.home)
    memory.ingest()
    (session,) = memory.sessions(Scope(project="okapi"))
    assert (session.prompts, session.observations) == (1500, 1501)
    assert memory.status(Scope()).capture.duplicates == 0


@pytest.mark.slow
def test_every_command_says_the_same_as_on_the_server(tmp_path: Path) -> None:
    desk = Machine(tmp_path, "desk")
    secret = desk.json("token", "create", "laptop")["token"]
    server = HttpServer(desk).start()
    laptop = Machine(tmp_path, "laptop", url=server.url, token=secret)
    work = repository(laptop.user / "okapi", remote=REMOTE)
    twin = repository(desk.user / "twin", remote=REMOTE)
    try:
        Player(laptop.home, work, "one", ago=900).start().works("the okapi").ends()
        assert laptop.json("ingest")["delivered"] == 8
        written = laptop.json("write", "Feeding", "--body", "Okapis eat leaves.", cwd=work)
        assert written["project"] == "okapi"
        for words in (
            ("search", "leaves"),
            ("read", "Feeding"),
            ("recent",),
            ("history", "--diff"),
            ("sessions",),
            ("projects",),
            ("handoff", "list"),
            ("brief", "--agent", "codex"),
        ):
            assert laptop.json(*words, cwd=work) == desk.json(*words, cwd=twin), words
        status = laptop.json("status", cwd=work)
        assert status["counts"] == desk.json("status", cwd=twin)["counts"]
        assert status["home"] == str(desk.home)
        taken = laptop.json("handoff", "accept", cwd=work)["handoffs"][0]
        assert taken["state"] == "accepted"
        (work / "docs").mkdir()
        (work / "docs" / "okapi.md").write_text("# Okapi")
        assert laptop.json("import", "markdown", "docs", cwd=work)["added"] == {"okapi.md": "notes/okapi.md"}
        assert "did you mean" in laptop.run("search", "x", "--project", "okapii", cwd=work, code=1).stderr
        assert laptop.json("reindex", cwd=work)["reindexed"]
    finally:
        server.stop()
    assert not (laptop.home / "wiki").exists()
    assert not (laptop.home / "index.db").exists()


# --- hooks


def hook(machine: Machine, event: str, cwd: Path, session: str, *, agent: str = "claude-code", **more: object) -> str:
    """Run a hook as an agent does; it must succeed silently but for what it says to the agent."""
    launcher = machine.home / "bin" / "emit"
    if not launcher.exists():
        write_launcher(machine.home, sys.executable)
    payload = {"session_id": session, "cwd": str(cwd), "hook_event_name": event, **more}
    done = subprocess.run(
        [str(launcher), agent, event],
        input=json.dumps(payload),
        env=machine.env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def settled(machine: Machine) -> None:
    """Wait until the worker that a session's end has started is done."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and (
        waiting(machine.home) or (machine.home / "locks/deliver.lock.holder").exists()
    ):
        time.sleep(0.05)
    assert waiting(machine.home) == []


def session_of(machine: Machine, work: Path, session: str, what: str, **more: str) -> None:
    hook(machine, "UserPromptSubmit", work, session, prompt=f"Please mend {what}", **more)
    answer = {"stdout": "12 passed", "stderr": "", "interrupted": False}
    given = {"command": "pytest"}
    hook(machine, "PostToolUse", work, session, tool_name="Bash", tool_input=given, tool_response=answer, **more)
    hook(machine, "Stop", work, session, last_assistant_message=f"I mended {what}. Next step: the docs.", **more)
    hook(machine, "SessionEnd", work, session, reason="other", **more)


def test_a_session_on_one_machine_is_told_of_by_the_next_start_on_another(tmp_path: Path) -> None:
    server = HttpServer(Machine(tmp_path, "desk")).start()
    a, b = (Machine(tmp_path, name, url=server.url) for name in ("a", "b"))
    ours, theirs = repository(a.user / "okapi", remote=REMOTE), repository(b.user / "src/okapi", remote=REMOTE)
    try:
        hook(b, "SessionStart", theirs, "b0", source="startup")  # it has a brief of a moment ago
        hook(b, "SessionEnd", theirs, "b0", reason="other")
        settled(b)
        hook(a, "SessionStart", ours, "a1", source="startup")
        session_of(a, ours, "a1", "the okapi")
        settled(a)
        for copy in (b.home / "brief").glob("*-*.json"):
            good_until(copy, time.time() + 60)  # however young it is, it is of before this start
        told = hook(b, "SessionStart", theirs, "b1", agent="codex", source="startup")
        if not told:  # the machine is busy: what comes late is told with the first prompt
            told = hook(b, "UserPromptSubmit", theirs, "b1", agent="codex", prompt="go on")
        assert "Please mend the okapi" in told
        hook(b, "UserPromptSubmit", theirs, "b1", agent="codex", prompt="go on with it")
        b.run("ingest")
        (handoff,) = a.json("handoff", "list", cwd=ours)["handoffs"]
        assert (handoff["state"], handoff["accepted_by"].split()[0]) == ("accepted", "codex")
    finally:
        server.stop()


def good_until(copy: Path, when: float) -> None:
    """Change until when a copy of a brief counts as the newest."""
    told = json.loads(copy.read_text())
    if "until" in told:
        copy.write_text(json.dumps({**told, "until": when}))


@pytest.mark.slow
def test_while_the_server_is_away_the_last_brief_is_told(tmp_path: Path) -> None:
    server = HttpServer(Machine(tmp_path, "desk")).start()
    laptop = Machine(tmp_path, "laptop", url=server.url)
    work = repository(laptop.user / "okapi", remote=REMOTE)
    try:
        hook(laptop, "SessionStart", work, "one", source="startup")
        session_of(laptop, work, "one", "the okapi")
        settled(laptop)
    finally:
        server.stop()
    for copy in (laptop.home / "brief").glob("*-*.json"):
        good_until(copy, 0.0)
    told = [hook(laptop, "SessionStart", work, name, source="startup") for name in ("two", "three")]

    assert all("Please mend the okapi" in words for words in told)
    assert {path.rpartition("-")[2] for path in waiting(laptop.home)}
    server.start()
    try:
        laptop.run("ingest")
        assert {one["native_id"] for one in laptop.json("sessions", cwd=work)["sessions"]} == {"one", "two", "three"}
    finally:
        server.stop()
