"""The server's routes: `/api/v1/*`, `/hook`, `/mcp`, `/healthz`; a browser's pages are mounted by whoever has them.

One of the three translators of errors is here. Memory is only used in threads (`workers`), for whoever asks
(`access`); all requests come through the `guard`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from ai_memory_mcp.endpoints import BRIEF, FRESH_HEADER, HOOK, NONCE, PREFIX, UPLOAD, endpoint
from ai_memory_mcp.errors import (
    AccessError,
    AiMemoryError,
    ConfigError,
    ConflictError,
    InputError,
    LlmError,
    NotFoundError,
    ProjectError,
    StorageError,
)
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.server import hook
from ai_memory_mcp.server.access import Access, call, require
from ai_memory_mcp.server.guard import Busy, Guard, busy, refusal
from ai_memory_mcp.server.mcp_http import McpEndpoint
from ai_memory_mcp.server.uploads import Uploads
from ai_memory_mcp.server.workers import Workers
from ai_memory_mcp.tokens import Tokens

STATUS: dict[type[AiMemoryError], int] = {
    AccessError: 403,
    ConfigError: 500,
    ConflictError: 409,
    InputError: 400,
    LlmError: 502,
    NotFoundError: 404,
    ProjectError: 404,
    StorageError: 503,
}


def build_app(
    home: Path,
    open_memory: Callable[[], LocalMemory],
    tokens: Tokens,
    hosts: Iterable[str],
    pages: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """Return the whole server of a home. `pages` are further routes: they find who asks in `request.state.access`."""
    workers = Workers(open_memory)
    uploads = Uploads(home)
    mcp = McpEndpoint(workers)

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
        *pages,
    ]
    handlers = {
        AiMemoryError: _told,
        ValidationError: _malformed,
        Busy: _full,
        HTTPException: _not_there,
        Exception: _unexpected,
    }
    return Guard(Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers), tokens, hosts)  # type: ignore[arg-type]


async def _alive(request: Request) -> Response:
    return JSONResponse({"ok": True})


async def _api(workers: Workers, uploads: Uploads, request: Request) -> Response:
    """Call one method of `Memory`."""
    access: Access = request.state.access
    try:
        end = endpoint(request.path_params["method"])
    except KeyError:
        raise HTTPException(404) from None
    require(access, end.name)
    body = await request.body()

    def work(memory: LocalMemory) -> bytes:
        told = end.arguments.model_validate_json(body or b"{}")
        given = {name: getattr(told, name) for name in type(told).model_fields}
        sent = next((str(value) for value in given.values() if isinstance(value, Path)), "")
        if not sent:
            return end.result.dump_json(call(memory, access, end.name, given))
        try:  # a folder is one that was sent: those of this machine are nobody's business
            given["folder"], given["sent_from"] = uploads.find(access, sent)
            return end.result.dump_json(call(memory, access, end.name, given))
        finally:
            uploads.drop(access, sent)

    fresh = FRESH_HEADER in request.headers
    return Response(await workers.ask(work, fresh=fresh), media_type="application/json")


async def _take(workers: Workers, request: Request) -> Response:
    """Store a batch of events that a machine delivers."""
    access: Access = request.state.access
    body, nonce = await request.body(), request.headers.get(NONCE, "")
    taken = await workers.store(lambda memory: hook.take(memory, access, body, nonce))
    return _json(taken)


async def _brief(workers: Workers, request: Request) -> Response:
    """Tell a machine what sessions in one of its folders are told at their start."""
    access: Access = request.state.access
    body = await request.body()
    parts = await workers.ask(lambda memory: hook.brief_parts(memory, access, body), fresh=True)
    return Response(json.dumps(parts, ensure_ascii=False).encode("utf-8", "replace"), media_type="application/json")


def _json(value: BaseModel) -> Response:
    return Response(value.model_dump_json(), media_type="application/json")


# --- errors


def _told(request: Request, error: AiMemoryError) -> Response:
    return refusal(STATUS.get(type(error), 500), error.code, str(error))


def _full(request: Request, error: Busy) -> Response:
    return busy(error.seconds)


def _malformed(request: Request, error: ValidationError) -> Response:
    first = error.errors(include_input=False, include_url=False)[0]
    return refusal(400, InputError.code, f"{'.'.join(map(str, first['loc']))}: {first['msg']}".lstrip(": "))


def _not_there(request: Request, error: HTTPException) -> Response:
    return refusal(
        error.status_code, "route", f"{request.method} {request.url.path}: {error.detail}", **(error.headers or {})
    )


def _unexpected(request: Request, error: Exception) -> Response:  # Starlette raises it again, for the log
    return refusal(500, "unexpected", f"unexpected {type(error).__name__} in the server; its log has the details")
