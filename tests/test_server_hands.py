"""A server's threads and processes: who waits for whom, and what becomes of them when one of them is killed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from remotes import HttpServer, Machine, ask, local, serving

from ai_memory_mcp import endpoints
from ai_memory_mcp.errors import InputError
from ai_memory_mcp.files import locked
from ai_memory_mcp.model import Scope
from ai_memory_mcp.server import intake, workers
from ai_memory_mcp.server.access import EVERYBODY
from ai_memory_mcp.server.hands import Apart

OKAPI = {"by": "marker", "workspace": "zoo", "name": "okapi", "id": "00000000-0000-4000-8000-000000000001"}
FRESH = {endpoints.FRESH_HEADER: "1"}
by_proc = pytest.mark.skipif(sys.platform != "linux", reason="processes are found by /proc")


def event(number: int, name: str, native: str = "s1", **payload: object) -> dict[str, object]:
    """Return an event of an okapi's session, as a machine delivers it."""
    about = {"id": f"{number:020d}-1-aa", "at": time.time() - 100 + number, "agent": "claude-code", "event": name}
    return {**about, "payload": {"session_id": native, **payload}, "origin": OKAPI}


def deliver(url: str, *events: dict[str, object]) -> int:
    """Deliver events; returns the status."""
    return ask(url, "/hook", {"events": list(events)})[0]


def search(url: str, text: str, **headers: str) -> str:
    """Return what a search finds, as text."""
    question = {"scope": {"project": "okapi"}, "query": {"text": text, "kinds": ["observation"]}}
    status, _, answer = ask(url, "/api/v1/search", question, **headers)
    return "" if status == 404 else str(answer)


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def gone(pids: list[int]) -> bool:
    """Wait until these processes have ended."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def real(tmp_path: Path) -> Iterator[HttpServer]:
    """A server in a process of its own, that has searched and taken something in."""
    server = HttpServer(Machine(tmp_path, "desk")).start()
    assert deliver(server.url, event(1, "UserPromptSubmit", prompt="feed the first okapi")) == 200
    assert "first okapi" in search(server.url, "okapi", **FRESH)
    yield server
    server.kill()


# --- who waits for whom


def test_what_is_to_be_known_is_waited_for_by_those_only_who_ask_for_it(
    server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "READ_WAIT", 60.0)
    found: list[str] = []
    with serving(server) as url:
        assert deliver(url, event(1, "UserPromptSubmit", prompt="feed the okapi")) == 200
        assert "feed the okapi" in search(url, "okapi", **FRESH)
        with locked(server / "locks" / "ingest.lock", timeout=5):  # nobody can take in anything
            assert deliver(url, event(2, "UserPromptSubmit", prompt="wash the okapi")) == 200
            asking = [threading.Thread(target=lambda: found.append(search(url, "wash", **FRESH))) for _ in range(20)]
            for one in asking:
                one.start()
            assert "wash" not in search(url, "okapi")  # more wait than there are threads, and yet this is answered
            assert deliver(url, event(3, "UserPromptSubmit", prompt="brush the okapi")) == 200
            assert found == []
        for one in asking:
            one.join(60)

    assert len([told for told in found if "wash the okapi" in told or "429" in told or "too much" in told]) == 20
    assert any("wash the okapi" in told for told in found)


def test_a_brief_knows_what_follows_from_what_was_just_delivered(server: Path) -> None:
    with serving(server) as url:
        for number in range(3):
            native = f"s{number}"
            begun = [event(10 * number, "SessionStart", native, source="startup")]
            begun.append(event(10 * number + 1, "UserPromptSubmit", native, prompt=f"okapi number {number}"))
            edit = {"tool_name": "Edit", "tool_input": {"file_path": f"a{number}.py"}, "tool_use_id": f"t{number}"}
            begun.append(event(10 * number + 2, "PostToolUse", native, **edit))
            assert deliver(url, *begun) == 200
            assert f"okapi number {number}" not in str(ask(url, "/hook/brief", OKAPI)[2])
            assert deliver(url, event(10 * number + 3, "SessionEnd", native, reason="prompt_input_exit")) == 200
            told = ask(url, "/hook/brief", OKAPI)[2]
            assert f"okapi number {number}" in str(told["handoffs"]), number


@pytest.mark.parametrize("kind", ["search", "ask", "brief", "store"])
def test_of_each_kind_of_request_so_many_wait_and_no_other_kind_is_refused(
    server: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    asked: dict[str, tuple[str, Any]] = {
        "search": ("/api/v1/search", {"scope": {}, "query": {"text": "x"}}),
        "ask": ("/api/v1/projects", {}),
        "brief": ("/hook/brief", OKAPI),
        "store": ("/hook", {"events": []}),
    }
    monkeypatch.setitem(workers.MOST, kind, 0)
    with serving(server) as url:
        answers = {one: ask(url, *given)[:2] for one, given in asked.items()}

    assert {one: status for one, (status, _) in answers.items()} == {**dict.fromkeys(asked, 200), kind: 429}
    assert int(answers[kind][1]["retry-after"]) >= 1


def test_a_request_that_was_served_leaves_its_place_to_the_next(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(workers.MOST, "store", 1)
    with serving(server) as url:
        for number in range(5):
            assert deliver(url, event(number, "UserPromptSubmit", prompt="x")) == 200


# --- its processes


@by_proc
def test_a_process_of_a_server_that_is_killed_is_replaced_and_nothing_is_lost(real: HttpServer) -> None:
    assert real.process is not None
    for number in range(2, 8):
        children = children_of(real.process.pid)
        assert children
        for child in children:
            os.kill(child, signal.SIGKILL)
        assert deliver(real.url, event(number, "UserPromptSubmit", prompt=f"okapi number {number}")) == 200
        until = time.monotonic() + 30
        while f"okapi number {number}" not in search(real.url, f"number {number}", **FRESH):
            assert time.monotonic() < until
    assert real.stop() == 0

    memory = local(real.machine.home)
    assert memory.status(Scope(project="okapi")).capture.model_dump(include={"seen", "stored", "duplicates"}) == {
        "seen": 7,
        "stored": 7,
        "duplicates": 0,
    }
    assert gone(children)


@by_proc
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_ends_leaves_no_process(real: HttpServer, how: signal.Signals) -> None:
    assert real.process is not None
    children = children_of(real.process.pid)
    assert len(children) >= 2
    real.process.send_signal(how)
    real.process.wait(30)

    assert gone(children)


@by_proc
def test_a_server_that_is_told_to_end_by_its_whole_group_does_what_it_has_accepted(real: HttpServer) -> None:
    assert real.process is not None
    assert deliver(real.url, event(2, "UserPromptSubmit", prompt="the last okapi")) == 200
    for child in children_of(real.process.pid):
        os.kill(child, signal.SIGTERM)  # as a service manager does
    assert "last okapi" in search(real.url, "last", **FRESH)
    assert real.stop() == 0
    assert "Traceback" not in real.log.read_text()


def test_what_is_wrong_with_a_question_is_told_from_the_other_process(home: Path) -> None:
    hands = Apart(home, dict(os.environ))
    try:
        for body in (b"{}", b"\xff", b'{"scope":{},"query":{"text":"x","limit":9000}}'):
            with pytest.raises(InputError):
                hands.search(EVERYBODY, body)
        assert b'"hits":[]' in hands.search(EVERYBODY, b'{"scope":{},"query":{"text":"\xc3\xa9t\xc3\xa9"}}')
    finally:
        hands.close()
