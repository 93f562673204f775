"""The server's routes: `/api/v1/*`, `/hook`, `/mcp`, `/web`, `/healthz`.

Memory is only used in threads (`workers`), for whoever asks (`access`); all requests come through the `guard`, and what
goes wrong is `told`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ai_memory_mcp.endpoints import BRIEF, FRESH_HEADER, HOOK, LONG, NONCE, PREFIX, UPLOAD, endpoint
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.server import hook
from ai_memory_mcp.server.access import Access, answer, arguments
from ai_memory_mcp.server.guard import Guard
from ai_memory_mcp.server.hands import Hands, Here
from ai_memory_mcp.server.logins import Logins
from ai_memory_mcp.server.mcp_http import McpEndpoint
from ai_memory_mcp.server.told import HANDLERS
from ai_memory_mcp.server.uploads import Uploads
from ai_memory_mcp.server.web.routes import Site, routes_of
from ai_memory_mcp.server.workers import Workers
from ai_memory_mcp.tokens import Tokens


def build_app(
    home: Path,
    open_memory: Callable[[], LocalMemory],
    tokens: Tokens,
    hosts: Iterable[str],
    hands: Callable[[], Hands] | None = None,
) -> ASGIApp:
    """Return the whole server of a home. `hands` do its larger work; where none are given it does that itself."""
    workers = Workers(home, open_memory, hands or (lambda: Here(open_memory())))
    uploads = Uploads(home)
    mcp = McpEndpoint(workers)
    logins = Logins(tokens)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        uploads.clear()
        workers.start()
        try:
            async with mcp.running():
                yield
        finally:
            workers.stop()

    async def api(request: Request) -> Response:
        return await _api(workers, uploads, request)

    async def upload(request: Request) -> Response:
        body = await request.body()
        return _json(await workers.store(lambda memory: uploads.put(request.state.access, body)))

    async def take(request: Request) -> Response:
        return await _take(workers, request)

    async def brief(request: Request) -> Response:
        return await _brief(workers, request)

    routes = [
        Route("/healthz", _alive, methods=["GET"]),
        Route(PREFIX + "{method}", api, methods=["POST"]),
        Route(HOOK, take, methods=["POST"]),
        Route(BRIEF, brief, methods=["POST"]),
        Route(UPLOAD, upload, methods=["POST"]),
        Route("/mcp", mcp),
        *routes_of(Site(workers.ask, logins, workers.stamp)),
    ]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=HANDLERS)
    return Guard(app, tokens, hosts, logins)


async def _alive(request: Request) -> Response:
    return JSONResponse({"ok": True})


async def _api(workers: Workers, uploads: Uploads, request: Request) -> Response:
    """Call one method of `Memory`."""
    access: Access = request.state.access
    try:
        end = endpoint(request.path_params["method"])
    except KeyError:
        raise HTTPException(404) from None
    body = await request.body()

    def work(memory: LocalMemory) -> bytes:
        given = arguments(access, end.name, body)
        sent = next((str(value) for value in given.values() if isinstance(value, Path)), "")
        if not sent:
            return answer(memory, access, end.name, given)
        try:  # a folder is one that was sent: those of this machine are nobody's business
            given["folder"], given["sent_from"] = uploads.find(access, sent)
            return answer(memory, access, end.name, given)
        finally:
            uploads.drop(access, sent)

    if FRESH_HEADER in request.headers:
        await workers.caught_up(access.name, settled=end.name != "search")
    if end.name == "search":
        told = await workers.search(access, body)
    else:
        told = await workers.ask(work, long=end.name in LONG)
    return Response(told, media_type="application/json")


async def _take(workers: Workers, request: Request) -> Response:
    """Store a batch of events that a machine delivers."""
    access: Access = request.state.access
    body, nonce = await request.body(), request.headers.get(NONCE, "")
    taken = await workers.store(lambda memory: hook.take(memory, access, body, nonce), access.name)
    return _json(taken)


async def _brief(workers: Workers, request: Request) -> Response:
    """Tell a machine what sessions in one of its folders are told at their start."""
    access: Access = request.state.access
    body = await request.body()
    parts = await workers.brief(lambda memory, settled: hook.brief_parts(memory, access, body, settled))
    return Response(json.dumps(parts, ensure_ascii=False).encode("utf-8", "replace"), media_type="application/json")


def _json(value: BaseModel) -> Response:
    return Response(value.model_dump_json(), media_type="application/json")
