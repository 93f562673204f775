"""Real agents on two machines that share one server. Opt-in, see `clients`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clients import AGENTS, RUNNER, Place, here, search_turns, shell_turn, write_turn
from remotes import HttpServer, Machine

pytestmark = [
    pytest.mark.realclients,
    pytest.mark.skipif(not RUNNER, reason="REALCLIENTS does not name a folder with run.sh"),
    pytest.mark.skipif(not (here("claude") and here("codex")), reason="claude and codex are not installed"),
]
REMOTE = "git@example.com:zoo/okapi.git"


class Client(Place):
    """A machine that is a client of a server, with a clone of the repository."""

    def __init__(self, base: Path, folder: str) -> None:
        base.mkdir()
        super().__init__(base)
        self.project = self.project.rename(self.home / folder)
        subprocess.run(["git", "remote", "add", "origin", REMOTE], cwd=self.project, check=True)

    def join(self, server: HttpServer, name: str, *clients: str, http: bool = False) -> str:
        """Make this machine a client of the server, as a user does; returns its token."""
        token: str = server.machine.json("token", "create", name)["token"]
        agents = [word for client in clients for word in ("--agent", AGENTS[client])]
        words = ["setup", "--yes", "--trust-codex-hooks", "--json", "--server-url", server.url, *agents]
        done = subprocess.run(
            [sys.executable, "-m", "ai_memory_mcp", *words, *(["--http"] if http else [])],
            cwd=self.project,
            env={**self.env(), "AI_MEMORY_TOKEN": token},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        told = json.loads(done.stdout)
        assert told["errors"] == []
        assert all(told["trust"].values())
        return token


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HttpServer]:
    running = HttpServer(Machine(tmp_path, "desk"))
    running.machine.run("token", "create", "first")
    running.start()
    yield running
    running.kill()


@pytest.fixture
def two(tmp_path: Path, server: HttpServer) -> tuple[Client, Client]:
    one, other = Client(tmp_path / "a", "okapi"), Client(tmp_path / "b", "clone-of-it")
    one.join(server, "a", "claude", "codex")
    other.join(server, "b", "codex", "claude")
    return one, other


def work(mark: str) -> list[dict[str, Any]]:
    """What a model does in a session: a command, a file, a command that fails, an answer that leaves something open."""
    return [
        shell_turn(f"echo said-{mark}", text="I will run a command."),
        write_turn(f"{mark}.txt", f"content of {mark}"),
        shell_turn(f"ls /nowhere-{mark}"),
        {"text": f"Half of {mark} is done. Next: write the tests of {mark}."},
    ]


def delivered(client: Client) -> None:
    """Have what waits delivered; it is silent when a worker was faster."""
    client.command("ingest")
    assert not list((client.home / ".local/share/ai-memory/spool").glob("*.json"))


def kinds(client: Client, session: dict[str, Any]) -> Counter[str]:
    return Counter(one["kind"] for one in client.observations(session))


def test_codex_on_one_machine_goes_on_where_claude_code_on_another_stopped(two: tuple[Client, Client]) -> None:
    a, b = two
    run = a.run("claude", work("quokka"), "Please do the quokka task")
    assert (run.status, run.left_running) == (0, [])
    delivered(a)
    again = b.run("codex", [*search_turns("quokka"), *work("numbat")], "Go on with it")

    assert (again.status, again.left_running) == (0, [])
    assert "write the tests of quokka" in again.first()
    assert "Please do the quokka task" in json.dumps(again.requests[-1]["body"], ensure_ascii=False)
    delivered(b)
    handoffs = {one["from_agent"]: one for one in a.command("handoff", "list")["handoffs"]}
    assert handoffs["claude-code"]["state"] == "accepted"
    assert handoffs["claude-code"]["accepted_by"].startswith("codex ")
    back = a.run("claude", [{"text": "done"}], "And go on")
    assert "write the tests of numbat" in back.first()
    assert [session["agent"] for session in a.sessions()] == ["claude-code", "codex", "claude-code"]
    assert not (a.home / ".local/share/ai-memory/wiki").exists()


def holding(folder: Path, secret: str) -> list[str]:
    """Return the files below a folder that hold a text."""
    found = subprocess.run(["grep", "-rlF", secret, str(folder)], capture_output=True, text=True, check=False)
    return found.stdout.split()


def test_a_token_stands_in_a_file_of_ours_and_in_no_agents_settings(tmp_path: Path, server: HttpServer) -> None:
    machine = Client(tmp_path / "a", "okapi")
    secret = machine.join(server, "a", "claude", "codex")

    assert [path.removeprefix(str(machine.home)) for path in holding(machine.home, secret)] == [
        "/.local/share/ai-memory/token"
    ]
    assert holding(server.machine.user, secret) == []


def test_with_the_server_stopped_in_the_middle_nothing_is_lost_or_doubled(
    two: tuple[Client, Client], server: HttpServer
) -> None:
    a, b = two
    a.run("claude", work("quokka"), "Please do the quokka task")
    delivered(a)
    server.stop()
    off = a.run("claude", work("wombat"), "Please do the wombat task")
    assert (off.status, off.left_running) == (0, [])
    assert "write the tests of quokka" in off.first()  # from the last copy, or from before
    server.start()
    delivered(a)
    server.kill()
    server.start()
    run = b.run("codex", work("numbat"), "Go on with it")
    assert "write the tests of wombat" in run.first()
    delivered(b)

    sessions = a.sessions()
    assert [session["agent"] for session in sessions] == ["claude-code", "claude-code", "codex"]
    for session in sessions:
        found = kinds(a, session)
        assert [found[kind] for kind in ("session-start", "user-prompt", "stop", "session-end")] == [1, 1, 1, 1], found
        seen = [one for one in a.observations(session) if one["kind"] in ("post-tool", "tool-failure")]
        assert len({one["key"] for one in seen}) == len(seen) >= 2
    capture = a.command("status")["capture"]
    assert capture["seen"] == sum(capture[name] for name in ("stored", "duplicates", "filtered", "set_aside"))
    assert capture["set_aside"] == capture["duplicates"] == 0


@pytest.mark.parametrize("client", ["claude", "codex"])
def test_an_agent_that_asks_the_server_itself_finds_pages(
    client: str, tmp_path: Path, server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Client(tmp_path / "a", "okapi")
    token = machine.join(server, "a", client, http=True)
    machine.command("write", "Axolotls", "--body", "Axolotls are fed at noon by the zebra script.")
    monkeypatch.setenv("AI_MEMORY_TOKEN", token)
    page = {"title": "Newts", "body": "Newts are fed at night.", "project": "okapi"}
    turns = [*search_turns("axolotls"), {"tool_re": "memory[._-]write", "args": page}, {"text": "done"}]
    run = machine.run(client, turns, "When?", KEEP_ENV="AI_MEMORY_TOKEN")

    assert run.told("at noon by the zebra script")
    assert [Path(path).name for path in holding(machine.home, token)] == ["token"]
    assert machine.command("read", "Newts")["page"]["agent"] == AGENTS[client]
