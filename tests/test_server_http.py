"""The server on HTTP as anybody may reach it: who gets in, how much, and what is told to whom."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import anyio
import pytest
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from playing import Player, repository
from pydantic import BaseModel
from remotes import HttpServer, Machine, ask, local, remote, serving, token

from ai_memory_mcp import endpoints
from ai_memory_mcp.errors import AccessError, NotFoundError
from ai_memory_mcp.files import locked
from ai_memory_mcp.model import Draft, Query, Scope
from ai_memory_mcp.server import guard, hook
from ai_memory_mcp.server.app import build_app
from ai_memory_mcp.server.guard import Buckets
from ai_memory_mcp.server.tools import TOOLS
from ai_memory_mcp.tokens import Tokens

ZOO = {"by": "marker", "workspace": "zoo", "name": "okapi", "id": "00000000-0000-4000-8000-000000000001"}
OWN = {**ZOO, "workspace": "own", "name": "diary", "id": "00000000-0000-4000-8000-000000000002"}


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def routes() -> list[tuple[str, str]]:
    """Every route that the server has, as (method, path)."""
    app: Any = build_app(Path("/nowhere"), lambda: local(Path("/nowhere")), Tokens(Path("/nowhere")), ())
    found = []
    for route in app.app.routes:
        for method in route.methods or ("POST", "GET", "DELETE"):
            names = endpoints.METHODS if "{method}" in route.path else [""]
            found += [(method, route.path.replace("{method}", name)) for name in names]
    return found


# --- who gets in


def test_without_a_token_nothing_is_told_on_any_route(server: Path, url: str) -> None:
    secret = token(server)
    assert len(routes()) > 20
    for headers in ({}, bearer("aimem_wrong"), bearer(""), {"Authorization": f"Basic {secret}"}, {"Cookie": secret}):
        for method, path in [*routes(), ("POST", "/nothing"), ("GET", "/web"), ("OPTIONS", "/mcp")]:
            if path not in guard.OPEN:
                status, told, answer = ask(url, path, {} if method == "POST" else None, method, **headers)
                assert status in (401, 429), (method, path)
                assert not answer or set(answer) == {"error"}
                assert status == 429 or told["www-authenticate"] == "Bearer"


def test_health_is_told_to_everybody_and_nothing_else_is(server: Path, url: str) -> None:
    token(server)

    assert ask(url, "/healthz", method="GET")[::2] == (200, {"ok": True})


def test_on_loopback_without_any_token_everybody_may_ask_but_no_proxy(url: str) -> None:
    assert ask(url, "/api/v1/projects", {})[::2] == (200, [])
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
        assert ask(url, "/api/v1/projects", {}, **{name: "10.0.0.1"})[0] == 401


def test_a_token_that_only_reads_changes_nothing(server: Path, url: str, tmp_path: Path) -> None:
    secret = token(server, read_only=True)
    machine = remote(url, tmp_path / "laptop" / "memory", secret)
    work = repository(tmp_path / "laptop" / "work")
    for name in set(endpoints.METHODS) - endpoints.READS - set(endpoints.READS_UNLESS) - endpoints.OWN:
        status, _, answer = ask(url, f"/api/v1/{name}", arguments_of(name), **bearer(secret))
        assert (status, answer["error"]["code"]) == (403, "access"), name
    assert ask(url, "/hook", {"events": []}, **bearer(secret))[0] == 403
    with pytest.raises(AccessError, match="'test' may only read"):
        machine.write(Scope(cwd=str(work)), Draft(title="t", body="b"))

    assert machine.projects() == ()
    Player(machine.home, work, "one").start().prompt("hello")
    assert machine.search(Scope(cwd=str(work)), Query(text="hello")).hits == ()  # nor do its events keep it from asking
    assert len(list((machine.home / "spool").glob("*.json"))) == 2


def test_a_token_that_only_reads_may_lint_but_not_mend(server: Path, url: str, two_workspaces: Path) -> None:
    secret = bearer(token(server, read_only=True))
    scope = {"project": "okapi"}

    assert ask(url, "/api/v1/lint", {"scope": scope}, **secret)[0] == 200
    assert ask(url, "/api/v1/contradictions", {"scope": scope}, **secret)[0] == 200
    assert not call(url, "memory.lint", headers=secret, project="okapi")["isError"]
    for name, flag in (("lint", "fix"), ("lint", "report"), ("contradictions", "judge")):
        status, _, answer = ask(url, f"/api/v1/{name}", {"scope": scope, flag: True}, **secret)
        assert (status, answer["error"]["code"]) == (403, "access"), flag


def arguments_of(name: str) -> dict[str, Any]:
    """Return arguments that a method takes, whatever method it is."""
    return {
        key: example(field.annotation)
        for key, field in endpoints.endpoint(name).arguments.model_fields.items()
        if field.is_required()
    }


def example(kind: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {key: example(field.annotation) for key, field in kind.model_fields.items() if field.is_required()}
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    return {str: "x", int: 3, bool: True, Path: "x"}.get(kind, [])


@pytest.fixture
def two_workspaces(server: Path, tmp_path: Path) -> Path:
    """A memory with a page, a session and a handoff in the workspaces `zoo` and `own`; returns the folder of both."""
    memory = local(server)
    for workspace, name in (("zoo", "okapi"), ("own", "diary")):
        folder = server.parent / name
        repository(folder)
        (folder / ".ai-memory.toml").write_text(f'workspace = "{workspace}"\nproject = "{name}"\n')
        memory.write(Scope(cwd=str(folder)), Draft(title=f"Secret of {name}", body="quokka"))
        Player(server, folder, f"session-{name}", ago=900).start().works(f"the quokka of {name}").ends()
    memory.ingest()
    memory.close()
    return server.parent


def test_a_bound_token_sees_its_workspace_and_nothing_of_others(
    server: Path, url: str, two_workspaces: Path, tmp_path: Path
) -> None:
    machine = remote(url, tmp_path / "laptop" / "memory", token(server, workspaces=["zoo"]))
    full = remote(url, tmp_path / "desk" / "memory", token(server, "full"))
    theirs = next(hit for hit in full.recent(Scope(project="own/diary")) if hit.kind == "note")
    session = full.sessions(Scope(project="own/diary"))[0]
    handoff = full.handoffs(Scope(project="own/diary"))[0]

    assert [project.name for project in machine.projects()] == ["okapi"]
    for scope in (Scope(), Scope(cwd=str(tmp_path)), Scope(project="okapi"), Scope(workspace="zoo")):
        assert machine.resolve(scope).workspace == "zoo"
        for everywhere in (False, True):
            found = machine.search(
                scope, Query(text="quokka", kinds=("note", "session", "observation"), everywhere=everywhere)
            )
            assert {hit.project for hit in found.hits} == {"okapi"}
        assert {hit.title for hit in machine.recent(scope)} & {"Secret of diary"} == set()
        assert {one.native_id for one in machine.sessions(scope)} == {"session-okapi"}
        assert handoff.id not in {one.id for one in machine.handoffs(scope, every=True)}
        assert "diary" not in machine.brief(scope).text
        told, seen = machine.status(scope), full.status(Scope(project="okapi"))
        assert told.counts == seen.counts
        assert 0 < told.capture.seen < seen.capture.seen
        assert told.figures
        assert (told.home, told.figures.sizes, told.figures.week.sessions) == ("", {}, 1)
        for ref in (theirs.id, theirs.path, theirs.title, session.id, session.native_id):
            with pytest.raises(NotFoundError):
                machine.read(scope, ref)
            with pytest.raises(NotFoundError):
                machine.read(scope, ref, links=True, at="2099-01-01")
            with pytest.raises(NotFoundError):
                machine.feedback(scope, ref, "wrong")
            with pytest.raises(NotFoundError):
                machine.forget(scope, ref, for_good=True)
        assert "diary" not in json.dumps([one.model_dump(mode="json") for one in machine.history(scope)])
        with pytest.raises(NotFoundError):
            machine.history(scope, theirs.path)
        with pytest.raises(NotFoundError):
            machine.accept_handoff(scope, handoff.id)
    with pytest.raises(AccessError, match="all workspaces"):
        machine.reindex()
    with pytest.raises(AccessError, match="all workspaces"):
        machine.scrub("Secret of diary")


def test_a_bound_token_gets_nothing_by_naming_another_workspace(server: Path, url: str, two_workspaces: Path) -> None:
    secret = bearer(token(server, workspaces=["zoo"]))
    diary = next(one for one in local(server).projects() if one.name == "diary")
    for scope in (
        {"project": "diary"},
        {"project": "own/diary"},
        {"project": diary.id},
        {"workspace": "own"},
        {"project": "diary", "workspace": "zoo"},
        {"project": "dairy"},
        {"origin": {**OWN, "id": diary.id}},
        {"origin": {**ZOO, "id": diary.id}},
        {"origin": {**OWN, "by": "none"}, "workspace": "own"},
    ):
        for name in set(endpoints.METHODS) - endpoints.OWN - {"projects", "ingest", "reindex", "scrub"}:
            status, _, answer = ask(url, f"/api/v1/{name}", {**arguments_of(name), "scope": scope}, **secret)
            assert status in (403, 404), (name, scope, answer)
            assert "diary" not in answer["error"]["message"].replace(str(scope.get("project")), "")
    event = {"id": "00000000000000000001-1-1", "at": 0, "agent": "codex", "event": "Stop"}
    for origin in ({**OWN, "id": diary.id}, {**ZOO, "id": diary.id}, OWN):
        status, _, answer = ask(url, "/hook", {"events": [{**event, "origin": origin}]}, **secret)
        assert list(answer["refused"]) == ["0"]
        if origin is not OWN:
            assert ask(url, "/hook/brief", origin, **secret)[0] == 403
    assert local(server).res.spool.pending() == 0


def test_folders_of_the_server_are_looked_at_for_nobody(server: Path, url: str, two_workspaces: Path) -> None:
    folder = str(two_workspaces / "diary")

    for name in ("resolve", "status", "search"):
        arguments = {"scope": {"cwd": folder}, **({"query": {"text": "x"}} if name == "search" else {})}
        status, _, answer = ask(url, f"/api/v1/{name}", arguments)
        assert status == 200
        assert "diary" not in json.dumps(answer)
    assert ask(
        url,
        "/hook",
        {"events": [{"id": "00000000000000000001-1-1", "at": 0, "agent": "a", "event": "b", "root": folder}]},
    )[2] == {"refused": {"0": "it does not say which project it belongs to"}}


def test_an_import_reads_only_what_was_sent_for_it_and_by_whom(server: Path, url: str, tmp_path: Path) -> None:
    one, other = bearer(token(server, "one")), bearer(token(server, "other"))
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "a.md").write_text("# Of the server")
    sent = "0" * 32
    names = ("../out.md", "/etc/out.md", "a/../../out.md", "..", "x\\..\\out.md", "n" * 300 + ".md", "good.md")
    files = [{"name": name, "text": f"# {name[:9]}", "mtime": 0} for name in names]
    _, _, answer = ask(url, "/upload", {"id": sent, "folder": "/docs", "files": files}, **one)
    assert sorted(answer["skipped"]) == sorted(names[:-1])
    assert not list(tmp_path.rglob("out.md"))
    for folder, headers in ((str(secret), one), (str(server), one), (sent, other), ("..", one), ("", one)):
        arguments = {"scope": {}, "folder": folder}
        assert ask(url, "/api/v1/import_markdown", arguments, **headers)[0] == 404, folder
    report = ask(url, "/api/v1/import_markdown", {"scope": {}, "folder": sent}, **one)[2]
    assert report["added"] == {"good.md": "notes/good.md"}
    assert not list((server / "cache").glob("upload-*"))
    assert ask(url, "/api/v1/import_markdown", {"scope": {}, "folder": sent}, **one)[0] == 404
    for bad in ({"id": "../x", "folder": "/d", "files": []}, {"id": sent, "files": []}, {}):
        assert ask(url, "/upload", bad, **one)[0] == 400
    assert ask(url, "/upload", {}, **bearer(token(server, "reader", read_only=True)))[0] == 403


# --- from where, how much, how often


def test_requests_that_a_foreign_page_makes_a_browser_send_are_refused(url: str, server: Path) -> None:
    port = url.rpartition(":")[2]
    good = [f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", "[::1]", "192.168.1.7", "127.9.9.9"]
    bad = ["evil.example", f"evil.example:{port}", "localhost.evil.example", "127.0.0.1.nip.io", "", "[::1", "a b"]
    for path in ("/healthz", "/api/v1/projects", "/mcp"):
        assert {ask(url, path, {}, Host=host)[0] for host in bad} <= {421, 400}
        assert not {ask(url, path, {}, Host=host)[0] for host in good} & {421, 403}
    for origin in ("http://evil.example", "null", "http://localhost:3000", f"http://127.0.0.1.evil.example:{port}", ""):
        assert ask(url, "/api/v1/projects", {}, Origin=origin)[0] == 403, origin
    assert ask(url, "/api/v1/projects", {}, Origin=url)[0] == 200


def test_a_name_that_is_allowed_is_served(server: Path) -> None:
    with serving(server, hosts=["memory.example"]) as url:
        assert ask(url, "/healthz", method="GET", Host="memory.example")[0] == 200
        assert (
            ask(url, "/healthz", method="GET", Host="Memory.Example:443", Origin="https://memory.example:443")[0] == 200
        )
        assert ask(url, "/healthz", method="GET", Host="memory.example", Origin="https://evil.example")[0] == 403


def test_a_body_has_a_limit_whether_its_length_is_told_or_not(url: str) -> None:
    large = b" " * (guard.BODY + 1)
    assert ask(url, "/api/v1/projects", large)[0] == 413
    assert ask(url, "/mcp", large)[0] == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield large[: guard.BODY // 10]

    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"POST /hook HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        try:
            for chunk in chunks():
                connection.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        except OSError:
            pass  # it has heard enough
        assert connection.recv(12) == b"HTTP/1.1 413"
    assert ask(url, "/api/v1/projects", {})[0] == 200


def test_who_asks_too_often_is_told_when_to_come_again() -> None:
    now = [0.0]
    buckets = Buckets(10.0, 3.0, lambda: now[0])

    assert [buckets.take("a") for _ in range(3)] == [0.0] * 3
    assert buckets.take("a") == pytest.approx(0.1)
    assert buckets.take("b") == 0.0
    now[0] += 0.1
    assert [buckets.take("a") == 0.0 for _ in range(2)] == [True, False]
    now[0] += 1000
    assert [buckets.take("a") == 0.0 for _ in range(4)] == [True, True, True, False]


def test_guessing_tokens_is_slowed_down_and_disturbs_nobody_else(server: Path, url: str) -> None:
    secret = token(server)
    tries = [ask(url, "/api/v1/projects", {}, **bearer(f"aimem_{number}"))[:2] for number in range(30)]
    waits = {int(headers["retry-after"]) for status, headers in tries if status == 429}

    assert {status for status, _ in tries} == {401, 429}
    assert min(waits) >= 1
    assert ask(url, "/api/v1/projects", {}, **bearer(secret))[0] == 200


def test_a_flood_is_answered_with_429_and_everything_accepted_is_done(
    server: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "IN_FLIGHT", 2)
    answers: list[int] = []

    def flood(number: int) -> None:
        for again in range(10):
            draft = {"title": f"Page {number} {again}", "body": "text"}
            status, headers, _ = ask(url, "/api/v1/write", {"scope": {}, "draft": draft})
            assert status == 200 or (status == 429 and int(headers["retry-after"]) >= 1)
            answers.append(status)

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(answers) == {200, 429}
    pages = ask(url, "/api/v1/recent", {"scope": {}, "limit": 100})[2]
    assert len(pages) == answers.count(200)


def test_who_delivers_faster_than_it_is_taken_in_is_told_to_wait(
    server: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "MOST_WAITING", 3)
    event = {"at": 0, "agent": "codex", "event": "Stop", "origin": ZOO}
    statuses: list[int] = []
    with locked(server / "locks" / "ingest.lock", timeout=5):
        for number in range(6):
            events = [{**event, "id": f"{number:020d}-{again}-aa"} for again in range(2)]
            status, headers, _ = ask(url, "/hook", {"events": events})
            statuses.append(status)
    assert statuses == [200, 200, 429, 429, 429, 429]
    assert headers["retry-after"] == "30"
    assert local(server).res.spool.pending() <= 4


# --- what is answered


def test_what_is_no_request_of_ours_is_told_so(url: str) -> None:
    for path, body, status in (
        ("/api/v1/nothing", {}, 404),
        ("/api/v1/close", {}, 404),
        ("/nothing", {}, 404),
        ("/api/v1/search", {}, 400),
        ("/api/v1/search", b"not json", 400),
        ("/api/v1/search", {"scope": {}, "query": {"text": "x", "limit": 1000}}, 400),
        ("/api/v1/projects", {"unknown": 1}, 400),
        ("/hook", b"[]", 400),
        ("/hook", b"{" * 100_000, 400),
        ("/hook/brief", {}, 400),
    ):
        got, _, answer = ask(url, path, body)
        assert got == status, (path, answer)
        assert answer["error"]["message"]
    assert ask(url, "/api/v1/projects", method="GET")[0] == 405
    assert ask(url, "/mcp", method="GET")[0] == 405


def test_a_bug_is_answered_with_500_and_without_its_details(server: Path, caplog: pytest.LogCaptureFixture) -> None:
    server.mkdir(parents=True)
    (server / "index.db").mkdir()
    with serving(server) as url:
        status, _, answer = ask(url, "/api/v1/projects", {})

    assert (status, answer["error"]["code"]) in ((500, "unexpected"), (503, "storage"))
    assert "Traceback" not in answer["error"]["message"]


def test_refused_events_are_named_and_the_others_stored(server: Path, url: str) -> None:
    event = {"at": 0, "agent": "codex", "event": "Stop", "origin": ZOO}
    good = {**event, "id": "00000000000000000001-1-aa", "pid": 4711}
    bad = [
        {**event, "id": "../../tokens"},
        {**event, "id": "00000000000000000002-1-aa/../x"},
        {**good, "origin": {**ZOO, "id": "../../../etc"}},
        {**good, "origin": {**ZOO, "workspace": ""}},
        {**good, "origin": None},
        {"id": "00000000000000000003-1-aa"},
        "text",
    ]
    _, _, answer = ask(url, "/hook", {"events": [*bad, good]})

    assert sorted(answer["refused"], key=int) == [str(number) for number in range(len(bad))]
    assert ask(url, "/api/v1/ingest", {"scope": None})[0] == 200
    assert local(server).status(Scope()).capture.seen == 1


def test_the_log_tells_who_asked_for_what_and_no_more(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "desk")
    secret = machine.run("token", "create", "laptop").stdout.strip()
    server = HttpServer(machine).start()
    try:
        ask(server.url, "/api/v1/search?key=hidden-1", {"scope": {}, "query": {"text": "hidden-2"}}, **bearer(secret))
        ask(server.url, "/api/v1/search", {"scope": {}}, **bearer("hidden-3"))
        ask(server.url, "/x%0d%0a2026%20forged", {}, **bearer(secret))
    finally:
        assert server.stop() == 0
    log = server.log.read_text()

    assert "laptop POST /api/v1/search 200" in log
    assert "- POST /api/v1/search 401" in log
    assert "hidden" not in log
    assert secret not in log
    assert not [line for line in log.splitlines() if line.startswith("2026 forged")]


# --- beginning and ending


def test_others_are_not_let_in_without_a_token(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "desk")
    for words in (["--host", "0.0.0.0"], ["--host", "::"], ["--allow-host", "memory.example"]):
        said = machine.run("serve-http", "--port", "0", *words, code=1).stderr
        assert "make a token first" in said
    machine.run("token", "create", "laptop")
    server = HttpServer(machine, "--host", "0.0.0.0")
    assert server.start().stop() == 0


def test_a_client_of_a_server_is_none_itself(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "laptop", url="http://homelab:49374")

    assert "client of http://homelab:49374" in machine.run("serve-http", code=1).stderr


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = Machine(tmp_path, "desk").run("serve-http", "--port", str(taken.getsockname()[1]), code=1).stderr

    assert "cannot listen" in said


def test_a_token_from_a_file_opens_the_server(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "desk")
    path = machine.user / "secret"
    path.write_text("short")
    path.chmod(0o600)
    assert "too short" in machine.run("serve-http", "--token-file", str(path), code=1).stderr
    path.write_text("f" * 64)
    server = HttpServer(machine, "--token-file", str(path)).start()
    try:
        assert ask(server.url, "/api/v1/projects", {}, **bearer("f" * 64))[0] == 200
        assert ask(server.url, "/api/v1/projects", {})[0] == 401
    finally:
        server.stop()


def test_what_was_accepted_is_there_after_an_end_in_the_middle(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "desk")
    server = HttpServer(machine).start()
    accepted: list[str] = []

    def post() -> None:
        for number in range(1, 2000):
            ident = f"{number:020d}-1-aa"
            event = {"id": ident, "at": number, "agent": "codex", "event": "UserPromptSubmit", "origin": ZOO}
            payload = {"session_id": "s", "prompt": f"prompt {number}"}
            try:
                status = ask(server.url, "/hook", {"events": [{**event, "payload": payload}]})[0]
            except OSError:
                return
            if status == 200:
                accepted.append(ident)

    threads = [threading.Thread(target=post)]
    threads[0].start()
    while len(accepted) < 50:
        threads[0].join(0.01)
    assert server.stop() == 0
    threads[0].join()

    memory = local(machine.home)
    memory.ingest()
    (session,) = memory.sessions(Scope(project="zoo/okapi"))
    assert len(accepted) >= 50
    assert session.prompts >= len(accepted)
    assert memory.status(Scope()).capture.duplicates == 0


# --- MCP


def test_the_official_client_finds_the_same_tools_and_answers_as_over_stdio(
    server: Path, url: str, tmp_path: Path
) -> None:
    secret = token(server)

    async def talk() -> tuple[Any, list[Any]]:
        import httpx2

        async with (
            httpx2.AsyncClient(headers=bearer(secret)) as http,
            streamable_http_client(f"{url}/mcp", http_client=http) as streams,
            ClientSession(streams[0], streams[1]) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            return tools, [
                await session.call_tool(
                    "memory.write", {"title": "Okapi", "body": "Eats leaves.", "project": "general"}
                ),
                await session.call_tool("memory_search", {"query": "leaves"}),
                await session.call_tool("memory.read", {"ref": "nothing"}),
                await session.call_tool("memory.status", {}),
            ]

    tools, answers = anyio.run(talk)

    assert [tool.name for tool in tools] == [tool["name"] for tool in TOOLS]
    assert [answer.is_error for answer in answers] == [False, False, True, False]
    assert "Eats leaves." in answers[1].content[0].text


def call(url: str, name: str, *, headers: dict[str, str] | None = None, **arguments: object) -> Any:
    """Call one tool without any handshake, as a client does that goes on after the server was started anew."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    accept = {"Accept": "application/json, text/event-stream", **(headers or {})}
    status, _, answer = ask(url, "/mcp", message, **accept)
    assert status == 200, answer
    return answer["result"]


def test_a_tool_call_may_do_what_its_token_may(server: Path, url: str, two_workspaces: Path) -> None:
    reader = bearer(token(server, read_only=True))
    bound = bearer(token(server, "bound", workspaces=["zoo"]))
    refused = call(url, "memory.write", headers=reader, title="t", body="b", project="okapi")
    found = call(url, "memory.search", headers=bound, query="quokka", everywhere=True)
    other = call(url, "memory.search", headers=bound, query="quokka", project="diary")

    assert refused["isError"]
    assert "may only read" in refused["content"][0]["text"]
    assert "okapi" in found["content"][0]["text"]
    assert "diary" not in found["content"][0]["text"]
    assert other["isError"]


def test_who_writes_over_http_is_named_by_what_it_calls_itself(server: Path, url: str) -> None:
    call(url, "memory.write", headers={"User-Agent": "claude-code/2.1.330 (cli)"}, title="Named", body="text")

    assert local(server).read(Scope(), "Named").page.agent == "claude-code"
