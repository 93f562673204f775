"""MCP over streamable HTTP: the same tools and handlers as over stdio, for agents that reach the server themselves.

Stateless: each request stands alone, so a server that was started anew goes on where it was. Such an agent's folder
is not known here; it names its project, or speaks of the whole workspace.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import CallToolRequestParams
from starlette.requests import Request
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Scope
from ai_memory_mcp.server.access import Access, guarded
from ai_memory_mcp.server.caller import identify
from ai_memory_mcp.server.guard import BODY, refusal
from ai_memory_mcp.server.handlers import run_tool
from ai_memory_mcp.server.sdk import Answered, answered, build_server
from ai_memory_mcp.server.tools import instructions
from ai_memory_mcp.server.workers import Workers

TOLD = "This server does not see your folder: say `project` (the repository's name) in every call."


class McpEndpoint:
    """The ASGI application at `/mcp`. `running` is to be entered once, around its use."""

    def __init__(self, workers: Workers) -> None:
        server = build_server(_Desk(workers), instructions(TOLD))
        self._manager = StreamableHTTPSessionManager(
            server, json_response=True, stateless=True, max_request_body_size=BODY
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve while this is entered."""
        async with self._manager.run():
            yield

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer one request. There are no sessions and no streams, so nothing to GET or DELETE."""
        if scope["method"] == "POST":
            await self._manager.handle_request(scope, receive, send)
        else:
            await refusal(405, "route", "POST JSON-RPC messages here", Allow="POST")(scope, receive, send)


class _Desk:
    """Runs tool calls in the server's threads, for whoever sent the request."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    async def call(self, tool: dict[str, Any], params: CallToolRequestParams, client: str, request: Any) -> Answered:
        """Answer one `tools/call`."""
        assert isinstance(request, Request)
        access: Access = request.state.access
        caller = identify(client or _product(request), {}, dict(params.meta or {}))

        def work(memory: LocalMemory) -> Answered:
            return answered(
                tool, lambda: run_tool(guarded(memory, access), caller, Scope(), tool, params.arguments or {})
            )

        return await self._workers.ask(work)


def _product(request: Request) -> str:
    """Return what a client calls itself: without a session it says its name in no other place."""
    return request.headers.get("user-agent", "").partition("/")[0].partition(" ")[0][:64]
