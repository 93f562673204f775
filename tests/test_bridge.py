"""`serve` on a client: a bridge from the agent's stdio to the memory of the server, also while that is away."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client.session import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import Implementation
from playing import Player, repository
from remotes import PROGRAM, HttpServer, Machine, local

from ai_memory_mcp.model import Scope
from ai_memory_mcp.server.tools import TOOLS

REMOTE = "git@example.com:zoo/okapi.git"


@pytest.fixture
def desk(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "desk")


@asynccontextmanager
async def bridge(machine: Machine, cwd: Path, **env: str) -> AsyncIterator[ClientSession]:
    """Start the MCP server as an agent does, with the official client."""
    parameters = StdioServerParameters(
        command=PROGRAM[0], args=[*PROGRAM[1:], "serve"], env={**machine.env, **env}, cwd=cwd
    )
    client = Implementation(name="claude-code", version="2")
    async with stdio_client(parameters) as streams, ClientSession(*streams, client_info=client) as session:
        await session.initialize()
        yield session


async def say(session: ClientSession, name: str, **arguments: Any) -> tuple[bool, str]:
    answer = await session.call_tool(name, arguments)
    return bool(answer.is_error), answer.content[0].text  # type: ignore[union-attr]


@pytest.mark.slow
def test_the_bridge_has_the_tools_and_the_server_the_memory(desk: Machine, tmp_path: Path) -> None:
    secret = desk.json("token", "create", "laptop")["token"]
    server = HttpServer(desk).start()
    laptop = Machine(tmp_path, "laptop", url=server.url, token=secret)
    work = repository(laptop.user / "okapi", remote=REMOTE)

    async def talk() -> None:
        async with bridge(laptop, work) as session:
            tools = (await session.list_tools()).tools
            assert [tool.name for tool in tools] == [tool["name"] for tool in TOOLS]
            assert not (await say(session, "memory.write", title="Feeding", body="Okapis eat leaves."))[0]
            assert "leaves" in (await say(session, "memory.search", query="feeding"))[1]
            assert "resolved by remote" in (await say(session, "memory.status"))[1]
            failed, said = await say(session, "memory.search", query="x", project="okapii")
            assert failed
            assert "did you mean okapi" in said
            left = await say(session, "memory.handoff", action="leave", summary="Feed them")
            assert not left[0]

    try:
        anyio.run(talk)
    finally:
        server.stop()
    memory = local(desk.home)
    assert [one.summary for one in memory.handoffs(Scope(project="okapi"))] == ["Feed them"]
    assert not (laptop.home / "wiki").exists()


@pytest.mark.slow
def test_while_the_server_is_away_tools_say_so_at_once_and_work_again_when_it_is_back(
    desk: Machine, tmp_path: Path
) -> None:
    server = HttpServer(desk).start()
    laptop = Machine(tmp_path, "laptop", url=server.url)
    work = repository(laptop.user / "okapi", remote=REMOTE)

    async def talk() -> None:
        async with bridge(laptop, work) as session:
            await say(session, "memory.write", title="Feeding", body="Okapis eat leaves.")
            server.kill()
            for _ in range(3):
                begun = time.monotonic()
                failed, said = await say(session, "memory.search", query="leaves")
                assert failed
                assert "cannot be reached" in said
                assert time.monotonic() - begun < 10
            await anyio.to_thread.run_sync(server.start)
            assert "leaves" in (await say(session, "memory.search", query="leaves"))[1]

    try:
        anyio.run(talk)
    finally:
        server.stop()


def test_the_handshake_needs_no_server(tmp_path: Path) -> None:
    laptop = Machine(tmp_path, "laptop", url="http://127.0.0.1:9")

    async def talk() -> int:
        async with bridge(laptop, laptop.user) as session:
            return len((await session.list_tools()).tools)

    assert anyio.run(talk) == len(TOOLS)


def test_broken_settings_are_told_by_the_tools(tmp_path: Path) -> None:
    laptop = Machine(tmp_path, "laptop", url="homelab")

    async def talk() -> tuple[bool, str]:
        async with bridge(laptop, laptop.user) as session:
            return await say(session, "memory.status")

    failed, said = anyio.run(talk)
    assert failed
    assert "'homelab' is no address of a server" in said


@pytest.mark.slow
def test_what_hooks_spool_is_delivered_while_the_bridge_runs(desk: Machine, tmp_path: Path) -> None:
    server = HttpServer(desk).start()
    laptop = Machine(tmp_path, "laptop", url=server.url)
    work = repository(laptop.user / "okapi", remote=REMOTE)

    async def talk() -> None:
        async with bridge(laptop, work) as session:
            await session.list_tools()
            Player(laptop.home, work, "one").start().prompt("hello")
            with anyio.fail_after(30):
                while not list((laptop.home / "brief").glob("*-*-*.json")):
                    await anyio.sleep(0.1)
            assert not list((laptop.home / "spool").glob("*.json"))

    try:
        anyio.run(talk)
    finally:
        server.stop()
    assert local(desk.home).sessions(Scope(project="okapi"))[0].prompts == 1
    (brief,) = (json.loads(path.read_text()) for path in (laptop.home / "brief").glob("root-*.json"))
    assert brief["root"] == str(work)


def test_an_agent_that_leaves_without_a_word_ends_its_session_on_the_server(desk: Machine, tmp_path: Path) -> None:
    server = HttpServer(desk).start()
    laptop = Machine(tmp_path, "laptop", url=server.url)
    work = repository(laptop.user / "okapi", remote=REMOTE)

    async def talk() -> None:
        async with bridge(laptop, work, CLAUDE_CODE_SESSION_ID="one") as session:
            await say(session, "memory.status")
            Player(laptop.home, work, "one", ago=60).start().works("the okapi")

    try:
        anyio.run(talk)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not laptop.json("handoff", "list", cwd=work)["handoffs"]:
            time.sleep(0.2)
        (handoff,) = laptop.json("handoff", "list", cwd=work)["handoffs"]
        assert "okapi" in handoff["summary"]
    finally:
        server.stop()
