"""The official MCP SDK behind the stdio server. Only `backend` imports it, in a thread: it takes a second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from io import TextIOBase
from typing import Any, TextIO, cast

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

    async def call(self, params: CallToolRequestParams, client: str) -> CallToolResult:
        """Answer one `tools/call`. Raises MCPError for an unknown tool; everything else is a result."""
        tool = find_tool(params.name)
        if tool is None:
            raise MCPError(code=INVALID_PARAMS, message=f"Unknown tool: {params.name}")
        loop = asyncio.get_running_loop()
        text, failed = await loop.run_in_executor(self._thread, self._run, tool, params, client)
        return CallToolResult(content=[TextContent(type="text", text=text)], is_error=failed)

    def close(self) -> None:
        """Close the memory once its running call is done; gives up after a moment."""
        if self._memory is not None:
            wait([self._thread.submit(self._memory.close)], _CLOSE_WAIT)

    def _run(self, tool: dict[str, Any], params: CallToolRequestParams, client: str) -> tuple[str, bool]:
        try:
            caller = identify(self._agent or client, self._env, dict(params.meta or {}))
            self.caller = caller
            if self._memory is None:
                self._memory = self._open_memory()
            scope = Scope(cwd=caller.root or self._cwd)
            return run_tool(self._memory, caller, scope, tool, params.arguments or {}), False
        except AiMemoryError as error:
            return str(error), True
        except Exception as error:  # a bug: the agent is told, the details go to stderr, which clients keep
            _log.exception("%s failed", tool["name"])
            return f"Unexpected {type(error).__name__}: {error}", True


def build_server(desk: Desk, told: str, offered: Tools = TOOLS) -> Server[Any]:
    """Return the SDK's server with our tools as they are `offered`; `told` are its instructions."""
    tools = [Tool.model_validate(tool) for tool in offered]

    async def list_tools(context: ServerRequestContext[Any], params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=tools)

    async def call_tool(context: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        client = context.session.client_params
        return await desk.call(params, client.client_info.name if client and client.client_info else "")

    return Server(SERVER_NAME, version=__version__, instructions=told, on_list_tools=list_tools, on_call_tool=call_tool)


def serve(desk: Desk, told: str, source: TextIOBase, sink: TextIOBase, offered: Tools = TOOLS) -> None:
    """Serve one connection over two text streams until the source ends."""
    reader, writer = cast(TextIO, source), cast(TextIO, sink)  # typeshed keeps the two apart

    async def run() -> None:
        server = build_server(desk, told, offered)
        async with stdio_server(anyio.wrap_file(reader), anyio.wrap_file(writer)) as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    anyio.run(run)
