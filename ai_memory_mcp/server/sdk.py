"""The official MCP SDK with our tools, behind stdio and HTTP. `backend` imports it in a thread: it takes a second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from io import TextIOBase
from typing import Any, Protocol, TextIO, cast

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)

from ai_memory_mcp import __version__
from ai_memory_mcp.errors import AiMemoryError
from ai_memory_mcp.memory import Memory
from ai_memory_mcp.model import Scope
from ai_memory_mcp.server.caller import Caller, identify
from ai_memory_mcp.server.handlers import run_tool
from ai_memory_mcp.server.tools import SERVER_NAME, TOOLS, Tools, find_tool

_log = logging.getLogger(__name__)

_CLOSE_WAIT = 0.3
Answered = tuple[str, bool]


class Desk:
    """Takes tool calls and runs them one after the other in the thread that owns the memory."""

    def __init__(self, open_memory: Callable[[], Memory], *, env: Mapping[str, str], cwd: str, agent: str) -> None:
        self._open_memory = open_memory
        self._env = env
        self._cwd = cwd
        self._agent = agent
        self._memory: Memory | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="memory")
        self.caller: Caller | None = None  # of the last call

    async def call(self, tool: dict[str, Any], params: CallToolRequestParams, client: str, request: Any) -> Answered:
        """Answer one `tools/call`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._run, tool, params, client)

    def close(self) -> None:
        """Close the memory once its running call is done; gives up after a moment."""
        if self._memory is not None:
            wait([self._thread.submit(self._memory.close)], _CLOSE_WAIT)

    def _run(self, tool: dict[str, Any], params: CallToolRequestParams, client: str) -> Answered:
        def run() -> str:
            caller = identify(self._agent or client, self._env, dict(params.meta or {}))
            self.caller = caller
            if self._memory is None:
                self._memory = self._open_memory()
            scope = Scope(cwd=caller.root or self._cwd)
            return run_tool(self._memory, caller, scope, tool, params.arguments or {})

        return answered(tool, run)


def answered(tool: dict[str, Any], run: Callable[[], str]) -> Answered:
    """Return what a tool says and whether it failed: an agent is told of errors in its own words."""
    try:
        return run(), False
    except AiMemoryError as error:
        return str(error), True
    except Exception as error:  # a bug: the agent is told, the details go to stderr, which clients keep
        _log.exception("%s failed", tool["name"])
        return f"Unexpected {type(error).__name__}: {error}", True


class AnyDesk(Protocol):
    """Who answers the tool calls of one transport; `request` is what the transport knows of the call."""

    async def call(self, tool: dict[str, Any], params: CallToolRequestParams, client: str, request: Any) -> Answered:
        """Answer one `tools/call`: the text, and whether it is an error."""


def build_server(desk: AnyDesk, told: str, offered: Tools = TOOLS) -> Server[Any]:
    """Return the SDK's server with our tools as they are `offered`; `told` are its instructions."""
    tools = [Tool.model_validate(tool) for tool in offered]

    async def list_tools(context: ServerRequestContext[Any], params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=tools)

    async def call_tool(context: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        tool = find_tool(params.name)
        if tool is None:
            raise MCPError(code=INVALID_PARAMS, message=f"Unknown tool: {params.name}")
        client = context.session.client_params
        name = client.client_info.name if client and client.client_info else ""
        text, failed = await desk.call(tool, params, name, context.request)
        return CallToolResult(content=[TextContent(type="text", text=text)], is_error=failed)

    return Server(SERVER_NAME, version=__version__, instructions=told, on_list_tools=list_tools, on_call_tool=call_tool)


def serve(desk: Desk, told: str, source: TextIOBase, sink: TextIOBase, offered: Tools = TOOLS) -> None:
    """Serve one connection over two text streams until the source ends."""
    reader, writer = cast(TextIO, source), cast(TextIO, sink)  # typeshed keeps the two apart

    async def run() -> None:
        server = build_server(desk, told, offered)
        async with stdio_server(anyio.wrap_file(reader), anyio.wrap_file(writer)) as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    anyio.run(run)
